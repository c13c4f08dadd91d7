"""The command line of the benchmark: what training and separating cost, contenders taking turns in one run.

Machines are noisy, so figures are ratios of turns that lie next to each other: their median and quartiles.
"""

import json
import resource
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import seed_everything
from torch import Tensor

from vaebss.commands.contenders import PAPER_BATCH, Contender, bare, matmul, naive, operations, ours, separating
from vaebss.commands.terminal import OneLineErrors, program, run_cleanly
from vaebss.data.digits import load_digits
from vaebss.hardware import fastest_precision
from vaebss.pictures import benchmark_figure

BARE_BATCH = 128
BATCHES = (32, 128, 256, 512, 1024)
SOURCES = (1, 2, 3, 4)
SEPARATED = 5_000  # mixtures
SIZES = (1_000, 10_000, 60_000)  # images to draw mixtures from


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
        "separate": separating(images, SEPARATED),
        "separate, refined": separating(images, SEPARATED // 10, refine_steps=60),
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
    about = "Measure the speed of training and separation on the CPU."
    parser = OneLineErrors(prog=program("benchmark"), description=about)
    parser.add_argument("--rounds", type=int, default=5, help="Turns of every contender.")
    parser.add_argument("--steps", type=int, default=60, help="Training steps of a turn, at batch 128.")
    parser.add_argument("--out", type=str, default="benchmark", help="Folder for results.")
    options = parser.parse_args(args)
    if options.rounds < 1 or options.steps < 2:
        raise ValueError("--rounds must be 1 or more and --steps 2 or more")
    seed_everything(0, verbose=False)
    images = load_digits("bundled", "data").train  # speed does not depend on them
    figures = benchmark(images, options.rounds, options.steps)
    print(report(figures))
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "benchmark.json").write_text(json.dumps(figures, indent=2) + "\n")
    benchmark_figure(figures).savefig(out / "benchmark.png")
    print(f"Written: {out / 'benchmark.json'}, {out / 'benchmark.png'}")


def main(args: list[str] | None = None) -> int:
    """Entry point of scripts/benchmark.py."""
    return run_cleanly("benchmark", lambda: run(sys.argv[1:] if args is None else args))
