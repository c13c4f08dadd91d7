"""How fast this machine trains, separates and adapts, measured by workloads that take turns.

Machines are noisy, so ratios are taken between turns next to each other; their median and quartiles are reported.
"""

import math
import statistics
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
from vaebss.hardware import fastest_precision
from vaebss.models.masker import MOVES
from vaebss.models.vae import VAE
from vaebss.training import presets
from vaebss.training.student import RemixSeparator
from vaebss.training.trainers import bare_trainer
from vaebss.training.vae import VAEBSS

PAPER_BATCH, FIT_BATCH, REMIX_BATCH = 32, 256, 96
WARM_STEPS = 5  # before the clock starts

NAIVE, FIT, REMIX, ADAPT = "naive loop", "fit.py", "remix.py, its student", "remix.py --data.mixtures, 200 pictures"
SEPARATED = {"vae-k2": 5_000, "remix-k2": 1_000, "remix-1to4": 1_000}  # mixtures in a turn
REFINE_STEPS, REFINED_MIXTURES = 60, 200
REFINED = f"vae-k2, {REFINE_STEPS} steps of refinement"

Workload = Callable[[], float]  # does one turn and returns mixtures per second


class NaiveMixtures(Dataset[Tensor]):
    """A data set of single pairs, as most programs would write it: image i and another one."""

    def __init__(self, images: Tensor):
        self.images = images.float() / 255

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        other = int(torch.randint(len(self.images), ()))
        return (self.images[index] + self.images[other]) / 2


def naive(corpus: Digits, steps: int, batch_size: int = PAPER_BATCH) -> Workload:
    """Return a workload that trains the paper's network in the usual PyTorch loop, in single precision."""
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
    """Measures the time of the training steps after the first few."""

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.now = time.perf_counter()
        if trainer.global_step == WARM_STEPS:
            self.start = self.now

    @property
    def seconds(self) -> float:
        return self.now - self.start


def trained(
    model: Callable[[], LightningModule], data: Callable[..., MNISTMixtures], steps: int, size: int
) -> Workload:
    """Return a workload that trains as the scripts do, with this package's data module, module and Trainer.

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


def fitting(corpus: Digits, steps: int, batch_size: int = FIT_BATCH) -> Workload:
    """Return a workload that trains the paper's network as `scripts/fit.py` does."""
    return trained(VAEBSS, partial(MNISTMixtures, source=corpus), steps, batch_size)


def remixing(corpus: Digits, steps: int, batch_size: int = REMIX_BATCH) -> Workload:
    """Return a workload that trains the mask network as `scripts/remix.py` does, on true digits: they cost as much."""
    bank = Bank(corpus.splits.train.half() * corpus.scale, (2, 2), 0)

    def data(**options: Any) -> Remixes:
        remixes = Remixes(source=corpus, **options)
        remixes.banks = lambda number: bank
        return remixes

    return trained(RemixSeparator, data, steps, batch_size)


def separating(corpus: Digits, name: str, mixtures: int, refine_steps: int = 0) -> Workload:
    """Return a workload that separates mixtures with a shipped model."""
    model = load(name)
    plan = draw_plan(len(corpus.splits.train), mixtures, (2, 2), 0)
    mixture = corpus.dataset("train")[plan]["mixture"]

    def turn() -> float:
        start = time.perf_counter()
        model.separate(mixture, refine_steps=refine_steps)
        return mixtures / (time.perf_counter() - start)

    return turn


def take_turns(workloads: dict[str, Workload], rounds: int, say: Callable[[str], object]) -> dict[str, list]:
    """Run every workload once a round, in an order that is reversed each time; return their rates by name."""
    rates: dict[str, list[float]] = {name: [] for name in workloads}
    for number in range(rounds):
        names = list(workloads) if number % 2 == 0 else list(workloads)[::-1]
        for name in names:
            rates[name].append(workloads[name]())
        say(f"round {number + 1} of {rounds} done")
    return rates


