"""The result of every separator, and the checks of its input."""

# B mixtures, K assumed sources, S the shape of a signal or of its picture

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vaebss.errors import counted

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

FAINTEST = 0.0125  # mean brightness of the faintest digit, as a share of its brightest pixel
FAINT = 1e-9  # brightness that is added, so that slots without any take part in proportions
SHARED = 1e-6  # least divisor of shares
PLOTTED = 12  # mixtures in a figure


@dataclass(frozen=True, repr=False)
class Separation:
    """The separation of a batch of mixtures, or of a single one; the shapes of a single one lack B.

    Its length is B. Indexing and iteration return the separations of some mixtures or of a single one.

    Attributes:
        sources: (B, K, *S), estimates of the sources in the mixture's own scale.
        active: (B, K) bool, the slots that hold a source.
        confidence: (B,), how sharp the masks are, see `sharpness`; higher is surer.
        blind_score: (B,), estimated quality in dB, see `vaebss.evaluate_blind`; None unless it was asked for.
        residual: (B, *S), what belongs to no source, such as a camera's offset; it and the sources add up to the
            mixture. None if the sources alone do.
        source_blind_score: (B, K), estimated quality of each source in dB, NaN where it is unknown; None unless
            `blind_score` was asked for.

    Examples:
        >>> import torch
        >>> from vaebss import Masker
        >>> mixture = torch.rand(4, 1, 28, 28)
        >>> found = Masker(num_sources=2, widths=(8, 16), bottleneck=16).separate(mixture)
        >>> torch.allclose(found.sources.sum(1), mixture, atol=1e-5)
        True
        >>> found[0].sources.shape, found.count.shape, found.confidence.shape
        (torch.Size([2, 1, 28, 28]), torch.Size([4]), torch.Size([4]))
    """

    sources: Tensor
    active: Tensor
    confidence: Tensor
    blind_score: Tensor | None = None
    residual: Tensor | None = None
    source_blind_score: Tensor | None = None

    @property
    def count(self) -> Tensor:
        """The estimated number of sources, (B,) int64."""
        return self.active.sum(-1)

    def __repr__(self) -> str:
        """Return one line with the number of mixtures, their size, the slots and the estimated numbers of sources."""
        size = " x ".join(map(str, self._batch.sources.shape[2:]))
        least, most = int(self.count.min()), int(self.count.max())
        found = f"{least} to {most}" if least < most else str(most)
        return (
            f"Separation({counted(len(self), 'mixture')} of {size}, K = {self.active.shape[-1]}: {found} sources found)"
        )

    def __len__(self) -> int:
        return len(self._batch.active)

    def __getitem__(self, which: Any) -> "Separation":
        """Return the separation of the mixtures that an index, a slice or another row selection of a tensor selects."""
        return self._batch._each(lambda tensor: tensor[which])

    def __iter__(self) -> "Iterator[Separation]":
        return (self[number] for number in range(len(self)))

    @property
    def _batch(self) -> "Separation":
        """This separation with a batch dimension, also if it is of a single mixture."""
        return self if self.active.ndim == 2 else self._each(lambda tensor: tensor[None])

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Separation":
        """Return a separation of all tensors, each of them changed."""
        changed: Any = (None if value is None else change(value) for value in vars(self).values())
        return Separation(*changed)

    def drop_inactive(self, mixture: Tensor, exponent: float = 1.0) -> "Separation":
        """Move what inactive slots hold to active slots.

        Pixels are divided in proportion to the active slots' estimates, which then add up to the mixture. A separation
        without any active slot is only masked.

        Args:
            mixture: Pictures of the mixtures, (B, C, H, W); the sources are (B, K, C, H, W).
            exponent: Exponent p with which pictures add up, see `add_up`.
        """
        holding = self.active | ~self.active.any(1, keepdim=True)
        estimates = (self.sources + FAINT) * holding[..., None, None, None]
        return replace(self, sources=mask(estimates, mixture, exponent=exponent))

    def settled(self, mixture: Tensor, exponent: float = 1.0) -> "Separation":
        """Call `drop_inactive`, as this method is named since version 0.3.0.

        Args:
            mixture: See `drop_inactive`.
            exponent: See `drop_inactive`.
        """
        warnings.warn("Separation.settled is now called drop_inactive", DeprecationWarning, stacklevel=2)
        return self.drop_inactive(mixture, exponent)

    def sources_first(self) -> "Separation":
        """Return the separation of a batch with the active slots before the inactive ones."""
        return self.in_order(self.active.int().argsort(dim=1, descending=True, stable=True))

    def in_order(self, order: Tensor) -> "Separation":
        """Return the separation of a batch with the slots of each mixture in an order, (B, K) int64."""
        rows, order = torch.arange(len(order), device=self.active.device).unsqueeze(1), order.to(self.active.device)
        scores = self.source_blind_score
        scores = None if scores is None else scores[rows, order]
        sources, active = self.sources[rows, order], self.active[rows, order]
        return replace(self, sources=sources, active=active, source_blind_score=scores)

    def to(self, device: torch.device | str) -> "Separation":
        """Return this separation on another device."""
        return self._each(lambda tensor: tensor.to(device))

    def numpy(self) -> "np.ndarray":
        """Return the sources as a NumPy array, (B, K, *S) float32."""
        return self.sources.cpu().numpy()

    def shares(self, mixture: Tensor, exponent: float = 1.0) -> Tensor:
        """Return each slot's share of a mixture, from 0 to 1. The shares of masked estimates add up to 1.

        Args:
            mixture: Mixtures (B, *S).
            exponent: Exponent p, see `add_up`; shares are those of the mixture's p-th power.

        Returns:
            (B, K, *S). Where the mixture is 0, all slots have equal shares.
        """
        whole = mixture.unsqueeze(1)
        ratios = (self.sources / whole.clamp(min=SHARED)).clamp(max=1).pow(exponent)
        return torch.where(whole > 0, ratios, 1 / self.sources.shape[1])

    def save(self, folder: str | Path) -> list[Path]:
        """Write every active source of pictures as a PNG, with white as 1, and return the paths.

        00000_source1.png is sources[0, 0] and so on: sources are numbered by their slots, from 1.

        Raises:
            ValueError: The sources are not pictures.
            OSError: The files cannot be written; the message is one line.
        """
        from vaebss.atomic import atomic_write, make_folder
        from vaebss.paths import expanded
        from vaebss.pictures import save_image

        folder = expanded(folder)
        make_folder(folder)
        paths = []
        for number, mixture in enumerate(self):
            for k in mixture.active.nonzero().flatten().tolist():
                paths.append(folder / f"{number:05d}_source{k + 1}.png")
                with atomic_write(paths[-1]) as place:
                    save_image(mixture.sources[k], place)
        return paths

    def plot(self) -> "Figure":
        """Draw the first mixtures: the sum of the estimates, and each estimate."""
        from vaebss.figures.separations import separation_figure
        from vaebss.pictures import channels_first

        first = self._batch.sources[:PLOTTED]
        estimates = channels_first(first.flatten(0, 1)).unflatten(0, first.shape[:2])
        return separation_figure(estimates.sum(1), estimates)

    def _repr_png_(self) -> bytes:
        """Return the PNG that a notebook shows."""
        from vaebss.figures.files import as_png

        return as_png(self.plot())

    @classmethod
    def cat(cls, parts: "list[Separation]") -> "Separation":
        """Concatenate batches of separations."""
        columns = zip(*(vars(part).values() for part in parts), strict=True)
        joined: Any = (None if any(value is None for value in column) else torch.cat(column) for column in columns)
        return cls(*joined)


