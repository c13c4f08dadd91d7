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
from vaebss.modalities.audio import Audio
from vaebss.modalities.modality import Modality, separate_signals
from vaebss.modalities.pitch import harmonic_combs, pitch_changes
from vaebss.modalities.slot_linking import band_energies
from vaebss.models.separator import Separator
from vaebss.seeding import generator
from vaebss.separation import Separation

ROUNDS = 2  # of remixes, in each of which every estimate is used once
AS_HARD = 0.02  # by which the confidence in remixes may be lower where they are as hard as mixtures
HARDER = 20.0  # share of the gain that is added for each unit of confidence beyond that
EACH = 1.7  # standard deviation of true scores of single mixtures, as a multiple of that of the cycle's
WEIGHTS = {"confidence": 1.0, "moved": 1.0, "cycle": 0.5}  # of ranks, in the order of single mixtures
ALIKE = 2.0  # weight of the rank by how little estimates differ, where nothing is gained
GAINED = 5.0  # dB of gain, from which on the weight is 0
APART = 6.0  # dB, by which the score of a source differs from that of its mixture at most
MISSED = -10.0  # dB, the least score of a part; SI-SDR has no lower limit, but a mixture has some of each slot
AT_ONCE = 32  # remixes that are scored together
QUIET = 0.01  # of the mean energy, below which a window is silent
STEADY = 0.5  # semitones, by which the pitch of a single note changes at most
SHARE_OF_ORDER = 0.3  # weight of the rank correlation in `Evidence.crowding`

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
        """Add up estimates of different mixtures, and separate the sums, in one of the rounds."""
        return self.remix(self.found, self.modality.voices, number)

    def remix(self, found: Separation, voices: bool, seed: int) -> Remixes:
        """Add up estimates of different mixtures, each once, and separate the sums.

        Remixes have as many parts as sources were found in mixtures, two at least. They are not brighter, or louder,
        than the mixtures.

        Args:
            found: Separation of the mixtures, or of windows of them.
            voices: Whether each slot is a voice of its own, see `remix_plan`.
            seed: Seed of what is added to what.
        """
        plan = remix_plan(found, voices, seed)
        there, slots = plan >= 0, plan.clamp(min=0)
        parts = found.sources.flatten(0, 1)[slots]
        parts = parts * there.view(*there.shape, *[1] * (parts.ndim - 2))
        peaks = parts.sum(1).flatten(1).abs().amax(1)
        parts = parts * column((self.mixtures.abs().max() / peaks.clamp(min=1e-9)).clamp(max=1), parts.ndim)
        owner = slots // found.active.shape[1]
        return Remixes(parts, there.sum(1), owner, self.answer(parts.sum(1)))

    @cached_property
    def moved(self) -> Separation:
        """The separation of the mixtures, moved before and moved back after it."""
        return separate_signals(moving(self.separator.separate, self.modality), self.modality, self.mixtures)

    def gains(self, remixes: Remixes) -> Tensor:
        """Measure the score of remixes, averaged over parts, less that of an equal share, (R,)."""
        return self.scores(remixes) - self.equal_share(remixes.parts, remixes.count)

    def scores(self, remixes: Remixes) -> Tensor:
        """Measure the scores of remixes, averaged over parts, (R,)."""
        return group_by_group(self.bounded, remixes.found.sources, remixes.parts, remixes.count)

    def bounded(self, estimates: Tensor, parts: Tensor) -> Tensor:
        """Measure the quality of estimates, at least `MISSED` dB.

        Args:
            estimates: Estimates (R, M, *S), matched with the parts.
            parts: Known parts of remixes, (R, M, *S).

        Returns:
            (R, M).
        """
        return self.quality(estimates, parts).clamp(min=MISSED)

    def equal_share(self, parts: Tensor, count: Tensor) -> Tensor:
        """Measure the score of an equal share of the sum of parts, averaged over parts.

        Args:
            parts: Parts (R, M, *S), 0 beyond `count`.
            count: Number of parts, (R,).

        Returns:
            (R,).
        """
        share = parts.sum(1) / column(count, parts.ndim - 1)
        return group_by_group(self.quality, share.unsqueeze(1).expand_as(parts), parts, count)

    @cached_property
    def gain(self) -> float:
        """The estimated gain over an equal share in dB.

        Where masks are less sharp than those of the mixtures, remixes are harder than mixtures, such as two letters
        instead of a letter and a shape. The gain is raised by that much.
        """
        gain = float(torch.cat([self.gains(remixes) for remixes in self.rounds]).mean())
        if not self.modality.audible:
            gain = self.carried_over(gain)
        sharpness = torch.cat([remixes.found.confidence for remixes in self.rounds]).mean()
        harder = float(self.found.confidence[self.several].mean() - sharpness) - AS_HARD
        return gain * (1 + HARDER * max(0.0, harder))

    @cached_property
    def several(self) -> Tensor:
        """The mixtures in which several sources were found, (N,) bool, as in remixes; all mixtures if they are few.

        Masks of a single source are sharp, and are not compared with those of remixes.
        """
        several = self.found.count > 1
        return several if several.sum() > 1 else torch.ones_like(several)

    def carried_over(self, gain: float) -> float:
        """Return the gain in mixtures of pictures that follows from the gain in remixes, both in dB.

        Relative to the error of an equal share, the squared error of estimates is r^2 + 1 - 2 rho r. Here r^2 is the
        variance of the estimates of a mixture among themselves, relative to that of the true sources, and rho is the
        correlation of both. In remixes r and the error are known, and so is rho. In mixtures r is known, because
        `baseline` is a score of true sources. Wrong estimates of smooth pictures, for instance, differ by far more than
        true sources do, and their remixes seem easy.
        """
        parts, answers = (
            torch.cat([self.equal_share(each, remixes.count) for each, remixes in zip(some, self.rounds, strict=True)])
            for some in ([each.parts for each in self.rounds], [answers_to(each) for each in self.rounds])
        )
        in_remixes = 10 ** (float((parts - answers).mean()) / 20)
        in_mixtures = 10 ** ((self.baseline() - float(self.likeness()[self.several].mean())) / 20)
        correlation = (in_remixes**2 + 1 - 10 ** (-gain / 10)) / (2 * in_remixes)
        error = in_mixtures**2 + 1 - 2 * in_mixtures * min(max(correlation, -1.0), 1.0)
        return -10 * math.log10(max(error, 1e-10))

    def likeness(self) -> Tensor:
        """Measure how little the estimates of each mixture differ, by the score of an equal share of them, (N,)."""
        found = self.found.sources_first()
        return self.equal_share(found.sources, found.count.clamp(min=2).clamp(max=self.slots)).float()

    def baseline(self) -> float:
        """Estimate the score of an equal share in dB.

        M mixtures, each divided by the square root of its number of sources, differ from each other as M sources do.
        """
        number = max(2, round(float(self.found.count[self.several].float().mean())))
        others = self.others(number) / math.sqrt(number)
        return float(self.quality(others.mean(1, keepdim=True).expand_as(others), others).mean())

    def others(self, number: int) -> Tensor:
        """Return, beside each mixture of several sources, others that differ from it, (N, `number`, *S) in all."""
        mixtures = self.mixtures[self.several]
        return torch.stack([mixtures.roll(k, 0) for k in range(number)], 1)

    @cached_property
    def decibels(self) -> float:
        """The estimated mean score in dB."""
        return self.baseline() + self.gain

    @property
    def full(self) -> bool:
        """A sign, true or false, that there may be more sources than slots: in most mixtures all slots hold one."""
        return bool((self.found.count == self.slots).float().mean() > 0.5)

    @property
    def melodic(self) -> bool:
        """A sign, true or false, that estimates are melodies: more than half of them change their pitch half way.

        Their notes are divided when they are separated alone, as several sources are, so that `crowding` is no sign.
        """
        if not isinstance(self.modality, Audio):
            return False
        energies, combs = band_energies(self.found.sources, self.modality), harmonic_combs(self.modality.frequencies)
        return bool(pitch_changes(energies, combs)[self.found.active].median() > STEADY)

    @cached_property
    def crowding(self) -> float:
        """A sign that estimates hold several sources: they are divided when they are separated alone, (-0.3 to 1).

        One estimate of each mixture is separated. An estimate of several sources is divided sharply. If only some
        estimates hold several sources, those have more energy than the others. So the sign is the mean of what leaves
        the loudest slot, weighted by the sharpness of the masks, and its rank correlation with the energy.
        """
        picked = torch.multinomial(self.found.active + 1e-6, 1, generator=generator(0)).squeeze(1)
        alone = self.found.sources[torch.arange(len(picked)), picked]
        found = self.answer(alone)
        energies = found.sources.flatten(2).square().sum(2)
        elsewhere = 1 - energies.amax(1) / energies.sum(1).clamp(min=1e-12)
        divided = elsewhere * (self.slots * found.confidence - 1) / (self.slots - 1)
        orders = torch.stack([ranks(alone.flatten(1).square().sum(1)), ranks(divided)])
        return float(divided.mean() + SHARE_OF_ORDER * torch.corrcoef(orders)[0, 1])

    def agreement(self) -> Tensor:
        """Measure how little the estimates change with the place of the mixture, (N,), in dB."""
        error = (self.moved_estimates - self.found.sources).flatten(1).square().mean(1)
        return -10 * torch.log10(error.clamp(min=1e-10))

    @cached_property
    def moved_estimates(self) -> Tensor:
        """The estimates of the moved mixtures, in the order of the slots, (N, K, *S)."""
        return match(self.moved.sources, self.found.sources, torch.full((len(self.mixtures),), self.slots))

    @property
    def slots(self) -> int:
        """The number of slots, K."""
        return self.found.sources.shape[1]

    def cycle(self) -> Tensor:
        """Average the scores of the remixes that each mixture's estimates are in, (N,)."""
        sums, number = torch.zeros(2, len(self.mixtures))
        for remixes in self.rounds:
            there = present(remixes.count, remixes.owner.shape[1])
            scores = self.scores(remixes).float().unsqueeze(1).expand_as(there)
            sums.index_add_(0, remixes.owner[there], scores[there])
            number.index_add_(0, remixes.owner[there], torch.ones(int(there.sum())))
        return torch.where(number > 0, sums / number.clamp(min=1), sums.sum() / number.sum())

    @cached_property
    def each(self) -> Tensor:
        """The estimated scores of single mixtures in dB, (N,), by the order of three signs of quality, or of four.

        Where a separator of pictures fails, errors are larger the more its estimates differ.
        """
        cycle, weights = self.cycle(), dict(WEIGHTS)
        signs = {"confidence": self.found.confidence, "moved": self.agreement(), "cycle": cycle}
        if not self.modality.audible:
            signs["likeness"], weights["likeness"] = self.likeness(), ALIKE * min(1, max(0, 1 - self.gain / GAINED))
        order = standard(sum((weights[name] * standard(ranks(sign)) for name, sign in signs.items()), torch.zeros(1)))
        return self.decibels + EACH * cycle.std() * order

    def each_source(self) -> Tensor:
        """Estimate the scores of single sources in dB, (N, K); NaN for slots that are not active.

        The score of a source differs from that of its mixture as its agreement does between the mixture and the moved
        mixture. Two sources of a picture have the same score, because their errors are the same.
        """
        agreement = by_source(self.quality(self.moved_estimates, self.found.sources), self.found.active)
        return self.each.unsqueeze(1) + from_mean(agreement)


