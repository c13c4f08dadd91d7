"""Measurements for a blind score: a separator's estimates, remixes of them, and its answers to these remixes."""

# N mixtures, R remixes, K slots, M parts of a remix at most, S the shape of a signal

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from vaebss.matching import match, present
from vaebss.metrics.metric import Quality, mean_per_mixture
from vaebss.modalities.modality import Modality, separate_signals
from vaebss.models.separator import Separator
from vaebss.seeding import generator
from vaebss.separation import Separation

ROUNDS = 2  # of remixes, in each of which every estimate is used once
AS_HARD = 0.02  # by which the confidence in remixes may be lower where they are as hard as mixtures
HARDER = 20.0  # share of the gain that is added for each unit of confidence beyond that
EACH = 1.7  # standard deviation of true scores of single mixtures, as a multiple of that of the cycle's
WEIGHTS = {"confidence": 1.0, "moved": 1.0, "cycle": 0.5}  # of ranks, in the order of single mixtures

Answer = Callable[..., Separation]


@dataclass(frozen=True)
class Remixes:
    """Sums of estimates of different mixtures, and the separator's estimates of their parts.

    Attributes:
        parts: (R, M, *S), silence where a remix has fewer.
        count: (R,), the number of parts of each.
        owner: (R, M), the number of the mixture that each part was found in.
        found: Their separation.
    """

    parts: Tensor
    count: Tensor
    owner: Tensor
    found: Separation


class Evidence:
    """Measurements for a blind score.

    Args:
        separator: Any separator.
        modality: How it sees the mixtures.
        mixtures: Mixtures, (N, *S).
        quality: Metric in dB.
    """

    def __init__(self, separator: Separator, modality: Modality, mixtures: Tensor, quality: Quality):
        self.mixtures, self.quality = mixtures, quality
        self.separator, self.modality = separator, modality
        self.found = self.answer(mixtures)
        self.rounds = [self.remixed(seed) for seed in range(ROUNDS)]

    def answer(self, signals: Tensor) -> Separation:
        """Separate signals (B, *S)."""
        return separate_signals(self.separator.separate, self.modality, signals)

    def remixed(self, number: int) -> Remixes:
        """Add up estimates of different mixtures, each once, and separate the sums, in one of the rounds.

        Remixes have as many parts as sources were found in mixtures, two at least. They are not brighter, or louder,
        than the mixtures.
        """
        plan = remix_plan(self.found, self.modality.voices, number)
        there, slots = plan >= 0, plan.clamp(min=0)
        parts = self.found.sources.flatten(0, 1)[slots]
        parts = parts * there.view(*there.shape, *[1] * (parts.ndim - 2))
        peaks = parts.sum(1).flatten(1).abs().amax(1)
        parts = parts * _column((self.mixtures.abs().max() / peaks.clamp(min=1e-9)).clamp(max=1), parts.ndim)
        owner = slots // self.found.active.shape[1]
        return Remixes(parts, there.sum(1), owner, self.answer(parts.sum(1)))

    @cached_property
    def moved(self) -> Separation:
        """The separation of the mixtures, moved before and moved back after it."""
        return separate_signals(moving(self.separator.separate, self.modality), self.modality, self.mixtures)

    def gains(self, remixes: Remixes) -> Tensor:
        """Measure the score of remixes, averaged over parts, less that of an equal share, (R,)."""
        share = remixes.parts.sum(1) / _column(remixes.count, remixes.parts.ndim - 1)
        equal = share.unsqueeze(1).expand_as(remixes.parts)
        return self.scores(remixes, remixes.found.sources) - self.scores(remixes, equal)

    def scores(self, remixes: Remixes, estimates: Tensor) -> Tensor:
        """Measure the scores of estimates (R, K, *S) of the parts of remixes, averaged over parts, (R,)."""
        return mean_per_mixture(self.quality, estimates, remixes.parts, remixes.count)

    def gain(self) -> float:
        """Estimate the gain over an equal share in dB.

        Where masks are less sharp than those of the mixtures, remixes are harder than mixtures, such as two letters
        instead of a letter and a shape. The gain is raised by that much.
        """
        found = torch.cat([self.gains(remixes) for remixes in self.rounds])
        sharpness = torch.cat([remixes.found.confidence for remixes in self.rounds]).mean()
        harder = float(self.found.confidence.mean() - sharpness) - AS_HARD
        return float(found.mean()) * (1 + HARDER * max(0.0, harder))

    def baseline(self) -> float:
        """Estimate the score of an equal share in dB.

        M mixtures, each divided by the square root of its number of sources, differ from each other as M sources do.
        """
        number = max(2, round(float(self.found.count.float().mean())))
        others = self.others(number) / math.sqrt(number)
        return float(self.quality(others.mean(1, keepdim=True).expand_as(others), others).mean())

    def others(self, number: int) -> Tensor:
        """Return, beside each mixture, others that differ from it, (N, `number`, *S) in all."""
        return torch.stack([self.mixtures.roll(k, 0) for k in range(number)], 1)

    def decibels(self) -> float:
        """Estimate the mean score in dB."""
        return self.baseline() + self.gain()

    def agreement(self) -> Tensor:
        """Measure how little the estimates change with the place of the mixture, (N,), in dB."""
        slots = torch.full((len(self.mixtures),), self.found.sources.shape[1])
        moved = match(self.moved.sources, self.found.sources, slots)
        error = (moved - self.found.sources).flatten(1).square().mean(1)
        return -10 * torch.log10(error.clamp(min=1e-10))

    def cycle(self) -> Tensor:
        """Average the scores of the remixes that each mixture's estimates are in, (N,)."""
        sums, number = torch.zeros(2, len(self.mixtures))
        for remixes in self.rounds:
            there = present(remixes.count, remixes.owner.shape[1])
            scores = self.scores(remixes, remixes.found.sources).float().unsqueeze(1).expand_as(there)
            sums.index_add_(0, remixes.owner[there], scores[there])
            number.index_add_(0, remixes.owner[there], torch.ones(int(there.sum())))
        return torch.where(number > 0, sums / number.clamp(min=1), sums.sum() / number.sum())

    def each(self) -> Tensor:
        """Estimate the scores of single mixtures in dB, (N,): by the order of three signs of quality."""
        cycle = self.cycle()
        signs = {"confidence": self.found.confidence, "moved": self.agreement(), "cycle": cycle}
        order = standard(sum((WEIGHTS[name] * standard(ranks(sign)) for name, sign in signs.items()), torch.zeros(1)))
        return self.decibels() + EACH * cycle.std() * order


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
        parts = torch.stack(moved, 1) * _column(found.active[0], found.sources.ndim - 1)
        return Remixes(parts, found.count, torch.zeros_like(found.active).long(), self.answer(parts.sum(1)))

    def others(self, number: int) -> Tensor:
        step = self.mixtures.shape[-1] // (number + 1)
        return torch.stack([self.mixtures.roll(k * step, -1) for k in range(number)], 1)

    def gain(self) -> float:
        """Estimate the gain in dB: no more than the separation agrees with that of windows which begin elsewhere.

        Where voices are found wrongly, remixes of them may be easy, but other windows give other voices.
        """
        return min(super().gain(), float(self.agreement()) - self.baseline())

    def agreement(self) -> Tensor:
        return self._agreement

    @cached_property
    def _agreement(self) -> Tensor:
        """The score of the recording's voices, as windows find them that begin half a hop earlier, (1,)."""
        found, windows = self.found.sources_first(), self.modality.split(self.mixtures)
        shift = self.mixtures.shape[-1] // (2 * len(windows))
        voices = found.sources[:, : max(1, int(found.count))]
        moved = self.answer(self.mixtures.roll(shift, -1)).sources.roll(-shift, -1)
        return self.quality(match(moved, voices, torch.tensor([voices.shape[1]])), voices).mean().view(1)

    def each(self) -> Tensor:
        return torch.tensor([self.decibels()])


