"""The command line of the benchmark: how fast this machine trains, separates and adapts, contenders taking turns.

Machines are noisy, so ratios are of turns that lie next to each other: their median and quartiles.
"""

import statistics
import sys
from collections.abc import Callable
from typing import Any

import torch
from pytorch_lightning import seed_everything

from vaebss.atomic import write_json
from vaebss.commands.contenders import Contender, fitting, naive, remixing, separating
from vaebss.commands.fit import DEFAULT_EPOCHS
from vaebss.commands.terminal import OneLineErrors, program, run_cleanly
from vaebss.data.corpora.digits import Digits
from vaebss.data.remixes import Remixes
from vaebss.hardware import fastest_precision
from vaebss.models.masker import MOVES
from vaebss.paths import expanded
from vaebss.training import presets

NAIVE, FIT, REMIX, ADAPT = "naive loop", "fit.py", "remix.py, its student", "remix.py --data.mixtures, 200 pictures"
SEPARATED = {"vae-k2": 5_000, "remix-k2": 1_000, "remix-1to4": 1_000}  # mixtures in a turn
REFINE_STEPS, REFINED_MIXTURES = 60, 200
REFINED = f"vae-k2, {REFINE_STEPS} steps of refinement"


def take_turns(contenders: dict[str, Contender], rounds: int, say: Callable[[str], None] = print) -> dict[str, list]:
    """Every contender once a round, in an order that turns around each time."""
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds):
        names = list(contenders) if number % 2 == 0 else list(contenders)[::-1]
        for name in names:
            rates[name].append(contenders[name]())
        say(f"round {number + 1} of {rounds} done")
    return rates


def ratio(rates: dict[str, list[float]], name: str, other: str) -> dict[str, float]:
    """Median and quartiles of the ratios within each round."""
    ratios = sorted(a / b for a, b in zip(rates[name], rates[other], strict=True))
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    return {"median": middle, "lower_quartile": low, "upper_quartile": high}


def benchmark(digits: Digits, rounds: int, steps: int) -> dict[str, Any]:
    """All figures of a run, as written to benchmark.json."""
    lessons = presets.schedule(digits.modality.shape)["data"]
    contenders: dict[str, Contender] = {NAIVE: naive(digits, steps), FIT: fitting(digits, steps)}
    contenders |= {REMIX: remixing(digits, steps // 4 + 1), ADAPT: remixing(digits, steps, lessons["batch_size"])}
    contenders |= {name: separating(digits, name, number) for name, number in SEPARATED.items()}
    contenders[REFINED] = separating(digits, "vae-k2", REFINED_MIXTURES, refine_steps=REFINE_STEPS)
    rates = take_turns(contenders, rounds)
    median = {name: statistics.median(turns) for name, turns in rates.items()}
    return {
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "precision": fastest_precision("cpu"),
        "rounds": rounds,
        "mixtures_per_second": median,
        "fit_over_naive": ratio(rates, FIT, NAIVE),
        **minutes(median, lessons),
    }


def minutes(rates: dict[str, float], lessons: dict[str, Any]) -> dict[str, float]:
    """How long whole runs take by default, at so many mixtures a second, evaluation apart."""
    by_default = Remixes().hparams
    fit = DEFAULT_EPOCHS * 30_000 / rates[FIT]
    number, later = by_default.num_mixtures, len(by_default.keep) - 1
    first_bank = number / rates[REFINED] * by_default.refine_steps / REFINE_STEPS
    banks = first_bank + later * len(MOVES["pixels"]) * number / rates["remix-k2"]
    seconds = {"fit": fit, "remix": fit + banks + remixes(by_default) / rates[REMIX]}
    seconds["adapt"] = remixes(lessons) / rates[ADAPT]
    return {f"minutes_to_{what}": second / 60 for what, second in seconds.items()}


def remixes(lessons: Any) -> int:
    """In all rounds."""
    return len(lessons["keep"]) * lessons["epochs_per_round"] * lessons["epoch_size"]


def report(figures: dict[str, Any]) -> str:
    """The figures as a table in Markdown."""
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


def run(args: list[str]) -> None:
    """Benchmark as the options say; prints a table and writes benchmark.json."""
    about = "Measure how fast this machine's CPU trains, separates and adapts, on pairs of digits."
    parser = OneLineErrors(prog=program("benchmark"), description=about)
    parser.add_argument("--rounds", type=int, default=3, help="Turns of every contender.")
    parser.add_argument("--steps", type=int, default=60, help="Training steps of a turn.")
    parser.add_argument("--out", type=str, default="benchmark", help="Folder for benchmark.json.")
    options = parser.parse_args(args)
    if options.rounds < 1 or options.steps < 2:
        raise ValueError("--rounds must be 1 or more and --steps 2 or more")
    seed_everything(0, verbose=False)
    digits = Digits(source="bundled")  # speed does not depend on them
    figures = benchmark(digits, options.rounds, options.steps)
    print(report(figures))
    out = expanded(options.out)
    out.mkdir(parents=True, exist_ok=True)
    write_json(figures, out / "benchmark.json")
    print(f"Written: {out / 'benchmark.json'}")


def main(args: list[str] | None = None) -> int:
    """Entry point of scripts/benchmark.py."""
    return run_cleanly("benchmark", lambda: run(sys.argv[1:] if args is None else args))
