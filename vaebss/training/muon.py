"""Muon, the optimiser of the mask network."""

import math
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from vaebss.hardware import bfloat16_pays
from vaebss.training.capture import at_once

foreach: Any = torch  # whose functions of lists of tensors type checkers do not know
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # coefficients and number of steps that Jordan et al. found
NEWTON_SCHULZ_STEPS = 5
SMALLEST = 8  # side of a matrix from which on it is worth being treated as one
STEP = 0.8  # root mean square of a convolution's step, as a share of the learning rate; about 4 times Adam's


def orthogonalised(matrices: Tensor) -> Tensor:
    """Return the matrix U V^T of each singular value decomposition U S V^T, nearly: singular values from 0.7 to 1.2.

    The iteration runs in bfloat16 where that is the faster, else in float32.

    Args:
        matrices: (N, n, m) float32, as one batch of each product.

    Returns:
        (N, n, m) float32.
    """
    a, b, c = NEWTON_SCHULZ
    precision = torch.bfloat16 if bfloat16_pays(matrices.device.type) else torch.float32
    tall = matrices.shape[1] > matrices.shape[2]
    wide = (matrices.mT if tall else matrices).to(precision)
    wide = wide / torch.linalg.vector_norm(wide, dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = torch.bmm(wide, wide.mT)
        wide = a * wide + torch.bmm(torch.baddbmm(gram, gram, gram, beta=b, alpha=c), wide)
    return (wide.mT if tall else wide).float()


class Muon(torch.optim.Optimizer):
    """An optimiser that steps along the orthogonalised momentum for convolutions, and as Adam for all else (Jordan et
    al. 2024).

    PyTorch's own Muon knows neither convolutions nor what else a network has. A convolution is a matrix of output
    channels by all else, and its steps are scaled for one learning rate to suit both (as in Liu et al. 2025).

    Args:
        parameters: Parameters of the network.
        lr: Learning rate.
        momentum: Share of the momentum that a step keeps, from 0 to 1.
        betas: Adam's.
        eps: Adam's.
    """

    launch = staticmethod(at_once)  # of what moves parameters; numbers that change from step to step are its inputs

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Make one step for every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parts: dict[Any, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parts.setdefault(self._part(parameter), []).append(parameter)
            gradients: list[Any] = [parameter.grad for parameters in parts.values() for parameter in parameters]
            rates = torch.tensor([rate for part in parts for rate in _rates(part, group)])
            rates = rates.to(group["params"][0].device, non_blocking=True)
            self.launch(partial(self._move, parts, group), rates, *gradients)
            for part, parameters in parts.items():
                for parameter in parameters if isinstance(part, int) else ():
                    self.state[parameter]["step"] = part + 1
        return loss

    def _part(self, parameter: Tensor) -> Any:
        """Return what parameters that move together have in common: the shape of matrices, else the number of steps."""
        if parameter.ndim == 4:
            shape = (len(parameter), parameter[0].numel())
            if min(shape) >= SMALLEST:
                return shape
        return self.state[parameter].get("step", 0)

    def _states(self, parameters: list[Tensor], *names: str) -> list[list[Tensor]]:
        """Return what is remembered of parameters under each name; at first it is 0."""
        for parameter in parameters:
            state = self.state[parameter]
            for name in names:
                if name not in state:
                    state[name] = torch.zeros_like(parameter)
        return [[self.state[parameter][name] for parameter in parameters] for name in names]

    def _move(self, parts: dict[Any, list[Tensor]], group: dict, rates: Tensor, *gradients: Tensor) -> None:
        left, numbers = iter(gradients), iter(rates.unbind())
        for part, parameters in parts.items():
            own = list(islice(left, len(parameters)))
            if isinstance(part, int):
                self._as_adam(parameters, own, group, next(numbers), next(numbers))
            else:
                self._along_orthogonal(parameters, own, group, next(numbers))

    def _along_orthogonal(self, parameters: list[Tensor], gradients: list[Tensor], group: dict, rate: Tensor) -> None:
        (momenta,) = self._states(parameters, "momentum")
        foreach._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        ahead = foreach._foreach_lerp(gradients, momenta, group["momentum"])
        updates = orthogonalised(torch.stack([matrix.flatten(1) for matrix in ahead]))
        moves = [update.view_as(parameter) for parameter, update in zip(parameters, updates, strict=True)]
        foreach._foreach_addcmul_(parameters, moves, [rate] * len(moves))

    def _as_adam(
        self, parameters: list[Tensor], gradients: list[Tensor], group: dict, rate: Tensor, correction: Tensor
    ) -> None:
        means, squares = self._states(parameters, "mean", "square")
        beta1, beta2 = group["betas"]
        foreach._foreach_lerp_(means, gradients, 1 - beta1)
        foreach._foreach_lerp_(squares, foreach._foreach_mul(gradients, gradients), 1 - beta2)
        scales = foreach._foreach_div(squares, correction)
        foreach._foreach_sqrt_(scales)
        foreach._foreach_add_(scales, group["eps"])
        foreach._foreach_addcdiv_(parameters, foreach._foreach_mul(means, rate), scales)


def _rates(part: Any, group: dict) -> tuple[float, ...]:
    """Return what the next step of a part is multiplied by; for Adam's, also the bias correction of its squares."""
    if not isinstance(part, int):
        return (-group["lr"] * STEP * math.sqrt(max(part)),)
    beta1, beta2 = group["betas"]
    return -group["lr"] / (1 - beta1 ** (part + 1)), 1 - beta2 ** (part + 1)
