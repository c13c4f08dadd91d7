"""Notes of musical instruments: cutting, duplicates and splits on made-up tones; rendering where there is a font."""

from itertools import combinations

import pytest
import torch
from note_counts import coincident, report

from vaebss.data.corpora import notes
from vaebss.data.corpora.note_splits import SPLITS, UNHEARD, NoteSplits, groups, split_notes
from vaebss.data.corpora.notes import RANGES, SAMPLES, cut, distinct, load_notes
from vaebss.data.corpora.soundfont import SoundFont
from vaebss.errors import DataError

FEW = {0: (60, 75), 1: (60, 62), 24: (60, 75), 25: (60, 63)}  # in TimGM6mb, 1 is 0 over again; 25 is unheard


def tone(hertz: float, delay: int = 0, samples: int = SAMPLES) -> torch.Tensor:
    time = torch.arange(samples) / notes.RATE
    return torch.cat([torch.zeros(delay), torch.sin(2 * torch.pi * hertz * time) * torch.exp(-time)])


EVERY = torch.tensor([(program, pitch) for program, (low, high) in RANGES.items() for pitch in range(low, high + 1)])


def split(labels: torch.Tensor, recordings: torch.Tensor) -> NoteSplits:
    """Notes that are their numbers."""
    return split_notes(torch.arange(len(labels)).unsqueeze(1), labels, recordings)


def numbers(found: NoteSplits, name: str) -> set[int]:
    return set(getattr(found, name)[:, 0].tolist())