def add_up(estimates: Tensor, exponent: float = 1.0, slots: int = 1) -> Tensor:
    """Return the mixture of estimates, (sum_k s_k^p)^(1/p).

    Args:
        estimates: Estimates, such as (B, K, *S), 0 or more.
        exponent: Exponent p.
        slots: Dimension of the slots, over which the sum is taken.

    Returns:
        Mixtures, such as (B, *S).
    """
    if exponent == 1:
        return estimates.sum(slots)
    return estimates.clamp(min=SHARED).pow(exponent).sum(slots).pow(1 / exponent)  # a root's slope at 0 is infinite


def mask(estimates: Tensor, mixture: Tensor, brightest: float = math.inf, exponent: float = 1.0) -> Tensor:
    """Mask estimates by s_k * x / x_hat (Neri et al. 2021, VAEM), so that they add up to the mixture.

    If a source would exceed `brightest`, the excess is divided among the other sources in proportion.

    Args:
        estimates: (B, K, C, H, W), non-negative.
        mixture: (B, C, H, W), non-negative.
        brightest: Largest value of a source's pixel. A pixel of the mixture above K times this value is divided
            evenly.
        exponent: Exponent p, see `add_up`. If it is not 1, `brightest` is ignored.

    Returns:
        Masked estimates, (B, K, C, H, W). Where all estimates are 0, each slot gets an equal share of the mixture.
    """
    if exponent != 1:
        return mask(estimates.pow(exponent), mixture.pow(exponent)).pow(1 / exponent)
    slots = estimates.shape[1]
    total = estimates.sum(1, keepdim=True)
    masked = torch.where(total > 0, estimates / total, 1 / slots) * mixture.unsqueeze(1)
    if math.isinf(brightest):
        return masked
    most = (mixture / slots).clamp(min=brightest).unsqueeze(1)
    for _ in range(slots - 1):  # each time at least one more slot is full, or all is shared out
        excess = (masked - most).clamp(min=0).sum(1, keepdim=True)
        taking = torch.where(masked < most, masked + FAINT, 0.0)
        masked = torch.minimum(masked, most) + excess * taking / taking.sum(1, keepdim=True).clamp(min=FAINT)
    return masked


