"""Answers that take no learning. A method that scores no better has learned nothing."""

# B mixtures, K assumed sources

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from vaebss.separation import Separation, active_slots, check_mixture


class _Trivial(ABC):
    """Gives every slot a fixed share of the mixture.

    Args:
        num_sources: K.
        image_shape: (C, H, W) of a mixture.
        source_scale: brightest pixel of a source.
    """

    def __init__(
        self, num_sources: int = 2, image_shape: tuple[int, int, int] = (1, 28, 28), source_scale: float = 0.5
    ):
        self.num_sources, self.image_shape, self.source_scale = num_sources, image_shape, source_scale

    @abstractmethod
    def shares(self) -> Tensor:
        """(K,), of the mixture in each slot."""

    def separate(self, mixture: Tensor) -> Separation:
        """Take mixtures (B, C, H, W) apart, as VAEBSS.separate; the confidence is 0, for there is no model."""
        check_mixture(mixture, self.image_shape, self.num_sources)
        shares = self.shares().to(mixture.device).view(-1, 1, 1, 1)
        estimates = shares * mixture.float().unsqueeze(1)
        confidence = torch.zeros(len(mixture), device=mixture.device)
        return Separation(estimates, active_slots(estimates, self.source_scale), confidence)


class Silence(_Trivial):
    """Nothing in every slot."""

    def shares(self) -> Tensor:
        return torch.zeros(self.num_sources)


class OneSlot(_Trivial):
    """The mixture in one slot, nothing in the others."""

    def shares(self) -> Tensor:
        return torch.eye(self.num_sources)[0]


class EqualShare(_Trivial):
    """The mixture divided by K in every slot."""

    def shares(self) -> Tensor:
        return torch.full((self.num_sources,), 1 / self.num_sources)
