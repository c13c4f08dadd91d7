"""Lines of single notes: what a melody is composed of, how long its notes are, and that no split hears another's."""

import pytest
import torch
from torch import Tensor

from vaebss.data.bank import Bank
from vaebss.data.corpora import lines, notes
from vaebss.data.corpora.lines import Lines
from vaebss.data.corpora.note_splits import NoteSplits
from vaebss.data.lines import DECAY, ECHOES, REACH, compose_lines, in_a_room
from vaebss.data.remixes import Remixes
from vaebss.seeding import generator

RATE, SAMPLES = 1_000, 4_000  # windows of four seconds hold several notes
GROWTH = 1.1  # of a note's value to the one below


def constant(number: int, sign: float = 1.0) -> Tensor:
    """Notes (N, T) that are constant, each larger than the one before."""
    return (sign * GROWTH ** torch.arange(number).double()).float().unsqueeze(1).expand(-1, SAMPLES)


def composed(signals: Tensor, instruments: Tensor, number: int = 200, seed: int = 0, **options) -> Tensor:
    return compose_lines(signals, instruments, number, RATE, generator(seed), **options).float()


def stretches(line: Tensor) -> list[tuple[float, int]]:
    """The values of a line of constant notes and of its pauses, and for how many samples each lasts."""
    values, lengths = line.unique_consecutive(return_counts=True)
    return list(zip(values.tolist(), lengths.tolist(), strict=True))


def pitches(line: Tensor) -> list[int]:
    """The notes of a line of constant notes, counted from its first."""
    held = torch.tensor([value for value, length in stretches(line) if value and length > 50])
    return ((held / held[0]).log() / torch.tensor(GROWTH).log()).round().int().tolist()


def test_lines_are_equally_loud_and_the_same_for_the_same_seed():
    signals, instruments = torch.randn(6, SAMPLES), torch.tensor([0, 0, 1, 1, 1, 2])
    found = compose_lines(signals, instruments, 50, RATE, generator(0))
    assert found.shape == (50, SAMPLES)
    assert found.dtype == torch.float16
    torch.testing.assert_close(found.float().square().mean(1), torch.ones(50), atol=2e-3, rtol=0)
    assert torch.equal(found.float(), composed(signals, instruments, 50))
    assert not torch.equal(found.float(), composed(signals, instruments, 50, seed=1))


@pytest.mark.parametrize("reach", [None, 2])
def test_a_line_is_of_one_instrument_and_each_instrument_plays(reach):
    signals = torch.cat([constant(3), constant(2, -1), constant(4)[3:]])
    instruments = torch.tensor([7, 7, 7, 3, 3, 7])
    signs = [line.sign().unique() for line in composed(signals, instruments, reach=reach)]
    assert all(len(found[found != 0]) == 1 for found in signs)
    negative = sum(bool((found < 0).any()) for found in signs)
    assert negative / len(signs) == pytest.approx(2 / 6, abs=0.1)


def test_a_melody_moves_by_steps_in_pitch_and_one_without_pitch_does_not():
    signals, instruments = constant(40), torch.zeros(40, dtype=torch.int64)
    steps = {reach: [] for reach in (REACH, None)}
    for reach, found in steps.items():
        for line in composed(signals, instruments, reach=reach):
            found += torch.tensor(pitches(line)).diff().tolist()
    assert set(steps[REACH]) <= set(range(-REACH, REACH + 1))
    assert {-REACH, -1, 1, REACH} <= set(steps[REACH])
    assert max(map(abs, steps[None])) > 4 * REACH


def test_notes_and_pauses_are_as_long_as_they_should_be():
    sounds, pauses = [], []
    for line in composed(constant(40), torch.zeros(40, dtype=torch.int64), 500):
        for value, length in stretches(line)[1:-1]:
            (sounds if value else pauses).append(length)
    held = torch.tensor([length for length in sounds if length > 25]).float()
    pauses = [length - 1 for length in pauses if length > 1]  # a fade ends with one silent sample
    assert held.min() == pytest.approx(0.2 * RATE, abs=30)
    assert held.max() <= 2.4 * RATE  # two that are the same, one after the other
    assert min(pauses) >= 0.05 * RATE
    assert max(pauses) <= 0.3 * RATE
    assert len(pauses) / len(held) == pytest.approx(1 / 8, abs=0.03)


def test_a_note_fades_at_its_end():
    (line,) = composed(constant(1), torch.zeros(1, dtype=torch.int64), 1)
    falls = (line.diff() < 0).sum() / (line == 0).sum()
    assert falls > 10  # nearly all samples of a fade fall, and one is silent
    assert line.diff().min() > -0.06 * line.max()  # over 25 samples


