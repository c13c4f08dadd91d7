"""The variational auto-encoder that takes mixtures apart, as a LightningModule."""

# B mixtures, K assumed sources, M true sources, D latent size

import math
from typing import Any, Literal

import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.distributions import Independent, Normal

from vaebss.hardware import fastest_autocast
from vaebss.models import objective, refinement
from vaebss.models.networks import Decoder, Encoder
from vaebss.models.separator import Separator
from vaebss.seeding import generator
from vaebss.separation import Separation, active_slots

ScheduleName = Literal["cosine", "exponential", "constant"]
Stage = Literal["train", "val", "test"]

NOISE = {"train": 10, "val": 11, "test": 12, "refine": 13}  # the second number of the posterior noise's address
MAX_LOG_VARIANCE = 20.0  # a posterior wider or narrower than e^+-10 is numerical accident


class VAEBSS(Separator):
    """Unsupervised single-channel source separation with a variational auto-encoder (Neri et al. 2021).

    The encoder turns a mixture into K posteriors; one decoder turns each latent into a source; the sources add up to
    the estimate of the mixture. Training maximises the ELBO of mixtures alone.

    Args:
        num_sources: K, sources that the model assumes; spare slots may stay silent.
        latent_dim: D, size of each source's latent.
        hidden_dims: Widths of the encoder's layers; the decoder mirrors them.
        prior: Prior of the latents.
        prior_scale: Its standard deviation (normal) or b (Laplace).
        likelihood: Distribution of a mixture's pixels around the sum of the sources.
        likelihood_scale: Its b (Laplace) or standard deviation (normal). The default gives a Laplace unit variance.
        variational: False drops sampling and rate: a plain auto-encoder, the paper's baseline.
        beta: Weight of the rate in the objective.
        warmup_steps: Optimiser steps over which beta rises from 0. Keep it small: a slow rise teaches the slots to
            share every digit out among themselves.
        lr: Adam's learning rate.
        lr_schedule: "cosine" falls to lr_min at the end of training; "exponential" is multiplied by lr_decay each
            epoch, down to lr_min.
        lr_decay: Factor of the exponential schedule.
        lr_min: Lowest learning rate of a schedule.
        image_shape: (C, H, W) of a mixture. On the command line the data sets it.
        source_scale: Brightest pixel of a source. On the command line --data.source_scale sets it.
        bounded: Whether masked estimates respect that. On the command line true unless --data.mixtures are given, whose
            scale nobody knows.
        seed: Of the posterior noise. On the command line --seed_everything sets it.
    """

    def __init__(
        self,
        num_sources: int = 2,
        latent_dim: int = 20,
        hidden_dims: tuple[int, ...] = (700, 600, 500, 400, 300),
        prior: objective.PriorName = "normal",
        prior_scale: float = 1.0,
        likelihood: objective.LikelihoodName = "laplace",
        likelihood_scale: float = math.sqrt(0.5),
        variational: bool = True,
        beta: float = 0.5,
        warmup_steps: int = 100,
        lr: float = 1.5e-3,
        lr_schedule: ScheduleName = "cosine",
        lr_decay: float = 0.9998,
        lr_min: float = 1e-5,
        image_shape: tuple[int, ...] = (1, 28, 28),
        source_scale: float = 0.5,
        bounded: bool = True,
        seed: int = 0,
    ):
        super().__init__()
        self.save_hyperparameters()
        self._check_hparams()
        self.encoder = Encoder(image_shape, hidden_dims, num_sources, latent_dim)
        self.decoder = Decoder(image_shape, hidden_dims, latent_dim)
        self.prepare_scores()
        self.example_input_array = torch.zeros(2, *image_shape)

    def _check_hparams(self) -> None:
        hparams = self.hparams
        for name in ("num_sources", "latent_dim"):
            if hparams[name] < 1:
                raise ValueError(f"model.{name} must be 1 or more, not {hparams[name]}")
        for name in ("prior_scale", "likelihood_scale", "lr", "lr_decay", "source_scale"):
            if not 0 < hparams[name] < math.inf:
                raise ValueError(f"model.{name} must be above 0, not {hparams[name]}")
        for name in ("beta", "warmup_steps", "lr_min", "seed"):
            if not 0 <= hparams[name] < math.inf:
                raise ValueError(f"model.{name} must be 0 or more, not {hparams[name]}")
        if not hparams.hidden_dims or min(hparams.hidden_dims) < 1:
            raise ValueError(f"model.hidden_dims must be widths of 1 or more, not {hparams.hidden_dims}")
        for name, choices in (
            ("prior", objective.PriorName),
            ("likelihood", objective.LikelihoodName),
            ("lr_schedule", ScheduleName),
        ):
            if hparams[name] not in choices.__args__:
                raise ValueError(f"model.{name} must be one of {', '.join(choices.__args__)}, not {hparams[name]!r}")

    # ------------------------------------------------------------------ the model

    def encode(self, mixture: Tensor) -> Independent:
        """q(Z | x): (B, C, H, W) -> independent normals of batch shape (B, K) and event shape (D,)."""
        # Under autocast the encoder answers in half precision, too coarse for variances and the rate.
        mean, log_variance = self.encoder(mixture).float().chunk(2, dim=-1)
        stddev = (0.5 * log_variance.clamp(-MAX_LOG_VARIANCE, MAX_LOG_VARIANCE)).exp()
        return Independent(Normal(mean, stddev, validate_args=False), 1, validate_args=False)

    def decode(self, latents: Tensor) -> Tensor:
        """Sources of latents: (..., D) -> (..., C, H, W) in (0, 1), float32."""
        return self.decoder(latents)

    def forward(self, mixture: Tensor) -> Tensor:
        """Estimates of the sources at the posterior mean, not masked: (B, C, H, W) -> (B, K, C, H, W)."""
        return self.decode(self.encode(mixture).mean)

    def _log_likelihood(self, mixture: Tensor, mixture_estimate: Tensor) -> Tensor:
        return objective.log_likelihood(
            self.hparams.likelihood, self.hparams.likelihood_scale, mixture, mixture_estimate
        )

    def _prior(self, latents: Tensor) -> torch.distributions.Distribution:
        return objective.prior(self.hparams.prior, self.hparams.prior_scale, latents)

    # ------------------------------------------------------------------ separation

    def check_refinement(self, refine_steps: int, restarts: int) -> None:
        """Raise a ValueError unless `separate` can refine so."""
        if refine_steps < 0 or restarts < 0:
            raise ValueError(f"refine_steps and restarts must be 0 or more, not {refine_steps} and {restarts}")
        if restarts and not refine_steps:
            raise ValueError("restarts need refine_steps of 1 or more")

    def separate(self, mixture: Tensor, *, masked: bool = True, refine_steps: int = 0, restarts: int = 0) -> Separation:
        """Take mixtures apart.

        Args:
            mixture: (B, C, H, W), floating point, finite, on any device; the model knows [0, K * source_scale], and up
                to K is accepted.
            masked: scale the estimates, pixel by pixel, so that they add up to the mixture; and, if the model is
                `bounded`, none is brighter than source_scale.
            refine_steps: gradient steps on the latents of each mixture, from the encoder's answer; 60 are plenty, each
                costs about as much as the encoder's answer. 0 takes that answer as it is.
            restarts: how many other starts to refine; the best objective wins.

        Returns:
            Separation on the mixture's device, float32. `active` follows `separation.active_slots`, always of masked
            estimates; `confidence` is log p(x | z) + beta log p(z) at the answer, in nats.

        Raises:
            ValueError: the mixture's type, shape, dtype or values are off, or the numbers are negative.
        """
        self.check_refinement(refine_steps, restarts)
        return self._separate_all(mixture, masked, refine_steps=refine_steps, restarts=restarts)

    def label(self, mixture: Tensor, refine_steps: int = 0, restarts: int = 0) -> Separation:
        """As `separate`, masked."""
        return self.separate(mixture, refine_steps=refine_steps, restarts=restarts)

    def _separate(self, mixture: Tensor, masked: bool, **options: int) -> Separation:
        latents = self.encode(mixture).mean
        if options.get("refine_steps"):
            latents = self._refine(mixture, latents, **options)
        estimates = self.decode(latents)
        confidence = self._objective(mixture, latents, estimates)
        shares = self.masked(estimates, mixture)
        active = active_slots(shares, self.hparams.source_scale)
        return Separation(shares if masked else estimates, active, confidence)

    def _objective(self, mixture: Tensor, latents: Tensor, estimates: Tensor) -> Tensor:
        """log p(x | z) + beta log p(z), what refinement maximises: (..., K, D) -> (...), in nats.

        The mixture may lack leading dimensions of the latents.
        """
        total = estimates.sum(-4)
        mixture = mixture.expand_as(total)
        fit = self._log_likelihood(mixture.flatten(0, -4), total.flatten(0, -4)).view(total.shape[:-3])
        if not self.hparams.variational:
            return fit
        return fit + self.hparams.beta * self._prior(latents).log_prob(latents).sum(-1)

    @torch.inference_mode(False)  # a Trainer's test runs in it, and it knows no gradients
    def _refine(self, mixture: Tensor, latents: Tensor, refine_steps: int, restarts: int) -> Tensor:
        mixture, latents = mixture.clone(), latents.clone()  # as ordinary tensors
        # Seeded by the model alone, so that the same mixtures always get the same answer.
        noise = generator(self.hparams.seed, NOISE["refine"], device=latents.device)

        def objective_at(candidates: Tensor) -> Tensor:
            return self._objective(mixture, candidates, self.decode(candidates))

        def quickly(candidates: Tensor) -> Tensor:
            with fastest_autocast(candidates.device):
                return objective_at(candidates)

        with torch.no_grad():
            starts = refinement.starts(latents, self.hparams.prior_scale, restarts, noise)
            return refinement.best(objective_at, refinement.ascend(quickly, starts, refine_steps))

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """n sources decoded from the prior, (n, C, H, W) in the mixture's scale."""
        latents = torch.zeros(n, self.hparams.latent_dim, device=self.device)
        with self.evaluating():
            return self.decode(self._prior(latents).sample())

    # ------------------------------------------------------------------ training

    def bound(self, mixture: Tensor, noise: torch.Generator) -> tuple[Tensor, Tensor]:
        """The parts of the ELBO in nats: distortion (B,), with latents drawn once, and rate (B, K) of (B, C, H, W)."""
        posterior = self.encode(mixture)
        latents = posterior.mean
        rate = torch.zeros_like(latents[..., 0])
        if self.hparams.variational:
            latents = latents + posterior.stddev * torch.randn(latents.shape, generator=noise, device=latents.device)
            rate = objective.rate(posterior, self._prior(latents))
        return -self._log_likelihood(mixture, self.decode(latents).sum(1)), rate

    def _loss(self, mixture: Tensor, stage: Stage, address: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of a batch, and what it is made of, (B,) each."""
        hparams = self.hparams
        noise = generator(hparams.seed, NOISE[stage], address, self.global_rank, device=mixture.device)
        distortion, rate = self.bound(mixture, noise)
        beta = objective.warmed_up(hparams.beta, address, hparams.warmup_steps) if stage == "train" else hparams.beta
        loss = -objective.elbo(distortion, rate, beta).mean()
        return loss, {"elbo": objective.elbo(distortion, rate), "distortion": distortion, "rate": rate.sum(1)}

    def _log_loss(self, stage: Stage, loss: Tensor, parts: dict[str, Tensor]) -> None:
        self.log(f"{stage}/loss", loss, prog_bar=stage == "train", batch_size=len(parts["rate"]))
        means = {f"{stage}/{name}": part.detach().mean() for name, part in parts.items()}
        self.log_dict(means, batch_size=len(parts["rate"]), sync_dist=stage != "train")

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Sees nothing of the batch but the mixture."""
        loss, parts = self._loss(batch["mixture"], "train", self.global_step)
        trainer: Any = self.trainer
        # Only where the logger listens: in every step it would take a seventh of a small one.
        due = (self.global_step + 1) % max(1, trainer.log_every_n_steps) == 0
        if due or not torch.isfinite(loss):
            self._log_loss("train", loss, parts)
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self._log_loss("val", *self._loss(batch["mixture"], "val", batch_idx))
        super().validation_step(batch, batch_idx)

    def test_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self._log_loss("test", *self._loss(batch["mixture"], "test", batch_idx))
        super().test_step(batch, batch_idx)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Adam, and a learning rate that is set before every step."""
        optimizer = torch.optim.Adam(self.parameters(), lr=self.hparams.lr, fused=True)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self._lr_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _lr_factor(self, step: int) -> float:
        """Of the learning rate at an optimiser step."""
        if step == 0 or self.hparams.lr_schedule == "constant":
            return 1.0
        if self.hparams.lr_schedule == "cosine":
            return self.lr_factor_cosine(step)
        steps_per_epoch = math.ceil(self.trainer.num_training_batches / self.trainer.accumulate_grad_batches)
        return max(self.hparams.lr_min / self.hparams.lr, self.hparams.lr_decay ** (step // steps_per_epoch))