def sharpness(estimates: Tensor, mixture: Tensor, exponent: float = 1.0) -> Tensor:
    """Return the sharpness of masks: the largest share of a slot in each pixel, averaged over the mixture.

    Args:
        estimates: (B, K, C, H, W), non-negative.
        mixture: (B, C, H, W), non-negative, the weights of the average.
        exponent: Exponent p, see `add_up`; shares and weights are those of p-th powers.

    Returns:
        Sharpness (B,), from 1 / K (equal shares everywhere) to 1 (one slot in each pixel); 1 for silence.
    """
    powers, weights = estimates.pow(exponent), mixture.pow(exponent)
    whole = powers.sum(1)
    largest = torch.where(whole > 0, powers.amax(1) / whole, 1 / estimates.shape[1])
    total = weights.flatten(1).sum(1)
    return torch.where(total > 0, (largest * weights).flatten(1).sum(1) / total, 1.0)


def active_slots(masked: Tensor, source_scale: float, exponent: float = 1.0, faintest: float = FAINTEST) -> Tensor:
    """Return which slots hold a source: those with a bright enough masked estimate.

    A digit's mean brightness is 0.05 to 0.4 of full scale, while an empty slot's is close to 0. The threshold
    `faintest` of 0.0125 lies well between. It is a share of `source_scale` and not of the mixture, so that a thin digit
    beside three thick ones still counts and silence holds no source.

    Args:
        masked: Masked estimates, (B, K, C, H, W).
        source_scale: Brightest pixel of a source. If it is infinite (unknown), the threshold is a share of the
            mixture's sum of p-th powers.
        exponent: Exponent p, see `add_up`.
        faintest: Threshold, as a share.

    Returns:
        (B, K) bool.
    """
    if math.isinf(source_scale):
        powers = masked.pow(exponent).flatten(2).sum(2)
        return powers > faintest * powers.sum(1, keepdim=True)
    return masked.flatten(2).mean(2) > faintest * source_scale


def loudest_slots(masked: Tensor, count: Tensor, exponent: float = 1.0) -> Tensor:
    """Return which slots are the loudest ones of each mixture, as many as `count` states; silent slots are never among
    them.

    Args:
        masked: Masked estimates, (B, K, C, H, W).
        count: Number of sources, (B,) int64.
        exponent: Exponent p, see `add_up`; the loudest slot has the largest sum of p-th powers.

    Returns:
        (B, K) bool.
    """
    powers = masked.pow(exponent).flatten(2).sum(2)
    places = powers.argsort(1, descending=True).argsort(1)
    return (places < count.unsqueeze(1)) & (powers > 0)


def check_mixture(
    mixture: Tensor, image_shape: tuple[int | None, ...], num_sources: int, source_scale: float = 1.0
) -> None:
    """Raise a ValueError of one line unless mixtures can be separated by a model.

    Args:
        mixture: Mixtures, which must be a floating-point tensor (B, C, H, W) of finite values. They must be between 0
            and the number of slots, or that number times `source_scale` if that is more than 1.
        image_shape: Shape (C, H, W) that the model takes; None stands for any size.
        num_sources: Number of slots K.
        source_scale: Brightest pixel of a source.
    """
    if not isinstance(mixture, Tensor):
        raise ValueError(f"mixture must be a torch.Tensor, not {type(mixture).__name__}")
    sides = zip(mixture.shape[1:], image_shape, strict=False)
    if mixture.ndim != 1 + len(image_shape) or not all(wanted in (None, side) for side, wanted in sides):
        expected = ", ".join("any" if side is None else str(side) for side in ("B", *image_shape))
        raise ValueError(f"mixture must have shape ({expected}), not {tuple(mixture.shape)}")
    if mixture.numel() == 0:
        raise ValueError("mixture holds no images")
    if not mixture.is_floating_point():
        raise ValueError(f"mixture must be floating point, not {mixture.dtype}; divide 8-bit images by 255")
    if not torch.isfinite(mixture).all():
        raise ValueError("mixture holds NaN or infinity")
    if mixture.min() < 0 or mixture.max() > num_sources * max(source_scale, 1.0):
        low, high = mixture.min().item(), mixture.max().item()
        raise ValueError(f"mixture must lie in [0, {num_sources}] (sources in [0, 1]), not [{low:.3g}, {high:.3g}]")