def test_a_note_sounds_no_longer_than_it_is():
    short = constant(2)[:, : RATE // 2]  # half a second
    found = compose_lines(short, torch.tensor([0, 0]), 100, RATE, generator(0))
    assert torch.isfinite(found).all()
    assert found.shape == (100, RATE // 2)


def test_a_room_answers_an_impulse_with_echoes_that_die_away():
    impulse = torch.zeros(2 * RATE)
    impulse[100] = 1.0
    random = generator(0)
    for heard in (in_a_room(impulse, RATE, random) for _ in range(30)):
        echoes = heard[101:]
        assert heard[100] == pytest.approx(1, abs=1e-5)
        assert heard[:100].abs().max() < 1e-5
        assert echoes[round(DECAY[1] * RATE) :].abs().max() < 1e-5
        energy = 10 * echoes.square().sum().log10()
        assert ECHOES[0] - 4 < energy < ECHOES[1] + 4  # the noise is random, and so is its energy
        assert echoes[:50].square().mean() > echoes[300:350].square().mean()


def test_some_lines_sound_in_rooms():
    signals, instruments = constant(4), torch.zeros(4, dtype=torch.int64)
    dry, half = composed(signals, instruments), composed(signals, instruments, rooms=0.5)
    assert (composed(signals, instruments, rooms=1.0) != dry).any(1).all()
    assert (half >= 0).all(1).sum() < 150  # echoes of noise have either sign
    torch.testing.assert_close(half.square().mean(1), torch.ones(200), atol=2e-3, rtol=0)


@pytest.fixture
def made_up_notes(monkeypatch) -> None:
    """Training notes above 0, test notes below, validation notes of one value."""
    signals = torch.rand(4, notes.SAMPLES, generator=generator(0)) + 0.5
    parts = {"train": signals, "val": torch.ones_like(signals), "test": -signals, "unheard": -2 * signals.square()}
    labels = {name: torch.tensor([[0, 60], [0, 61], [1, 60], [1, 62]]) for name in parts}
    found = NoteSplits(**{name: part.half() for name, part in parts.items()}, labels=labels)
    for module in (lines, notes):
        monkeypatch.setattr(module, "load_notes", lambda *_: found)
    monkeypatch.setattr(lines, "LINES", 30)
    monkeypatch.setattr(lines, "HELD_OUT", 20)
    monkeypatch.setattr(lines, "ROOMS", 0.0)  # echoes of positive sounds are not positive


def test_lines_of_a_split_are_of_its_notes_alone(made_up_notes):
    train, val, test = Lines().signals()
    assert (len(train), len(val), len(test)) == (30, 20, 20)
    assert (train >= 0).all()
    assert (test <= 0).all()
    assert not torch.equal(test, Lines(unheard=True).signals().test)
    assert all(len(pitches_of) <= 1 + 2 * 400 for pitches_of in (line.unique() for line in val))  # fades alone


def test_lines_of_a_mixture_are_up_to_six_decibels_apart(made_up_notes):
    data = Lines().dataset("test", truth=True)
    sources = data[torch.tensor([[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10, 11]])]["sources"]
    loudness = sources.square().mean(2).sqrt()
    ratio = (loudness.amax(1) / loudness.amin(1)).max()
    assert 1.2 < ratio <= 2.01
    equal = Lines(gains=[1.0, 1.0]).dataset("test", truth=True)[torch.tensor([[0, 1]])]["sources"]
    first, second = equal.square().mean(2)[0].tolist()
    assert first == pytest.approx(second, rel=0.01)


def test_the_first_bank_is_of_notes_and_later_ones_are_of_lines(made_up_notes):
    data = Remixes(source="lines", instruments=2)
    assert torch.equal(data.mixed_for(0).splits.train, Lines().single_notes.splits.train)
    assert data.mixed_for(0).kind == "notes"
    assert data.mixed_for(1) is data.corpus
    assert Remixes(source="lines").mixed_for(0).kind == "lines"
    assert Remixes(source="notes", instruments=2).mixed_for(1).kind == "notes"


def test_remixes_are_of_lines_that_are_composed_anew_in_every_epoch(monkeypatch):
    monkeypatch.setattr("vaebss.data.remixes.LINES", 10)
    signals = torch.rand(3, notes.SAMPLES, generator=generator(0)).half()
    bank = Bank(signals, (2, 2), 0, instruments=torch.tensor([0, 1, 1]))
    data = Remixes(source="notes", instruments=2)
    first, again, second = (data.played(bank, epoch) for epoch in (0, 0, 1))
    assert first.shape == (10, notes.SAMPLES)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert torch.equal(data.played(Bank(signals, (2, 2), 1), 0), signals)


@pytest.mark.parametrize("options", [{"source": "bundled"}, {"source": "notes", "instruments": -1}])
def test_instruments_are_those_of_notes(options):
    with pytest.raises(ValueError, match=r"data\.instruments"):
        Remixes(**{"instruments": 3} | options)
