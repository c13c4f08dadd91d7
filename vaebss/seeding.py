"""Reproducible random numbers: a generator for each (seed, place, time), so that nothing depends on what ran before."""

import numpy as np
import torch


def generator(*address: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a new generator for `address`, non-negative integers such as (seed, split, epoch)."""
    seed = np.random.SeedSequence(address).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(seed >> np.uint64(1)))
