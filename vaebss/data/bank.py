"""Banks of estimated sources, from which remixes are drawn."""

# N pseudo-sources, S the shape of a signal

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from vaebss.atomic import atomic_write
from vaebss.separation import Separation

COMMON = 0.05  # share of mixtures with a count from which on remixes have it too


@dataclass(frozen=True)
class Bank:
    """Pseudo-sources to remix.

    Attributes:
        sources: (N, *S) float16, in the mixtures' scale.
        counts: Fewest and most sources of a remix, as the separator estimated them in the mixtures.
        round: Number of the bank, from 0.
        voices: (N,) int64, the slot that each source was found in, if slots are voices.
        instruments: (N,) int64, the pseudo-instrument of each source, if lines are composed from notes.
    """

    sources: Tensor
    counts: tuple[int, int]
    round: int
    voices: Tensor | None = None
    instruments: Tensor | None = None

    def save(self, path: Path) -> None:
        """Write the bank whole or not at all."""
        with atomic_write(path) as part:
            torch.save(asdict(self), part)

    @classmethod
    def load(cls, path: Path) -> "Bank":
        """Load a bank that `save` wrote. No code in the file is run."""
        return cls(**torch.load(path, weights_only=True))


def make_bank(separation: Separation, share: float, number: int, voices: bool = False) -> Bank:
    """Build a bank from the active slots of the most confident separations.

    Args:
        separation: Separation of all training mixtures.
        share: Share of the mixtures to keep, above 0 and at most 1.
        number: Number of the bank.
        voices: Whether slots are voices.

    Raises:
        ValueError: No slot of any kept mixture is active.
    """
    best = separation.confidence.topk(max(1, round(share * len(separation)))).indices
    active = separation.active[best]
    sources = separation.sources[best][active].half()
    if not len(sources):
        raise ValueError("the bank is empty: no slot of any kept mixture is active")
    shares = separation.count.clamp(min=1).bincount() / len(separation)
    common = (shares >= COMMON).nonzero().flatten().tolist()
    return Bank(sources, (common[0], common[-1]), number, active.nonzero()[:, 1] if voices else None)
