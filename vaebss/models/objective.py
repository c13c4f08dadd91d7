"""The evidence lower bound as an object that returns distortion and rate.

log p(x) >= E_q[log p(x | Z)] - KL(q(Z | x) || p(Z)) = -distortion - rate, Neri et al. 2021, eq. 3 to 5.
"""

# B mixtures, K assumed sources, D latent size

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Independent, Laplace, Normal, kl_divergence, register_kl

PriorName = Literal["normal", "laplace"]
LikelihoodName = Literal["laplace", "normal", "bernoulli"]

# Means and mixtures are pushed this far inside (0, 1) before a Bernoulli likelihood sees them.
BERNOULLI_MARGIN = 1e-4


@register_kl(Normal, Laplace)
def _kl_normal_laplace(q: Normal, p: Laplace) -> Tensor:
    """Return KL(N(m, s^2) || Laplace(c, b)) in nats: log 2b + E|z - c| / b, less the normal's entropy."""
    mean = q.loc - p.loc
    expected_abs = q.scale * math.sqrt(2 / math.pi) * torch.exp(-0.5 * (mean / q.scale) ** 2)
    expected_abs = expected_abs + mean * torch.erf(mean / (q.scale * math.sqrt(2)))
    return torch.log(2 * p.scale) + expected_abs / p.scale - q.entropy()


class Bound(NamedTuple):
    """The parts of the ELBO of mixtures, in nats.

    Attributes:
        distortion: -log p(x | Z) for latents sampled once, (B,).
        rate: KL(q(z_k | x) || p(z_k)) of each slot, (B, K), 0 or more.
    """

    distortion: Tensor
    rate: Tensor

    def elbo(self, beta: float | Tensor = 1.0) -> Tensor:
        """Return the bound on log p(x), eq. 5, (B,), to be maximised. Beta weighs the rate and is 1 for the bound."""
        return -self.distortion - beta * self.rate.sum(1)


class ELBO:
    """The objective: the log-likelihood of a mixture minus the rate of its latents.

    Args:
        prior: Family of the latents' prior, independent and centred in every coordinate.
        prior_scale: Standard deviation (normal) or b (Laplace) of the prior, above 0.
        likelihood: Family of a mixture's pixels around the sum of the sources. "bernoulli" clamps both into (0, 1) and
            has no scale.
        likelihood_scale: The likelihood's b (Laplace) or standard deviation (normal), above 0; sqrt(0.5) gives a
            Laplace distribution of unit variance.
        variational: Whether latents have a distribution; otherwise the rate is 0 (plain auto-encoder).

    Raises:
        ValueError: A family is unknown.
    """

    def __init__(
        self,
        prior: PriorName,
        prior_scale: float,
        likelihood: LikelihoodName,
        likelihood_scale: float,
        variational: bool = True,
    ):
        for name, family, known in (("prior", prior, PRIORS), ("likelihood", likelihood, LIKELIHOODS)):
            if family not in known:
                raise ValueError(f"model.{name} must be one of {', '.join(known)}, not {family!r}")
        self._prior, self.prior_scale = PRIORS[prior], prior_scale
        self._likelihood, self.likelihood_scale = LIKELIHOODS[likelihood], likelihood_scale
        self.variational = variational

    def __call__(self, mixture: Tensor, estimate: Tensor, posterior: Independent) -> Bound:
        """Return the parts of the ELBO of mixtures, their reconstructions (both (B, C, H, W)) and q(Z | x).

        The posterior has batch shape (B, K) and event shape (D,).
        """
        distortion = -self.log_likelihood(mixture, estimate)
        if not self.variational:
            return Bound(distortion, torch.zeros_like(posterior.mean[..., 0]))
        return Bound(distortion, kl_divergence(posterior, self.prior(posterior.mean)))

    def log_joint(self, mixture: Tensor, latents: Tensor, total: Tensor, beta: float) -> Tensor:
        """Return log p(x | z) + beta log p(z), which refinement maximises, in nats.

        Args:
            mixture: (B, C, H, W). It is broadcast over leading dimensions that only `latents` and `total` have.
            latents: Latents of all slots, (..., B, K, D).
            total: Sum of the sources that are decoded from the latents, (..., B, C, H, W).
            beta: Weight of the prior, 0 or more.

        Returns:
            (..., B). If the model is not variational, the term of the prior is left out.
        """
        mixture = mixture.expand_as(total)
        fit = self.log_likelihood(mixture.flatten(0, -4), total.flatten(0, -4)).view(total.shape[:-3])
        return fit + beta * self.prior(latents).log_prob(latents).sum(-1) if self.variational else fit

    def log_likelihood(self, mixture: Tensor, estimate: Tensor) -> Tensor:
        """Return log p(x | Z) of each mixture in nats, summed over pixels.

        Args:
            mixture: Mixtures (B, C, H, W), 0 or more.
            estimate: Their reconstructions, of the same shape.

        Returns:
            (B,).
        """
        return self._likelihood(mixture, estimate, self.likelihood_scale).flatten(1).sum(1)

    def prior(self, latents: Tensor) -> Independent:
        """Return p(z) of a latent, event shape (D,), on the device and in the dtype of latents (..., D)."""
        loc, scale = torch.zeros_like(latents[(0,) * (latents.ndim - 1)]), self.prior_scale
        return Independent(self._prior(loc, torch.full_like(loc, scale), validate_args=False), 1, validate_args=False)


def warmed_up(beta: float, step: int, warmup_steps: int) -> float:
    """Return the weight of the rate at a step, which rises linearly from 0.

    Args:
        beta: Final weight.
        step: Number of optimiser steps so far.
        warmup_steps: Step at which the final weight is reached; 0 for no warm-up.
    """
    return beta if step >= warmup_steps else beta * step / warmup_steps


def _laplace(mixture: Tensor, estimate: Tensor, scale: float) -> Tensor:
    return Laplace(estimate, estimate.new_full((), scale), validate_args=False).log_prob(mixture)


def _normal(mixture: Tensor, estimate: Tensor, scale: float) -> Tensor:
    return Normal(estimate, estimate.new_full((), scale), validate_args=False).log_prob(mixture)


def _bernoulli(mixture: Tensor, estimate: Tensor, scale: float) -> Tensor:
    low, high = BERNOULLI_MARGIN, 1 - BERNOULLI_MARGIN
    return Bernoulli(probs=estimate.clamp(low, high), validate_args=False).log_prob(mixture.clamp(low, high))


PRIORS = {"normal": Normal, "laplace": Laplace}
LIKELIHOODS = {"laplace": _laplace, "normal": _normal, "bernoulli": _bernoulli}
