"""Separators that learn nothing. A method has to score better than they do."""

# B mixtures, K assumed sources

from abc import abstractmethod

import torch
from torch import Tensor

from vaebss.baselines.method import Method
from vaebss.models.separator import Separator


class Trivial(Separator):
    """A separator that gives every slot a fixed share of the mixture. All separations rank alike.

    Args:
        num_sources: Number K of slots.
        image_shape: (C, H, W) of a mixture.
        source_scale: Brightest pixel of a source.
        exponent: Exponent p; shares are those of the mixture's p-th power.
    """

    def __init__(
        self,
        num_sources: int = 2,
        image_shape: tuple[int, ...] = (1, 28, 28),
        source_scale: float = 0.5,
        exponent: float = 1.0,
    ):
        super().__init__(num_sources, image_shape, source_scale, bounded=False, exponent=exponent)

    @abstractmethod
    def shares(self) -> Tensor:
        """Return the share of the mixture in each slot, (K,)."""

    def masked(self, estimates: Tensor, mixture: Tensor) -> Tensor:
        """Return the estimates unchanged: they are shares of the mixture already.

        Args:
            estimates: Estimates (B, K, C, H, W).
            mixture: Mixtures (B, C, H, W).
        """
        return estimates

    def _estimate(self, mixture: Tensor) -> tuple[Tensor, Tensor]:
        return self.shares().pow(1 / self.exponent).view(-1, 1, 1, 1) * mixture.unsqueeze(1), torch.zeros(len(mixture))


class Silence(Trivial):
    """A separator with silence in every slot."""

    def shares(self) -> Tensor:
        return torch.zeros(self.num_sources)


class OneSlot(Trivial):
    """A separator with the mixture in the first slot and silence in the others."""

    def shares(self) -> Tensor:
        return torch.eye(self.num_sources)[0]


class EqualShare(Trivial):
    """A separator with the mixture divided by K in every slot."""

    def shares(self) -> Tensor:
        return torch.full((self.num_sources,), 1 / self.num_sources)


METHODS = {
    "silence": Method(lambda setting, data: Silence(**setting.shared)),
    "one-slot": Method(lambda setting, data: OneSlot(**setting.shared)),
    "equal-share": Method(lambda setting, data: EqualShare(**setting.shared)),
}
