"""What every separator returns, and what it accepts."""

# B mixtures, K assumed sources

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

# A slot holds a source when its mean brightness exceeds this share of a full-scale source.
ACTIVE_BRIGHTNESS = 0.0125
FAINT = 1e-9  # brightness with which slots without any take part in proportions


@dataclass(frozen=True)
class Separation:
    """A batch of separated mixtures.

    Attributes:
        sources: (B, K, C, H, W), estimates of the sources in the mixture's own scale, non-negative.
        active: (B, K) bool, the slots that hold a source.
        confidence: (B,), the model's own objective for its answer; higher is surer.
    """

    sources: Tensor
    active: Tensor
    confidence: Tensor

    @property
    def count(self) -> Tensor:
        """(B,) int64, the estimated number of sources."""
        return self.active.sum(1)

    def to(self, device: torch.device | str) -> "Separation":
        """The same separation on another device."""
        return Separation(*(getattr(self, field.name).to(device) for field in fields(self)))

    @classmethod
    def cat(cls, parts: "list[Separation]") -> "Separation":
        """Batches of separations as one."""
        return cls(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(cls)))


def mask(estimates: Tensor, mixture: Tensor, brightest: float = math.inf) -> Tensor:
    """Masked estimates s_k * x / x_hat (Neri et al. 2021, VAEM): they add up to the mixture.

    Where that makes a source brighter than any can be, what is too much goes to the others, in proportion.

    Args:
        estimates: (B, K, C, H, W), non-negative.
        mixture: (B, C, H, W), non-negative.
        brightest: pixel that a source can have, where that is known; a mixture brighter than K such pixels is shared
            out evenly.

    Returns:
        (B, K, C, H, W). Where all estimates are 0, each slot gets an equal share of the mixture.
    """
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


def active_slots(masked: Tensor, source_scale: float) -> Tensor:
    """Which slots hold a source: those whose masked estimate is bright enough, (B, K, C, H, W) -> (B, K).

    A digit's mean brightness is 0.05 to 0.4 of full scale, while an empty slot's share of the mixture is close to
    none; the threshold of 0.0125 lies well between. It is absolute and not a share of the mixture, so that a thin
    digit beside three thick ones still counts, and silence holds no source.
    """
    return masked.flatten(2).mean(2) > ACTIVE_BRIGHTNESS * source_scale


def check_mixture(mixture: Tensor, image_shape: tuple[int, ...], num_sources: int) -> None:
    """Raise a ValueError of one line unless `mixture` can be separated into at most `num_sources` sources."""
    if not isinstance(mixture, Tensor):
        raise ValueError(f"mixture must be a torch.Tensor, not {type(mixture).__name__}")
    if mixture.ndim != 1 + len(image_shape) or tuple(mixture.shape[1:]) != tuple(image_shape):
        expected = ", ".join(map(str, ("B", *image_shape)))
        raise ValueError(f"mixture must have shape ({expected}), not {tuple(mixture.shape)}")
    if len(mixture) == 0:
        raise ValueError("mixture holds no images")
    if not mixture.is_floating_point():
        raise ValueError(f"mixture must be floating point, not {mixture.dtype}; divide 8-bit images by 255")
    if not torch.isfinite(mixture).all():
        raise ValueError("mixture holds NaN or infinity")
    if mixture.min() < 0 or mixture.max() > num_sources:
        low, high = mixture.min().item(), mixture.max().item()
        raise ValueError(f"mixture must lie in [0, {num_sources}] (sources in [0, 1]), not [{low:.3g}, {high:.3g}]")
