"""Quality of a separation in decibels, estimated from the mixtures alone.

Estimates of different mixtures are added up to remixes, whose parts are known. The separator takes these apart, and its
answers are scored against the parts (the cycle of MixCycle, Karamatli and Kirbiz 2022, as a measure). The same score of
an equal share of the same remixes is subtracted: what is left is the gain. All parts of a remix come from slots of one
number. A separator that always cuts alike, such as into halves, would otherwise know from the cut what belongs where,
and find its own remixes too easy. No true source takes part. See docs/blind-score.md for what this is worth.
"""

# N mixtures, R remixes, K slots, M parts of a remix at most, S the shape of a signal

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from vaebss.matching import match
from vaebss.metrics.metric import Metric, Quality
from vaebss.modalities.modality import Modality, separate_signals
from vaebss.models.separator import Separator
from vaebss.seeding import generator
from vaebss.separation import Separation

FEWEST = 20  # mixtures of which anything can be said
MOST = 200  # mixtures that a summary evaluates
QUIET = 0.01  # of the mean energy, below which a window is silent
WORKS, FAILS = 5.0, 1.0  # dB over an equal share, from which on a separation works, and below which it fails
ROUNDS = 2  # of remixes, in each of which every estimate is used once
AS_HARD = 0.02  # by which the confidence in remixes may be lower where they are as hard as mixtures
HARDER = 20.0  # share of the gain that is added for each unit of confidence beyond that
UNSURE = 2.5  # dB on either side of an estimate that held the true mean of 18 of 22 pairs that were held out
SINGLE = 0.5  # share of mixtures with at most one estimated source, above which nothing is said of the separation
EACH = 1.7  # standard deviation of true scores of single mixtures, as a multiple of that of the cycle's
WEIGHTS = {"confidence": 1.0, "moved": 1.0, "cycle": 0.5}  # of ranks, in the order of single mixtures

Verdict = Literal["works", "partly", "fails"]
ADVICE: dict[Verdict, str] = {
    "works": "the separation works",
    "partly": "the separation works in part; adapt the model to these mixtures, or adapt it with more of them",
    "fails": "the separation fails; adapt a model to these mixtures, try another model or number of slots, or expect "
    "that such mixtures do not come apart with this tool",
}
Answer = Callable[..., Separation]


@dataclass(frozen=True, repr=False)
class BlindScore:
    """The quality of a separation, estimated without true sources.

    Attributes:
        decibels: Estimated mean of the main metric: PSNR on the paper's scale for pictures, SI-SDR for sounds.
        interval: The range that held the true mean for 61 of 66 pairs of data and separator, and for 18 of the 22 that
            nothing was chosen by.
        gain: Estimated gain in dB over an equal share of the mixture for each source.
        each: (N,), estimates for single mixtures in dB, whose order is surer than their values.
        verdict: "works" from a gain of 5 dB, "fails" below 1 dB, "partly" between.
        metric: The metric that is estimated.

    Examples:
        >>> import torch
        >>> from vaebss import BlindScore
        >>> from vaebss.metrics.images import METRICS
        >>> BlindScore(28.7, (26.2, 31.2), 8.1, torch.zeros(50), "works", METRICS[0])
        BlindScore(works: PSNR about 28.7 dB (26.2 to 31.2), +8.1 dB over an equal share, 50 mixtures)
    """

    decibels: float
    interval: tuple[float, float]
    gain: float
    each: Tensor
    verdict: Verdict
    metric: Metric

    def __repr__(self) -> str:
        """Show one line: verdict, decibels with their interval, and the gain."""
        low, high = self.interval
        return (
            f"BlindScore({self.verdict}: {self.metric.title} about {self.decibels:.1f} dB ({low:.1f} to {high:.1f}), "
            f"{self.gain:+.1f} dB over an equal share, {len(self.each)} mixtures)"
        )

    @property
    def summary(self) -> str:
        """One line for a person: the estimate, the verdict, and what to do next."""
        low, high = self.interval
        return (
            f"Estimated without true sources: {self.metric.heading} {self.decibels:.1f} dB ({low:.1f} to {high:.1f}), "
            f"{self.gain:+.1f} dB over an equal share of the mixtures: {ADVICE[self.verdict]}"
        )


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


