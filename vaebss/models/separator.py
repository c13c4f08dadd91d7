"""The contract of every separator, trained or not: checked mixtures go in, a Separation comes out."""

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

from vaebss.separation import FAINTEST, Separation, active_slots, check_mixture, mask, sharpness

CHUNK = 1_000 * 28 * 28  # pixels separated at once, to bound memory
ROUNDING = 1e-3  # by which half precision may exceed the brightest pixel


class Separator(nn.Module, ABC):
    """A model that takes mixtures apart. A subclass writes `_estimate` alone.

    Every argument of a subclass's `__init__` is an attribute of the same name.

    Args:
        num_sources: K, slots.
        image_shape: (C, H, W) of a mixture.
        source_scale: brightest pixel of a source.
        bounded: whether masked estimates respect that.
        exponent: p, sources add up to a mixture as (sum_k s_k^p)^(1/p).
        faintest: mean brightness of the faintest source, as a share of source_scale, or of the mixture where that is
            infinity; what is fainter is none.

    Attributes:
        modality: plain values that name the kind of signal which its mixtures show, "images" by default, and the
            options of that modality. The separator itself does not read them.
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
        self.num_sources, self.image_shape = num_sources, tuple(image_shape)
        self.source_scale, self.bounded, self.exponent = source_scale, bounded, exponent
        self.faintest = faintest
        self.modality: dict[str, Any] = {"kind": "images"}  # a plain dict, which can be copied and pickled

    @property
    def accepts(self) -> tuple[int | None, ...]:
        """(C, H, W) of mixtures; None is any."""
        return self.image_shape

    @abstractmethod
    def _estimate(self, mixture: Tensor) -> tuple[Tensor, Tensor]:
        """Estimates (B, K, C, H, W), not yet masked, and (B,) what ranks them, of mixtures (B, C, H, W).

        They are checked, on the model's device and in float32; the model is in eval mode. A subclass names the options
        that it has, each 0 by default.
        """

    @torch.no_grad()
    def separate(self, mixture: Tensor, *, masked: bool = True, ranked: bool = False, **options: Any) -> Separation:
        """Take mixtures apart. The model stays as it is: it may be training, also in another thread.

        Args:
            mixture: (B, C, H, W), floating point, finite, on any device; the model knows [0, K * source_scale], and up
                to K is accepted.
            masked: scale the estimates, pixel by pixel, so that they add up to the mixture; and, if the model is
                `bounded`, none is brighter than source_scale.
            ranked: answer as confidence what ranks this model's answers best: its own objective, in units of its own.
            options: what this kind of separator can do beyond that, such as a VAE's refine_steps.

        Returns:
            Separation on the mixture's device, float32. `active` follows `separation.active_slots`, always of masked
            estimates; `confidence` follows `separation.sharpness` unless it is `ranked`.

        Raises:
            ValueError: the mixture's type, shape, dtype or values are off, or an option is not one of this separator.
        """
        self.check_options(**options)
        check_mixture(mixture, self.accepts, self.num_sources, self.source_scale)
        self._warn_of_brightness(mixture)
        model, wanted = self.eval_copy(), {name: value for name, value in options.items() if value}
        at_once = max(1, CHUNK // mixture[0].numel())
        with torch.autocast(self.device.type, enabled=False):
            chunks = (chunk.to(self.device, torch.float32) for chunk in mixture.split(at_once))
            parts = [model.estimate_and_mask(chunk, masked, ranked, **wanted) for chunk in chunks]
        return Separation.cat(parts).to(mixture.device)

    def pseudo_label(self, mixture: Tensor, **options: Any) -> Separation:
        """The best answer that the model has, masked and ranked, for others to learn from."""
        return self.separate(mixture, ranked=True, **options)

    def estimate_and_mask(
        self, mixture: Tensor, masked: bool = True, ranked: bool = False, **options: Any
    ) -> Separation:
        """Separate mixtures that are checked already and on the model's device, as `separate` does."""
        estimates, rank = self._estimate(mixture, **options)
        confidence = rank if ranked else sharpness(estimates, mixture, self.exponent)
        shares = self.masked(estimates, mixture)
        active = active_slots(shares, self.source_scale, self.exponent, self.faintest)
        return Separation(shares if masked else estimates, active, confidence)

    def masked(self, estimates: Tensor, mixture: Tensor) -> Tensor:
        """Mask estimates by `separation.mask`, with the brightness bound of this model's sources."""
        return mask(estimates, mixture, self.source_scale if self.bounded else math.inf, self.exponent)

    def check_options(self, **options: Any) -> None:
        """Raise a ValueError unless `separate` can take these options."""
        known = inspect.signature(self._estimate).parameters
        for name, value in options.items():
            if value and name not in known:
                raise ValueError(f"{name} must be 0: a {type(self).__name__} has no such option")

    def eval_copy(self) -> Self:
        """This model in eval mode and in float32. A copy where it is not, which shares the weights if it can."""
        tensors = [*self.parameters(), *self.buffers()]
        single = all(tensor.dtype is torch.float32 for tensor in tensors if tensor.is_floating_point())
        if single and not any(module.training for module in self.modules()):
            return self
        if single:
            return copy.deepcopy(self, {id(tensor): tensor for tensor in tensors}).eval()
        return copy.deepcopy(self).float().eval()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Convert all weights, as `half` and `to` do; one that would become infinite keeps its type.

        Running variances of spectra exceed 65,504, the largest number of float16.
        """

        def convert(weight: Tensor) -> Tensor:
            converted = fn(weight)
            return converted if converted.dtype == weight.dtype else if_finite(converted, weight)

        return super()._apply(convert, recurse)

    @property
    def options(self) -> dict[str, Any]:
        """Arguments that make another model like this one."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    @property
    def device(self) -> torch.device:
        """Where the weights are; a separator without any is on the CPU."""
        return next((tensor.device for tensor in chain(self.parameters(), self.buffers())), torch.device("cpu"))

    def _warn_of_brightness(self, mixture: Tensor) -> None:
        if self.bounded and mixture.max() > self.num_sources * self.source_scale * (1 + ROUNDING):
            warnings.warn(
                f"Some pixels exceed {self.num_sources} x source_scale ({self.source_scale:g}). "
                "They are split equally. Set source_max (--source-max) to change this.",
                stacklevel=4,  # separate, its no_grad, and whoever called it
            )


def if_finite(converted: Tensor, value: Tensor) -> Tensor:
    """Return `converted`, a tensor of another type, unless finite numbers of `value` became infinite in it.

    Otherwise return `value`, on the device of `converted`.
    """
    return converted if converted.isfinite().all() or not value.isfinite().all() else value.to(converted.device)
