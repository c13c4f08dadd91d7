"""Better latents than the encoder's: a few steps of gradient ascent on each mixture's own objective, decoder fixed.

The encoder answers for all mixtures at once (amortised inference) and leaves a gap that a local search closes; restarts
get it out of poor local optima, such as two slots that share a digit's parts.
"""

# B mixtures, K assumed sources, D latent size, S starts

from collections.abc import Callable

import torch
from torch import Tensor

LEARNING_RATE = 0.2  # Adam's, in units of latents; cosine decay
SPREAD = 0.5  # standard deviation of a perturbed start


def starts(latents: Tensor, prior_scale: float, restarts: int, generator: torch.Generator) -> Tensor:
    """Where to search from: (B, K, D) -> (1 + restarts, B, K, D).

    The latents given, then in turn: one slot drawn anew, all slots perturbed, all drawn anew, from
    a normal of the prior's scale.

    Args:
        latents: the encoder's answer.
        prior_scale: of the latents drawn anew.
        restarts: how many starts to add, 0 or more.
        generator: of the randomness, on the latents' device.
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
    """Latents (..., D) after steps of Adam up the objective, its learning rate falling to 0 on a cosine.

    Args:
        objective: to be maximised; latents (..., D) to any shape, each entry of which depends on its own latents alone.
        latents: where to begin.
        steps: gradient steps.
        lr: learning rate of the first step, in units of latents.
        project: is applied to the latents after each step, where they may not be anywhere.
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
    """Return, for each mixture, the one of S starts with the largest objective: (S, B, K, D) -> (B, K, D)."""
    winner = objective(latents).argmax(0)
    return latents[winner, torch.arange(latents.shape[1], device=latents.device)]
