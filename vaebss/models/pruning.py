"""Pruning of a trained VAE: slots that stay inactive are removed.

With one or two spare slots, training spreads every source over all slots. With three or more, a few slots hold the
sources and the others are inactive, always the same ones. So train with many slots, prune the inactive ones, and
train on.
"""

from torch import Tensor

from vaebss.models.vae import VAE


def usage(model: VAE, mixtures: Tensor) -> Tensor:
    """Return the share of mixtures in which each slot is active.

    Args:
        model: VAE with K slots.
        mixtures: Mixtures (B, C, H, W).

    Returns:
        (K,), from 0 to 1.
    """
    return model.separate(mixtures).active.float().mean(0)


def busiest(used: Tensor, slots: int) -> list[int]:
    """Return the indices of the slots that are active most often, ascending.

    Args:
        used: Share of mixtures in which each slot is active, (K,).
        slots: Number of slots to return.
    """
    return sorted(used.topk(slots).indices.tolist())


def pruned(model: VAE, slots: list[int]) -> VAE:
    """Return a copy of the model that has only some of its slots.

    Args:
        model: VAE with K slots.
        slots: Indices from 0 to K - 1 of the slots to keep, in their new order.
    """
    fewer, state = model.untrained(num_sources=len(slots)), model.state_dict()
    for name in fewer.encoder.by_slot:
        state[f"encoder.{name}"] = state[f"encoder.{name}"].unflatten(0, (model.num_sources, -1))[slots].flatten(0, 1)
    fewer.load_state_dict(state)
    return fewer.train(model.training)
