"""Voices of recordings that repeat their notes are separated by the spectra of these notes."""

import pytest
import torch
from streams import pieces
from torch import Tensor

from vaebss.metrics.audio import si_sdr
from vaebss.modalities import templates
from vaebss.modalities.audio import Audio
from vaebss.modalities.blocks import whole
from vaebss.separation import Separation

RATE = 16_000
BOTH = torch.tensor([True, True])
WRONG = slice(8 * RATE, 10 * RATE)  # of the estimates


def voice(pitches: list[float], strengths: list[float], order: list[int], seconds: float = 0.5) -> Tensor:
    """A line of notes, (T,), which all have partials of the same strengths and fade."""
    time = torch.arange(int(seconds * RATE)) / RATE
    notes = [
        sum(strength * torch.sin(2 * torch.pi * pitch * (k + 1) * time) for k, strength in enumerate(strengths))
        * torch.exp(-2 * time)
        for pitch in pitches
    ]
    return torch.cat([notes[number] for number in order])


@pytest.fixture(scope="module")
def duet() -> Tensor:
    """Two voices of half a minute, (2, T), whose notes lie close together and repeat."""
    random = torch.Generator().manual_seed(0)
    orders = torch.randint(5, (2, 60), generator=random).tolist()
    flute = voice([392.0, 440.0, 523.0, 587.0, 659.0], [1.0, 0.1, 0.02], orders[0])
    reed = voice([277.0, 330.0, 370.0, 466.0, 554.0], [0.4, 0.5, 0.6, 0.5, 0.4, 0.3], orders[1])
    return torch.stack([flute, reed])


@pytest.fixture(scope="module")
def short(duet) -> Tensor:
    """The beginning of the duet, and with it the two seconds in which estimates are wrong."""
    return duet[:, : 11 * RATE]


def swapped(voices: Tensor) -> Tensor:
    """Estimates that are right but for two seconds, in which each holds the other voice."""
    estimates = voices.clone()
    estimates[:, WRONG] = voices.flip(0)[:, WRONG]
    return estimates


def test_what_the_wrong_voice_got_goes_back_to_the_voice_that_repeats_it(duet):
    estimates = swapped(duet)
    found = templates.refined(estimates, BOTH, duet.sum(0), RATE)
    before, after = (si_sdr(each.unsqueeze(0), duet.unsqueeze(0)).mean() for each in (estimates, found))
    assert after > before + 3
    assert si_sdr(estimates[None, :, WRONG], duet[None, :, WRONG]).max() < -10
    assert si_sdr(found[None, :, WRONG], duet[None, :, WRONG]).min() > 5


@pytest.mark.parametrize("rate", [RATE, 44_100, 11_025])
@pytest.mark.parametrize("channels", [(), (1,), (2,)])
def test_parts_add_up_to_the_recording(rate, channels):
    random = torch.Generator().manual_seed(1)
    estimates = torch.randn(2, *channels, int(5.3 * rate), generator=random)
    mixture = estimates.sum(0)
    found = templates.refined(estimates, BOTH, mixture, rate)
    assert found.shape == estimates.shape
    torch.testing.assert_close(found.sum(0), mixture, atol=1e-4, rtol=0)


@pytest.mark.parametrize("lengths", [(1_999,), (333, 70_000), (300_000,)])
@pytest.mark.parametrize("most", [1_000, 40])
def test_blocks_give_what_the_whole_gives(short, monkeypatch, lengths, most):
    """However a stream is cut, its frames lie where those of the whole lie, and each is counted once."""
    monkeypatch.setattr(templates, "FRAMES", most)
    estimates, samples = swapped(short).unsqueeze(1), short.shape[1]
    wanted = templates.refined(estimates[:, 0], BOTH, short.sum(0), RATE)
    monkeypatch.setattr(templates, "BLOCK", 9_999)
    learned = templates.learn(pieces(estimates, *lengths), samples, RATE)
    found = whole(templates.separate(pieces(short.sum(0, keepdim=True), *lengths), learned, RATE))
    torch.testing.assert_close(found[:, 0], wanted, atol=2e-4, rtol=0)


def test_loudness_does_not_matter(short):
    estimates = swapped(short)
    wanted = templates.refined(estimates, BOTH, short.sum(0), RATE)
    for factor in (1e-5, 1e4):
        found = templates.refined(factor * estimates, BOTH, factor * short.sum(0), RATE)
        torch.testing.assert_close(found / factor, wanted, atol=1e-3, rtol=0)


def test_silence_stays_silent_and_other_slots_stay_empty(short):
    silent = torch.zeros(2, 6 * RATE)
    assert not templates.refined(silent, BOTH, silent[0], RATE).any()
    estimates = torch.stack([swapped(short)[0], torch.zeros(short.shape[1]), swapped(short)[1]])
    active = torch.tensor([True, False, True])
    found = templates.refined(estimates, active, short.sum(0), RATE)
    assert not found[1].any()
    torch.testing.assert_close(found[[0, 2]], templates.refined(estimates[active], BOTH, short.sum(0), RATE))


def test_a_single_voice_stays_as_it_is(short):
    estimates = torch.stack([short.sum(0), torch.zeros(short.shape[1])])
    assert torch.equal(templates.refined(estimates, torch.tensor([True, False]), short.sum(0), RATE), estimates)


@pytest.mark.parametrize(("seconds", "again"), [(4.9, False), (5.1, True)])
def test_recordings_from_five_seconds_on_are_separated_again(short, seconds, again, monkeypatch):
    calls = []
    monkeypatch.setattr(templates, "refined", lambda found, *others: calls.append(others) or found)
    audio = Audio()

    def answer(pictures: Tensor) -> Separation:
        shares = torch.rand(len(pictures), 2, *pictures.shape[1:], generator=torch.Generator().manual_seed(0))
        active = torch.ones(len(pictures), 2, dtype=torch.bool)
        return Separation(shares * pictures.unsqueeze(1), active, torch.ones(len(pictures)))

    found = audio.separate(answer, short.sum(0)[None, : int(seconds * RATE)])
    assert found.sources.shape == (1, 2, int(seconds * RATE))
    assert len(calls) == again
