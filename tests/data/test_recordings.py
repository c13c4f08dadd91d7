"""A user's own recordings, made up here: windows of mixtures, stems, single notes; which files are which."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import prepared

from vaebss import MNISTMixtures
from vaebss.data.corpora import recordings
from vaebss.data.corpora.open import open_corpus
from vaebss.data.corpora.recordings import GivenRecordings, SingleNotes
from vaebss.errors import FileError
from vaebss.modalities.audio import Audio

soundfile = pytest.importorskip("soundfile")
AUDIO = Audio()
ORDER = [11, 10, 4, 8, 1, 6, 5, 2, 9, 7, 0, 3]  # of twelve recordings
LENGTH, RATE = AUDIO.samples, AUDIO.rate
ready = partial(prepared, epoch_size=12, batch_size=6, val_mixtures=5, test_mixtures=7)


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=round(seconds * RATE)).astype(np.float32) / 10


def tone(hertz: float, seconds: float, rate: int = RATE) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def written(path: Path, sound: np.ndarray, rate: int = RATE) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound, rate, subtype="FLOAT" if path.suffix == ".wav" else None)
    return str(path)


def windows_of(path) -> recordings.Windows:
    corpus = open_corpus(mixtures=str(path))
    assert isinstance(corpus, GivenRecordings)
    return corpus.windows


def every(windows) -> torch.Tensor:
    return windows[torch.arange(len(windows))]


@pytest.fixture
def folder(tmp_path) -> str:
    """Three recordings, 26 seconds in all, in a folder of folders."""
    for number, seconds in enumerate((13, 8, 5)):
        written(tmp_path / "own" / str(number % 2) / f"{number}.wav", noise(seconds, number))
    return str(tmp_path / "own")


def test_no_sample_is_in_two_splits(tmp_path):
    ramp = np.linspace(0.1, 1, 20 * RATE)  # no value twice
    splits = ready(mixtures=written(tmp_path / "ramp.wav", ramp)).corpus.splits
    train, val = (np.unique(every(part)) for part in splits[:2])
    assert train.max() < val.min()
    assert len(train) == pytest.approx(18 * RATE, abs=recordings.STEP)
    assert len(val) == pytest.approx(2 * RATE, abs=2 * recordings.STEP)


def test_no_window_spans_two_recordings(tmp_path):
    for number, period in enumerate(([1, -1], [1, 1, -1, -1]) * 2):
        written(tmp_path / f"{number}.wav", 0.1 * np.resize(period, 5 * RATE))
    splits = ready(mixtures=str(tmp_path)).corpus.splits
    changes = (every(splits.test).sign().diff() != 0).float().mean(1)
    assert ((changes > 0.999) | (changes < 0.501)).all()
    assert changes.min() < 0.501 < 0.999 < changes.max()
    assert len(splits.train) + len(splits.val) < len(splits.test) < 4 * (5 * RATE - LENGTH) / recordings.STEP + 5


def test_the_first_minute_of_each_recording_is_known_whole(folder, monkeypatch):
    monkeypatch.setattr(recordings, "MINUTE", 6)
    corpus = ready(mixtures=folder).corpus
    assert sorted(len(sound) for sound in corpus.recordings) == [5 * RATE, 6 * RATE, 6 * RATE]
    sound, start = corpus.windows.sound, sum(corpus.windows.lengths[:2])
    assert torch.equal(corpus.recordings[2], sound[start : start + 6 * RATE])


def test_recordings_are_in_a_drawn_order_that_never_changes(tmp_path):
    """The last are validated on: were they the last by name, they might all be of one piece."""
    for number in range(12):
        written(tmp_path / f"{number:02}.wav", tone(500 + 100 * number, 1.5))
    sound = windows_of(tmp_path).sound
    spectra = torch.fft.rfft(sound.unflatten(0, (12, -1))).abs().argmax(1)
    assert ((spectra / 1.5 - 500) / 100).round().int().tolist() == ORDER


def test_batches_are_fresh_windows_at_random_places(folder):
    data = ready(mixtures=folder)
    loader = data.train_dataloader()
    first, again = ([batch["signal"] for batch in loader] for _ in range(2))
    loader.sampler.set_epoch(1)
    second = [batch["signal"] for batch in loader]
    assert [tuple(signal.shape) for signal in first] == [(6, LENGTH)] * 2
    assert torch.equal(torch.cat(first), torch.cat(again))
    assert not np.intersect1d(torch.cat(first)[:, 0], torch.cat(second)[:, 0]).size
    batch = next(iter(loader))
    assert set(batch) == {"signal", "mixture"}
    torch.testing.assert_close(batch["mixture"], AUDIO.picture(batch["signal"]))


def test_validation_windows_are_always_the_same_and_far_apart(folder):
    first, again = (next(iter(ready(mixtures=folder, seed=seed).val_dataloader()))["signal"] for seed in (0, 1))
    assert torch.equal(first, again)
    assert len(first) == 5
    assert len(first[:, 0].unique()) == 5


def test_a_fixed_list_of_windows_is_as_long_as_asked(folder):
    data = ready(mixtures=folder, num_mixtures=20)
    batches = [*data.listed()]
    assert [len(batch["signal"]) for batch in batches] == [20]
    assert len(torch.cat([batch["signal"] for batch in batches])[:, 0].unique()) == 20


PICTURED = [
    ({"bands": 256, "pooled": 2}, Audio(bands=256, pooled=2)),
    ({"compression": 1.0, "add": "magnitudes"}, Audio(compression=1.0, add="magnitudes")),
    ({"window": 2_048, "pooled": 2}, Audio(window=2_048, hop=512, pooled=2, linear_hz=500)),
]


@pytest.mark.parametrize(("options", "audio"), PICTURED)
def test_options_of_the_picture_hold_for_recordings(folder, options, audio):
    data = ready(mixtures=folder, **options)
    batch = next(iter(data.train_dataloader()))
    assert data.image_shape == audio.shape
    torch.testing.assert_close(batch["mixture"], audio.picture(batch["signal"]))


def test_each_recording_is_levelled_by_one_gain(tmp_path):
    written(tmp_path / "quiet.wav", 1e-3 * noise(8))
    written(tmp_path / "loud.wav", np.concatenate([noise(6, 1), noise(6, 1) / 10]))
    loudness = every(windows_of(tmp_path)).square().mean(1).sqrt()
    assert loudness.max() == pytest.approx(AUDIO.level, rel=0.05)
    assert loudness.min() == pytest.approx(AUDIO.level / 10, rel=0.05)
    assert ((loudness / AUDIO.level - 1).abs() < 0.05).float().mean() > 0.6


def test_a_recording_is_kept_from_its_first_to_its_last_sample(tmp_path):
    sound = torch.from_numpy(noise(14))
    read = windows_of(written(tmp_path / "a.wav", sound.numpy())).sound
    assert read.shape == sound.shape
    torch.testing.assert_close(read, read.norm() / sound.norm() * (sound - sound.mean()), atol=1e-3, rtol=0)


def test_the_first_and_the_last_window_are_trained_on_and_listed(tmp_path):
    sound = noise(14)
    data = ready(mixtures=written(tmp_path / "a.wav", sound))
    splits, whole = data.corpus.splits, 14 * RATE
    assert splits.train.starts[0] == splits.test.starts[0] == 0
    assert splits.val.starts[0] >= whole - whole // 10
    ends = splits.test.starts + LENGTH
    assert whole - recordings.STEP < ends[-1] <= whole
    assert data.corpus.plan("test", 7, (1, 1)).flatten()[[0, -1]].tolist() == [0, len(splits.test) - 1]


def test_windows_that_are_nearly_silent_are_dropped(tmp_path):
    pause = 1e-4 * noise(6, 1)
    path = written(tmp_path / "pause.wav", np.concatenate([noise(6), pause, noise(6)]))
    windows = windows_of(path)
    assert (every(windows).square().mean(1).sqrt() >= 0.009 * AUDIO.level).all()
    inside = (windows.starts >= 6 * RATE) & (windows.starts < 12 * RATE - LENGTH)
    assert not inside.any()
    assert len(windows) == pytest.approx((12 * RATE) / recordings.STEP, rel=0.02)


def test_short_clips_are_filled_up_with_silence(tmp_path):
    for number in range(12):
        written(tmp_path / f"{number}.wav", noise(0.5, number))
    windows = windows_of(tmp_path)
    assert len(windows) == 12
    assert not every(windows)[:, RATE // 2 :].any()
    assert len(ready(mixtures=str(tmp_path)).corpus.splits.val) == 1


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_any_rate_and_format_with_channels_averaged(tmp_path, suffix, rate):
    left = tone(440, 12, rate)
    path = written(tmp_path / f"stereo{suffix}", np.stack([left, np.zeros_like(left)], 1), rate)
    found = AUDIO.picture(windows_of(path)[torch.tensor([2_000])])
    expected = AUDIO.picture(torch.from_numpy(tone(440, 12)).float()[None, 2_000 * recordings.STEP :][:, :LENGTH])
    energies = expected.pow(AUDIO.exponent) * (AUDIO.level / 0.3 * 2**0.5) ** 2
    assert (found.pow(AUDIO.exponent) - energies).abs().mean() < 0.05 * energies.mean()


def test_one_recording_of_a_minute_is_enough(tmp_path):
    data = ready(mixtures=written(tmp_path / "minute.wav", noise(60)))
    assert len(data.corpus.splits.train) > 3_000
    assert len(data.corpus.splits.val) > 300


@pytest.fixture
def stems(tmp_path) -> dict:
    """Two recordings and their two stems, the second of which is silent in the second."""
    low, high = [tone(220, 9), tone(330, 8)], [tone(1_760, 9), np.zeros(8 * RATE)]
    for number, (one, other) in enumerate(zip(low, high, strict=True)):
        written(tmp_path / "own" / f"{number}.wav", one + other)
        written(tmp_path / "low" / f"{number}.wav", one)
        written(tmp_path / "high" / f"{number}.wav", other)
    return {"mixtures": str(tmp_path / "own"), "sources": [str(tmp_path / "low"), str(tmp_path / "high")]}


def test_stems_are_seen_where_scores_are_made_alone(stems):
    data = ready(**stems)
    assert set(next(iter(data.train_dataloader()))) == {"signal", "mixture"}
    test = next(iter(data.test_dataloader()))
    torch.testing.assert_close(test["sources"].sum(1), test["signal"], atol=1e-5, rtol=0)
    assert test["count"].unique().tolist() == [1, 2]
    val = next(iter(data.val_dataloader()))
    torch.testing.assert_close(val["sources"].sum(1), val["signal"], atol=1e-5, rtol=0)


def test_stems_of_other_recordings_are_refused(stems, tmp_path):
    written(tmp_path / "low" / "1.wav", tone(330, 7))
    with pytest.raises(FileError, match=r"low must hold as many recordings as \S*own, of the same lengths$"):
        MNISTMixtures(**stems)


def test_the_suffixes_decide_between_sounds_and_pictures(folder, tmp_path):
    assert open_corpus(mixtures=folder).modality.audible
    np.save(tmp_path / "pictures.npy", np.zeros((12, 8, 8)))
    assert not open_corpus(mixtures=str(tmp_path / "pictures.npy")).modality.audible
    with pytest.raises(
        FileError, match=r"holds sounds, \S+\.wav, and pictures, pictures\.npy: put them into separate folders$"
    ):
        MNISTMixtures(mixtures=str(tmp_path))
    (tmp_path / "none").mkdir()
    with pytest.raises(FileError, match=r"none holds no such files; known are .*\.wav"):
        MNISTMixtures(mixtures=str(tmp_path / "none"))


def test_too_little_sound_is_refused(tmp_path):
    with pytest.raises(FileError, match=r"few.wav holds 9\.0 seconds of sound: training needs 10\.1 or more$"):
        MNISTMixtures(mixtures=written(tmp_path / "few.wav", noise(9)))
    path = written(tmp_path / "silent.wav", np.concatenate([noise(2), np.zeros(20 * RATE)]))
    with pytest.raises(ValueError, match=r"silent.wav holds too little sound that is not silent"):
        ready(mixtures=path)


@pytest.fixture
def own_notes(tmp_path) -> str:
    """Thirty notes that begin late, of several formats and rates; and a silent one."""
    for number in range(30):
        suffix, rate = ((".wav", 16_000), (".flac", 44_100), (".ogg", 22_050))[number % 3]
        late = np.concatenate([np.zeros(rate // 3), tone(110 * 2 ** (number / 6), 1.5, rate)])
        written(tmp_path / "notes" / f"{number}{suffix}", np.stack([late, late], 1), rate)
    written(tmp_path / "notes" / "silent.wav", np.zeros(RATE))
    return str(tmp_path / "notes")


def test_own_notes_are_cut_at_their_onset_and_equally_loud(own_notes):
    corpus = open_corpus(source=own_notes)
    assert isinstance(corpus, SingleNotes)
    notes = corpus.notes.float()
    assert notes.shape == (30, LENGTH)
    torch.testing.assert_close(notes.square().mean(1), torch.ones(30), atol=1e-3, rtol=0)
    assert notes[:, :200].abs().amax(1).min() > 0.1


def test_own_notes_are_mixed_as_rendered_ones_and_no_file_is_in_two_splits(own_notes):
    data = ready(source=own_notes)
    splits = data.corpus.splits
    assert [len(part) for part in splits] == [24, 3, 3]
    assert len(torch.cat(splits).unique(dim=0)) == 30
    assert data.hparams.source_scale == float("inf")
    for loader in (data.val_dataloader(), data.test_dataloader()):
        batch = next(iter(loader))
        torch.testing.assert_close(batch["sources"].sum(1), batch["signal"], atol=1e-4, rtol=0)
        torch.testing.assert_close(batch["mixture"], AUDIO.picture(batch["signal"]))


def test_gains_make_one_note_quieter_than_the_other(own_notes):
    batch = next(iter(ready(source=own_notes, gains=[0.5, 1.0], test_mixtures=200).test_dataloader()))
    levels = 20 * batch["sources"].square().mean(2).log10() / 2
    differences = (levels[:, 0] - levels[:, 1]).abs()
    assert 4.5 < differences.max() < 6.03
    torch.testing.assert_close(batch["sources"].sum(1), batch["signal"], atol=1e-4, rtol=0)


def test_too_few_notes_are_refused(tmp_path):
    for number in range(9):
        written(tmp_path / f"{number}.wav", tone(110 * (number + 1), 1))
    with pytest.raises(ValueError, match=r"holds 9 notes: mixing needs 10 or more$"):
        ready(source=str(tmp_path))
