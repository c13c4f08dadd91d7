"""Generative latent optimisation (Bojanowski et al. 2018) for mixtures, and its training as a LightningModule.

There is no encoder. The latents of a fixed list of training mixtures are parameters, fitted together with the decoder.
"""

# B mixtures, K assumed sources, D latent size, N mixtures in the list

import math
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler

from vaebss.baselines.method import Method, Setting
from vaebss.data.mixtures import MNISTMixtures
from vaebss.hardware import fastest_autocast
from vaebss.models.networks import Decoder, OutputName
from vaebss.models.refinement import ascend
from vaebss.models.separator import Separator
from vaebss.seeding import generator
from vaebss.separation import add_up

LATENTS, ORDER, STARTS = range(3)  # the second number of an address
BETAS = 0.5, 0.9  # of Adam for the list's latents: a mixture is seen some dozens of times, so averages are short
EPSILON = 1e-8
LOWEST = 0.02  # factor of the learning rates at the end of the cosine


class ListedMixtures(Dataset[tuple[Tensor, Tensor]]):
    """A list of mixtures (N, C, H, W) whose items are whole batches: indices in the list, and mixtures."""

    def __init__(self, mixtures: Tensor):
        self.mixtures = mixtures

    def __len__(self) -> int:
        return len(self.mixtures)

    def __getitem__(self, numbers: list[int]) -> tuple[Tensor, Tensor]:
        chosen = torch.tensor(numbers)
        return chosen, self.mixtures[chosen]


class GLO(Separator):
    """A separator that models a mixture as the sum of K decoded latents, which gradient descent finds within a ball.

    To separate a mixture, its latents are fitted to it with the decoder fixed, first from several starts and then
    from the best of them. The ranking of separations is the negative squared error.

    Args:
        num_sources: Number K of slots.
        latent_dim: D.
        hidden_dims: Widths of the VAE's encoder; the decoder mirrors them.
        fit_lr: Adam's learning rate for the latents of a mixture to separate.
        starts: Number of starts.
        start_steps: Steps from each start.
        fit_steps: Steps from the best one.
        image_shape: (C, H, W) of a mixture.
        source_scale: Brightest pixel of a source.
        output: Output function of the decoder, see VAE.
        exponent: Exponent p; sources add up to a mixture as (sum_k s_k^p)^(1/p).
        seed: Random seed of the initial latents.
    """

    def __init__(
        self,
        num_sources: int = 2,
        latent_dim: int = 20,
        hidden_dims: tuple[int, ...] = (700, 600, 500, 400, 300),
        fit_lr: float = 0.2,
        starts: int = 2,
        start_steps: int = 40,
        fit_steps: int = 120,
        image_shape: tuple[int, ...] = (1, 28, 28),
        source_scale: float = 0.5,
        output: OutputName = "sigmoid",
        exponent: float = 1.0,
        seed: int = 0,
    ):
        super().__init__(num_sources, image_shape, source_scale, exponent=exponent)
        self.latent_dim, self.hidden_dims, self.seed = latent_dim, hidden_dims, seed
        self.fit_lr, self.starts, self.start_steps, self.fit_steps = fit_lr, starts, start_steps, fit_steps
        self.output = output
        self.decoder = Decoder(image_shape, hidden_dims, latent_dim, output)

    def drawn(self, n: int, *address: int) -> Tensor:
        """Sample initial latents, (n, K, D)."""
        shape = (n, self.num_sources, self.latent_dim)
        return within_ball(torch.randn(shape, generator=generator(self.seed, *address))).to(self.device)

    def error(self, latents: Tensor, mixture: Tensor) -> Tensor:
        """Return the squared error of the summed sources, over all pixels.

        Args:
            latents: Latents of all slots, (B, K, D).
            mixture: Mixtures (B, C, H, W).

        Returns:
            (B,).
        """
        return (add_up(self.decoder(latents), self.exponent) - mixture).flatten(1).square().sum(1)

    def _estimate(self, mixture: Tensor) -> tuple[Tensor, Tensor]:
        starts = [self.drawn(len(mixture), STARTS, number) for number in range(self.starts)]
        fits = [self._fit(start, mixture, self.start_steps) for start in starts]
        best = torch.stack([self.error(fit, mixture) for fit in fits]).argmin(0)  # (B,)
        latents = torch.stack(fits)[best, torch.arange(len(mixture), device=mixture.device)]
        latents = self._fit(latents, mixture, self.fit_steps)
        return self.decoder(latents), -self.error(latents, mixture)

    def _fit(self, latents: Tensor, mixture: Tensor, steps: int) -> Tensor:
        """Fit latents (B, K, D) to the mixtures, each within the ball and with the decoder fixed."""

        def closeness(latents: Tensor) -> Tensor:
            with fastest_autocast(self.device):
                return -self.error(latents, mixture)

        return ascend(closeness, latents, steps, self.fit_lr, within_ball)


