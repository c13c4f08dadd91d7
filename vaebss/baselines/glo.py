"""Generative latent optimisation (Bojanowski et al. 2018) of mixtures, as a LightningModule.

There is no encoder: the latents of a fixed list of training mixtures are parameters, fitted together with the decoder.
"""

# B mixtures, K assumed sources, D latent size, N mixtures in the list

import math
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler

from vaebss.data.mixtures import MNISTMixtures
from vaebss.hardware import fastest_autocast
from vaebss.models.networks import Decoder
from vaebss.seeding import generator
from vaebss.separation import Separation, active_slots, check_mixture, mask

LATENTS, ORDER, STARTS = range(3)  # the second number of an address
BETAS = 0.5, 0.9  # of Adam on the list's latents: a mixture is seen some dozens of times, so averages are short
EPSILON = 1e-8
LOWEST = 0.02  # share of the learning rates left at the end of the cosine


class ListedMixtures(Dataset[tuple[Tensor, Tensor]]):
    """A list of mixtures (N, C, H, W); its items are whole batches: their numbers in the list, and the mixtures."""

    def __init__(self, mixtures: Tensor):
        self.mixtures = mixtures

    def __len__(self) -> int:
        return len(self.mixtures)

    def __getitem__(self, numbers: list[int]) -> tuple[Tensor, Tensor]:
        chosen = torch.tensor(numbers)
        return chosen, self.mixtures[chosen]


