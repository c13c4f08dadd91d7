"""The evidence lower bound and its parts, as functions of tensors and distributions.

log p(x) >= E_q[log p(x | Z)] - KL(q(Z | x) || p(Z)) = -distortion - rate, Neri et al. 2021, eq. 3 to 5.
"""

# B mixtures, K assumed sources, D latent size

import math
from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Distribution, Independent, Laplace, Normal, kl_divergence, register_kl

PriorName = Literal["normal", "laplace"]
LikelihoodName = Literal["laplace", "normal", "bernoulli"]

# Means and mixtures are pushed this far inside (0, 1) before a Bernoulli likelihood sees them.
BERNOULLI_MARGIN = 1e-4


@register_kl(Normal, Laplace)
def _kl_normal_laplace(q: Normal, p: Laplace) -> Tensor:
    """KL(N(m, s^2) || Laplace(c, b)) in nats: log 2b + E|z - c| / b, less the entropy of the normal."""
    mean = q.loc - p.loc
    expected_abs = q.scale * math.sqrt(2 / math.pi) * torch.exp(-0.5 * (mean / q.scale) ** 2)
    expected_abs = expected_abs + mean * torch.erf(mean / (q.scale * math.sqrt(2)))
    return torch.log(2 * p.scale) + expected_abs / p.scale - q.entropy()


def prior(name: PriorName, scale: float, latents: Tensor) -> Distribution:
    """The prior of latents (..., D), independent and centred in every coordinate, on their device.

    Args:
        name: family of the distribution.
        scale: standard deviation (normal) or b (Laplace), above 0.
        latents: any tensor of latents or means, for its shape and device.
    """
    loc, spread = torch.zeros_like(latents), torch.full_like(latents, scale)
    match name:
        case "normal":
            coordinates: Distribution = Normal(loc, spread, validate_args=False)
        case "laplace":
            coordinates = Laplace(loc, spread, validate_args=False)
        case _:
            raise ValueError(f"prior must be 'normal' or 'laplace', not {name!r}")
    return Independent(coordinates, 1, validate_args=False)


def log_likelihood(name: LikelihoodName, scale: float, mixture: Tensor, mixture_estimate: Tensor) -> Tensor:
    """log p(x | Z), summed over pixels: (B, C, H, W) twice -> (B,) in nats per mixture.

    Args:
        name: family. "bernoulli" pushes mixture and estimate into (0, 1) and has no scale.
        scale: b (Laplace) or standard deviation (normal), above 0; sqrt(0.5) gives a Laplace of unit variance.
        mixture: a sum of sources, non-negative.
        mixture_estimate: the sum of the estimates of the sources.
    """
    match name:
        case "laplace":
            pixels = Laplace(mixture_estimate, scale, validate_args=False).log_prob(mixture)
        case "normal":
            pixels = Normal(mixture_estimate, scale, validate_args=False).log_prob(mixture)
        case "bernoulli":
            low, high = BERNOULLI_MARGIN, 1 - BERNOULLI_MARGIN
            likelihood = Bernoulli(probs=mixture_estimate.clamp(low, high), validate_args=False)
            pixels = likelihood.log_prob(mixture.clamp(low, high))
        case _:
            raise ValueError(f"likelihood must be 'laplace', 'normal' or 'bernoulli', not {name!r}")
    return pixels.flatten(1).sum(1)


def rate(posterior: Distribution, prior: Distribution) -> Tensor:
    """KL(q(z_k | x) || p(z_k)) of every slot: batch shape (B, K), event (D,) -> (B, K) in nats, never negative."""
    return kl_divergence(posterior, prior)


def elbo(distortion: Tensor, rate: Tensor, beta: float = 1.0) -> Tensor:
    """The bound on log p(x), Neri et al. 2021, eq. 5: (B,) and (B, K) -> (B,) in nats per mixture.

    Args:
        distortion: -log p(x | Z), (B,).
        rate: of every slot, (B, K).
        beta: weight of the rate: 1 for the bound itself, 0.5 in the paper's training.
    """
    return -distortion - beta * rate.sum(1)


def warmed_up(beta: float, step: int, warmup_steps: int) -> float:
    """beta, rising linearly from 0 over the first `warmup_steps` optimiser steps; at once where there are none."""
    return beta if step >= warmup_steps else beta * step / warmup_steps