def group_by_group(quality: Quality, estimates: Tensor, parts: Tensor, count: Tensor) -> Tensor:
    """Average a metric over the parts of each remix, see `mean_per_mixture`, a few remixes at a time.

    Metrics of sounds compute in double precision, which for all remixes together would need much memory.

    Args:
        quality: The metric.
        estimates: Estimates of the parts, (R, M, *S).
        parts: Parts, (R, M, *S).
        count: Number of parts of each remix, (R,).

    Returns:
        (R,).
    """
    groups = zip(*(each.split(AT_ONCE) for each in (estimates, parts, count)), strict=True)
    return torch.cat([mean_per_mixture(quality, *group) for group in groups])


def answers_to(remixes: Remixes) -> Tensor:
    """Return the estimate of each part of remixes, (R, M, *S)."""
    return match(remixes.found.sources, remixes.parts, remixes.count)


def by_source(scores: Tensor, active: Tensor) -> Tensor:
    """Return the scores of sources, which are NaN for slots that are not active.

    Args:
        scores: Scores (N, K), or (N, K, C) of channels, which are averaged.
        active: Which slots hold a source, (N, K) bool.

    Returns:
        (N, K) float32.
    """
    return scores.reshape(*active.shape, -1).mean(2).float().where(active, math.nan)


