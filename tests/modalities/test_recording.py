"""A recording is separated in blocks: what comes out is what comes out of it as a whole."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from streams import pieces
from torch import Tensor

from vaebss import load
from vaebss.errors import FileError
from vaebss.figures.rows import GAP
from vaebss.modalities import blocks, recording, resampling, sound_files, templates, windows
from vaebss.modalities.audio import Audio
from vaebss.modalities.modality import separate_signals
from vaebss.modalities.registry import modality_of

soundfile = pytest.importorskip("soundfile")


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def duet(seconds: float, rate: int, channels: int) -> Tensor:
    """Two tones that take turns in loudness, and highs that come and go; no offset."""
    time = torch.arange(int(seconds * rate)) / rate
    swell = 0.5 + 0.5 * torch.sin(2 * torch.pi * 0.7 * time)
    tones = [0.2 * torch.sin(2 * torch.pi * hertz * time) for hertz in (330, 1_870)]
    hiss = 0.01 * noise(len(time)) * (time % 1.5 < 0.6)
    sound = torch.stack([swell * tones[0] + (1 - swell / (n + 1)) * tones[1] + hiss for n in range(channels)])
    return sound - sound.double().mean(1, keepdim=True).float()


@pytest.fixture
def small_blocks(monkeypatch) -> None:
    """Blocks so short that even a second of sound has dozens, which end at no second, window or moment."""
    for module in (blocks, resampling, sound_files, templates):
        monkeypatch.setattr(module, "BLOCK", 1_999)
    monkeypatch.setattr(recording, "AT_ONCE", 2)
    monkeypatch.setattr(recording, "CHUNK", 3 * 128 * 16)


@pytest.mark.parametrize(("step", "before", "after"), [(7, 0, 0), (7, 3, 2), (50, 9, 70), (1, 0, 1), (300, 5, 5)])
@pytest.mark.parametrize("lengths", [(1,), (3, 20), (100,)])
def test_segments_are_those_of_the_whole_with_zeros_around(step, before, after, lengths):
    signal = noise(2, 100)
    padded = torch.nn.functional.pad(signal, (before, after))
    starts = range(0, 100, step)
    wanted = [padded[:, start : start + before + step + after] for start in starts]
    found = [*blocks.segments(pieces(signal, *lengths), step, before, after)]
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(("rate", "wanted"), [(44_100, 16_000), (16_000, 44_100), (8_000, 16_000), (48_000, 16_000)])
@pytest.mark.parametrize("samples", [1, 700, 5_000])
def test_resampling_in_blocks_is_scipys_of_the_whole(small_blocks, rate, wanted, samples):
    from scipy.signal import resample_poly

    signal, common = noise(2, samples), np.gcd(rate, wanted)
    whole = resample_poly(signal.numpy(), wanted // common, rate // common, axis=1)
    found = blocks.whole(resampling.resampled(pieces(signal, 333, 1_000), rate, wanted))
    assert found.shape == whole.shape == (2, resampling.number_of(samples, rate, wanted))
    assert found.numpy() == pytest.approx(whole, abs=1e-6)


@pytest.mark.parametrize("samples", [3, 1_024, 4_096, 4_097])
def test_highs_in_blocks_are_those_of_the_whole(small_blocks, samples):
    parts = noise(3, 2, samples) * torch.tensor([1, 0.1, 0]).view(3, 1, 1)
    steep = torch.nn.functional.pad(parts, (4, 0)).diff(n=4).square().mean(1)
    energy = torch.nn.functional.avg_pool1d(steep, 1_024, 256, 512) + 1e-6 * parts.square().mean((1, 2)).unsqueeze(1)
    found = resampling.highs(pieces(parts, 100, 1_500), 1_024, 256)
    torch.testing.assert_close(found, energy / energy.sum(0), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("samples", [1, 64, 65, 96, 97, 640, 650])
@pytest.mark.parametrize("at_once", [1, 3, 100])
def test_windows_of_a_stream_are_those_of_the_whole(samples, at_once):
    signal = noise(2, samples)
    found = [*windows.cut(pieces(signal, 40), samples, 64, at_once)]
    assert all(len(group) <= at_once for group in found)
    assert torch.equal(torch.cat(found), windows.split(signal.unsqueeze(0), 64))
    assert len(torch.cat(found)) == windows.number_of(samples, 64)


@pytest.mark.parametrize(("rate", "channels"), [(44_100, 2), (16_000, 1), (8_000, 1), (48_000, 3)])
@pytest.mark.parametrize("model", ["vae-notes", "remix-notes-1to3"])
def test_a_file_is_separated_as_its_array_is(tmp_path, small_blocks, rate, channels, model):
    path, sound = tmp_path / "a.wav", duet(4.3, rate, channels)
    soundfile.write(path, sound.T.numpy(), rate, "FLOAT")
    separator = load(model)
    audio = Audio(**{name: value for name, value in separator.modality.items() if name != "kind"})
    (part,) = audio.read(path)
    found = part.separated(separator.separate)
    paths = [tmp_path / f"{number}.wav" for number in range(separator.num_sources)]
    part.save(found, 0, paths)

    taken, restore, *_ = audio.from_user(sound, rate, "first")
    whole = separate_signals(separator.separate, audio, taken).sources_first()
    assert torch.equal(found.active, whole.active)
    torch.testing.assert_close(found.confidence, whole.confidence)
    torch.testing.assert_close(found.sources, whole.sources, atol=1e-6, rtol=0)
    written = np.stack([soundfile.read(path, always_2d=True)[0].T for path in paths])
    np.testing.assert_allclose(written, restore(whole.sources).numpy(), atol=1e-6, rtol=0)
    np.testing.assert_allclose(written.sum(0), sound.numpy(), atol=1e-5, rtol=0)


def test_a_long_file_is_separated_again_by_templates_as_its_array_is(tmp_path, small_blocks, monkeypatch):
    """The templates are learned in blocks as they are from the whole, and no frame of them all is left out."""
    path, sound, model = tmp_path / "a.wav", duet(6.3, 44_100, 2), load("remix-lines")
    soundfile.write(path, sound.T.numpy(), 44_100, "FLOAT")
    audio = modality_of(model)
    (part,) = audio.read(path)
    found = part.separated(model.separate)
    taken, *_ = audio.from_user(sound, 44_100, "first")
    whole = separate_signals(model.separate, audio, taken).sources_first()
    torch.testing.assert_close(found.sources, whole.sources, atol=1e-4, rtol=0)
    monkeypatch.setattr(templates, "SHORTEST", 60.0)
    by_windows = separate_signals(model.separate, audio, taken).sources_first()
    assert (found.sources - by_windows.sources).square().sum() > 0.001 * by_windows.sources.square().sum()


def test_random_restarts_are_those_of_the_whole(tmp_path, small_blocks, monkeypatch):
    """As many windows are asked for at once as a separator takes at once."""
    monkeypatch.setattr("vaebss.models.separator.CHUNK", recording.CHUNK)
    path, sound, model = tmp_path / "a.wav", duet(5, 16_000, 1), load("vae-notes")
    soundfile.write(path, sound.T.numpy(), 16_000, "FLOAT")

    def answer(pictures: Tensor):
        return model.separate(pictures, refine_steps=2, restarts=2)

    (part,) = Audio().read(path)
    whole = separate_signals(answer, Audio(), sound).sources_first()
    torch.testing.assert_close(part.separated(answer).sources[:, :, 0], whole.sources, atol=1e-6, rtol=0)


def test_a_separator_is_asked_for_a_few_windows_at_a_time(tmp_path, monkeypatch):
    """All windows of every pass are told as progress."""
    monkeypatch.setattr(recording, "CHUNK", 4 * 128 * 16)
    soundfile.write(tmp_path / "a.wav", duet(12, 16_000, 1).T.numpy(), 16_000, "FLOAT")
    model, asked, steps = load("vae-notes"), [], []

    def answer(pictures: Tensor):
        asked.append(len(pictures))
        return model.separate(pictures)

    (part,) = Audio().read(tmp_path / "a.wav")
    part.progress = steps.append
    part.save(part.separated(answer), 0, [tmp_path / "1.wav", tmp_path / "2.wav"])
    assert max(asked) == 4
    assert sum(asked) == windows.number_of(12 * 16_000, Audio().samples)
    assert sum(steps) == part.steps == 6 * sum(asked)


def test_a_figure_shows_the_first_seconds_of_the_mixture_and_each_source(tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "DRAWN", 2)
    model, shown = load("vae-notes"), {}
    for seconds in (1.0, 2.0, 3.5):
        soundfile.write(tmp_path / "a.wav", duet(seconds, 44_100, 2).T.numpy(), 44_100, "FLOAT")
        (part,) = Audio().read(tmp_path / "a.wav")
        shown[seconds] = part.figure(part.separated(model.separate))
    assert shown[1.0] is None
    for seconds, title in {2.0: "", 3.5: "the first 2 of 4 seconds"}.items():
        assert shown[seconds].get_suptitle() == title
        assert [axes.get_ylabel() for axes in shown[seconds].axes] == ["mixture", "source 1", "source 2"]
        strips = [axes.images[0].get_array() for axes in shown[seconds].axes]
        assert {strip.shape[1] for strip in strips} == {2 * GAP + Audio().spectrogram.shape(2 * 16_000)[2]}
        ticks = [tick.get_text() for tick in shown[seconds].axes[-1].get_xticklabels()]
        assert ticks == ["0.0 s", "0.5 s", "1.0 s", "1.5 s", "2.0 s"]


@pytest.mark.parametrize("offset", [0.3, -0.05])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_constant_offset_changes_no_source_but_by_its_equal_part(tmp_path, offset, rate):
    sound, model = duet(3, rate, 2), load("vae-notes")
    offsets = torch.tensor([[offset], [offset / 2]])
    soundfile.write(tmp_path / "a.wav", (sound + offsets).T.numpy(), rate, "FLOAT")
    taken, restore, *_ = Audio().from_user(sound, rate, "first")
    plain = restore(separate_signals(model.separate, Audio(), taken).sources_first().sources)

    (part,) = Audio().read(tmp_path / "a.wav")
    found = part.separated(model.separate)
    assert found.count.tolist() == [2]
    part.save(found, 0, [tmp_path / "1.wav", tmp_path / "2.wav"])
    written = np.stack([soundfile.read(tmp_path / name)[0].T for name in ("1.wav", "2.wav")])
    np.testing.assert_allclose(written, (plain + offsets / 2).numpy(), atol=1e-4, rtol=0)
    np.testing.assert_allclose(written.sum(0), (sound + offsets).numpy(), atol=1e-5, rtol=0)

    taken, restore, *_ = Audio().from_user(sound + offsets, rate, "first")
    found = restore(separate_signals(model.separate, Audio(), taken).sources_first().sources)
    torch.testing.assert_close(found, plain + offsets / 2, atol=1e-4, rtol=0)


def test_an_offset_goes_to_the_sources_that_are_written(tmp_path):
    """What a slot without a source would get is not lost."""
    rate, model = 16_000, load("vae-notes")
    sound = duet(3, rate, 1) + 0.2
    soundfile.write(tmp_path / "a.wav", sound.T.numpy(), rate, "FLOAT")

    def answer(pictures: Tensor):
        found = model.separate(pictures)
        return replace(found, active=found.active & torch.tensor([False, True])).drop_inactive(
            pictures, Audio().exponent
        )

    (part,) = Audio().read(tmp_path / "a.wav")
    found = part.separated(answer)
    assert found.count.tolist() == [1]
    part.save(found, 0, [tmp_path / "1.wav"])
    np.testing.assert_allclose(soundfile.read(tmp_path / "1.wav")[0], sound[0].numpy(), atol=1e-5, rtol=0)


def test_a_flac_that_does_not_say_how_long_it_is_is_read(tmp_path):
    sound = 0.1 * noise(30_000, 2)
    soundfile.write(tmp_path / "a.flac", sound.numpy(), 44_100)
    told = bytearray((tmp_path / "a.flac").read_bytes())
    told[21] &= 0xF0
    told[22:26] = bytes(4)
    (tmp_path / "b.flac").write_bytes(told)
    assert soundfile.info(tmp_path / "b.flac").frames > 2**60
    assert torch.equal(sound_files.read(tmp_path / "b.flac")[0], sound_files.read(tmp_path / "a.flac")[0])
    (part,) = Audio().read(tmp_path / "b.flac")
    assert part.samples == 30_000


def test_a_wav_of_more_than_four_gigabytes_says_so_in_its_header(tmp_path, monkeypatch):
    monkeypatch.setattr(sound_files, "LARGEST_WAV", 4 * 2 * 999)
    for samples, container in ((999, "WAV"), (1_000, "RF64")):
        sound_files.write(noise(2, samples), tmp_path / "a.wav", 16_000)
        assert soundfile.info(tmp_path / "a.wav").format == container
        assert torch.equal(sound_files.read(tmp_path / "a.wav")[0], noise(2, samples))


def test_a_pipe_by_the_name_of_a_recording_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.wav")
    for read in (sound_files.read, sound_files.rate_of, Audio().opened, lambda path: next(Audio().read(path))):
        with pytest.raises(FileError, match=r"x\.wav is a pipe"):
            read(tmp_path / "x.wav")
