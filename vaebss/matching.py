"""Which slot is which source: nobody tells a separator an order."""

# B mixtures, K slots, M true sources at most, A assignments, S the shape of a signal or of its picture

from functools import cache
from itertools import permutations

import torch
from torch import Tensor

MAX_SLOTS = 8  # 8! assignments can still be listed
MISSED = 1e9  # added squared error of leaving a source to silence while a slot is free


@cache
def assignments(slots: int, sources: int) -> Tensor:
    """Every way to give each of `sources` sources a slot of its own, (slots! / (slots - sources)!, sources)."""
    with torch.inference_mode(False):  # a test may ask first, and training later
        return torch.tensor(list(permutations(range(slots), sources)))


def with_silence(signals: Tensor, slots: int) -> Tensor:
    """Signals (B, M, *S), M at most the number of slots, and silent ones: (B, K, *S)."""
    silence = signals.new_zeros(len(signals), slots - signals.shape[1], *signals.shape[2:])
    return torch.cat([signals, silence], 1)


def match(estimates: Tensor, sources: Tensor, count: Tensor) -> Tensor:
    """Reorder estimates to the assignment with the least summed squared error over the sources that are there.

    Args:
        estimates: (B, K, *S).
        sources: (B, M, *S), of which the first `count` are real.
        count: (B,), true number of sources.

    Returns:
        (B, M, *S): the estimate of each source; silence for sources that outnumber the slots.
    """
    slots, num_sources = estimates.shape[1], sources.shape[1]
    if max(slots, num_sources) > MAX_SLOTS:
        raise ValueError(f"at most {MAX_SLOTS} slots and sources can be matched, not {slots} and {num_sources}")
    spare = max(num_sources - slots, 0)
    silence = estimates.new_zeros(len(estimates), spare, *estimates.shape[2:])
    estimates = torch.cat([estimates, silence], 1)
    errors = [(estimates - source.unsqueeze(1)).flatten(2).square().sum(2) for source in sources.unbind(1)]
    cost = torch.stack(errors, 1).double()  # single precision would lose the errors beside the price of a miss
    cost[:, :, slots:] += MISSED
    cost = cost * present(count, num_sources).unsqueeze(2)
    choices = assignments(slots + spare, num_sources).to(cost.device)  # (A, M)
    total = cost[:, torch.arange(num_sources, device=cost.device), choices].sum(2)  # (B, A)
    best = choices[total.argmin(1)]  # (B, M)
    return estimates[torch.arange(len(best), device=best.device).unsqueeze(1), best]


def present(count: Tensor, num_sources: int) -> Tensor:
    """(B,) counts -> (B, M) bool: which of the M source places are filled."""
    return torch.arange(num_sources, device=count.device) < count.unsqueeze(1)
