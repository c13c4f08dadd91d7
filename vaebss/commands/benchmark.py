"""The command line of the benchmark: what training and separating cost, contenders taking turns in one run.

Machines are noisy, so figures are ratios of turns that lie next to each other: their median and quartiles.
"""

import json
import math
import resource
import statistics
import sys
import time
from collections.abc import Callable
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer, seed_everything
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vaebss.commands.terminal import OneLineErrors, quieten, run_cleanly
from vaebss.data.digits import Digits
from vaebss.data.mixtures import MixtureDataset, MNISTMixtures, draw_plan
from vaebss.hardware import fastest_autocast, fastest_precision
from vaebss.pictures import benchmark_figure
from vaebss.training.vae import VAEBSS

PAPER_BATCH = 32
BARE_BATCH = 128
BATCHES = (32, 128, 256, 512, 1024)
SOURCES = (1, 2, 3, 4)
SIZES = (1_000, 10_000, 60_000)  # images to draw mixtures from
WARM_STEPS = 5  # before the clock starts
MATMUL = 2_048  # side of the matrices that measure the machine's peak
CPU = torch.device("cpu")

Contender = Callable[[], float]  # one turn, giving mixtures (or operations) per second


# ------------------------------------------------------------------ the contenders


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
    model = VAEBSS().train()
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
        data.digits = Digits(images, images[:0], images[:0], "bundled")
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
        trainer.fit(VAEBSS(num_sources), train_dataloaders=data.train_dataloader())
        return batch_size * steps / clock.seconds

    return turn


def bare(images: Tensor, steps: int, batch_size: int) -> Contender:
    """Forward, backward and Adam on batches that lie ready: what our training would be without the Trainer."""
    dataset = MixtureDataset(images, 1 / 510)
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
                loss, _ = model._loss(batch["mixture"], "train", step)
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
    """`VAEBSS.separate`, with and without refinement."""
    model = VAEBSS().eval()
    plan = draw_plan(len(images), mixtures, (2, 2), 0)
    mixture = MixtureDataset(images, 1 / 510)[plan]["mixture"]

    def turn() -> float:
        start = time.perf_counter()
        model.separate(mixture, refine_steps=refine_steps)
        return mixtures / (time.perf_counter() - start)

    return turn


def operations(num_sources: int = 2) -> int:
    """Of a training step, for each mixture: two a weight forwards, four backwards, the decoder once a source.

    The encoder's first layer needs no gradient of its input.
    """
    model = VAEBSS(num_sources)

    def weights(module: torch.nn.Module) -> list[int]:
        return [layer.weight.numel() for layer in module.modules() if isinstance(layer, torch.nn.Linear)]

    encoder = weights(model.encoder)
    return 6 * sum(encoder) - 2 * encoder[0] + 6 * num_sources * sum(weights(model.decoder))


# ------------------------------------------------------------------ turns and their ratios


def take_turns(contenders: dict[str, Contender], rounds: int, say: Callable[[str], None] = print) -> dict[str, list]:
    """Every contender once a round, in an order that turns around each time."""
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds):
        names = list(contenders) if number % 2 == 0 else list(contenders)[::-1]
        for name in names:
            rates[name].append(contenders[name]())
        say(f"round {number + 1} of {rounds} done")
    return rates


def ratio(rates: dict[str, list[float]], name: str, other: str, scale: float = 1.0) -> dict[str, float]:
    """Median and quartiles of the ratios within each round."""
    ratios = sorted(scale * a / b for a, b in zip(rates[name], rates[other], strict=True))
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    return {"median": middle, "lower_quartile": low, "upper_quartile": high}


