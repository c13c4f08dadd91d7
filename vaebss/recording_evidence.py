"""Measurements for the blind score of a recording, which is remixed with itself."""

# K slots, S the shape of a signal

import math
from functools import cached_property

import torch
from torch import Tensor

from vaebss.evidence import ROUNDS, Evidence, Remixes, column, from_mean, not_silent
from vaebss.matching import match
from vaebss.separation import Separation

ALONE = 0.0  # dB of gain in remixes of single voices, below which remixes of different voices prove nothing


class RecordingEvidence(Evidence):
    """Measurements of one recording, (1, *S), which is remixed with itself.

    Each slot of a separated recording holds a voice. All voices but one are moved in time, each by a multiple of one
    step, so that a remix holds each voice once, as the recording does, and other notes together. What runs over the
    end goes on at the beginning.
    """

    def remixed(self, number: int) -> Remixes:
        found = self.found.sources_first()
        voices, samples = found.active.shape[1], found.sources.shape[-1]
        step = (number + 1) * samples // (ROUNDS * voices + 1)
        moved = [voice.roll(place * step, -1) for place, voice in enumerate(found.sources.unbind(1))]
        parts = torch.stack(moved, 1) * column(found.active[0], found.sources.ndim - 1)
        return Remixes(parts, found.count, torch.zeros_like(found.active).long(), self.answer(parts.sum(1)))

    def others(self, number: int) -> Tensor:
        step = self.mixtures.shape[-1] // (number + 1)
        return torch.stack([self.mixtures.roll(k * step, -1) for k in range(number)], 1)

    @cached_property
    def gain(self) -> float:
        """The estimated gain in dB, no more than the separation agrees with that of windows which begin elsewhere.

        Where voices are found wrongly, remixes of them may be easy, but other windows give other voices. A rule, such
        as low bands for one voice and high ones for the other, separates any remix of what it has cut. It cannot
        separate two sounds of one voice: then nothing is gained.
        """
        gain = min(super().gain, float(self.agreement()) - self.baseline())
        return min(gain, 0.0) if not self.modality.voices and self.alone < ALONE else gain

    @cached_property
    def alone(self) -> float:
        """The gain in dB in remixes of windows that hold one voice each, from different moments."""
        voices = self.found.sources_first().sources[0, : max(1, int(self.found.count))]
        windows = self.modality.split(voices).unflatten(0, (len(voices), -1)).transpose(0, 1)
        active = not_silent(windows.flatten(0, 1)).view(windows.shape[:2])
        heard = active.any(1)
        found = Separation(windows[heard], active[heard], torch.ones(int(heard.sum())))
        return float(self.gains(self.remix(found, voices=False, seed=0)).mean())

    def agreement(self) -> Tensor:
        return self._agreement.nanmean().view(1)

    @cached_property
    def _agreement(self) -> Tensor:
        """The score of the recording's voices, as windows find them that begin half a hop earlier, (1, K)."""
        found, windows = self.found.sources_first(), self.modality.split(self.mixtures)
        shift = self.mixtures.shape[-1] // (2 * len(windows))
        voices = found.sources[:, : max(1, int(found.count))]
        moved = self.answer(self.mixtures.roll(shift, -1)).sources.roll(-shift, -1)
        scores = self.quality(match(moved, voices, torch.tensor([voices.shape[1]])), voices)
        return scores.reshape(1, voices.shape[1], -1).mean(2)

    @cached_property
    def each(self) -> Tensor:
        return torch.tensor([self.decibels])

    def each_source(self) -> Tensor:
        """Estimate the scores of the voices in dB, (1, K): they differ as their agreement does."""
        active = self.found.active
        agreement = torch.full(active.shape, math.nan).masked_scatter(active, self._agreement.float())
        return self.each.unsqueeze(1) + from_mean(agreement)
