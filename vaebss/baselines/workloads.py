"""Workloads of the benchmark: turns of training or separating, which are timed and may be profiled."""

import math
import time
from collections.abc import Callable
from functools import partial
from itertools import chain, repeat
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vaebss.checkpoints import load
from vaebss.data.bank import Bank
from vaebss.data.corpora.digits import Digits
from vaebss.data.mixtures import MNISTMixtures
from vaebss.data.plans import draw_plan
from vaebss.data.remixes import Remixes
from vaebss.models.vae import VAE
from vaebss.training.pace import WARM_STEPS, finished
from vaebss.training.student import RemixSeparator
from vaebss.training.trainers import bare_trainer
from vaebss.training.vae import VAEBSS

PAPER_BATCH, FIT_BATCH, REMIX_BATCH = 32, 256, 96

Workload = Callable[..., float]  # does one turn and returns mixtures per second; may be watched by a profiler


class NaiveMixtures(Dataset[Tensor]):
    """A data set of single pairs, as most programs would write it: image i and another one."""

    def __init__(self, images: Tensor):
        self.images = images.float() / 255

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        other = int(torch.randint(len(self.images), ()))
        return (self.images[index] + self.images[other]) / 2


def naive(corpus: Digits, steps: int, device: torch.device, batch_size: int = PAPER_BATCH) -> Workload:
    """Return a workload that trains the paper's network in the usual PyTorch loop, in single precision.

    Args:
        corpus: Digits that are mixed in pairs.
        steps: Number of training steps in a turn.
        device: Device that computes.
        batch_size: Number of mixtures in a step.
    """
    model = VAE().train().to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-4)

    def turn() -> float:
        loader = DataLoader(NaiveMixtures(corpus.splits.train), batch_size, shuffle=True, drop_last=True)
        batches = chain.from_iterable(repeat(loader))
        start, losses = 0.0, []
        for step in range(WARM_STEPS + steps):
            if step == WARM_STEPS:
                start = time.monotonic()
            mixture = next(batches).to(device)
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
        return batch_size * steps / (finished() - start)

    return turn


class Clock(Callback):
    """Measures the time of the training steps after the first few, which a profiler may watch."""

    def __init__(self, watch: Any = None):
        self.watch = watch

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == WARM_STEPS:
            self.start = finished()
            if self.watch:
                self.watch.start()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.seconds = finished() - self.start
        if self.watch:
            self.watch.stop()


def trained(
    model: Callable[[], LightningModule],
    data: Callable[..., MNISTMixtures],
    steps: int,
    size: int,
    device: torch.device,
) -> Workload:
    """Return a workload that trains as the scripts do, with this package's data module, module and Trainer.

    Args:
        model: Makes the module of a turn.
        data: Makes the data module of a turn, from the length of an epoch and a batch size.
        steps: Steps that are timed.
        size: Mixtures in a batch.
        device: Device to train on.
    """

    def turn(watch: Any = None) -> float:
        clock = Clock(watch)
        short = {"max_epochs": 1, "limit_val_batches": 0, "enable_progress_bar": False}
        trainer = bare_trainer(accelerator=device.type, callbacks=[clock], **short)
        trainer.fit(model(), data(epoch_size=(WARM_STEPS + steps) * size, batch_size=size))
        return size * steps / clock.seconds

    return turn


def fitting(corpus: Digits, steps: int, device: torch.device, batch_size: int = FIT_BATCH) -> Workload:
    """Return a workload that trains the paper's network as `scripts/fit.py` does.

    Args:
        corpus: Digits that are mixed.
        steps: Number of training steps.
        device: Device on which to train.
        batch_size: Number of mixtures in a step.
    """
    return trained(VAEBSS, partial(MNISTMixtures, source=corpus), steps, batch_size, device)


def remixing(corpus: Digits, steps: int, device: torch.device, batch_size: int = REMIX_BATCH) -> Workload:
    """Return a workload that trains the mask network as `scripts/remix.py` does.

    It trains on true digits, which cost as much as estimates.

    Args:
        corpus: Digits that are remixed.
        steps: Number of training steps.
        device: Device on which to train.
        batch_size: Number of remixes in a step.
    """
    bank = Bank(corpus.splits.train.half() * corpus.scale, (2, 2), 0)

    def data(**options: Any) -> Remixes:
        remixes = Remixes(source=corpus, **options)
        remixes.banks = lambda number: bank
        return remixes

    return trained(RemixSeparator, data, steps, batch_size, device)


def separating(corpus: Digits, name: str, mixtures: int, device: torch.device, refine_steps: int = 0) -> Workload:
    """Return a workload that separates mixtures with a shipped model.

    Args:
        corpus: Digits that are mixed in pairs.
        name: Name of the model.
        mixtures: Number of mixtures in a turn.
        device: Device that computes.
        refine_steps: Number of steps of refinement.
    """
    model = load(name).to(device)
    plan = draw_plan(len(corpus.splits.train), mixtures, (2, 2), 0)
    mixture = corpus.dataset("train")[plan]["mixture"].to(device)

    def turn(watch: Any = None) -> float:
        start = finished()
        if watch:
            watch.start()
        model.separate(mixture, refine_steps=refine_steps)
        seconds = finished() - start
        if watch:
            watch.stop()
        return mixtures / seconds

    return turn
