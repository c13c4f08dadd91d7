"""Matching of slots to sources, whose order is arbitrary."""

# B mixtures, K slots, M true sources at most, A assignments, S the shape of a signal or of its picture

from functools import cache
from itertools import permutations

import torch
from torch import Tensor

MAX_SLOTS = 8  # 8! assignments can still be listed
MISSED = 1e9  # squared error that is added if a source is matched with silence while a slot is free


@cache
def assignments(slots: int, sources: int, device: torch.device | None = None) -> Tensor:
    """Return every way to assign to each source a slot of its own.

    Args:
        slots: Number of slots K.
        sources: Number of sources M, at most K.
        device: Device of the answer; by default the CPU.

    Returns:
        Numbers of slots, (K! / (K - M)!, M) int64.
    """
    with torch.inference_mode(False):  # the cached tensor may be created in a test and used in training
        return torch.tensor(list(permutations(range(slots), sources)), device=device)


def with_silence(signals: Tensor, slots: int) -> Tensor:
    """Pad the sources of mixtures with silence, up to the number of slots.

    Args:
        signals: Sources (B, M, *S), with M at most `slots`.
        slots: Number of slots K.

    Returns:
        (B, K, *S).
    """
    silence = signals.new_zeros(len(signals), slots - signals.shape[1], *signals.shape[2:])
    return torch.cat([signals, silence], 1)


def match(estimates: Tensor, sources: Tensor, count: Tensor) -> Tensor:
    """Reorder estimates by the assignment with the least summed squared error over the sources that are present.

    Args:
        estimates: Estimated sources, (B, K, *S).
        sources: (B, M, *S), of which the first `count` are real.
        count: (B,), true number of sources.

    Returns:
        The estimate of each source, (B, M, *S); silence for sources that outnumber the slots.

    Raises:
        ValueError: There are more than MAX_SLOTS slots or sources.
    """
    slots, num_sources = estimates.shape[1], sources.shape[1]
    if max(slots, num_sources) > MAX_SLOTS:
        raise ValueError(f"at most {MAX_SLOTS} slots and sources can be matched, not {slots} and {num_sources}")
    spare = max(num_sources - slots, 0)
    estimates = with_silence(estimates, slots + spare)
    errors = [(estimates - source.unsqueeze(1)).flatten(2).square().sum(2) for source in sources.unbind(1)]
    cost = torch.stack(errors, 1).double()  # in single precision MISSED would swallow the errors
    cost[:, :, slots:] += MISSED
    cost = cost * present(count, num_sources).unsqueeze(2)
    choices = assignments(slots + spare, num_sources, cost.device)  # (A, M)
    total = cost[:, torch.arange(num_sources, device=cost.device), choices].sum(2)  # (B, A)
    best = choices[total.argmin(1)]  # (B, M)
    return estimates[torch.arange(len(best), device=best.device).unsqueeze(1), best]


def present(count: Tensor, num_sources: int) -> Tensor:
    """Return which places hold a source: the first of each mixture.

    Args:
        count: Number of sources in each mixture, (B,).
        num_sources: Number M of places.

    Returns:
        (B, M) bool.
    """
    return torch.arange(num_sources, device=count.device) < count.unsqueeze(1)
