"""Mixtures played lower."""

import torch

from vaebss.data.corpus import Singles, Splits
from vaebss.data.detuning import detuned
from vaebss.modalities.audio import Audio

RATE, SAMPLES = 16_000, 16_128


def tones(*hertz: float) -> torch.Tensor:
    return torch.sin(2 * torch.pi * torch.tensor(hertz).unsqueeze(1) * torch.arange(SAMPLES) / RATE)


def semitones_below(sounds: torch.Tensor, hertz: float) -> torch.Tensor:
    """How much lower than a tone each of the sounds (B, T) is."""
    strongest = torch.fft.rfft(sounds * torch.hann_window(SAMPLES), 1 << 18).abs().argmax(1) * RATE / (1 << 18)
    return 12 * torch.log2(hertz / strongest)


def test_mixtures_are_lower_by_all_amounts_up_to_the_most():
    plan = torch.randint(0, 1_500, (200, 2), generator=torch.Generator().manual_seed(0))
    lower = semitones_below(detuned(tones(880).expand(200, -1), plan, 2.0), 880)
    assert lower.min() > -0.02
    assert lower.max() < 2.02
    assert torch.histc(lower, 4, 0, 2).min() > 30  # of 50


def test_the_same_mixture_always_sounds_the_same_and_as_long():
    plan = torch.tensor([[3, 5], [5, 3], [3, 5]])
    first, other, again = detuned(tones(440, 440, 440), plan, 1.0)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first[-100:].abs().max() > 0.5


def test_mixtures_are_interpolated_between_samples():
    """A slow parabola, from which linear interpolation is 1e-9 away and the nearest sample 1e-4."""
    parabola = (torch.arange(SAMPLES, dtype=torch.float64) / SAMPLES).square().unsqueeze(0).expand(50, -1)
    plan = torch.arange(100).view(50, 2)
    lower = detuned(parabola.float(), plan, 2.0).double()
    factors = lower[:, -1:].sqrt() * SAMPLES / (SAMPLES - 1)  # how much slower each is played
    torch.testing.assert_close(lower, parabola * factors.square(), atol=1e-6, rtol=0)
    assert factors.unique().numel() > 40


def test_not_at_all_is_as_it_is():
    torch.testing.assert_close(detuned(tones(440), torch.tensor([[1, 2]]), 0.0), tones(440))


def test_training_mixtures_alone_are_detuned():
    notes = tones(220, 440, 660, 880)

    class Tones(Singles):
        modality, vary = Audio(), staticmethod(lambda signals, plan: detuned(signals, plan, 6.0))

        def signals(self) -> Splits:
            return Splits(notes, notes, notes)

    plan, plain = torch.tensor([[0, 1]]), notes[:2].sum(0, keepdim=True)
    train, val = (Tones().dataset(split)[plan] for split in ("train", "val"))
    levelled = plain * Audio().levelling(plain)
    torch.testing.assert_close(val["signal"], levelled)
    torch.testing.assert_close(val["sources"].sum(1), levelled)
    assert not torch.allclose(train["signal"], levelled, atol=0.1)
    assert "sources" not in train
    torch.testing.assert_close(train["mixture"], Audio().picture(train["signal"]))