def evaluate(separator: Separator, modality: Modality, mixtures: Tensor) -> BlindScore:
    """Estimate how well a separator separates mixtures, from these alone, in four passes over them.

    Args:
        separator: Any separator.
        modality: How it sees the mixtures.
        mixtures: (N, *S), which are cut into windows if they are longer than one. Silent windows do not count.

    Raises:
        ValueError: There are too few mixtures, or their main metric is not in dB, or in most of them no more than one
            source is found.
    """
    evidence, heard = evidence_of(separator, modality, mixtures)
    single = int((evidence.found.count < 2).sum())
    if single > SINGLE * len(evidence.mixtures):
        raise ValueError(
            f"at most one source was found in {single} of {len(evidence.mixtures)} mixtures: they hold single sources, "
            "or the model does not separate them"
        )
    gain, decibels = evidence.gain(), evidence.decibels()
    each = torch.full(heard.shape, decibels).masked_scatter(heard, evidence.each())
    return BlindScore(
        decibels=decibels,
        interval=(decibels - UNSURE, decibels + UNSURE),
        gain=gain,
        each=each.unflatten(0, (len(mixtures), -1)).mean(1),
        verdict=verdict_of(gain),
        metric=modality.metrics[0],
    )


def gain_of(separator: Separator, modality: Modality, mixtures: Tensor) -> float:
    """Return the gain alone, in dB, which takes three passes over the mixtures; see `evaluate`."""
    return evidence_of(separator, modality, mixtures)[0].gain()


def evidence_of(separator: Separator, modality: Modality, mixtures: Tensor) -> "tuple[Evidence, Tensor]":
    """Return the evidence of the windows of mixtures (N, *S) that are not silent, and which windows these are.

    Raises:
        ValueError: There are too few, or their main metric is not in dB.
    """
    windows, metric = modality.split(mixtures), modality.metrics[0]
    if metric.unit != "dB":
        raise ValueError(f"a blind score is in dB, and the main metric of {modality.plural} is {metric.title}")
    heard = not_silent(windows)
    if heard.sum() < FEWEST:
        raise ValueError(f"{int(heard.sum())} mixtures are too few for a blind score: {FEWEST} are the least")
    quality = modality.qualities(separator.source_scale / modality.gain)[metric.name]
    return Evidence(separator, modality, windows[heard], quality), heard


def not_silent(windows: Tensor) -> Tensor:
    """Return which windows (N, *S) have more than a hundredth of the mean energy, (N,)."""
    energies = windows.flatten(1).square().mean(1)
    return energies > QUIET * energies.mean()


def verdict_of(gain: float) -> Verdict:
    """Return the verdict on a gain in dB over an equal share."""
    return "works" if gain >= WORKS else "fails" if gain < FAILS else "partly"


def summary_of(separator: Separator, modality: Modality, mixtures: Any, most: int = MOST) -> str:
    """Evaluate some mixtures, evenly spread, and return one line: the summary, or why there is none.

    Args:
        separator: Any separator.
        modality: How it sees the mixtures.
        mixtures: (N, *S), a tensor or what is asked for by numbers as one is.
        most: Number of mixtures to evaluate at most; never more than `MOST`.
    """
    some = evenly_spread(len(mixtures), min(MOST, most))
    try:
        return evaluate(separator, modality, mixtures[some].float()).summary
    except ValueError as error:
        return no_estimate(error)


def evenly_spread(number: int, most: int = MOST) -> Tensor:
    """Return the numbers of at most `most` among so many mixtures, evenly spread."""
    return torch.linspace(0, number - 1, min(most, number)).long()