def from_mean(scores: Tensor) -> Tensor:
    """Return by how much scores (N, K) differ from the mean of their row, by `APART` at most; NaN stays NaN."""
    return (scores - scores.nanmean(1, keepdim=True)).clamp(-APART, APART)


def not_silent(windows: Tensor) -> Tensor:
    """Return which windows (N, *S) have more than a hundredth of the mean energy, (N,)."""
    energies = windows.flatten(1).square().mean(1)
    return energies > QUIET * energies.mean()


def remix_plan(found: Separation, voices: bool, seed: int) -> Tensor:
    """Draw which estimates are added up, (R, M), as numbers of slots among all N K; -1 where a remix has fewer.

    They come from slots of one number; where each slot is a voice of its own, from one slot after the other.

    Args:
        found: Separation of N mixtures into K slots.
        voices: Whether each slot is a voice of its own.
        seed: Random seed.
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
    """Return a function that separates moved pictures and moves the estimates back.

    Args:
        answer: Function that separates pictures.
        modality: Modality of the pictures. Those of sounds are moved by a frame, others by a pixel down and to the
            right.
    """
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


def column(values: Tensor, dims: int) -> Tensor:
    """View values (R,) as a tensor of `dims` dimensions, (R, 1, ...)."""
    return values.view(-1, *[1] * (dims - 1))
