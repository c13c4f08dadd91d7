"""The variational auto-encoder that separates mixtures (Neri et al. 2021)."""

# B mixtures, K assumed sources, D latent size

import math
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from vaebss.errors import check_above_zero, check_at_least
from vaebss.hardware import fastest_autocast
from vaebss.models import refinement
from vaebss.models.networks import OUTPUTS, Decoder, Encoder, OutputName, single
from vaebss.models.objective import ELBO, Bound, LikelihoodName, PriorName
from vaebss.models.separator import Separator
from vaebss.seeding import generator
from vaebss.separation import FAINTEST, add_up, sharpness

REFINE = 13  # the second number of the address of refinement's noise
MAX_LOG_VARIANCE = 20.0  # a posterior wider or narrower than e^+-10 is a numerical error


class VAE(Separator):
    """A VAE that encodes a mixture to K posteriors and decodes each latent to a source. The sources add up.

    `separate` has two options. `refine_steps` is the number of gradient steps on the latents of each mixture, from
    the encoder's estimate on. 60 steps are enough, and each takes about as long as one pass of the model. `restarts`
    is the number of further starts to refine; the start with the best objective is kept. The ranking of separations is
    log p(x | z) + beta log p(z) at their latents, in nats.

    Args:
        num_sources: K, the number of sources that the model assumes; spare slots may stay silent.
        latent_dim: D, the size of each source's latent.
        hidden_dims: Widths of the encoder's layers; the decoder mirrors them.
        prior: Prior of the latents.
        prior_scale: Standard deviation (normal) or b (Laplace) of the prior.
        likelihood: Distribution of a mixture's pixels around the sum of the sources.
        likelihood_scale: Standard deviation (normal) or b (Laplace) of the likelihood. The default gives a Laplace
            distribution unit variance; for your own mixtures it follows from their brightness and size.
        variational: Sampling and the rate; false drops both, which makes a plain auto-encoder, the paper's baseline.
        beta: Weight of the rate in the objective.
        output: Function that the decoder ends in: a sigmoid (pixels from 0 to 1) or a softplus (any pixels above 0).
        begin: Initial bias of the decoder's last layer: what sources look like before anything is learned. For your own
            mixtures it follows from their brightness; else it is about 0 (sigmoid) or -2 (softplus).
        exponent: Exponent p; pictures of sources add up to that of the mixture as (sum_k s_k^p)^(1/p). On the command
            line the data sets it.
        image_shape: (C, H, W) of a mixture. On the command line the data sets it.
        source_scale: Brightest pixel of a source. On the command line --data.source_scale sets it.
        bounded: Bound on masked estimates: none is brighter than source_scale. On the command line it is on, unless
            --data.mixtures is given, whose brightest source is unknown.
        faintest: Mean brightness of the faintest source, as a share of source_scale; a slot with less is inactive. It
            follows from the brightness of your own mixtures. For sound it is a share of a mixture's energy.
        seed: Random seed of the posterior noise. On the command line --seed_everything sets it.

    Examples:
        >>> import torch
        >>> from vaebss import VAE
        >>> model = VAE(num_sources=3)
        >>> model.separate(torch.rand(4, 1, 28, 28)).sources.shape
        torch.Size([4, 3, 1, 28, 28])
        >>> model.sample(5).shape
        torch.Size([5, 1, 28, 28])
    """

    def __init__(
        self,
        num_sources: int = 2,
        latent_dim: int = 20,
        hidden_dims: tuple[int, ...] = (700, 600, 500, 400, 300),
        prior: PriorName = "normal",
        prior_scale: float = 1.0,
        likelihood: LikelihoodName = "laplace",
        likelihood_scale: float = math.sqrt(0.5),
        variational: bool = True,
        beta: float = 0.5,
        output: OutputName = "sigmoid",
        begin: float | None = None,
        exponent: float = 1.0,
        image_shape: tuple[int, ...] = (1, 28, 28),
        source_scale: float = 0.5,
        bounded: bool = True,
        faintest: float = FAINTEST,
        seed: int = 0,
    ):
        super().__init__(num_sources, image_shape, source_scale, bounded, exponent, faintest)
        check_at_least(1, model__latent_dim=latent_dim)
        check_above_zero(model__prior_scale=prior_scale, model__likelihood_scale=likelihood_scale)
        check_above_zero(model__exponent=exponent)
        check_at_least(0, model__beta=beta, model__seed=seed)
        if output not in OUTPUTS:
            raise ValueError(f"model.output must be one of {', '.join(OUTPUTS)}, not {output!r}")
        if not hidden_dims or min(hidden_dims) < 1:
            raise ValueError(f"model.hidden_dims must be widths of 1 or more, not {hidden_dims}")
        self.latent_dim, self.hidden_dims, self.beta, self.seed = latent_dim, tuple(hidden_dims), beta, seed
        self.prior, self.prior_scale, self.variational = prior, prior_scale, variational
        self.likelihood, self.likelihood_scale = likelihood, likelihood_scale
        self.objective = ELBO(prior, prior_scale, likelihood, likelihood_scale, variational)
        self.encoder = Encoder(image_shape, hidden_dims, num_sources, latent_dim)
        self.output, self.begin = output, begin
        self.decoder = Decoder(image_shape, hidden_dims, latent_dim, output, begin)

    def encode(self, mixture: Tensor) -> Independent:
        """Return q(Z | x): (B, C, H, W) -> independent normals of batch shape (B, K) and event shape (D,)."""
        # Under autocast the encoder's output is in half precision, too coarse for variances and the rate.
        mean, log_variance = single(self.encoder(mixture)).chunk(2, dim=-1)
        stddev = (0.5 * log_variance.clamp(-MAX_LOG_VARIANCE, MAX_LOG_VARIANCE)).exp()
        return Independent(Normal(mean, stddev, validate_args=False), 1, validate_args=False)

    def decode(self, latents: Tensor) -> Tensor:
        """Return the sources of latents (..., D), (..., C, H, W) in float32: above 0, and below 1 with a sigmoid."""
        return self.decoder(latents)

    def forward(self, mixture: Tensor) -> Tensor:
        """Return estimates of the sources at the posterior mean, not masked: (B, C, H, W) -> (B, K, C, H, W)."""
        return self.decode(self.encode(mixture).mean)

    def noise(self, number: int, source: torch.Generator) -> Tensor:
        """Draw standard normal noise for the latents of mixtures.

        Args:
            number: Number of mixtures, B.
            source: Random generator, which also determines the device.

        Returns:
            (B, K, D).
        """
        return torch.randn(number, self.num_sources, self.latent_dim, generator=source, device=source.device)

    def bound(self, mixture: Tensor, noise: Tensor) -> Bound:
        """Return the parts of the ELBO of mixtures, with one sample of the latents.

        If the exponent is not 1, this runs in single precision even under autocast. From the same initial weights,
        notes reached an SI-SDR of 3.3 dB, against -0.7 dB in bfloat16, at the same speed.

        Args:
            mixture: Mixtures (B, C, H, W).
            noise: Standard normal noise (B, K, D), by which the latents are sampled. A model that is not variational
                ignores it.
        """
        with nullcontext() if self.exponent == 1 else torch.autocast(mixture.device.type, enabled=False):
            posterior = self.encode(mixture)
            latents = posterior.mean
            if self.variational:
                latents = latents + posterior.stddev * noise
            return self.objective(mixture, add_up(self.decode(latents), self.exponent), posterior)

    def check_options(self, refine_steps: int = 0, restarts: int = 0, **others: Any) -> None:
        """Raise a ValueError unless `separate` can take these options.

        Args:
            refine_steps: Number of refinement steps, 0 or more.
            restarts: Number of further starting points, 0 or more; needs refine_steps of 1 or more.
            others: Options of other separators, which must be 0.
        """
        super().check_options(**others)
        if refine_steps < 0 or restarts < 0:
            raise ValueError(f"refine_steps and restarts must be 0 or more, not {refine_steps} and {restarts}")
        if restarts and not refine_steps:
            raise ValueError("restarts need refine_steps of 1 or more")

    def _estimate(self, mixture: Tensor, refine_steps: int = 0, restarts: int = 0) -> tuple[Tensor, Tensor]:
        latents = self.encode(mixture).mean
        if refine_steps:
            latents = self._refine(mixture, latents, refine_steps, restarts)
        estimates = self.decode(latents)
        # For energies of sound the objective ranks poorly: its rank correlation with SI-SDR is 0.4, sharpness has 0.9.
        if self.exponent > 1:
            return estimates, sharpness(estimates, mixture, self.exponent)
        return estimates, self._log_joint(mixture, latents, estimates)

    def _log_joint(self, mixture: Tensor, latents: Tensor, estimates: Tensor) -> Tensor:
        """Return log p(x | z) + beta log p(z), (...), of latents (..., K, D) and the estimates decoded from them."""
        return self.objective.log_joint(mixture, latents, add_up(estimates, self.exponent, -4), self.beta)

    @torch.inference_mode(False)  # a Trainer tests in inference mode, which has no gradients
    def _refine(self, mixture: Tensor, latents: Tensor, refine_steps: int, restarts: int) -> Tensor:
        mixture, latents = mixture.clone(), latents.clone()  # as ordinary tensors
        # The seed depends on the model alone, so that the same mixtures always get the same estimates.
        noise = generator(self.seed, REFINE, device=latents.device)

        def objective_at(candidates: Tensor) -> Tensor:
            return self._log_joint(mixture, candidates, self.decode(candidates))

        def quickly(candidates: Tensor) -> Tensor:
            with fastest_autocast(candidates.device):
                return objective_at(candidates)

        with torch.no_grad():
            starts = refinement.starts(latents, self.prior_scale, restarts, noise)
            return refinement.best(objective_at, refinement.ascend(quickly, starts, refine_steps))

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """Sample n sources from the prior, (n, C, H, W) in the mixture's scale."""
        latents = torch.zeros(n, self.latent_dim, device=self.device)
        with torch.autocast(self.device.type, enabled=False):
            return self.eval_copy().decode(self.objective.prior(latents).sample((n,)))
