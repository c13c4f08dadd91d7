"""Templates of a recording: spectra that its voices repeat, and the masks that follow from them.

A voice plays the same notes again and again. The templates of each voice are learned from its estimate, by non-negative
matrix factorisation with the Kullback-Leibler divergence (Lee and Seung 2001; Smaragdis and Brown 2003). The templates
of all voices together then explain each frame of the mixture, and each voice gets its share. A note that windows have
given to a wrong voice, or to both, is put right by the windows in which it is found rightly.
"""

# K voices, C channels, F bins, N frames, R templates of a voice, T samples

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from vaebss.modalities.blocks import BLOCK, segments, whole
from vaebss.seeding import generator

SHORTEST = 5.0  # seconds of a recording, from which on voices are taken to repeat themselves
WINDOW = 0.256  # seconds of a frame; one of 128 ms tells the partials of low notes apart less well
OVERLAP = 4  # frames that each moment lies in
SIZES = 2 * (8, 16, 32)  # templates of a voice; masks of other sizes and starts err otherwise, and their mean errs less
ROUNDS = 2  # in the second one, templates are learned from the masks of the first one
LEARNED, EXPLAINED = 20, 15  # steps of the factorisation; twice as many gain nothing
FEWEST = 2  # voices
FRAMES = 1_000  # so many, or less than twice as many, teach the templates of a longer recording
FAINT = 1e-8  # magnitude relative to the mean one, below which nothing is heard
SEED = 0


@dataclass(frozen=True)
class Templates:
    """The templates of the voices of a recording.

    Args:
        sets: Templates (K, F, R), a tensor for each of `SIZES`. The sum of a template over its bins is 1.
        level: Magnitude that the spectra are divided by, their mean.
    """

    sets: tuple[Tensor, ...]
    level: float

    @classmethod
    def learned(cls, spectra: Tensor) -> Self:
        """Learn the templates of voices.

        Args:
            spectra: Magnitudes of the spectra of the estimated voices, (K, F, N).
        """
        mixture = spectra.sum(0)
        level = max(float(mixture.mean()), torch.finfo().tiny)
        found = cls._of_round(0, spectra, level)
        for number in range(1, ROUNDS):
            found = cls._of_round(number, found.masks(mixture) * mixture, level)
        return found

    @classmethod
    def _of_round(cls, number: int, spectra: Tensor, level: float) -> Self:
        """Learn the templates of voices once, from random starts of a number of their own.

        Args:
            number: Number of the round, from 0.
            spectra: Magnitudes of the spectra of the estimated voices, (K, F, N).
            level: Magnitude that they are divided by.
        """
        random = generator(SEED, number)
        return cls(tuple(_learned(spectra / level, size, random) for size in SIZES), level)

    def masks(self, mixture: Tensor) -> Tensor:
        """Return each voice's share of the energy of each bin, (K, F, N), which sum to 1.

        Args:
            mixture: Magnitudes of the spectrum of the mixture, (F, N).
        """
        masks = torch.zeros(len(self.sets[0]), *mixture.shape, device=mixture.device)
        for templates in self.sets:
            masks += _explained(mixture / self.level, templates)
        return masks / len(self.sets)


def apply_to(samples: int, rate: int) -> bool:
    """Return whether a recording is long enough for its voices to repeat themselves.

    Args:
        samples: Number of samples of the recording.
        rate: Samples a second.
    """
    return samples >= SHORTEST * rate


