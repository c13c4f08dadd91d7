"""Sounds as users have them in Python: layouts, kinds of numbers, rates."""

import numpy as np
import pytest
import torch

from vaebss.modalities.audio import Audio
from vaebss.modalities.sound_arrays import as_sounds, whole_rate

SOUND = (0.1 * np.random.default_rng(0).standard_normal((3, 2, 500))).astype("f4")  # (B, C, T)


@pytest.mark.parametrize(
    ("given", "channels", "restored"),
    [
        (SOUND[0, 0], None, (4, 500)),
        (SOUND[:, 0], None, (3, 4, 500)),
        (SOUND[0], "first", (4, 2, 500)),
        (SOUND, "first", (3, 4, 2, 500)),
        (SOUND[0].T, "last", (4, 500, 2)),
        (SOUND.swapaxes(1, 2), "last", (3, 4, 500, 2)),
    ],
)
def test_parts_come_back_in_the_layout_of_the_sounds(given, channels, restored):
    sounds, arranged, *_ = as_sounds(given, channels)
    assert torch.equal(sounds, torch.from_numpy(SOUND[: len(sounds), : sounds.shape[1]]))
    back = arranged(torch.stack([sounds * number for number in range(4)], 1))
    assert back.shape == restored
    second = back[1] if back.ndim == given.ndim + 1 and len(back) == 4 else back[:, 1]
    assert torch.equal(second, torch.from_numpy(given.copy()))


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_channels_are_separated_alike_wherever_they_are(rate):
    first, restore_first, *_ = Audio().from_user(SOUND[0], rate, "first")
    last, restore_last, *_ = Audio().from_user(SOUND[0].T, rate, "last")
    assert torch.equal(first, last)
    parts = torch.stack([0.25 * first, 0.75 * first], 1)
    assert torch.equal(restore_first(parts), restore_last(parts).mT)
    assert restore_first(parts).sum(0).numpy() == pytest.approx(SOUND[0], abs=1e-6)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (np.array([-(2**15), 0, 2**14], "i2"), [-1, 0, 0.5]),
        (np.array([-(2**31), 0, 2**30], "i4"), [-1, 0, 0.5]),
        (np.array([0, 128, 192], "u1"), [-1, 0, 0.5]),
        (np.array([-1, 0, 0.5], ">f4"), [-1, 0, 0.5]),
        (np.array([-1, 0, 0.5], ">f8"), [-1, 0, 0.5]),
        (np.array([-(2**15), 0, 2**14], ">i2"), [-1, 0, 0.5]),
        (np.array([0.5, 0, -1])[::-1], [-1, 0, 0.5]),
        ([-1, 0, 0.5], [-1, 0, 0.5]),
        (torch.tensor([-1, 0, 0.5], dtype=torch.bfloat16), [-1, 0, 0.5]),
        (torch.tensor([-(2**15), 0, 2**14], dtype=torch.int16), [-1, 0, 0.5]),
    ],
)
def test_numbers_of_any_kind_are_floats_as_files_of_them_are(given, wanted):
    sounds, *_ = as_sounds(given)
    assert sounds.dtype == torch.float32
    assert sounds[0, 0].tolist() == wanted


@pytest.mark.parametrize(
    ("given", "channels", "message"),
    [
        (np.zeros((44_100, 2)), None, r'^44100 sounds of 2 samples: pass channels="last" if \(44100, 2\) is \(T, C\)$'),
        (np.zeros((44_100, 2)), "first", r'more channels than samples with channels="first": pass channels="last"$'),
        (np.zeros((2, 44_100)), "last", r'pass channels="first"$'),
        (np.zeros((3, 2, 500)), None, r"^sounds must have shape \(T,\) or \(B, T\).*not \(3, 2, 500\)$"),
        (np.zeros(500), "first", r"^sounds must have .*not \(500,\)$"),
        (np.zeros(0), None, r"not \(0,\)$"),
        (np.array([0, np.nan]), None, r"^samples should be up to 1, .* and up to 1e\+15, not nan$"),
        (np.array([0, -1e30]), None, r"^samples should be up to 1, .* and up to 1e\+15, not 1e\+30$"),
        (np.zeros(500, "i8"), None, r"floats or whole numbers of 8, 16 or 32 bits, not int64$"),
        (np.zeros(500, "c8"), None, r"not complex64$"),
        (np.array(["a"]), None, r"^sounds must be floats or whole numbers"),
        ([[0.0, 1.0], [0.0]], None, r"all be equally long$"),
    ],
)
def test_what_is_no_sound_is_refused_in_one_line(given, channels, message):
    with pytest.raises(ValueError, match=message) as error:
        as_sounds(given, channels)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("rate", [44_100, 44_100.0, np.float32(44_100), np.int64(44_100)])
def test_rates_are_whole_numbers_of_any_type(rate):
    assert whole_rate(rate) == 44_100
    assert isinstance(whole_rate(rate), int)


@pytest.mark.parametrize("rate", [44_100.5, 0, -1, 1e9, float("nan"), float("inf"), "44100"])
def test_other_rates_are_refused_in_one_line(rate):
    with pytest.raises(ValueError, match=r"^sample_rate must be a whole number from 100 to 1,000,000, not [^\n]*$"):
        Audio().from_user(SOUND[0, 0], rate)