class GLO(LightningModule):
    """Explains a mixture as the sum of K decoded latents, found by gradient descent, within a ball.

    In a training step, the latents of the batch and the decoder each take one step down the squared error. Taking a
    mixture apart fits its latents to it while the decoder is fixed: from several starting points for a while, and
    from there on with the best.

    Args:
        num_sources: K.
        latent_dim: D.
        hidden_dims: the VAE's; the decoder mirrors them.
        num_mixtures: N. The budget is spent on as many passes over this list as it allows.
        lr: Adam's learning rate for the decoder, falling on a cosine.
        latent_lr: that for the list's latents.
        fit_lr: that for the latents of a mixture to take apart.
        starts: starting points.
        start_steps: steps from each.
        fit_steps: steps from the best.
        image_shape: (C, H, W) of a mixture.
        source_scale: brightest pixel of a source.
        seed: of the first latents and the order of the list.
    """

    hparams: Any  # an AttributeDict, which type checkers cannot see into
    latents: Tensor
    gradient: Tensor
    squared_gradient: Tensor

    def __init__(
        self,
        num_sources: int = 2,
        latent_dim: int = 20,
        hidden_dims: tuple[int, ...] = (700, 600, 500, 400, 300),
        num_mixtures: int = 10_000,
        lr: float = 3e-3,
        latent_lr: float = 0.5,
        fit_lr: float = 0.2,
        starts: int = 2,
        start_steps: int = 40,
        fit_steps: int = 120,
        image_shape: tuple[int, int, int] = (1, 28, 28),
        source_scale: float = 0.5,
        seed: int = 0,
    ):
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.decoder = Decoder(image_shape, hidden_dims, latent_dim)
        # Adam's averages for the list's latents, kept here so that a step costs a batch and not the whole list.
        for name in ("latents", "gradient", "squared_gradient"):
            self.register_buffer(name, torch.zeros(num_mixtures, num_sources, latent_dim), persistent=False)
        self.latents.copy_(self._drawn(num_mixtures, LATENTS))

    def _drawn(self, n: int, *address: int) -> Tensor:
        """Latents to start from, (n, K, D)."""
        shape = (n, self.hparams.num_sources, self.hparams.latent_dim)
        return self._within_ball(torch.randn(shape, generator=generator(self.hparams.seed, *address))).to(self.device)

    def _within_ball(self, latents: Tensor) -> Tensor:
        """Projection of (..., D) onto the ball of radius sqrt(D), where most of a standard normal lies."""
        radius = math.sqrt(self.hparams.latent_dim)
        return latents * (radius / latents.norm(dim=-1, keepdim=True).clamp(min=radius))

    def error(self, latents: Tensor, mixture: Tensor) -> Tensor:
        """Squared error of the sum of decoded latents, summed over pixels: (B, K, D), (B, C, H, W) -> (B,)."""
        return (self.decoder(latents).sum(1) - mixture).flatten(1).square().sum(1)

    # ------------------------------------------------------------------ training

    def batches(self, data: MNISTMixtures) -> DataLoader:
        """As many mixtures as an epoch of `data`, from a list of its first N in an order drawn for every pass."""
        n, epoch_size, batch_size = self.hparams.num_mixtures, data.hparams.epoch_size, data.hparams.batch_size
        drawn, mixtures = 0, []
        for batch in data.train_dataloader():
            mixtures.append(batch["mixture"])
            drawn += len(batch["mixture"])
            if drawn >= n:
                break
        listed = ListedMixtures(torch.cat(mixtures)[:n])
        order = RandomSampler(listed, num_samples=epoch_size, generator=generator(self.hparams.seed, ORDER))
        return DataLoader(listed, batch_size=None, sampler=BatchSampler(order, batch_size, drop_last=True))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        numbers, mixture = batch
        optimizer: Any = self.optimizers()
        decay = LOWEST + (1 - LOWEST) * 0.5 * (1 + math.cos(math.pi * batch_idx / self.trainer.num_training_batches))
        optimizer.param_groups[0]["lr"] = self.hparams.lr * decay
        latents = self.latents[numbers].requires_grad_()
        loss = self.error(latents, mixture).mean()
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        self._step_latents(numbers, latents.detach(), latents.grad, self.hparams.latent_lr * decay)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(mixture))

    def _step_latents(self, numbers: Tensor, latents: Tensor, gradient: Any, lr: float) -> None:
        """A step of Adam, on the latents of a batch alone; without its correction of early averages."""
        first, second = BETAS
        self.gradient[numbers] = first * self.gradient[numbers] + (1 - first) * gradient
        self.squared_gradient[numbers] = second * self.squared_gradient[numbers] + (1 - second) * gradient.square()
        step = self.gradient[numbers] / (self.squared_gradient[numbers].sqrt() + EPSILON)
        self.latents[numbers] = self._within_ball(latents - lr * step)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.decoder.parameters(), lr=self.hparams.lr, fused=True)

    # ------------------------------------------------------------------ separation

    def separate(self, mixture: Tensor) -> Separation:
        """Take mixtures (B, C, H, W) apart, as VAEBSS.separate; the confidence is minus the squared error."""
        hparams = self.hparams
        check_mixture(mixture, hparams.image_shape, hparams.num_sources)
        self.eval()
        here = mixture.to(self.device, torch.float32)
        fits = [
            self._fit(self._drawn(len(here), STARTS, start), here, hparams.start_steps)
            for start in range(hparams.starts)
        ]
        with torch.no_grad():
            best = torch.stack([self.error(fit, here) for fit in fits]).argmin(0)  # (B,)
        latents = torch.stack(fits)[best, torch.arange(len(here), device=self.device)]
        latents = self._fit(latents, here, hparams.fit_steps)
        with torch.no_grad():
            estimates = mask(self.decoder(latents), here, hparams.source_scale)
            confidence = -self.error(latents, here)
        return Separation(estimates, active_slots(estimates, hparams.source_scale), confidence).to(mixture.device)

    def _fit(self, latents: Tensor, mixture: Tensor, steps: int) -> Tensor:
        """Adam on latents (B, K, D), each mixture's error on its own, the decoder fixed."""
        latents = latents.detach().clone().requires_grad_()
        optimizer = torch.optim.Adam([latents], lr=self.hparams.fit_lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            with torch.enable_grad(), fastest_autocast(self.device):
                error = self.error(latents, mixture).sum()
            (latents.grad,) = torch.autograd.grad(error, latents)
            optimizer.step()
            schedule.step()
            latents.data = self._within_ball(latents.data)
        return latents.detach()