def ratio(rates: dict[str, list[float]], name: str, other: str) -> dict[str, float]:
    """Return the median and quartiles of the ratios within each round."""
    ratios = sorted(a / b for a, b in zip(rates[name], rates[other], strict=True))
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    return {"median": middle, "lower_quartile": low, "upper_quartile": high}


def measure_speed(
    digits: Digits, rounds: int, steps: int, epochs: int, say: Callable[[str], object] = lambda line: None
) -> dict[str, Any]:
    """Measure all workloads on pairs of digits.

    Args:
        digits: What is mixed; speed does not depend on it.
        rounds: Turns of every workload.
        steps: Training steps of a turn.
        epochs: Epochs that `scripts/fit.py` takes by default.
        say: Called with a line after each round.

    Returns:
        Plain values: mixtures per second of each workload, ratios, and the minutes that whole runs take.
    """
    schedule = presets.schedule(digits.modality.shape)["data"]
    workloads: dict[str, Workload] = {NAIVE: naive(digits, steps), FIT: fitting(digits, steps)}
    workloads |= {REMIX: remixing(digits, steps // 4 + 1), ADAPT: remixing(digits, steps, schedule["batch_size"])}
    workloads |= {name: separating(digits, name, number) for name, number in SEPARATED.items()}
    workloads[REFINED] = separating(digits, "vae-k2", REFINED_MIXTURES, refine_steps=REFINE_STEPS)
    rates = take_turns(workloads, rounds, say)
    median = {name: statistics.median(turns) for name, turns in rates.items()}
    return {
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "precision": fastest_precision("cpu"),
        "rounds": rounds,
        "mixtures_per_second": median,
        "fit_over_naive": ratio(rates, FIT, NAIVE),
        **minutes(median, schedule, epochs),
    }


def minutes(rates: dict[str, float], schedule: dict[str, Any], epochs: int) -> dict[str, float]:
    """Return the minutes that default runs take at these rates (mixtures per second), without evaluation."""
    by_default = Remixes().hparams
    fit = epochs * 30_000 / rates[FIT]
    number, later = by_default.num_mixtures, len(by_default.keep) - 1
    first_bank = number / rates[REFINED] * by_default.refine_steps / REFINE_STEPS
    banks = first_bank + later * len(MOVES["pixels"]) * number / rates["remix-k2"]
    seconds = {"fit": fit, "remix": fit + banks + remixes(by_default) / rates[REMIX]}
    seconds["adapt"] = remixes(schedule) / rates[ADAPT]
    return {f"minutes_to_{what}": second / 60 for what, second in seconds.items()}


def remixes(schedule: Any) -> int:
    """Return the number of remixes in all rounds of a schedule."""
    return len(schedule["keep"]) * schedule["epochs_per_round"] * schedule["epoch_size"]


def report(figures: dict[str, Any]) -> str:
    """Return the figures of `measure_speed` as a table in Markdown."""
    against, rates = figures["fit_over_naive"], figures["mixtures_per_second"]
    notes = {
        FIT: f"{against['median']:.1f} ({against['lower_quartile']:.1f} to {against['upper_quartile']:.1f}) times the "
        f"naive loop; {figures['minutes_to_fit']:.0f} minutes in all",
        REMIX: f"{figures['minutes_to_remix']:.0f} minutes in all, from nothing",
        ADAPT: f"{figures['minutes_to_adapt']:.1f} minutes in all",
    }
    separated = (*SEPARATED, REFINED)
    rows = [
        f"| {'separate with ' if n in separated else ''}{n} | {r:,.0f} | {notes.get(n, '')} |" for n, r in rates.items()
    ]
    how = f"{figures['threads']} threads, {figures['precision']}, torch {figures['torch']}"
    return "\n".join([f"\n| {how} | mixtures/s | |", "|---|---|---|", *rows, ""])
