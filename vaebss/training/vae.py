"""Training of the variational auto-encoder, as a LightningModule."""

# B mixtures, K assumed sources

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from vaebss.errors import check_above_zero, check_at_least
from vaebss.models.objective import Bound, warmed_up
from vaebss.models.vae import VAE
from vaebss.seeding import generator
from vaebss.training.system import EvaluationStage, System

ScheduleName = Literal["cosine", "exponential", "constant"]
Stage = Literal["train", "val", "test"]

NOISE = {"train": 10, "val": 11, "test": 12}  # the second number of the posterior noise's address


class VAEBSS(System):
    """Unsupervised single-channel source separation with a variational auto-encoder (Neri et al. 2021).

    Holds a VAE as `model`. Training maximises the ELBO of mixtures alone.

    Args:
        warmup_steps: Optimiser steps over which beta rises from 0. Keep it small: a slow rise teaches the slots to
            share every digit out among themselves.
        lr: Learning rate of Adam.
        lr_schedule: Schedule of the learning rate: "cosine" falls to lr_min at the end of training; "exponential" is
            multiplied by lr_decay each epoch, down to lr_min.
        lr_decay: Factor of the exponential schedule.
        lr_min: Lowest learning rate of a schedule.
        model: Options of the VAE.

    Examples:
        >>> import torch
        >>> from pytorch_lightning import Trainer
        >>> from vaebss import VAEBSS
        >>> from torch.utils.data import DataLoader
        >>> batches = [{"mixture": torch.rand(32, 1, 28, 28)} for _ in range(3)]
        >>> module = VAEBSS(num_sources=2)
        >>> quiet = dict(logger=False, enable_progress_bar=False, enable_model_summary=False)
        >>> trainer = Trainer(max_epochs=1, accelerator="cpu", **quiet)
        >>> trainer.fit(module, DataLoader(batches, batch_size=None))
        >>> module.separate(batches[0]["mixture"]).sources.shape
        torch.Size([32, 2, 1, 28, 28])
    """

    model: VAE

    def __init__(
        self,
        warmup_steps: int = 100,
        lr: float = 1.5e-3,
        lr_schedule: ScheduleName = "cosine",
        lr_decay: float = 0.9998,
        lr_min: float = 1e-5,
        **model: Any,
    ):
        super().__init__()
        check_above_zero(model__lr=lr, model__lr_decay=lr_decay)
        check_at_least(0, model__warmup_steps=warmup_steps, model__lr_min=lr_min)
        if lr_schedule not in ScheduleName.__args__:
            raise ValueError(f"model.lr_schedule must be one of {ScheduleName.__args__}, not {lr_schedule!r}")
        training = {"lr": lr, "lr_schedule": lr_schedule, "lr_decay": lr_decay, "lr_min": lr_min}
        self._set_model(VAE(**model), warmup_steps=warmup_steps, **training)

    def inputs(self, batch: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """Return the mixtures (B, C, H, W), the posterior noise of this step (B, K, D) and its beta, ()."""
        return self._inputs(batch["mixture"], "train", self.global_step)

    def _inputs(self, mixture: Tensor, stage: Stage, address: int) -> tuple[Tensor, Tensor, Tensor]:
        source = generator(self.model.seed, NOISE[stage], address, self.global_rank, device=mixture.device)
        beta = self.model.beta
        if stage == "train":
            beta = warmed_up(beta, address, self.hparams.warmup_steps)
        return mixture, self.model.noise(len(mixture), source), mixture.new_full((), beta)

    def cost(self, mixture: Tensor, noise: Tensor, beta: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        """Return the loss of a batch, minus its mean ELBO, and the parts of the ELBO without gradients.

        Args:
            mixture: Mixtures (B, C, H, W).
            noise: Standard normal noise of the latents, (B, K, D).
            beta: Weight of the rate, ().

        Returns:
            The loss (), the distortion (B,) and the rate (B, K) in nats.
        """
        bound = self.model.bound(mixture, noise)
        return -bound.elbo(beta).mean(), bound.distortion.detach(), bound.rate.detach()

    def loss(self, mixture: Tensor, stage: Stage, address: int) -> tuple[Tensor, Bound]:
        """Return the loss, with a beta that warms up in training, and the parts of the ELBO, without gradients.

        Args:
            mixture: Mixtures, (B, C, H, W).
            stage: Stage of training; it selects the posterior noise together with `address`.
            address: Number of the step in training, otherwise of the batch.

        """
        loss, distortion, rate = self.cost(*self._inputs(mixture, stage, address))
        return loss, Bound(distortion, rate)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Return the loss, the mean of minus the ELBO in nats, of a batch.

        Args:
            batch: Batch, of which only the "mixture" (B, C, H, W) is read.
            batch_idx: Number of the batch in the epoch.
        """
        loss, distortion, rate = self.compute(*self.inputs(batch))
        if self.logs_now:
            self._log("train", loss, Bound(distortion, rate))
            self.log("train/beta", warmed_up(self.model.beta, self.global_step, self.hparams.warmup_steps))
            self.log_rate()
        return loss

    def evaluated(self, mixture: Tensor, stage: EvaluationStage, batch_idx: int) -> Mapping[str, Any]:
        self._log(stage, *self.loss(mixture, stage, batch_idx))
        return super().evaluated(mixture, stage, batch_idx)

    def _log(self, stage: Stage, loss: Tensor, bound: Bound) -> None:
        everywhere = stage != "train"  # of a step every process has its own
        self.log(f"{stage}/loss", loss, prog_bar=not everywhere, batch_size=len(bound.rate), sync_dist=everywhere)
        parts = {"elbo": bound.elbo(), "distortion": bound.distortion, "rate": bound.rate.sum(1)}
        means = {f"{stage}/{name}": part.detach().mean() for name, part in parts.items()}
        self.log_dict(means, batch_size=len(bound.rate), sync_dist=everywhere)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Return Adam, and a learning rate that is set before every step."""
        clipped = self.trainer.gradient_clip_val is not None  # which the fused one cannot be in mixed precision
        optimizer = torch.optim.Adam(self.parameters(), lr=self.hparams.lr, fused=not clipped)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self.lr_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def lr_factor(self, step: int) -> float:
        """Return the factor of the learning rate at an optimiser step."""
        if step == 0 or self.hparams.lr_schedule == "constant":
            return 1.0
        if self.hparams.lr_schedule == "cosine":
            return self.cosine(step)
        steps_per_epoch = math.ceil(self.trainer.num_training_batches / self.trainer.accumulate_grad_batches)
        return max(self.hparams.lr_min / self.hparams.lr, self.hparams.lr_decay ** (step // steps_per_epoch))


@torch.no_grad()
def mean_nats(model: VAE, batches: Iterable[dict[str, Tensor]]) -> dict[str, float]:
    """Return the mean "loss", "elbo", "distortion" and "rate" of mixtures, in nats.

    Args:
        model: The VAE.
        batches: Batches of mixtures; true sources are not read.
    """
    model, parts = model.eval_copy(), []
    for number, batch in enumerate(batches):
        mixture = batch["mixture"].to(model.device)
        noise = generator(model.seed, NOISE["test"], number, 0, device=model.device)
        bound = model.bound(mixture, model.noise(len(mixture), noise))
        parts.append(torch.stack([-bound.elbo(model.beta), bound.elbo(), bound.distortion, bound.rate.sum(1)]))
    means = torch.cat(parts, 1).mean(1).tolist()
    return dict(zip(("loss", "elbo", "distortion", "rate"), means, strict=True))