def no_estimate(error: ValueError) -> str:
    """Return one line that says why there is no estimate."""
    return f"No estimate of the quality: {error}"


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

        def answer(signals: Tensor) -> Separation:
            return separate_signals(separator.separate, modality, signals)

        self.found = answer(mixtures)
        self.rounds = [remixed(self.found, mixtures, answer, modality.voices, seed) for seed in range(ROUNDS)]
        self.separator, self.modality = separator, modality

    @cached_property
    def moved(self) -> Separation:
        """The separation of the mixtures, moved before and moved back after it."""
        return separate_signals(moving(self.separator.separate, self.modality), self.modality, self.mixtures)

    def gains(self, remixes: Remixes) -> Tensor:
        """Measure the score of remixes, averaged over parts, less that of an equal share, (R,)."""
        share = remixes.parts.sum(1) / _column(remixes.count, remixes.parts.ndim - 1)
        equal = share.unsqueeze(1).expand_as(remixes.parts)
        return self.scores(remixes, remixes.found.sources) - self._mean(self.quality(equal, remixes.parts), remixes)

    def scores(self, remixes: Remixes, estimates: Tensor) -> Tensor:
        """Measure the scores of remixes, averaged over parts, (R,)."""
        return self._mean(self.quality(match(estimates, remixes.parts, remixes.count), remixes.parts), remixes)

    def _mean(self, scores: Tensor, remixes: Remixes) -> Tensor:
        """Average scores (R, M), or (R, M, C) of channels, over the parts of remixes, (R,)."""
        there = torch.arange(scores.shape[1]) < remixes.count.unsqueeze(1)
        return (scores.reshape(*there.shape, -1).mean(2) * there).sum(1) / remixes.count

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
        shifted = torch.stack([self.mixtures.roll(k, 0) for k in range(number)], 1) / math.sqrt(number)
        return float(self.quality(shifted.mean(1, keepdim=True).expand_as(shifted), shifted).mean())

    def decibels(self) -> float:
        """Estimate the mean score in dB."""
        return self.baseline() + self.gain()

    def agreement(self) -> Tensor:
        """Measure how little the estimates change with the place of the mixture, (N,), in dB."""
        moved = match(self.moved.sources, self.found.sources, torch.full((len(self.mixtures),), self.slots))
        error = (moved - self.found.sources).flatten(1).square().mean(1)
        return -10 * torch.log10(error.clamp(min=1e-10))

    @property
    def slots(self) -> int:
        """The number of slots, K."""
        return self.found.sources.shape[1]

    def cycle(self) -> Tensor:
        """Average the scores of the remixes that each mixture's estimates are in, (N,)."""
        sums, number = torch.zeros(2, len(self.mixtures))
        for remixes in self.rounds:
            there = torch.arange(remixes.owner.shape[1]) < remixes.count.unsqueeze(1)
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


def remixed(found: Separation, mixtures: Tensor, answer: Answer, voices: bool, seed: int) -> Remixes:
    """Add up estimates of different mixtures, each once, and separate the sums.

    Remixes have as many parts as sources were found in mixtures, two at least. They are not brighter, or louder, than
    the mixtures.

    Args:
        found: Separation of
        mixtures: Mixtures, (N, *S).
        answer: Separates signals.
        voices: Whether each slot is a voice of its own, see `remix_plan`.
        seed: Seed of what is added to what.
    """
    plan = remix_plan(found, voices, seed)
    there = plan >= 0
    parts = found.sources.flatten(0, 1)[plan.clamp(min=0)]
    parts = parts * there.view(*there.shape, *[1] * (parts.ndim - 2))
    peaks = parts.sum(1).flatten(1).abs().amax(1)
    parts = parts * _column((mixtures.abs().max() / peaks.clamp(min=1e-9)).clamp(max=1), parts.ndim)
    return Remixes(parts, there.sum(1), plan.clamp(min=0) // found.active.shape[1], answer(parts.sum(1)))


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
    """View values (R,) as a tensor of so many dimensions, (R, 1, ...)."""
    return values.view(-1, *[1] * (dims - 1))
