"""Muon, the optimiser of the mask network."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from vaebss.hardware import bfloat16_pays

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
            for parameter in group["params"]:
                if parameter.grad is not None:
                    move = self._along_orthogonal if _is_matrix(parameter) else self._as_adam
                    move(parameter, parameter.grad, self.state[parameter], group)
        return loss

    @staticmethod
    def _along_orthogonal(parameter: Tensor, gradient: Tensor, state: dict, group: dict) -> None:
        momentum = state.setdefault("momentum", torch.zeros_like(parameter)).lerp_(gradient, 1 - group["momentum"])
        update = orthogonalised(gradient.lerp(momentum, group["momentum"]).flatten(1))
        parameter.add_(update.view_as(parameter), alpha=-group["lr"] * STEP * math.sqrt(max(update.shape)))

    @staticmethod
    def _as_adam(parameter: Tensor, gradient: Tensor, state: dict, group: dict) -> None:
        if not state:
            state |= {"step": 0, "mean": torch.zeros_like(parameter), "square": torch.zeros_like(parameter)}
        state["step"] += 1
        beta1, beta2 = group["betas"]
        state["mean"].lerp_(gradient, 1 - beta1)
        state["square"].lerp_(gradient.square(), 1 - beta2)
        scale = (state["square"] / (1 - beta2 ** state["step"])).sqrt_().add_(group["eps"])
        parameter.addcdiv_(state["mean"], scale, value=-group["lr"] / (1 - beta1 ** state["step"]))


def _is_matrix(parameter: Tensor) -> bool:
    return parameter.ndim == 4 and min(len(parameter), parameter[0].numel()) >= SMALLEST