def remix_plan(found: Separation, voices: bool, seed: int) -> Tensor:
    """Draw which estimates are added up, (R, M), as numbers of slots among all N K; -1 where a remix has fewer.

    They come from slots of one number; where each slot is a voice of its own, from one slot after the other.
    """
    random, (number, slots) = generator(seed), found.active.shape
    loudest = found.sources.flatten(2).square().sum(2).argmax(1)
    active = found.active | torch.nn.functional.one_hot(loudest, slots).bool()
    place, slot = torch.randperm(number, generator=random).unsqueeze(1), torch.arange(slots)
    turn = (place + slot) % number * slots + slot if voices else slot * number + place
    order = turn.masked_fill(~active, turn.numel()).flatten().argsort()[: int(active.sum())]
    sizes = active.sum(1)[torch.randperm(number, generator=random)].clamp(min=2)
    ends = sizes.cumsum(0)
    sizes, starts = sizes[ends <= len(order)], (ends - sizes)[ends <= len(order)]
    taken = torch.arange(int(sizes.max()))
    plan = order[(starts.unsqueeze(1) + taken).clamp(max=len(order) - 1)]
    return torch.where(taken < sizes.unsqueeze(1), plan, -1)


def moving(answer: Answer, modality: Modality) -> Answer:
    """Separate pictures that are moved by a pixel, sounds by a frame, and move the estimates back."""
    dims = [-1] if modality.audible else [-2, -1]

    def moved(picture: Tensor, **options: Any) -> Separation:
        found = answer(picture.roll([1] * len(dims), dims), **options)
        return replace(found, sources=found.sources.roll([-1] * len(dims), dims))

    return moved


def ranks(values: Tensor) -> Tensor:
    """Return the ranks of values (N,), from 0."""
    return values.argsort().argsort().float()


def standard(values: Tensor) -> Tensor:
    """Scale values (N,) to mean 0 and standard deviation 1."""
    return (values - values.mean()) / values.std().clamp(min=1e-9)


def _column(values: Tensor, dims: int) -> Tensor:
    """View values (R,) as a tensor of `dims` dimensions, (R, 1, ...)."""
    return values.view(-1, *[1] * (dims - 1))
