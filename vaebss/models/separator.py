"""The interface of all separators, trained or not: it checks mixtures and returns a Separation."""

# B mixtures, K slots

import copy
import inspect
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import chain
from typing import Any, Self

import torch
from torch import Tensor, nn

from vaebss.errors import check_at_least
from vaebss.separation import FAINTEST, Separation, active_slots, check_mixture, loudest_slots, mask, sharpness

CHUNK = 125 * 28 * 28  # pixels separated at once on a CPU: as many as its caches hold are separated fastest
CHUNKS = 8  # of them that are separated at once on other devices
ROUNDING = 1e-3  # by which half precision may exceed the brightest pixel


class Separator(nn.Module, ABC):
    """A model that separates mixtures. A subclass only has to implement `_estimate`.

    Every argument of a subclass's `__init__` is an attribute of the same name.

    Args:
        num_sources: K, the number of slots.
        image_shape: (C, H, W) of a mixture.
        source_scale: Brightest pixel of a source, or infinity if it is unknown.
        bounded: Whether masked estimates are at most as bright as source_scale.
        exponent: Exponent p; sources add up to a mixture as (sum_k s_k^p)^(1/p).
        faintest: Mean brightness of the faintest source, as a share of source_scale, or of the mixture if that is
            infinite. A slot with less is inactive.

    Attributes:
        modality: Plain values that name the kind of signal which the mixtures show, "images" by default, and the
            options of that modality. The separator itself does not read them.
        look: Appearance of the training mixtures of a shipped model, see `vaebss.likeness`; None if unknown.
    """

    def __init__(
        self,
        num_sources: int,
        image_shape: tuple[int, ...],
        source_scale: float,
        bounded: bool = True,
        exponent: float = 1.0,
        faintest: float = FAINTEST,
    ):
        super().__init__()
        check_at_least(1, model__num_sources=num_sources)
        check_at_least(0, model__faintest=faintest)
        if not source_scale > 0:
            raise ValueError(f"model.source_scale must be above 0, not {source_scale}")
        self.num_sources, self.image_shape = num_sources, tuple(image_shape)
        self.source_scale, self.bounded, self.exponent = source_scale, bounded, exponent
        self.faintest = faintest
        self.modality: dict[str, Any] = {"kind": "images"}  # a plain dict, which can be copied and pickled
        self.look: dict[str, Any] | None = None

    @property
    def accepts(self) -> tuple[int | None, ...]:
        """The shape (C, H, W) of mixtures that the model separates; None stands for any size."""
        return self.image_shape

    @abstractmethod
    def _estimate(self, mixture: Tensor) -> tuple[Tensor, ...]:
        """Return estimates (B, K, C, H, W), not yet masked, and their ranking (B,), for mixtures (B, C, H, W).

        A model that counts sources itself also returns their numbers (B,), which are then the numbers of active slots.

        The mixtures are checked, in float32 and on the model's device; the model is in eval mode. A subclass adds its
        options as arguments that are 0 by default.
        """

    @torch.no_grad()
    def separate(self, mixture: Tensor, *, masked: bool = True, ranked: bool = False, **options: Any) -> Separation:
        """Separate mixtures. The model does not change, so this may run during training or in another thread.

        Args:
            mixture: (B, C, H, W), floating point, finite, on any device. Pixels are expected in [0, K * source_scale];
                values up to K are accepted.
            masked: Whether to scale the estimates, pixel by pixel, so that they add up to the mixture. If the model is
                `bounded`, none of them is then brighter than source_scale.
            ranked: Whether `confidence` is the value that ranks this model's separations best, its own objective, in
                its own units.
            options: Options of this kind of separator, such as a VAE's refine_steps.

        Returns:
            Separation on the mixture's device, float32. `active` follows `separation.active_slots` of the masked
            estimates, or `separation.loudest_slots` if the model counts. `confidence` is `separation.sharpness`,
            unless it is `ranked`.

        Raises:
            ValueError: The mixture has a wrong type, shape, dtype or value, or the separator lacks an option.
        """
        self.check_options(**options)
        check_mixture(mixture, self.accepts, self.num_sources, self.source_scale)
        self._warn_of_brightness(mixture)
        model, wanted = self.eval_copy(), {name: value for name, value in options.items() if value}
        at_once = max(1, CHUNK // mixture[0].numel()) * (1 if self.device.type == "cpu" else CHUNKS)
        with torch.autocast(self.device.type, enabled=False):
            chunks = (chunk.to(self.device, torch.float32) for chunk in mixture.split(at_once))
            parts = [model.estimate_and_mask(chunk, masked, ranked, **wanted) for chunk in chunks]
        return Separation.cat(parts).to(mixture.device)

    def pseudo_label(self, mixture: Tensor, **options: Any) -> Separation:
        """Return the model's best separation, masked and ranked, as a training target for other models."""
        return self.separate(mixture, ranked=True, **options)

    def estimate_and_mask(
        self, mixture: Tensor, masked: bool = True, ranked: bool = False, **options: Any
    ) -> Separation:
        """Separate mixtures that are checked already and on the model's device, as `separate` does.

        Args:
            mixture: (B, C, H, W), float32.
            masked: Whether sources are masked estimates, which add up to the mixture.
            ranked: Whether `confidence` is the model's own objective instead of the sharpness of the masks.
            options: Options of this kind of separator, such as a VAE's refine_steps.
        """
        estimates, rank, *count = self._estimate(mixture, **options)
        confidence = rank if ranked else sharpness(estimates, mixture, self.exponent)
        shares = self.masked(estimates, mixture)
        if count:
            active = loudest_slots(shares, count[0], self.exponent)
        else:
            active = active_slots(shares, self.source_scale, self.exponent, self.faintest)
        return Separation(shares if masked else estimates, active, confidence)

    def masked(self, estimates: Tensor, mixture: Tensor) -> Tensor:
        """Mask estimates by `separation.mask`, with the brightness bound of this model's sources.

        Args:
            estimates: Estimates of the sources, (B, K, C, H, W), 0 or more.
            mixture: Their mixtures, (B, C, H, W).

        Returns:
            Estimates of the same shape that add up to the mixtures.
        """
        return mask(estimates, mixture, self.source_scale if self.bounded else math.inf, self.exponent)

    def check_options(self, **options: Any) -> None:
        """Raise a ValueError unless `separate` can take these options."""
        known = inspect.signature(self._estimate).parameters
        for name, value in options.items():
            if value and name not in known:
                raise ValueError(f"{name} must be 0: a {type(self).__name__} has no such option")

    def eval_copy(self) -> Self:
        """Return this model in eval mode and in float32: itself, or a copy that shares the weights if it can."""
        tensors = [*self.parameters(), *self.buffers()]
        single = all(tensor.dtype is torch.float32 for tensor in tensors if tensor.is_floating_point())
        if single and not any(module.training for module in self.modules()):
            return self
        if single:
            return copy.deepcopy(self, {id(tensor): tensor for tensor in tensors}).eval()
        return copy.deepcopy(self).float().eval()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Convert all weights, as `half` and `to` do; a weight that would become infinite keeps its dtype.

        Running variances of spectra exceed 65,504, the largest number of float16.
        """

        def convert(weight: Tensor) -> Tensor:
            converted = fn(weight)
            return converted if converted.dtype == weight.dtype else if_finite(converted, weight)

        return super()._apply(convert, recurse)

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of `__init__` that build another model like this one."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def untrained(self, **options: Any) -> Self:
        """Return a model for the same kind of signal with other `options`, and weights that are drawn at random."""
        other = type(self)(**self.options | options)
        other.modality = dict(self.modality)
        return other

    @property
    def device(self) -> torch.device:
        """The device of the weights; the CPU for a separator without weights."""
        return next((tensor.device for tensor in chain(self.parameters(), self.buffers())), torch.device("cpu"))

    def _warn_of_brightness(self, mixture: Tensor) -> None:
        if self.bounded and mixture.max() > self.num_sources * self.source_scale * (1 + ROUNDING):
            warnings.warn(
                f"Some pixels exceed {self.num_sources} x source_scale ({self.source_scale:g}). "
                "They are split equally. Set source_max (--source-max; in remix.py --data.source_scale) to change it.",
                stacklevel=4,  # separate, its no_grad, and whoever called it
            )


def if_finite(converted: Tensor, value: Tensor) -> Tensor:
    """Return a converted tensor, unless the conversion made finite numbers infinite.

    Args:
        converted: `value` in another type, perhaps on another device.
        value: Tensor before the conversion.

    Returns:
        `converted`; or `value` on the device of `converted`, if `converted` has infinite numbers where `value` has
        none.
    """
    return converted if converted.isfinite().all() or not value.isfinite().all() else value.to(converted.device)
