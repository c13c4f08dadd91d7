"""What the benchmark times: each contender trains or separates for a turn, and says how fast it was."""

import math
import time
from collections.abc import Callable
from itertools import chain, repeat
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vaebss.data.collections import Collection, MixtureDataset
from vaebss.data.mixtures import DIGIT_SHAPE, MNISTMixtures
from vaebss.data.plans import draw_plan
from vaebss.hardware import fastest_autocast, fastest_precision
from vaebss.modalities.images import Images
from vaebss.models.vae import VAE
from vaebss.training.vae import VAEBSS

PAPER_BATCH = 32
WARM_STEPS = 5  # before the clock starts
MATMUL = 2_048  # side of the matrices that measure the machine's peak
CPU = torch.device("cpu")

Contender = Callable[[], float]  # one turn, giving mixtures (or operations) per second


class NaiveMixtures(Dataset[Tensor]):
    """Pairs one at a time, as most programs would write it: image i and another one."""

    def __init__(self, images: Tensor):
        self.images = images.float() / 255

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        other = int(torch.randint(len(self.images), ()))
        return (self.images[index] + self.images[other]) / 2


def naive(images: Tensor, steps: int, batch_size: int = PAPER_BATCH) -> Contender:
    """The paper's network in the usual PyTorch loop, in single precision: no Lightning, nothing clever."""
    model = VAE().train()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-4)

    def turn() -> float:
        loader = DataLoader(NaiveMixtures(images), batch_size, shuffle=True, drop_last=True)
        batches = chain.from_iterable(repeat(loader))
        start, losses = 0.0, []
        for step in range(WARM_STEPS + steps):
            if step == WARM_STEPS:
                start = time.perf_counter()
            mixture = next(batches)
            mean, log_variance = model.encoder(mixture).chunk(2, dim=-1)
            latents = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
            estimate = model.decoder(latents).sum(1)
            distortion = (mixture - estimate).abs().flatten(1).sum(1) * math.sqrt(2)
            rate = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum((1, 2))
            loss = (distortion + 0.5 * rate).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return batch_size * steps / (time.perf_counter() - start)

    return turn


class Clock(Callback):
    """Of the training steps after the first few."""

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.now = time.perf_counter()
        if trainer.global_step == WARM_STEPS:
            self.start = self.now

    @property
    def seconds(self) -> float:
        return self.now - self.start


def ours(images: Tensor, steps: int, batch_size: int, num_sources: int = 2) -> Contender:
    """The paper's network as `scripts/fit.py` trains it: our mixtures, our module, Lightning's Trainer."""

    def turn() -> float:
        mixtures = (WARM_STEPS + steps) * batch_size
        data = MNISTMixtures(batch_size=batch_size, epoch_size=mixtures)
        data.collection = Collection(images, images[:0], images[:0], "bundled", 1 / 510)
        clock = Clock()
        trainer = Trainer(
            accelerator="cpu",
            max_epochs=1,
            limit_val_batches=0,
            precision=fastest_precision("cpu"),  # type: ignore[arg-type]
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[clock],
        )
        trainer.fit(VAEBSS(num_sources=num_sources), train_dataloaders=data.train_dataloader())
        return batch_size * steps / clock.seconds

    return turn


def bare(images: Tensor, steps: int, batch_size: int) -> Contender:
    """Forward, backward and Adam on batches that lie ready: what our training would be without the Trainer."""
    dataset = MixtureDataset(images, 1 / 510, Images(DIGIT_SHAPE))
    batches = [dataset[draw_plan(len(images), batch_size, (2, 2), step)] for step in range(WARM_STEPS + steps)]
    model = VAEBSS().train()
    optimizer = torch.optim.Adam(model.parameters(), lr=model.hparams.lr, fused=True)

    def turn() -> float:
        start = 0.0
        for step, batch in enumerate(batches):
            if step == WARM_STEPS:
                start = time.perf_counter()
            optimizer.zero_grad()
            with fastest_autocast(CPU):
                loss, _ = model.loss(batch["mixture"], "train", step)
            loss.backward()
            optimizer.step()
        return batch_size * steps / (time.perf_counter() - start)

    return turn


def matmul(repeats: int = 4) -> float:
    """One turn of a large matrix product in training's own precision: operations per second."""
    dtype = torch.bfloat16 if "bf16" in fastest_precision("cpu") else torch.float32
    factor = torch.randn(MATMUL, MATMUL).to(dtype)
    factor.mm(factor)
    start = time.perf_counter()
    for _ in range(repeats):
        factor.mm(factor)
    return 2 * repeats * MATMUL**3 / (time.perf_counter() - start)


def separating(images: Tensor, mixtures: int, refine_steps: int = 0) -> Contender:
    """`VAE.separate`, with and without refinement."""
    model = VAE().eval()
    plan = draw_plan(len(images), mixtures, (2, 2), 0)
    mixture = MixtureDataset(images, 1 / 510, Images(DIGIT_SHAPE))[plan]["mixture"]

    def turn() -> float:
        start = time.perf_counter()
        model.separate(mixture, refine_steps=refine_steps)
        return mixtures / (time.perf_counter() - start)

    return turn


def operations(num_sources: int = 2) -> int:
    """Of a training step, for each mixture: two a weight forwards, four backwards, the decoder once a source.

    The encoder's first layer needs no gradient of its input.
    """
    model = VAE(num_sources)

    def weights(module: torch.nn.Module) -> list[int]:
        return [layer.weight.numel() for layer in module.modules() if isinstance(layer, torch.nn.Linear)]

    encoder = weights(model.encoder)
    return 6 * sum(encoder) - 2 * encoder[0] + 6 * num_sources * sum(weights(model.decoder))
