"""What the benchmark times: each contender trains or separates for a turn, and says how fast it was."""

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
from vaebss.training.student import RemixSeparator
from vaebss.training.trainers import bare_trainer
from vaebss.training.vae import VAEBSS

PAPER_BATCH, FIT_BATCH, REMIX_BATCH = 32, 256, 96
WARM_STEPS = 5  # before the clock starts

Contender = Callable[[], float]  # one turn, giving mixtures per second


class NaiveMixtures(Dataset[Tensor]):
    """Pairs one at a time, as most programs would write it: image i and another one."""

    def __init__(self, images: Tensor):
        self.images = images.float() / 255

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        other = int(torch.randint(len(self.images), ()))
        return (self.images[index] + self.images[other]) / 2


def naive(corpus: Digits, steps: int, batch_size: int = PAPER_BATCH) -> Contender:
    """The paper's network in the usual PyTorch loop, in single precision: no Lightning, nothing clever."""
    model = VAE().train()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-4)

    def turn() -> float:
        loader = DataLoader(NaiveMixtures(corpus.splits.train), batch_size, shuffle=True, drop_last=True)
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


def trained(
    model: Callable[[], LightningModule], data: Callable[..., MNISTMixtures], steps: int, size: int
) -> Contender:
    """Return a contender that trains as our scripts do: our mixtures, our module, Lightning's Trainer.

    Args:
        model: Makes the module of a turn.
        data: Makes the data module of a turn, from the length of an epoch and a batch size.
        steps: Steps that are timed.
        size: Mixtures in a batch.
    """

    def turn() -> float:
        clock = Clock()
        short = {"max_epochs": 1, "limit_val_batches": 0, "enable_progress_bar": False}
        trainer = bare_trainer(accelerator="cpu", callbacks=[clock], **short)
        trainer.fit(model(), data(epoch_size=(WARM_STEPS + steps) * size, batch_size=size))
        return size * steps / clock.seconds

    return turn


def fitting(corpus: Digits, steps: int, batch_size: int = FIT_BATCH) -> Contender:
    """The paper's network, as `scripts/fit.py` trains it."""
    return trained(VAEBSS, partial(MNISTMixtures, source=corpus), steps, batch_size)


def remixing(corpus: Digits, steps: int, batch_size: int = REMIX_BATCH) -> Contender:
    """The mask network, as `scripts/remix.py` trains it; remixes of true digits cost as much as those of estimates."""
    bank = Bank(corpus.splits.train.half() * corpus.scale, (2, 2), 0)

    def data(**options: Any) -> Remixes:
        remixes = Remixes(source=corpus, **options)
        remixes.banks = lambda number: bank
        return remixes

    return trained(RemixSeparator, data, steps, batch_size)


def separating(corpus: Digits, name: str, mixtures: int, refine_steps: int = 0) -> Contender:
    """A shipped model takes mixtures apart."""
    model = load(name)
    plan = draw_plan(len(corpus.splits.train), mixtures, (2, 2), 0)
    mixture = corpus.dataset("train")[plan]["mixture"]

    def turn() -> float:
        start = time.perf_counter()
        model.separate(mixture, refine_steps=refine_steps)
        return mixtures / (time.perf_counter() - start)

    return turn
