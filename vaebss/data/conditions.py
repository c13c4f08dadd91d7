"""Conditions that make mixtures less than ideal: sources of unequal loudness, and noise."""

# B mixtures, M sources in each at most, S the shape of a signal

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vaebss.seeding import generator


@dataclass(frozen=True)
class Conditions:
    """Loudness of sources and noise of mixtures, drawn for each from its plan: the same mixture is always the same.

    Attributes:
        gains: Least and greatest factor that a source is multiplied by.
        noise: Standard deviation of the noise that is added to every value of a mixture; values below 0 become 0.
    """

    gains: tuple[float, float] = (1.0, 1.0)
    noise: float = 0.0

    def mixed(self, sources: Tensor, plan: Tensor) -> tuple[Tensor, Tensor]:
        """Add sources up to mixtures, with the gains and the noise of these conditions.

        Args:
            sources: Sources before gains, (B, M, *S).
            plan: Numbers of the sources of each mixture, (B, M) int64, see `plans.draw_plan`. Gains and noise are drawn
                from these numbers, so that the same mixture always gets the same ones.

        Returns:
            The sources as loud as they are in the mixtures, (B, M, *S), and the mixtures, (B, *S). Mixtures with noise
            are clipped at 0.
        """
        draws = [generator(*(row + 1).tolist()) for row in plan]
        low, high = self.gains
        gains = torch.stack([low + (high - low) * torch.rand(plan.shape[1], generator=draw) for draw in draws])
        gains = gains.to(sources.device)
        sources = sources * gains.view(*gains.shape, *[1] * (sources.ndim - 2))
        mixture = sources.sum(1)
        if self.noise:
            noise = torch.stack([torch.randn(mixture.shape[1:], generator=draw) for draw in draws])
            mixture = (mixture + self.noise * noise.to(mixture.device)).clamp(min=0)
        return sources, mixture


IDEAL = Conditions()


def conditions_of(gains: list[float] | None, noise: float = 0.0, named: str = "data.gains") -> Conditions:
    """Return the conditions that options describe.

    Args:
        gains: Least and most gain, above 0 and at most 1; None is (1, 1).
        noise: Standard deviation of the noise, 0 or above.
        named: Name of the option of the gains, for the error.

    Raises:
        ValueError: An option is out of its range.
    """
    low, high = gains if gains and len(gains) == 2 else (1.0, 1.0) if gains is None else (0.0, 0.0)
    if not 0 < low <= high <= 1:
        raise ValueError(f"{named} must be two numbers above 0 and at most 1, the smaller first, not {gains}")
    if not 0 <= noise < math.inf:
        raise ValueError(f"data.noise must be 0 or above, not {noise}")
    return Conditions((low, high), noise)