@pytest.fixture(scope="module")
def every_note():
    """Each recording is played at four pitches of a program."""
    return split(EVERY, EVERY[:, 0] * 128 + EVERY[:, 1] // 4)


def test_no_recording_is_in_two_splits(every_note):
    recordings = EVERY[:, 0] * 128 + EVERY[:, 1] // 4
    heard = [set(recordings[sorted(numbers(every_note, name))].tolist()) for name in SPLITS]
    assert not any(first & second for first, second in combinations(heard, 2))
    assert sum(len(numbers(every_note, name)) for name in SPLITS) == len(EVERY)
    for name in SPLITS:
        assert torch.equal(every_note.labels[name], EVERY[getattr(every_note, name)[:, 0]])


def test_unheard_instruments_are_in_no_other_split(every_note):
    assert set(every_note.labels["unheard"][:, 0].tolist()) == set(UNHEARD)
    for name in ("train", "val", "test"):
        assert not set(every_note.labels[name][:, 0].tolist()) & set(UNHEARD)


def test_shares_of_the_splits(every_note):
    heard = sum(len(getattr(every_note, name)) for name in ("train", "val", "test"))
    assert len(every_note.test) / heard == pytest.approx(0.15, abs=0.01)
    assert len(every_note.val) / heard == pytest.approx(0.05, abs=0.01)


def test_every_program_is_tested_and_mostly_trained_on(every_note):
    for program in set(RANGES) - set(UNHEARD):
        train, test = ((every_note.labels[name][:, 0] == program).sum() for name in ("train", "test"))
        total = (EVERY[:, 0] == program).sum()
        assert 0 < test < 0.4 * total
        assert train >= 0.6 * total


def test_the_same_notes_are_split_the_same_way(every_note):
    again = split(EVERY, 5 * (EVERY[:, 0] * 128 + EVERY[:, 1] // 4))
    assert all(torch.equal(getattr(again, name), getattr(every_note, name)) for name in SPLITS)


def test_recordings_of_unheard_instruments_are_played_by_nobody_else():
    labels = torch.tensor([(0, 60), (0, 61), (0, 62), (42, 60), (42, 61), (24, 60)])
    found = split(labels, torch.tensor([0, 1, 1, 1, 2, 3]))
    assert numbers(found, "unheard") == {3, 4}
    assert numbers(found, "train") == {0, 5}  # the only recordings of these programs that are left
    assert not numbers(found, "val") | numbers(found, "test")


def test_a_program_of_one_recording_is_trained_on_whole():
    labels = torch.tensor([(program, pitch) for program in (0, 24, 40) for pitch in range(60, 80)])
    found = split(labels, torch.where(labels[:, 0] == 24, 0, labels[:, 0] * 128 + labels[:, 1]))
    assert {int(program) for program in found.labels["test"][:, 0]} == {0, 40}
    assert (found.labels["train"][:, 0] == 24).sum() == 20


def test_groups_share_recordings_also_through_others():
    found = groups([{1}, {2}, {1, 3}, {4}, {3, 7}, {2}, set(), {9}]).tolist()
    assert [[place for place, other in enumerate(found) if other == one] for one in found] == [
        [0, 2, 4],
        [1, 5],
        [0, 2, 4],
        [3],
        [0, 2, 4],
        [1, 5],
        [6],
        [7],
    ]


@pytest.mark.parametrize("delay", [0, 3_000])
@pytest.mark.parametrize("samples", [5_000, 40_000])
def test_notes_are_cut_at_their_onset_and_equally_loud(delay, samples):
    note = cut(0.2 * tone(440, delay, samples) + 0.01)
    assert note.shape == (SAMPLES,)
    assert note.mean().abs() < 1e-6
    assert note.square().mean().item() == pytest.approx(1, abs=1e-4)


def test_a_delayed_note_is_the_same_note():
    assert torch.allclose(cut(tone(440, 500, 40_000)), cut(tone(440, 3_000, 40_000)), atol=1e-5)


def test_silence_is_cut_to_silence():
    assert not cut(torch.zeros(30_000)).any()
    assert not cut(1e-6 * tone(440)).any()


def test_silent_notes_and_duplicates_are_dropped_at_one_pitch_only():
    note, other = cut(tone(440)), cut(tone(523))
    late = cut(torch.cat([tone(440)[40:], torch.zeros(40)]))
    sounds = torch.stack([note, torch.zeros(SAMPLES), other, -note, late, note, note])
    pitches = torch.tensor([69, 69, 69, 69, 69, 70, 69])
    assert distinct(sounds, pitches).tolist() == [True, False, True, False, False, True, False]


def test_a_missing_font_is_refused_in_one_line(tmp_path):
    with pytest.raises(DataError, match=r"none.sf2 cannot be read: No such file or directory$"):
        load_notes(tmp_path, tmp_path / "none.sf2")


def test_a_broken_font_is_refused_in_one_line(tmp_path):
    (tmp_path / "broken.sf2").write_bytes(bytes(range(256)))
    with pytest.raises(DataError, match=r"^\S*broken.sf2 is not a whole SoundFont file \(version 2 or 3\): [^\n]+$"):
        load_notes(tmp_path, tmp_path / "broken.sf2")
    assert [file.name for file in tmp_path.iterdir()] == ["broken.sf2"]


def test_a_missing_default_font_is_said_with_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(notes, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install 'vaebss\[audio\]'$"):
        load_notes(tmp_path)


@pytest.fixture
def few_notes(monkeypatch):
    pytest.importorskip("pretty_midi")
    monkeypatch.setattr(notes, "RANGES", FEW)


@pytest.fixture
def kept(few_notes, tmp_path):
    """What was rendered, and the file that keeps it."""
    rendered = load_notes(tmp_path)
    (cache,) = tmp_path.iterdir()
    return rendered, cache


def test_a_font_is_rendered_without_duplicates(kept):
    rendered, _ = kept
    assert notes.bundled_font().stem == "TimGM6mb"
    assert rendered.train.dtype == torch.float16
    programs = torch.cat(list(rendered.labels.values()))[:, 0].tolist()
    assert [programs.count(program) for program in (0, 1)] == [16, 0]
    assert programs.count(24) > 10
    assert programs.count(25) == len(rendered.unheard) > 0
    assert torch.allclose(rendered.train.float().square().mean(1), torch.ones(len(rendered.train)), atol=1e-3)


def test_no_recording_of_a_real_font_is_in_two_splits():
    pytest.importorskip("pretty_midi")
    font = SoundFont(notes.bundled_font())
    played = [font.recordings(program, pitch, notes.VELOCITY) for program, pitch in EVERY.tolist()]
    found = split(EVERY, groups(played))
    heard = {name: set().union(*[played[number] for number in numbers(found, name)]) for name in SPLITS}
    assert not any(heard[first] & heard[second] for first, second in combinations(SPLITS, 2))
    assert all(len(recordings) > 20 for recordings in heard.values())


def test_what_was_kept_is_what_was_rendered(kept, monkeypatch):
    rendered, cache = kept
    monkeypatch.setattr(notes, "render", None)  # not again
    again = load_notes(cache.parent)
    assert all(torch.equal(getattr(again, split), getattr(rendered, split)) for split in SPLITS)


@pytest.mark.parametrize("damage", ["truncated", "a bit", "emptied"])
def test_a_damaged_cache_is_made_anew(kept, damage):
    rendered, cache = kept
    whole = bytearray(cache.read_bytes())
    damaged = bytearray(whole)
    damaged[len(damaged) // 2] ^= 1
    cache.write_bytes({"truncated": whole[:-1000], "a bit": damaged, "emptied": b""}[damage])
    again = load_notes(cache.parent)
    assert all(torch.equal(getattr(again, split), getattr(rendered, split)) for split in SPLITS)
    assert cache.read_bytes() == whole
    assert list(cache.parent.iterdir()) == [cache]


def test_another_recipe_is_another_cache(kept, monkeypatch):
    _, cache = kept
    monkeypatch.setattr(notes, "RANGES", {24: (60, 62)})
    assert len(load_notes(cache.parent).train) <= 3
    assert len(list(cache.parent.iterdir())) == 2


def test_mixtures_with_coincident_notes_are_told_apart():
    """A note twice, an octave, a twelfth between the first and the last, a fifth, one note alone."""
    pitches, silent = torch.tensor([60, 72, 91, 67]), -1
    plan = torch.tensor([[0, 0, silent], [0, 1, silent], [1, 3, 2], [0, 3, silent], [2, silent, silent]])
    assert coincident(pitches, plan).tolist() == [True, True, True, False, False]
    counts = torch.tensor([1, 2, 2, 2, 1])
    told = report(counts, torch.tensor([2, 2, 3, 2, 1]), coincident(pitches, plan))
    assert told.startswith("all 60.0 % (1: 100.0, 2: 66.7, 3: 0.0; 5 mixtures); without coincident notes 100.0 %")
