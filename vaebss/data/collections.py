"""What is mixed, or has been mixed already: signals in three splits, and the batches that a plan makes of them."""

# B mixtures, M sources in each at most, N signals

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from vaebss.data.plans import FIXED_SEED, SILENT, VAL, draw_plan
from vaebss.seeding import generator

Batch = dict[str, Tensor]
Split = Literal["train", "val", "test"]

HELD_OUT = 10  # one of so many given mixtures is validated on


@dataclass(frozen=True)
class Collection:
    """Single signals, to be mixed at random.

    Attributes:
        train, val, test: (N, C, H, W) uint8, no signal in two splits.
        source: name of the set that they come from.
    """

    train: Tensor
    val: Tensor
    test: Tensor
    source: str

    def plan(self, split: Split, number: int | None, counts: tuple[int, int], *address: int) -> Tensor | None:
        """Of a fixed list of so many mixtures, see `draw_plan`; None where all are to be fresh."""
        return None if number is None else draw_plan(len(getattr(self, split)), number, counts, *address)

    def batches(self, split: Split, source_scale: float) -> "MixtureDataset":
        """Of mixtures whose sources' brightest pixel is `source_scale`."""
        return MixtureDataset(getattr(self, split), source_scale / 255)


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

    def batches(self, split: Split, source_scale: float) -> "GivenMixtures":
        """Of mixtures as they are."""
        return GivenMixtures(getattr(self, split))


class MixtureDataset(Dataset[Batch]):
    """Gathers a plan's signals into a batch of mixtures; its items are whole batches.

    Args:
        signals: (N, C, H, W) of any dtype.
        scale: what a signal is multiplied by to become a source.
    """

    def __init__(self, signals: Tensor, scale: float):
        self.signals, self.scale = signals, scale

    def __getitem__(self, plan: Tensor) -> Batch:
        """Plan (B, M) -> mixture (B, C, H, W), a sum of sources that is never clipped; sources (B, M, C, H, W), zero
        beyond count (B,)."""
        there = plan != SILENT
        sources = self.signals[plan.clamp(min=0)].float() * self.scale
        sources *= there[..., None, None, None]
        return {"mixture": sources.sum(1), "sources": sources, "count": there.sum(1)}


class GivenMixtures(Dataset[Batch]):
    """Gathers mixtures whose sources nobody knows; its items are whole batches.

    Args:
        mixtures: (N, C, H, W).
    """

    def __init__(self, mixtures: Tensor):
        self.mixtures = mixtures

    def __getitem__(self, plan: Tensor) -> Batch:
        """Plan (B, 1) -> mixture (B, C, H, W)."""
        return {"mixture": self.mixtures[plan[:, 0]].float()}
