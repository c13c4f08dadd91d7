"""Sound as a modality: spectrograms in bands, masks that share a signal out, files."""

import os
import sys

import numpy as np
import pytest
import torch

from vaebss.errors import FileError
from vaebss.modalities.audio import Audio
from vaebss.separation import Separation

PAPER = Audio(bands=512, pooled=1, compression=1.0, add="magnitudes")
SETTINGS = [Audio(), PAPER, Audio(bands=256, pooled=3, compression=0.3), Audio(window=512, hop=128, bands=90)]
LENGTHS = [16_128, 16_000, 40_001, 100]


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def tone(hertz: float, samples: int = 16_128, rate: int = 16_000) -> torch.Tensor:
    return 0.3 * torch.sin(2 * torch.pi * hertz * torch.arange(samples) / rate)


@pytest.mark.parametrize("audio", SETTINGS)
@pytest.mark.parametrize("samples", LENGTHS)
def test_shares_that_sum_to_1_give_parts_that_sum_to_the_signal(audio, samples):
    signals = noise(2, samples)
    shares = noise(2, 3, *audio.picture(signals).shape[1:]).softmax(1)
    parts = audio.apply(shares, signals)
    assert parts.shape == (2, 3, samples)
    assert torch.allclose(parts.sum(1), signals, atol=1e-5)


def test_the_topmost_bin_is_somebodys():
    signal = tone(8_000 - 1e-3).unsqueeze(0)
    shares = torch.zeros(1, 2, *Audio().shape)
    shares[:, 0] = 1
    assert torch.allclose(Audio().apply(shares, signal)[:, 0], signal, atol=1e-5)


@pytest.mark.parametrize("audio", SETTINGS)
def test_a_picture_has_its_shape_and_is_not_negative(audio):
    picture = audio.picture(noise(2, audio.samples))
    assert picture.shape == (2, *audio.shape)
    assert picture.min() >= 0


@pytest.mark.parametrize("audio", SETTINGS)
def test_a_louder_signal_has_a_brighter_picture(audio):
    signals = noise(2, audio.samples)
    assert torch.allclose(audio.picture(3 * signals), 3**audio.compression * audio.picture(signals), rtol=1e-4)


def test_signals_are_levelled_by_their_loud_windows():
    audio = Audio(level=0.2)
    sounds = torch.stack([tone(440, 4 * audio.samples)] * 3)
    sounds[1, audio.samples :] *= 1e-3  # a pause, nearly silent
    sounds[2] *= 50
    levelled = sounds * audio.levelling(sounds)
    loudest = levelled.unfold(1, audio.samples, audio.samples).square().mean(2).sqrt().amax(1)
    torch.testing.assert_close(loudest, torch.full((3,), 0.2), atol=0.02, rtol=0)
    torch.testing.assert_close(levelled[2], levelled[0])


@pytest.mark.parametrize("faint", [0.0, 1e-20])
def test_silence_is_left_alone(faint):
    assert Audio().levelling(torch.full((2, 40_000), faint)).tolist() == [[1], [1]]


def test_no_level_is_refused():
    with pytest.raises(ValueError, match=r"^level must be above 0, not 0$"):
        Audio(level=0)


