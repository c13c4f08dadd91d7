"""Data sets whose items are whole batches: a plan's signals are gathered, mixed and pictured at once."""

# B mixtures, M sources in each at most, N signals, S the shape of a signal

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils.data import Dataset

from vaebss.data.conditions import IDEAL, Conditions
from vaebss.data.plans import SILENT
from vaebss.modalities.modality import Modality

Batch = dict[str, Tensor]


class MixtureDataset(Dataset[Batch]):
    """Mixtures of single signals.

    Args:
        signals: (N, *S) of any dtype.
        scale: Factor that makes a signal a source.
        modality: Pictures the mixtures.
        vary: Changes mixtures (B, *S), given their plan; the sources of changed mixtures are unknown.
        conditions: Gains of the sources and noise of the mixtures.
        truth: Whether batches hold the sources, for scores alone.
    """

    def __init__(
        self,
        signals: Any,
        scale: float,
        modality: Modality,
        vary: Callable[[Tensor, Tensor], Tensor] | None = None,
        conditions: Conditions = IDEAL,
        truth: bool = True,
    ):
        self.signals, self.scale, self.modality, self.vary = signals, scale, modality, vary
        self.conditions, self.truth = conditions, truth and vary is None

    def to(self, device: torch.device) -> Self:
        """Keep the signals on a device, where batches are then mixed and pictured."""
        if isinstance(self.signals, Tensor):
            self.signals = self.signals.to(device)
        return self

    def __getitem__(self, plan: Tensor) -> Batch:
        """Return the batch of a plan (B, M).

        Keys:
            signal: (B, *S), the sum of the sources, levelled and never clipped.
            mixture: (B, C, H, W), its picture.
            sources: (B, M, *S), zero beyond `count`; only with `truth`.
            count: (B,) int64, the number of sources; only with `truth`.
        """
        signal, sources = self.mixed(plan)
        batch = {"signal": signal, "mixture": self.modality.picture(signal)}
        return batch | {"sources": sources, "count": (plan != SILENT).sum(1)} if self.truth else batch

    def mixed(self, plan: Tensor) -> tuple[Tensor, Tensor]:
        """Return the levelled mixtures (B, *S) of a plan (B, M) and their sources (B, M, *S) in the same scale."""
        numbers = plan.to(self.signals.device, non_blocking=True) if isinstance(self.signals, Tensor) else plan
        there = numbers != SILENT
        sources = self.signals[numbers.clamp(min=0)].float() * self.scale
        sources *= there.view(*there.shape, *[1] * (sources.ndim - 2))
        ideal = self.conditions == IDEAL
        sources, signal = (sources, sources.sum(1)) if ideal else self.conditions.mixed(sources, plan)
        if self.vary:
            signal = self.vary(signal, plan)
        gain = self.modality.levelling(signal)
        return signal * gain, sources * gain.unsqueeze(1)


class RemixDataset(MixtureDataset):
    """Remixes of estimated sources, which a student learns to separate: batches hold them as `targets`."""

    def __getitem__(self, plan: Tensor) -> Batch:
        """Return the remixes of a plan (B, M): `signal`, `mixture` and `targets` (B, M, *S), zero where silent."""
        signal, targets = self.mixed(plan)
        return {"signal": signal, "mixture": self.modality.picture(signal), "targets": targets}


class GivenMixtures(Dataset[Batch]):
    """Mixtures that exist already.

    Args:
        signals: (N, *S).
        modality: Pictures them.
        sources: (N, M, *S), 0 where a mixture has fewer; None leaves them out of the batches.
    """

    def __init__(self, signals: Any, modality: Modality, sources: Any = None):
        self.signals, self.modality, self.sources = signals, modality, sources

    def __getitem__(self, plan: Tensor) -> Batch:
        """Return the batch of a plan (B, 1).

        Keys:
            signal: (B, *S).
            mixture: (B, C, H, W), its picture.
            sources: (B, M, *S), zero beyond `count`; only where sources are given.
            count: (B,) int64, the number of sources; only where sources are given.
        """
        signal = self.signals[plan[:, 0]].float()
        batch = {"signal": signal, "mixture": self.modality.picture(signal)}
        if self.sources is None:
            return batch
        sources = self.sources[plan[:, 0]].float()
        there = sources.flatten(2).any(2)
        first = there.int().argsort(dim=1, descending=True, stable=True)  # silence comes last
        return batch | {"sources": sources[torch.arange(len(plan)).unsqueeze(1), first], "count": there.sum(1)}
