"""The mask network that takes mixtures apart."""

# B mixtures, K slots

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from vaebss.errors import check_above_zero, check_at_least
from vaebss.hardware import fastest_autocast
from vaebss.matching import match
from vaebss.models.networks import MaskUNet
from vaebss.models.separator import Separator
from vaebss.separation import Separation, sharpness

MOVES = ((1, 1), (-1, -1))  # pixels by which a mixture is moved for a second and a third opinion
FAINT = 1e-7  # least of an estimate in a geometric mean


class Masker(Separator):
    """A network's shares of every pixel, times the mixture. It takes any height and width, though strokes should be as
    wide and as long as those that it has learned.

    What ranks answers is the sharpness of the masks; with the option `opinions` of `separate` it is the agreement of so
    many opinions, see `label`. Estimates that are not masked lack the bound on their brightness alone.

    Args:
        num_sources: K, slots.
        widths: Channels at each resolution, the finest first.
        bottleneck: Units of the fully connected layer at the coarsest.
        average_decay: The network that separates is a running average of the one that learns, which keeps this share
            of itself in each step.
        image_shape: (C, H, W) of the mixtures that it learns from. On the command line the data sets it.
        source_scale: Brightest pixel of a source. On the command line --data.source_scale sets it.
        bounded: Whether masked estimates respect that. On the command line true unless --data.mixtures are given, whose
            scale nobody knows.
    """

    def __init__(
        self,
        num_sources: int = 2,
        widths: tuple[int, ...] = (24, 48, 96),
        bottleneck: int = 384,
        average_decay: float = 0.995,
        image_shape: tuple[int, ...] = (1, 28, 28),
        source_scale: float = 0.5,
        bounded: bool = True,
    ):
        check_at_least(1, model__num_sources=num_sources, model__bottleneck=bottleneck)
        check_above_zero(model__source_scale=source_scale)
        if not widths or min(widths) < 2:
            raise ValueError(f"model.widths must be 2 or more, not {widths}")
        if not 0 <= average_decay < 1:
            raise ValueError(f"model.average_decay must be at least 0 and below 1, not {average_decay}")
        super().__init__(num_sources, image_shape, source_scale, bounded)
        self.widths, self.bottleneck, self.average_decay = tuple(widths), bottleneck, average_decay
        self.network = MaskUNet(image_shape, num_sources, widths, bottleneck)
        averaging: Any = partial(_follow, decay=average_decay)
        self.average = AveragedModel(self.network, multi_avg_fn=averaging, use_buffers=True).requires_grad_(False)

    @property
    def accepts(self) -> tuple[int | None, ...]:
        """Mixtures of any height and width."""
        return self.image_shape[0], None, None

    def forward(self, mixture: Tensor) -> Tensor:
        """Each slot's share of the mixture, pixel by pixel: (B, C, H, W) -> (B, K, C, H, W), summing to 1."""
        network = self.network if self.training else self.average
        return network(mixture / self.source_scale).softmax(1)

    def label(self, mixture: Tensor, **options: Any) -> Separation:
        """The mean of three opinions: on the mixture, and on it moved by a pixel either way along a diagonal.

        `confidence` is 1 less the share of the mixture that the opinions give to different slots: it tells good
        estimates from bad ones far better than the masks' sharpness does. There are no latents to refine.
        """
        return self.separate(mixture, ranked=True, opinions=1 + len(MOVES))

    def _estimate(self, mixture: Tensor, opinions: int = 0) -> tuple[Tensor, Tensor]:
        if opinions:
            return self._opinions(mixture)
        estimates = self(mixture) * mixture.unsqueeze(1)
        return estimates, sharpness(estimates, mixture)

    def _opinions(self, mixture: Tensor) -> tuple[Tensor, Tensor]:
        with fastest_autocast(mixture.device):
            first = self(mixture) * mixture.unsqueeze(1)
            slots = torch.full((len(mixture),), first.shape[1], device=mixture.device)
            opinions = [first]
            for down, right in MOVES:
                moved = mixture.roll((down, right), (-2, -1))
                estimates = (self(moved) * moved.unsqueeze(1)).roll((-down, -right), (-2, -1))
                opinions.append(match(estimates, first, slots))
        every = torch.stack(opinions)
        disputed = (every[1:] - first).abs().flatten(2).sum(2).mean(0) / 2
        total = mixture.flatten(1).sum(1)
        return every.clamp(min=FAINT).log().mean(0).exp(), 1 - torch.where(total > 0, disputed / total, 0.0)


def _follow(average: list[Tensor], current: list[Tensor], steps: Tensor | int, decay: float) -> None:
    """A step of a running average; PyTorch's own function is a closure, with which no model could be pickled."""
    follow: Any = get_ema_multi_avg_fn(decay)
    follow(average, current, steps)