@pytest.mark.parametrize("audio", SETTINGS)
def test_bands_keep_all_energy_below_the_topmost_bin(audio):
    weights = audio.spectrogram.triangles
    assert torch.allclose(weights.sum(0), torch.ones(audio.window // 2))
    assert (weights.argmax(1).diff() >= 1).all()  # every band has a bin of its own


def test_the_papers_picture_is_the_magnitude_of_each_bin():
    signals = noise(2, 16_128)
    spectrum = torch.stft(signals, 1024, 256, window=torch.hann_window(1024), pad_mode="constant", return_complex=True)
    assert PAPER.shape == (1, 512, 64)
    assert PAPER.exponent == 1
    assert torch.allclose(PAPER.picture(signals)[:, 0], spectrum[:, :512].abs() / 32, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("audio", SETTINGS)
def test_a_band_is_brightest_for_the_tone_at_its_frequency(audio):
    for band in (20, 60, audio.bands - 10):
        picture = audio.picture(tone(audio.frequencies[band]).unsqueeze(0))[0, 0]
        assert abs(int(picture.mean(1).argmax()) - band) <= 1


@pytest.mark.parametrize(("seconds", "number"), [(0.5, 12), (3, 4), (5, 2), (60, 1)])
def test_a_page_is_twelve_seconds_wide(seconds, number):
    samples = round(seconds * Audio().rate)
    assert Audio().columns_per_page(torch.zeros(samples)) == number
    assert Audio().columns_per_page(torch.zeros(2, samples)) == number


def test_pictures_of_distant_tones_add_up_by_the_exponent():
    audio, tones = Audio(), torch.stack([tone(440), tone(1_760)])
    whole = audio.picture(tones.sum(0, keepdim=True))
    added = audio.picture(tones).pow(audio.exponent).sum(0, keepdim=True).pow(1 / audio.exponent)
    assert (added - whole).abs().sum() < 0.04 * whole.sum()


def test_true_shares_of_energy_separate_distant_tones():
    audio, tones = Audio(), torch.stack([tone(440), tone(1_760)])
    energies = audio.picture(tones).pow(audio.exponent)
    parts = audio.apply((energies / energies.sum(0)).unsqueeze(0), tones.sum(0, keepdim=True))[0]
    assert (parts - tones).square().sum() < 1e-4 * tones.square().sum()


@pytest.mark.parametrize("bands", [65, 513])
def test_too_few_or_too_many_bands_are_refused(bands):
    with pytest.raises(ValueError, match="bands must be from 66 to 512"):
        Audio(bands=bands)


def test_what_is_written_is_read_again(tmp_path):
    pytest.importorskip("soundfile")
    signal = 3 * noise(5_000)  # beyond 1: nothing is clipped
    signal -= signal.mean()
    Audio().write(signal, tmp_path / "sound.wav")
    (part,) = Audio().read(tmp_path / "sound.wav")
    assert torch.equal(part.signals, signal.view(1, 1, -1))
    assert torch.equal(Audio().sound(tmp_path / "sound.wav"), signal.view(1, -1))


@pytest.mark.parametrize(
    ("suffix", "subtype", "precision"),
    [
        ("wav", "PCM_U8", 2**-7),
        ("wav", "PCM_16", 2**-15),
        ("wav", "PCM_24", 2**-23),
        ("flac", "PCM_16", 2**-15),
        ("ogg", "VORBIS", 0.03),
        ("mp3", "MPEG_LAYER_III", 0.03),
        ("aiff", "PCM_16", 2**-15),
    ],
)
def test_formats_are_read_to_their_precision(tmp_path, suffix, subtype, precision):
    soundfile = pytest.importorskip("soundfile")
    signal, path = tone(440), tmp_path / f"sound.{suffix}"
    soundfile.write(path, signal.numpy(), 16_000, subtype=subtype)
    signal -= signal.mean()
    (part,) = Audio().read(path)
    assert torch.allclose(part.signals[0, 0, 2_000 : len(signal) - 2_000], signal[2_000:-2_000], atol=precision)
    assert path.suffix in Audio.suffixes


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 96_000])
def test_any_rate_is_resampled_and_channels_are_pictured_as_their_mean(tmp_path, rate):
    soundfile = pytest.importorskip("soundfile")
    mono = tone(440, rate, rate)
    soundfile.write(tmp_path / "a.wav", torch.stack([mono, 0 * mono, -mono, 4 * mono], 1).numpy(), rate, "FLOAT")
    (part,) = Audio().read(tmp_path / "a.wav")
    assert part.signals.shape == (1, 4, 16_000)
    assert torch.allclose(part.signals[0, :, 500:-500].mean(0), tone(440, 16_000)[500:-500], atol=1e-3)
    torch.testing.assert_close(Audio().picture(part.signals), Audio().picture(part.signals.mean(1)))


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 96_000])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_parts_come_back_at_the_rate_and_with_the_channels_of_their_file_and_add_up(tmp_path, rate, channels):
    soundfile = pytest.importorskip("soundfile")
    sound = 0.2 * noise(rate // 2, channels)
    soundfile.write(tmp_path / "a.wav", sound.numpy(), rate, "FLOAT")
    (part,) = Audio().read(tmp_path / "a.wav")

    def answer(pictures):
        shares = noise(len(pictures), 3, *pictures.shape[1:]).softmax(1)
        sources = shares.pow(1 / Audio().exponent) * pictures.unsqueeze(1)
        return Separation(sources, torch.ones(len(pictures), 3, dtype=torch.bool), torch.ones(len(pictures)))

    found = part.separated(answer)
    assert found.sources.shape == (1, 3, *part.signals.shape[1:])
    part.save(found, 0, [tmp_path / f"{number}.wav" for number in range(3)])
    written = [soundfile.read(tmp_path / f"{number}.wav", always_2d=True) for number in range(3)]
    assert {written_rate for _, written_rate in written} == {rate}
    assert {whole.shape for whole, _ in written} == {(rate // 2, channels)}
    np.testing.assert_allclose(sum(whole for whole, _ in written), sound.numpy(), atol=1e-4, rtol=0)


def test_what_the_own_rate_cannot_carry_goes_to_who_has_the_highs_then():
    low, high = tone(220, 44_100, 44_100), torch.zeros(44_100)
    high[:22_050] = 0.1 * noise(22_050)  # of all frequencies, in the first half alone
    whole = (low + high).unsqueeze(0)
    _, restore, *_ = Audio().from_user(whole, 44_100)
    parts = torch.stack([Audio().from_user(part, 44_100)[0] for part in (low, high)], 1)
    found = restore(parts)[0]
    torch.testing.assert_close(found.sum(0), whole[0], atol=1e-5, rtol=0)
    wrong = (found[1] - high)[2_000:20_000].square().sum() / high[2_000:20_000].square().sum()
    assert wrong < 1e-3  # two thirds of its energy are above 8 kHz
    assert found[1, 30_000:].abs().max() < 1e-3


def test_a_silent_part_gets_nothing_of_what_the_own_rate_cannot_carry():
    sound = noise(1, 44_100)
    sound -= sound.mean()
    taken, restore, *_ = Audio().from_user(sound, 44_100)
    found = restore(torch.stack([taken, torch.zeros_like(taken)], 1))
    assert found[:, 1].abs().max() == 0
    torch.testing.assert_close(found[:, 0], sound, atol=1e-5, rtol=0)


def test_every_channel_has_the_shares_of_the_mean():
    stereo = torch.stack([tone(440), 0.5 * tone(1_760)]).unsqueeze(0)
    shares = noise(1, 2, *Audio().shape).softmax(1)
    parts = Audio().apply(shares, stereo)
    assert parts.shape == (1, 2, 2, 16_128)
    for channel in range(2):
        torch.testing.assert_close(parts[:, :, channel], Audio().apply(shares, stereo[:, channel]))


def test_flac_is_of_24_bits_and_refuses_what_it_would_clip(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    stereo = torch.stack([tone(440), tone(880)])
    Audio().write(stereo, tmp_path / "a.flac", 44_100)
    sound, rate = soundfile.read(tmp_path / "a.flac")
    assert rate == 44_100
    assert pytest.approx(stereo.numpy(), abs=2**-23) == sound.T
    with pytest.raises(FileError, match=r"^\S*a.flac cannot be written: FLAC holds values up to 1, not 1.5"):
        Audio().write(5 * stereo, tmp_path / "a.flac")


def test_silence_is_a_sound_like_any_other(tmp_path):
    pytest.importorskip("soundfile")
    Audio().write(torch.zeros(100), tmp_path / "silent.wav")
    (part,) = Audio().read(tmp_path / "silent.wav")
    assert torch.equal(part.signals, torch.zeros(1, 1, 100))


@pytest.mark.parametrize("content", ["nothing", "garbage", "no samples", "nan", "too loud", "not there"])
def test_files_without_sound_are_refused_in_one_line(tmp_path, content):
    soundfile = pytest.importorskip("soundfile")
    path = tmp_path / "sound.wav"
    match content:
        case "nothing":
            path.touch()
        case "garbage":
            path.write_bytes(bytes(range(256)))
        case "no samples":
            soundfile.write(path, torch.zeros(0).numpy(), 16_000)
        case "nan":
            Audio().write(torch.full((100,), torch.nan), path)
        case "too loud":
            Audio().write(torch.full((100,), 1e30), path)
    with pytest.raises(FileError, match=r"^\S*sound.wav [^\n]*$"):
        list(Audio().read(path))


def test_a_missing_soundfile_is_said_with_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(ImportError, match=r"pip install 'vaebss\[audio\]'"):
        list(Audio().read(tmp_path / "sound.wav"))


def test_what_a_decoder_prints_about_an_odd_file_is_not_shown(tmp_path, capfd):
    soundfile = pytest.importorskip("soundfile")
    if "MP3" not in soundfile.available_formats():
        pytest.skip("this libsndfile reads no MP3")
    soundfile.write(tmp_path / "a.mp3", tone(440).numpy(), 16_000)
    content = bytearray((tmp_path / "a.mp3").read_bytes())
    content[800:900] = bytes(100)
    (tmp_path / "a.mp3").write_bytes(content)
    assert next(iter(Audio().read(tmp_path / "a.mp3"))).signals.abs().max() > 0.1
    (tmp_path / "b.mp3").write_bytes(b"\xff\xfb" * 500)
    with pytest.raises(FileError, match=r"b\.mp3 cannot be read as sound"):
        list(Audio().read(tmp_path / "b.mp3"))
    os.write(2, b"still heard")
    assert capfd.readouterr().err == "still heard"