def benchmark(images: Tensor, rounds: int, steps: int) -> dict[str, Any]:
    """All figures of a run, as written to benchmark.json."""
    contenders: dict[str, Contender] = {
        f"naive loop, batch {PAPER_BATCH}": naive(images, steps),
        f"bare step, batch {BARE_BATCH}": bare(images, steps, BARE_BATCH),
        "matmul": matmul,
        "separate": separating(images, 5_000),
        "separate, refined": separating(images, 500, refine_steps=60),
    }
    contenders |= {_batch(size): ours(images, max(10, steps * BARE_BATCH // size), size) for size in BATCHES}
    contenders |= {_sources(k): ours(images, max(10, steps // 2), 256, k) for k in SOURCES if k != 2}
    contenders |= {_size(n): ours(images.repeat(-(-n // len(images)), 1, 1, 1)[:n], steps // 2, 256) for n in SIZES}
    rates = take_turns(contenders, rounds)
    median = {name: statistics.median(turns) for name, turns in rates.items()}
    best = max(map(_batch, BATCHES), key=median.__getitem__)
    naive_name, bare_name = f"naive loop, batch {PAPER_BATCH}", f"bare step, batch {BARE_BATCH}"
    overhead = ratio(rates, bare_name, _batch(BARE_BATCH))
    return {
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "precision": fastest_precision("cpu"),
        "rounds": rounds,
        "mixtures_per_second": median,
        "ours_over_naive": ratio(rates, best, naive_name),
        "best_batch": best,
        "ours_over_naive_at_its_batch": ratio(rates, _batch(PAPER_BATCH), naive_name),
        "lightning_overhead": {name: value - 1 for name, value in overhead.items()},
        "share_of_matmul_peak": ratio(rates, best, "matmul", operations()),
        "time_by_num_sources": {k: median[_batch(256)] / median[_sources(k)] for k in SOURCES},
        "time_by_images": {n: median[_batch(256)] / median[_size(n)] for n in SIZES},
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _batch(size: int) -> str:
    return f"ours, batch {size}"


def _sources(num_sources: int) -> str:
    return _batch(256) if num_sources == 2 else f"ours, K = {num_sources}"


def _size(images: int) -> str:
    return f"ours, {images:,} images"


def report(figures: dict[str, Any]) -> str:
    """The figures as lines of text."""

    def spread(name: str, scale: float = 1.0) -> str:
        found = {key: scale * value for key, value in figures[name].items()}
        return f"{found['median']:8.2f}   ({found['lower_quartile']:.2f} to {found['upper_quartile']:.2f})"

    lines = ["", f"{'':44}{'median':>8}   (quartiles)"]
    lines.append(f"{'training, ' + figures['best_batch'] + ' / naive loop':44}{spread('ours_over_naive')}")
    lines.append(f"{'training, ours / naive loop, both batch 32':44}{spread('ours_over_naive_at_its_batch')}")
    lines.append(f"{'cost of the Trainer at batch 128, %':44}{spread('lightning_overhead', 100)}")
    lines.append(f"{'share of the matmul peak, %':44}{spread('share_of_matmul_peak', 100)}")
    lines.append("")
    for name, rate in figures["mixtures_per_second"].items():
        unit = "GFLOP/s" if name == "matmul" else "mixtures/s"
        lines.append(f"{name:44}{rate / (1e9 if name == 'matmul' else 1):8.0f}   {unit}")
    by_sources = ", ".join(f"{k}: {value:.2f}" for k, value in figures["time_by_num_sources"].items())
    by_images = ", ".join(f"{n:,}: {value:.2f}" for n, value in figures["time_by_images"].items())
    lines += ["", f"time per mixture by K, against K = 2:  {by_sources}"]
    lines += [f"time per mixture by images to draw from:  {by_images}"]
    lines += [f"peak memory: {figures['peak_memory_mib']:.0f} MiB\n"]
    return "\n".join(lines)


def run(args: list[str]) -> None:
    """Benchmark as the options say; prints a report and writes benchmark.json and benchmark.png."""
    parser = OneLineErrors(prog="benchmark.py", description="Measure the speed of training and separation on the CPU.")
    parser.add_argument("--rounds", type=int, default=5, help="Turns of every contender.")
    parser.add_argument("--steps", type=int, default=60, help="Training steps of a turn, at batch 128.")
    parser.add_argument("--out", type=str, default="benchmark", help="Folder for results.")
    options = parser.parse_args(args)
    if options.rounds < 1 or options.steps < 2:
        raise ValueError("--rounds must be 1 or more and --steps 2 or more")
    seed_everything(0, verbose=False)
    data = MNISTMixtures(source="bundled")  # speed does not depend on the images
    data.setup()
    figures = benchmark(data._digits.train, options.rounds, options.steps)
    print(report(figures))
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "benchmark.json").write_text(json.dumps(figures, indent=2) + "\n")
    benchmark_figure(figures).savefig(out / "benchmark.png")
    print(f"Written: {out / 'benchmark.json'}, {out / 'benchmark.png'}")


def main(args: list[str] | None = None) -> int:
    """Entry point of scripts/benchmark.py."""
    quieten()
    return run_cleanly("benchmark.py", lambda: run(sys.argv[1:] if args is None else args))
