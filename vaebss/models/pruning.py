"""Fewer slots: a trained VAE without those that stay silent.

With one or two slots to spare, all of them come to share every source. With three or more, a few slots do the work and
the others fall silent, always the same ones: begin with many, drop the silent ones, and train on.
"""

from typing import Any

from torch import Tensor

from vaebss.models.vae import VAE


def usage(model: VAE, mixtures: Tensor) -> Tensor:
    """Return the share of mixtures (B, C, H, W) in which each slot is active, (K,)."""
    return model.separate(mixtures).active.float().mean(0)


def busiest(used: Tensor, slots: int) -> list[int]:
    """Numbers of the `slots` slots that are active most often, in their own order: (K,) shares -> ascending numbers."""
    return sorted(used.topk(slots).indices.tolist())


def pruned(model: VAE, slots: list[int]) -> VAE:
    """A copy of the model with some of its slots alone.

    Args:
        model: with K slots.
        slots: numbers from 0 to K - 1 of those to keep, in the order that they are to have.
    """
    options: dict[str, Any] = model.options | {"num_sources": len(slots)}
    fewer = VAE(**options)
    state = model.state_dict()
    for name in fewer.encoder.by_slot:
        state[f"encoder.{name}"] = state[f"encoder.{name}"].unflatten(0, (model.num_sources, -1))[slots].flatten(0, 1)
    fewer.load_state_dict(state)
    return fewer.train(model.training)
