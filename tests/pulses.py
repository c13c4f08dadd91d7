"""A user's own modality in few lines, with a metric and a corpus of its own: pulses along a line of time."""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from vaebss.data.corpus import Singles, Splits, tenth_apart
from vaebss.metrics.metric import SPREAD, Metric
from vaebss.modalities.modality import Modality


def timing(estimates: Tensor, sources: Tensor) -> Tensor:
    """Minus the samples between the peaks of estimates and of sources, (B, M, T) twice -> (B, M)."""
    return -(estimates.argmax(2) - sources.argmax(2)).abs().double()


@dataclass(frozen=True)
class Pulses(Modality):
    """Signals (T,), 0 or more, whose pictures are lines (1, 1, T)."""

    kind: ClassVar[str] = "pulses"
    plural: ClassVar[str] = "pulses"
    dims: ClassVar[int] = 1
    exponent: ClassVar[float] = 1.0
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("timing", timing, "timing", unit="samples", rows=SPREAD),)

    samples: int = 48

    @property
    def shape(self) -> tuple[int, ...]:
        return 1, 1, self.samples

    @property
    def options(self) -> dict[str, Any]:
        return {"kind": self.kind, **asdict(self)}

    def picture(self, signals: Tensor) -> Tensor:
        return signals[:, None, None]

    def apply(self, shares: Tensor, signals: Tensor) -> Tensor:
        return shares[:, :, 0, 0] * signals.unsqueeze(1)


class PulseCorpus(Singles):
    """200 lines with one pulse each, at random places."""

    name = "pulses"
    modality = Pulses()
    source_scale = scale = 0.5

    def signals(self) -> Splits:
        place = torch.randint(4, 44, (200, 1), generator=torch.Generator().manual_seed(0))
        return tenth_apart((-(torch.arange(48) - place).square() / 4).exp(), self.name, "pulses")
