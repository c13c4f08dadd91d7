"""Muon, the optimiser of the mask network."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from vaebss.hardware import bfloat16_pays

foreach: Any = torch  # whose functions of lists of tensors type checkers do not know
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # coefficients and number of steps that Jordan et al. found
NEWTON_SCHULZ_STEPS = 5
SMALLEST = 8  # side of a matrix from which on it is worth being treated as one
STEP = 0.8  # root mean square of a convolution's step, as a share of the learning rate; about 4 times Adam's


def orthogonalised(matrix: Tensor) -> Tensor:
    """The matrix U V^T of the singular value decomposition U S V^T, nearly: singular values from 0.7 to 1.2.

    Args:
        matrix: (n, m).

    Returns:
        (n, m), bfloat16 where that is the faster, else float32.
    """
    a, b, c = NEWTON_SCHULZ
    precision = torch.bfloat16 if bfloat16_pays(matrix.device.type) else torch.float32
    wide = (matrix if len(matrix) <= matrix.shape[1] else matrix.T).to(precision)
    wide = wide / wide.norm().clamp(min=1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = wide @ wide.T
        wide = a * wide + torch.addmm(gram, gram, gram, beta=b, alpha=c) @ wide
    return wide if len(matrix) <= matrix.shape[1] else wide.T


class Muon(torch.optim.Optimizer):
    """Steps of convolutions along their orthogonalised momentum, of all else as Adam's (Jordan et al. 2024).

    PyTorch's own Muon knows neither convolutions nor what else a network has. A convolution is a matrix of output
    channels by all else, and its steps are scaled for one learning rate to suit both (as in Liu et al. 2025).

    Args:
        parameters: of the network.
        lr: learning rate.
        momentum: share of the momentum that a step keeps.
        betas: Adam's.
        eps: Adam's.
    """

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
            moving = [parameter for parameter in group["params"] if parameter.grad is not None]
            for move, those in ((self._along_orthogonal, True), (self._as_adam, False)):
                if parameters := [parameter for parameter in moving if _is_matrix(parameter) is those]:
                    move(parameters, [parameter.grad for parameter in parameters], group)
        return loss

    def _along_orthogonal(self, parameters: list[Tensor], gradients: list[Any], group: dict) -> None:
        states = [self.state[parameter] for parameter in parameters]
        for parameter, state in zip(parameters, states, strict=True):
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
        momenta = [state["momentum"] for state in states]
        foreach._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        for parameter, ahead in zip(
            parameters, foreach._foreach_lerp(gradients, momenta, group["momentum"]), strict=True
        ):
            update = orthogonalised(ahead.flatten(1))
            parameter.add_(update.view_as(parameter), alpha=-group["lr"] * STEP * math.sqrt(max(update.shape)))

    def _as_adam(self, parameters: list[Tensor], gradients: list[Any], group: dict) -> None:
        """Step all at once; those that have made as many steps as each other share their bias corrections."""
        by_step: dict[int, list[int]] = {}
        for number, parameter in enumerate(parameters):
            state = self.state[parameter]
            if not state:
                state |= {"step": 0, "mean": torch.zeros_like(parameter), "square": torch.zeros_like(parameter)}
            state["step"] += 1
            by_step.setdefault(state["step"], []).append(number)
        beta1, beta2 = group["betas"]
        for step, numbers in by_step.items():
            moved, slopes = [parameters[number] for number in numbers], [gradients[number] for number in numbers]
            means, squares = ([self.state[parameter][name] for parameter in moved] for name in ("mean", "square"))
            foreach._foreach_lerp_(means, slopes, 1 - beta1)
            foreach._foreach_lerp_(squares, foreach._foreach_mul(slopes, slopes), 1 - beta2)
            scales = foreach._foreach_div(squares, 1 - beta2**step)
            foreach._foreach_sqrt_(scales)
            foreach._foreach_add_(scales, group["eps"])
            foreach._foreach_addcdiv_(moved, means, scales, value=-group["lr"] / (1 - beta1**step))


def _is_matrix(parameter: Tensor) -> bool:
    return parameter.ndim == 4 and min(len(parameter), parameter[0].numel()) >= SMALLEST
