"""The call that users want first, and what it answers."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

import vaebss
from vaebss import VAE, Separation
from vaebss.modalities.audio import Audio
from vaebss.modalities.images import Images


def test_every_public_name_is_there():
    for name in vaebss.__all__:
        assert getattr(vaebss, name)
    assert set(vaebss.__all__) <= set(dir(vaebss))
    with pytest.raises(AttributeError, match="no_such_name"):
        getattr(vaebss, "no_such_name")  # noqa: B009


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    """Two mixtures of two digits at half brightness, (2, 28, 28) uint8."""
    from vaebss.data.corpora.digits import load_digits

    images = load_digits("bundled", "nowhere").test[:4, 0].float()
    return (images[:2] / 2 + images[2:] / 2).byte().numpy()


def test_arrays_and_tensors_give_the_same_whatever_their_layout(digits):
    answer = vaebss.separate(digits, "remix-k2")
    assert answer.sources.shape == (2, 2, 28, 28)
    torch.testing.assert_close(answer.sources.sum(1), torch.from_numpy(digits / 255).float(), atol=1e-5, rtol=0)
    same = {
        "floats": (digits / 255, lambda sources: sources),
        "tensor": (torch.from_numpy(digits)[:, None], lambda sources: sources[:, :, 0]),
        "channels last": (digits[..., None], lambda sources: sources[..., 0]),
    }
    for signals, plain in same.values():
        torch.testing.assert_close(plain(vaebss.separate(signals, "remix-k2").sources), answer.sources)
    single = vaebss.separate(digits[0], vaebss.load("remix-k2"))
    assert single.sources.shape == (2, 28, 28)
    assert int(single.count) == 2
    assert repr(single) == "Separation(1 mixture of 28 x 28, K = 2: 2 sources found)"
    torch.testing.assert_close(single.sources, answer.sources[0], atol=1e-5, rtol=1e-4)


def test_brightness_and_ground_are_the_users(digits):
    answer = vaebss.separate(digits, "remix-k2", source_max=0.5)
    faint = vaebss.separate(digits / 255 / 5, "remix-k2", source_max=0.1)
    torch.testing.assert_close(faint.sources * 5, answer.sources, atol=1e-4, rtol=0)
    inverse = vaebss.separate(255 - digits, "remix-k2", source_max=0.5, invert=True)
    torch.testing.assert_close(inverse.sources, answer.sources, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("inverted", "times"), [(False, 1), (True, 2)])
def test_an_array_is_read_again_only_if_it_is_dark_on_white(digits, inverted, times, monkeypatch):
    read, from_user = [], Images.from_user
    monkeypatch.setattr(Images, "from_user", lambda self, *given: read.append(self.invert) or from_user(self, *given))
    vaebss.separate(255 - digits if inverted else digits, "remix-k2")
    assert read == [False, True][:times]


def test_other_sizes_and_colours_add_up():
    signals = np.random.default_rng(0).random((3, 40, 31, 3), dtype=np.float32) / 2
    answer = vaebss.separate(signals, "vae-k2", refine_steps=1)
    assert answer.sources.shape == (3, 2, 40, 31, 3)
    np.testing.assert_allclose(answer.numpy().sum(1), signals, atol=1e-5)


def test_axes_may_be_stated(digits):
    signals = np.moveaxis(digits, 0, -1)  # (28, 28, 2) is else grey with alpha
    answer = vaebss.separate(signals, "remix-k2", axes="HWN")
    assert answer.sources.shape == (2, 2, 28, 28)
    torch.testing.assert_close(answer.sources, vaebss.separate(digits, "remix-k2").sources)
    with pytest.raises(ValueError, match="axes is an option for pictures"):
        vaebss.separate(np.zeros(9_000), "vae-notes", axes="NW")
    with pytest.raises(ValueError, match=r"channels is an option for sounds.*axes"):
        vaebss.separate(digits, "remix-k2", channels="first")


@pytest.mark.parametrize(
    ("shape", "options", "many"),
    [
        ((9_000,), {}, False),
        ((1, 9_000), {}, True),
        ((1, 9_000), {"channels": "first"}, False),
        ((9_000, 1), {"channels": "last"}, False),
        ((1, 1, 9_000), {"channels": "first"}, True),
    ],
)
def test_one_sound_is_told_from_many_of_one(shape, options, many):
    """Where a model has one slot, the shapes of the answers are alike."""
    audio = Audio()
    model = VAE(1, hidden_dims=(8, 6), output="softplus", image_shape=audio.shape, source_scale=math.inf)
    model.modality = audio.options
    answer = vaebss.separate(np.random.default_rng(0).normal(size=shape), model, **options)
    assert answer.active.shape == ((1, 1) if many else (1,))
    assert answer.sources.shape == ((1, 1, *shape[1:]) if many else (1, *shape))


def test_what_cannot_be_separated_is_one_line():
    for wrong in (np.zeros((2, 2)), np.full((28, 28), -1.0), np.zeros((3, 28, 28)), np.array(["a"])):
        with pytest.raises(ValueError, match="the array") as error:
            vaebss.separate(wrong)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("name", ["source_max", "white"])
def test_what_stands_for_a_brightness_is_above_zero(name, value, digits):
    with pytest.raises(ValueError, match=f"^{name} must be above 0, not {value}$"):
        vaebss.separate(digits / 255, "vae-k2", **{name: value})


def test_sounds_come_at_any_rate_one_or_many():
    torch.manual_seed(0)
    audio = Audio()
    model = VAE(hidden_dims=(8, 6), output="softplus", exponent=4.0, image_shape=audio.shape, source_scale=math.inf)
    model.modality = audio.options
    tones = torch.sin(torch.arange(40_000) * 2 * math.pi * torch.tensor([[220.0], [331.0]]) / 44_100)
    answer = vaebss.separate(tones.numpy(), model, sample_rate=44_100)
    assert answer.sources.shape == (2, 2, 40_000)
    inner = slice(2_000, -2_000)  # resampling rings at the ends
    torch.testing.assert_close(answer.sources.sum(1)[:, inner], tones[:, inner], atol=2e-3, rtol=0)
    assert vaebss.separate(tones[0, :9_000], model).sources.shape == (2, 9_000)
    with pytest.raises(ValueError, match="shape"):
        vaebss.separate(np.zeros((2, 3, 4)), model)
    with pytest.raises(ValueError, match="sample_rate"):
        vaebss.separate(np.zeros((28, 28)), "remix-k2", sample_rate=8_000)


@pytest.fixture
def separation() -> Separation:
    sources = torch.rand(3, 2, 1, 6, 5)
    active = torch.tensor([[True, True], [True, False], [False, False]])
    return Separation(sources, active, torch.tensor([0.1, 0.2, 0.3]))


def test_a_separation_tells_what_it_is(separation):
    assert repr(separation) == "Separation(3 mixtures of 1 x 6 x 5, K = 2: 0 to 2 sources found)"
    assert repr(separation[0]) == "Separation(1 mixture of 1 x 6 x 5, K = 2: 2 sources found)"
    assert len(separation) == 3


def test_a_separation_is_a_sequence_of_mixtures(separation):
    assert separation.count.tolist() == [2, 1, 0]
    assert [int(mixture.count) for mixture in separation] == [2, 1, 0]
    assert torch.equal(separation[1].sources, separation.sources[1])
    assert torch.equal(separation[1:].active, separation.active[1:])
    assert torch.equal(separation[-1].confidence, torch.tensor(0.3))
    with pytest.raises(IndexError):
        separation[3]
    assert separation.numpy().shape == (3, 2, 1, 6, 5)


def test_a_separation_is_saved_and_drawn(separation, tmp_path):
    paths = separation.save(tmp_path / "out")
    assert [path.name for path in paths] == ["00000_source1.png", "00000_source2.png", "00001_source1.png"]
    written = np.asarray(Image.open(paths[1])) / 255
    np.testing.assert_allclose(written, separation.sources[0, 1, 0], atol=0.5 / 255 + 1e-6)
    labels = [label.get_text() for label in separation.plot().axes[0].get_yticklabels()]
    assert labels[:2] == ["mixture", "estimate 1"]
    assert separation[0]._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize("axes", ["KHW", "KCHW", "KHWC"])
def test_pictures_are_saved_in_whatever_layout(tmp_path, axes):
    colour = torch.rand(2, 3, 8, 7)
    sources = {"KHW": colour[:, 0], "KCHW": colour, "KHWC": colour.movedim(1, -1)}[axes]
    found = Separation(sources, torch.tensor([False, True]), torch.tensor(0.5))
    (path,) = found.save(tmp_path)
    expected = colour[1, 0] if axes == "KHW" else colour[1].movedim(0, -1)
    np.testing.assert_allclose(np.asarray(Image.open(path)) / 255, expected, atol=0.5 / 255 + 1e-6)
    assert path.name == "00000_source2.png"


def test_sounds_are_not_saved_as_pictures(tmp_path):
    with pytest.raises(ValueError, match="only pictures"):
        Separation(torch.rand(2, 100), torch.ones(2, dtype=torch.bool), torch.tensor(0.5)).save(tmp_path)


def test_shares_add_up_to_one_also_in_the_dark(separation):
    mixture = separation.sources.sum(1)
    mixture[0] = 0
    shares = separation.shares(mixture)
    torch.testing.assert_close(shares[1:].sum(1), torch.ones(2, 1, 6, 5))
    torch.testing.assert_close(shares[0], torch.full((2, 1, 6, 5), 0.5))


@pytest.mark.parametrize("shape", [(8, 20, 18), (20, 18), (3, 20, 18, 3), (20, 18, 3), (4, 1, 20, 18)])
def test_what_is_found_in_arrays_of_any_layout_is_saved_and_drawn(shape, tmp_path):
    found = vaebss.separate(torch.rand(shape) / 2, "remix-k2", source_max=0.5)
    paths = found.save(tmp_path)
    assert len(paths) == int(found.count.sum())
    assert {Image.open(path).size for path in paths} == {(18, 20)}
    assert {Image.open(path).mode for path in paths} == {"RGB" if shape[-1] == 3 else "L"}
    assert found.plot().axes
