"""What is mixed, or has been mixed already: signals in three splits, and the batches that a plan makes of them."""

# B mixtures, M sources in each at most, N signals, S the shape of a signal

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from vaebss.data.plans import FIXED_SEED, SILENT, VAL, draw_plan
from vaebss.modalities.modality import Modality
from vaebss.seeding import generator

Batch = dict[str, Tensor]
Split = Literal["train", "val", "test"]

HELD_OUT = 10  # one of so many given mixtures is validated on


@dataclass(frozen=True)
class Collection:
    """Single signals, to be mixed at random.

    Attributes:
        train, val, test: (N, *S), no signal in two splits.
        source: name of the set that they come from.
        scale: what a signal is multiplied by to become a source in a mixture.
        vary: makes other mixtures (B, *S) of training mixtures and their plan, see `detuning`.
    """

    train: Tensor
    val: Tensor
    test: Tensor
    source: str
    scale: float = 1.0
    vary: Callable[[Tensor, Tensor], Tensor] | None = None

    def plan(self, split: Split, number: int | None, counts: tuple[int, int], *address: int) -> Tensor | None:
        """Of a fixed list of so many mixtures, see `draw_plan`; None where all are to be fresh."""
        return None if number is None else draw_plan(len(getattr(self, split)), number, counts, *address)

    def batches(self, split: Split, modality: Modality) -> "MixtureDataset":
        """Of mixtures, pictured."""
        return MixtureDataset(getattr(self, split), self.scale, modality, self.vary if split == "train" else None)


@dataclass(frozen=True)
class Given:
    """Mixtures whose sources nobody knows.

    Attributes:
        train, val: (N, C, H, W).
        source: where they come from.
    """

    train: Tensor
    val: Tensor
    source: str

    @classmethod
    def split(cls, mixtures: Tensor, most: int, source: str) -> "Given":
        """A tenth of the mixtures, `most` at most, to validate on, the others to train on."""
        held_out = min(most, len(mixtures) // HELD_OUT)
        if not held_out:
            raise ValueError(f"{source} holds {len(mixtures)} mixtures; {HELD_OUT} are the least to train on")
        order = torch.randperm(len(mixtures), generator=generator(FIXED_SEED, VAL))
        return cls(mixtures[order[held_out:]], mixtures[order[:held_out]], source)

    def plan(self, split: Split, number: int | None, counts: tuple[int, int], *address: int) -> Tensor:
        """Of a fixed list of mixtures: the first `number` of those that there are, or all."""
        there = len(getattr(self, split))
        return torch.arange(there if number is None else min(number, there)).unsqueeze(1)

    def batches(self, split: Split, modality: Modality) -> "GivenMixtures":
        """Of mixtures as they are, pictured."""
        return GivenMixtures(getattr(self, split), modality)


class MixtureDataset(Dataset[Batch]):
    """Gathers a plan's signals into a batch of mixtures; its items are whole batches.

    Args:
        signals: (N, *S) of any dtype.
        scale: what a signal is multiplied by to become a source.
        modality: pictures mixtures.
        vary: makes other mixtures of these and their plan; nobody knows their sources.
    """

    def __init__(
        self,
        signals: Tensor,
        scale: float,
        modality: Modality,
        vary: Callable[[Tensor, Tensor], Tensor] | None = None,
    ):
        self.signals, self.scale, self.modality, self.vary = signals, scale, modality, vary

    def __getitem__(self, plan: Tensor) -> Batch:
        """Plan (B, M) -> signal (B, *S), a sum of sources that is never clipped, and its picture, mixture (B, C, H, W);
        where they are known sources (B, M, *S), zero beyond count (B,)."""
        there = plan != SILENT
        sources = self.signals[plan.clamp(min=0)].float() * self.scale
        sources *= there.view(*there.shape, *[1] * (sources.ndim - 2))
        signal = sources.sum(1)
        if self.vary:
            signal = self.vary(signal, plan)
            return {"signal": signal, "mixture": self.modality.picture(signal)}
        picture = self.modality.picture(signal)
        return {"signal": signal, "mixture": picture, "sources": sources, "count": there.sum(1)}


class GivenMixtures(Dataset[Batch]):
    """Gathers mixtures whose sources nobody knows; its items are whole batches.

    Args:
        signals: (N, *S).
        modality: pictures them.
    """

    def __init__(self, signals: Tensor, modality: Modality):
        self.signals, self.modality = signals, modality

    def __getitem__(self, plan: Tensor) -> Batch:
        """Plan (B, 1) -> signal (B, *S) and its picture, mixture (B, C, H, W)."""
        signal = self.signals[plan[:, 0]].float()
        return {"signal": signal, "mixture": self.modality.picture(signal)}