def within_ball(latents: Tensor) -> Tensor:
    """Project latents (..., D) onto the ball of radius sqrt(D), where most of a standard normal lies."""
    radius = math.sqrt(latents.shape[-1])
    return latents * (radius / latents.norm(dim=-1, keepdim=True).clamp(min=radius))


class GLOTraining(LightningModule):
    """The training of a GLO model. Each step updates the batch's latents and the decoder by the squared error.

    Args:
        model: Model to train.
        num_mixtures: N, the length of the list. The budget allows several passes over it.
        lr: Adam's learning rate for the decoder; it falls on a cosine.
        latent_lr: Learning rate for the list's latents; it falls alike.
    """

    latents: Tensor
    gradient: Tensor
    squared_gradient: Tensor

    def __init__(self, model: GLO, num_mixtures: int = 10_000, lr: float = 3e-3, latent_lr: float = 0.5):
        super().__init__()
        self.model, self.num_mixtures, self.lr, self.latent_lr = model, num_mixtures, lr, latent_lr
        self.automatic_optimization = False
        # Adam's averages for the list's latents are kept here, so that a step costs a batch and not the whole list.
        for name in ("latents", "gradient", "squared_gradient"):
            zeros = torch.zeros(num_mixtures, model.num_sources, model.latent_dim)
            self.register_buffer(name, zeros, persistent=False)
        self.latents.copy_(model.drawn(num_mixtures, LATENTS))

    def batches(self, data: MNISTMixtures) -> DataLoader:
        """Return a loader of as many mixtures as an epoch of `data`, from its first N; each pass has a new order."""
        n, epoch_size, batch_size = self.num_mixtures, data.hparams.epoch_size, data.hparams.batch_size
        drawn, mixtures = 0, []
        for batch in data.train_dataloader():
            mixtures.append(batch["mixture"])
            drawn += len(batch["mixture"])
            if drawn >= n:
                break
        listed = ListedMixtures(torch.cat(mixtures)[:n])
        order = RandomSampler(listed, num_samples=epoch_size, generator=generator(self.model.seed, ORDER))
        return DataLoader(listed, batch_size=None, sampler=BatchSampler(order, batch_size, drop_last=True))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        numbers, mixture = batch
        optimizer: Any = self.optimizers()
        decay = LOWEST + (1 - LOWEST) * 0.5 * (1 + math.cos(math.pi * batch_idx / self.trainer.num_training_batches))
        optimizer.param_groups[0]["lr"] = self.lr * decay
        latents = self.latents[numbers].requires_grad_()
        loss = self.model.error(latents, mixture).mean()
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        self._step_latents(numbers, latents.detach(), latents.grad, self.latent_lr * decay)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(mixture))

    def _step_latents(self, numbers: Tensor, latents: Tensor, gradient: Any, lr: float) -> None:
        """Update the latents of a batch by one step of Adam, without its bias correction."""
        first, second = BETAS
        self.gradient[numbers] = first * self.gradient[numbers] + (1 - first) * gradient
        self.squared_gradient[numbers] = second * self.squared_gradient[numbers] + (1 - second) * gradient.square()
        step = self.gradient[numbers] / (self.squared_gradient[numbers].sqrt() + EPSILON)
        self.latents[numbers] = within_ball(latents - lr * step)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.model.decoder.parameters(), lr=self.lr, fused=True)


def _learn(setting: Setting, data: MNISTMixtures) -> Separator:
    sizes = setting.some("latent_dim", "hidden_dims", "output")
    training = GLOTraining(GLO(**setting.shared, **sizes, seed=setting.seed))
    return setting.train(training, training.batches(data))


METHOD = Method(_learn, only_k=2)