def learn(voices: Iterable[Tensor], samples: int, rate: int) -> Templates:
    """Learn the templates of the voices of a recording.

    Args:
        voices: Blocks (K, C, n) of the estimated voices (K, C, T).
        samples: T.
        rate: Samples a second.
    """
    hop = hop_of(rate)
    every = max(1, -(-samples // hop) // FRAMES)
    mono, chosen, at = (block.mean(1) for block in voices), [], 0
    for segment in _segments(mono, hop):
        own = _own_frames(_spectra(segment, hop), hop, segment)
        chosen.append(own[..., -at % every :: every].abs())
        at += own.shape[-1]
    return Templates.learned(torch.cat(chosen, -1))


def separate(mixture: Iterable[Tensor], templates: Templates, rate: int) -> Iterator[Tensor]:
    """Separate a recording by the templates of its voices. The parts add up to it.

    Args:
        mixture: Blocks (C, n) of the recording (C, T).
        templates: Templates of K voices.
        rate: Samples a second.

    Yields:
        Blocks (K, C, n).
    """
    hop = hop_of(rate)
    reach = OVERLAP * hop
    for segment in _segments(mixture, hop):
        spectra = _spectra(segment, hop)
        masked = templates.masks(spectra.mean(0).abs()).unsqueeze(1) * spectra
        parts = torch.istft(masked.flatten(0, 1), **_frames(hop, segment), length=segment.shape[-1])
        yield parts.unflatten(0, masked.shape[:2])[..., reach:-reach]


def refined(estimates: Tensor, active: Tensor, mixture: Tensor, rate: int) -> Tensor:
    """Separate a recording by the templates of its estimated voices. A single voice stays as it is.

    Args:
        estimates: Estimates (K, *C, T) of the sources.
        active: Mask of the slots that hold a voice, (K,) bool.
        mixture: The recording, (*C, T).
        rate: Samples a second.

    Returns:
        (K, *C, T), 0 in slots that hold no voice.
    """
    if active.sum() < FEWEST:
        return estimates
    voices = estimates[active].reshape(int(active.sum()), -1, estimates.shape[-1])  # (K, C, T)
    found = learn([voices], voices.shape[-1], rate)
    again = whole(separate([mixture.reshape(voices.shape[1:])], found, rate))
    return torch.zeros_like(estimates).index_copy(0, active.nonzero()[:, 0], again.view(-1, *estimates.shape[1:]))


def hop_of(rate: int) -> int:
    """Return the number of samples from one frame to the next."""
    return round(WINDOW * rate / OVERLAP)


def _segments(blocks: Iterable[Tensor], hop: int) -> Iterator[Tensor]:
    """Cut a stream into segments whose frames lie where those of the whole signal do, a window longer at both ends."""
    return segments(blocks, max(1, BLOCK // hop) * hop, OVERLAP * hop, OVERLAP * hop)


def _spectra(signals: Tensor, hop: int) -> Tensor:
    """Transform signals (B, T) to complex spectra (B, F, N)."""
    return torch.stft(signals, **_frames(hop, signals), pad_mode="constant", return_complex=True)


def _own_frames(spectra: Tensor, hop: int, segment: Tensor) -> Tensor:
    """Return the frames (..., N) in the middle of a segment, which no other segment has there."""
    return spectra[..., OVERLAP : -(-segment.shape[-1] // hop) - OVERLAP]


def _frames(hop: int, like: Tensor) -> dict[str, Any]:
    """Return what forward and inverse transform share."""
    window = torch.hann_window(OVERLAP * hop, device=like.device)
    return {"n_fft": OVERLAP * hop, "hop_length": hop, "window": window}


def _learned(voices: Tensor, size: int, random: torch.Generator) -> Tensor:
    """Factorise the magnitudes of each voice (K, F, N), from a random start; its templates are (K, F, R)."""
    number, bins, frames = voices.shape
    templates = _normalised(0.1 + torch.rand(number, bins, size, generator=random).to(voices))
    loud = voices.sum((1, 2), keepdim=True) / (frames * size)
    activations = loud * torch.rand(number, size, frames, generator=random).to(voices)
    for _ in range(LEARNED):
        activations = activations * (templates.mT @ (voices / (templates @ activations + FAINT)))
        explained = voices / (templates @ activations + FAINT)
        templates = templates * (explained @ activations.mT) / (activations.sum(2).unsqueeze(1) + FAINT)
        templates = _normalised(templates)
    return templates


def _explained(mixture: Tensor, templates: Tensor) -> Tensor:
    """Return the masks (K, F, N) of voices whose templates (K, F, R) explain the magnitudes of a mixture (F, N)."""
    number, _, size = templates.shape
    every = templates.transpose(0, 1).flatten(1)  # (F, K R)
    activations = mixture.sum(0).expand(number * size, -1) / (number * size)
    for _ in range(EXPLAINED):
        activations = activations * (every.mT @ (mixture / (every @ activations + FAINT)))
    energies = (templates @ activations.unflatten(0, (number, size))).square() + FAINT**2
    return energies / energies.sum(0)


def _normalised(templates: Tensor) -> Tensor:
    """Divide templates (K, F, R) by their sums over bins."""
    return templates / templates.sum(1, keepdim=True).clamp(min=FAINT)
