"""What is mixed, or has been mixed already: signals in three splits, and the batches that a plan makes of them."""

# B mixtures, M sources in each at most, N signals, S the shape of a signal

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset

from vaebss.data.conditions import IDEAL, Conditions
from vaebss.data.plans import FIXED_SEED, SILENT, VAL, draw_plan
from vaebss.modalities.modality import Modality
from vaebss.seeding import generator

Batch = dict[str, Tensor]
Split = Literal["train", "val", "test"]


class Signals(Protocol):
    """Signals (N, *S) to be asked for by number: a tensor, or windows of a longer one."""

    @property
    def ndim(self) -> int: ...
    def __len__(self) -> int: ...
    def __getitem__(self, numbers: Any, /) -> Tensor: ...


HELD_OUT = 10  # one of so many given mixtures is validated on


@dataclass(frozen=True)
class Collection:
    """Single signals, to be mixed at random.

    Attributes:
        train, val, test: (N, *S), no signal in two splits.
        source: name of the set that they come from.
        scale: what a signal is multiplied by to become a source in a mixture.
        vary: makes other mixtures (B, *S) of training mixtures and their plan, see `detuning`.
        conditions: under which signals are mixed.
        distinct: whether no mixture holds a signal twice.
    """

    train: Tensor
    val: Tensor
    test: Tensor
    source: str
    scale: float = 1.0
    vary: Callable[[Tensor, Tensor], Tensor] | None = None
    conditions: Conditions = IDEAL
    distinct: bool = False

    def plan(self, split: Split, number: int | None, counts: tuple[int, int], *address: int) -> Tensor | None:
        """Of a fixed list of so many mixtures, see `draw_plan`; None where all are to be fresh."""
        if number is None:
            return None
        return draw_plan(len(getattr(self, split)), number, counts, *address, distinct=self.distinct)

    def batches(self, split: Split, modality: Modality) -> "MixtureDataset":
        """Of mixtures, pictured."""
        vary = self.vary if split == "train" else None
        return MixtureDataset(getattr(self, split), self.scale, modality, vary, self.conditions)


@dataclass(frozen=True)
class Given:
    """Mixtures whose sources nobody knows, or no training does.

    Attributes:
        train, val: (N, *S).
        test: all of them.
        source: where they come from.
        truth: sources (N, M, *S) of val and test mixtures, where they are known.
    """

    train: Signals
    val: Signals
    test: Signals
    source: str
    truth: Mapping[str, Signals]

    @classmethod
    def split(cls, mixtures: Tensor, most: int, source: str, sources: Tensor | None = None) -> "Given":
        """A tenth of the mixtures, `most` at most, to validate on, the others to train on; all to test on."""
        held_out = min(most, len(mixtures) // HELD_OUT)
        if not held_out:
            raise ValueError(f"{source} holds {len(mixtures)} mixtures; {HELD_OUT} are the least to train on")
        order = torch.randperm(len(mixtures), generator=generator(FIXED_SEED, VAL))
        train, val = mixtures[order[held_out:]], mixtures[order[:held_out]]
        truth = {} if sources is None else {"val": sources[order[:held_out]], "test": sources}
        return cls(train, val, mixtures, source, truth)

    def plan(self, split: Split, number: int | None, counts: tuple[int, int], *address: int) -> Tensor | None:
        """Of a fixed list of mixtures: the first `number` of those that there are, or all."""
        there = len(getattr(self, split))
        return torch.arange(there if number is None else min(number, there)).unsqueeze(1)

    def batches(self, split: Split, modality: Modality) -> "GivenMixtures":
        """Of mixtures as they are, pictured."""
        return GivenMixtures(getattr(self, split), modality, self.truth.get(split))


class MixtureDataset(Dataset[Batch]):
    """Gathers a plan's signals into a batch of mixtures; its items are whole batches.

    Args:
        signals: (N, *S) of any dtype.
        scale: what a signal is multiplied by to become a source.
        modality: pictures mixtures.
        vary: makes other mixtures of these and their plan; nobody knows their sources.
        conditions: under which they are mixed.
    """

    def __init__(
        self,
        signals: Tensor,
        scale: float,
        modality: Modality,
        vary: Callable[[Tensor, Tensor], Tensor] | None = None,
        conditions: Conditions = IDEAL,
    ):
        self.signals, self.scale, self.modality, self.vary = signals, scale, modality, vary
        self.conditions = conditions

    def __getitem__(self, plan: Tensor) -> Batch:
        """Plan (B, M) -> signal (B, *S), a sum of sources that is never clipped, levelled, and its picture, mixture
        (B, C, H, W); where they are known sources (B, M, *S), zero beyond count (B,)."""
        there = plan != SILENT
        sources = self.signals[plan.clamp(min=0)].float() * self.scale
        sources *= there.view(*there.shape, *[1] * (sources.ndim - 2))
        sources, signal = (
            (sources, sources.sum(1)) if self.conditions == IDEAL else self.conditions.mixed(sources, plan)
        )
        if self.vary:
            signal = self.vary(signal, plan)
        gain = self.modality.levelling(signal)
        signal = signal * gain
        truth = {} if self.vary else {"sources": sources * gain.unsqueeze(1), "count": there.sum(1)}
        return {"signal": signal, "mixture": self.modality.picture(signal), **truth}


class GivenMixtures(Dataset[Batch]):
    """Gathers given mixtures; its items are whole batches.

    Args:
        signals: (N, *S).
        modality: pictures them.
        sources: (N, M, *S), 0 where a mixture has fewer; None where nobody knows them.
    """

    def __init__(self, signals: Signals, modality: Modality, sources: Signals | None = None):
        self.signals, self.modality, self.sources = signals, modality, sources

    def __getitem__(self, plan: Tensor) -> Batch:
        """Plan (B, 1) -> signal (B, *S) and its picture, mixture (B, C, H, W); where they are known sources
        (B, M, *S), zero beyond count (B,)."""
        signal = self.signals[plan[:, 0]].float()
        batch = {"signal": signal, "mixture": self.modality.picture(signal)}
        if self.sources is None:
            return batch
        sources = self.sources[plan[:, 0]].float()
        there = sources.flatten(2).any(2)
        first = there.int().argsort(dim=1, descending=True, stable=True)  # silence comes last
        return batch | {"sources": sources[torch.arange(len(plan)).unsqueeze(1), first], "count": there.sum(1)}
