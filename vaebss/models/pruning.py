"""Fewer slots: a trained VAE without those that stay silent.

With one or two slots to spare, all of them come to share every source. With three or more, a few slots do the work and
the others fall silent, always the same ones: begin with many, drop the silent ones, and train on.
"""

from typing import Any

import torch
from torch import Tensor, nn

from vaebss.training.vae import VAEBSS


def usage(model: VAEBSS, mixtures: Tensor) -> Tensor:
    """In which share of mixtures (B, C, H, W) each slot is active: (K,)."""
    return model.separate(mixtures).active.float().mean(0)


def pruned(model: VAEBSS, slots: list[int]) -> VAEBSS:
    """A copy of the model with some of its slots alone.

    Args:
        model: with K slots.
        slots: numbers from 0 to K - 1 of those to keep, in the order that they are to have.
    """
    options: dict[str, Any] = dict(model.hparams) | {"num_sources": len(slots)}
    fewer = VAEBSS(**options)
    state = model.state_dict()
    number = max(number for number, layer in enumerate(model.encoder) if isinstance(layer, nn.Linear))
    for name in (f"encoder.{number}.weight", f"encoder.{number}.bias"):
        by_slot = state[name].unflatten(0, (model.hparams.num_sources, -1))
        state[name] = by_slot[torch.tensor(slots)].flatten(0, 1)
    fewer.load_state_dict(state)
    return fewer.train(model.training)
