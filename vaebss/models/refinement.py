"""Refinement of the encoder's latents by gradient ascent on each mixture's objective, with the decoder fixed.

The encoder is trained for all mixtures at once (amortised inference), which leaves a gap that a local search closes.
Restarts help it out of poor local optima, such as two slots that share a digit's parts.
"""

# B mixtures, K assumed sources, D latent size, S starts

from collections.abc import Callable

import torch
from torch import Tensor

LEARNING_RATE = 0.2  # of Adam, in units of latents; it decays on a cosine
SPREAD = 0.5  # standard deviation of a perturbed start


def starts(latents: Tensor, prior_scale: float, restarts: int, generator: torch.Generator) -> Tensor:
    """Return initial latents for the search: (B, K, D) -> (1 + restarts, B, K, D).

    The first start is `latents`. The others are, in turn: one slot sampled anew, all slots perturbed, and all slots
    sampled anew. New latents come from a normal distribution with the prior's scale.

    Args:
        latents: Means of the encoder's posteriors.
        prior_scale: Standard deviation of new latents.
        restarts: Number of starts to add, 0 or more.
        generator: Random generator on the latents' device.
    """
    added = [latents]
    for restart in range(restarts):
        noise = torch.randn(latents.shape, generator=generator, device=latents.device)
        match restart % 3:
            case 0:
                slot = torch.randint(latents.shape[1], (len(latents), 1, 1), generator=generator, device=latents.device)
                here = torch.arange(latents.shape[1], device=latents.device).view(1, -1, 1) == slot
                added.append(torch.where(here, prior_scale * noise, latents))
            case 1:
                added.append(latents + SPREAD * noise)
            case _:
                added.append(prior_scale * noise)
    return torch.stack(added)


def ascend(
    objective: Callable[[Tensor], Tensor],
    latents: Tensor,
    steps: int,
    lr: float = LEARNING_RATE,
    project: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Return latents (..., D) after steps of Adam that maximise the objective; the learning rate decays to 0.

    Args:
        objective: Function to maximise, of latents (..., D); each entry of its result depends on its own latents only.
        latents: Initial latents.
        steps: Number of gradient steps.
        lr: Learning rate of the first step, in units of latents; it falls on a cosine.
        project: Projection that is applied to the latents after each step, if they are constrained.
    """
    latents = latents.detach().clone().requires_grad_()
    optimizer = torch.optim.Adam([latents], lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
    for _ in range(steps):
        with torch.enable_grad():
            loss = -objective(latents).sum()
        (latents.grad,) = torch.autograd.grad(loss, latents)
        optimizer.step()
        schedule.step()
        if project:
            latents.data = project(latents.data)
    return latents.detach()


def best(objective: Callable[[Tensor], Tensor], latents: Tensor) -> Tensor:
    """Return, for each mixture, the start with the highest objective.

    Args:
        objective: Function of latents (S, B, K, D) that returns a value for each start and mixture, (S, B).
        latents: Latents of S starts, (S, B, K, D).

    Returns:
        (B, K, D).
    """
    winner = objective(latents).argmax(0)
    return latents[winner, torch.arange(latents.shape[1], device=latents.device)]
