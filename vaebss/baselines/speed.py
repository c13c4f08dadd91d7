"""Measurement of how fast a CPU or a GPU trains, separates and adapts, by workloads that take turns.

Machines are noisy, so ratios are taken between turns next to each other; their median and quartiles are reported.
"""

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from vaebss.baselines.workloads import FIT_BATCH, REMIX_BATCH, Workload, fitting, naive, remixing, separating
from vaebss.data.corpora.digits import Digits
from vaebss.data.remixes import Remixes
from vaebss.hardware import bfloat16_pays, fastest_precision
from vaebss.models.masker import MOVES
from vaebss.training import presets
from vaebss.training.pace import WARM_STEPS, finished

NAIVE, FIT, REMIX, ADAPT = "naive loop", "fit.py", "remix.py, its student", "remix.py --data.mixtures, 200 pictures"
SEPARATED = {"vae-k2": 5_000, "remix-k2": 1_000, "remix-1to4": 1_000}  # mixtures in a turn
REFINE_STEPS, REFINED_MIXTURES = 60, 200
REFINED = f"vae-k2, {REFINE_STEPS} steps of refinement"

LARGE = {"cpu": 1024, "cuda": 8192}  # sides of the matrices whose product measures a device's peak
PEAK_TURNS = 5


def busy(workload: Workload, device: torch.device) -> float:
    """Return the share of time, from 0 to 1, in which the device computes what the workload asks for.

    On a GPU it is the time of all kernels, on a CPU that of all operators without the Python code between them.

    Args:
        workload: Function that trains or separates for some steps.
        device: Device on which the workload runs.
    """
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    watch = Watch(activities=activities)
    workload(watch)
    own = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    events = [event for event in watch.key_averages() if event.device_type.name == device.type.upper()]
    computing = sum(getattr(event, own) for event in events if not getattr(event, "is_user_annotation", False))
    return min(1.0, computing / 1e6 / watch.seconds)


class Watch(profile):
    """A profiler that knows for how many seconds it watched."""

    def start(self) -> None:
        super().start()
        self._started = finished()

    def stop(self) -> None:
        self.seconds = finished() - self._started
        super().stop()


def peak(device: torch.device) -> float:
    """Return how many floating-point operations a second one large matrix product does, in the fastest precision."""
    side, precision = LARGE[device.type], torch.bfloat16 if bfloat16_pays(device.type) else torch.float32
    matrix, seconds = torch.rand(side, side, device=device, dtype=precision), []
    for _ in range(PEAK_TURNS):
        start = finished()
        torch.mm(matrix, matrix)
        seconds.append(finished() - start)
    return 2 * side**3 / min(seconds)


def operations(workload: Callable[[int, torch.device], Workload], batch_size: int) -> float:
    """Return the floating-point operations of a training step for each of its mixtures.

    Only products of matrices and convolutions are counted.

    Args:
        workload: Function that returns a workload for a number of steps and a device.
        batch_size: Number of mixtures in a step.
    """
    counter, steps = FlopCounterMode(display=False), 2
    with counter:
        workload(steps, torch.device("cpu"))()
    return counter.get_total_flops() / (WARM_STEPS + steps) / batch_size


def take_turns(workloads: dict[str, Workload], rounds: int, say: Callable[[str], object]) -> dict[str, list]:
    """Run every workload once a round, in an order that is reversed each time; return their rates by name.

    Args:
        workloads: Workloads by name.
        rounds: Number of rounds.
        say: Function that is told in one line of each round that is done.
    """
    rates: dict[str, list[float]] = {name: [] for name in workloads}
    for number in range(rounds):
        names = list(workloads) if number % 2 == 0 else list(workloads)[::-1]
        for name in names:
            rates[name].append(workloads[name]())
        say(f"round {number + 1} of {rounds} done")
    return rates


def ratio(rates: dict[str, list[float]], name: str, other: str) -> dict[str, float]:
    """Return the median and the quartiles, over rounds, of the ratio of the rates of two workloads.

    Args:
        rates: Rates in each round by the name of the workload.
        name: Workload whose rates are divided.
        other: Workload whose rates they are divided by.
    """
    ratios = sorted(a / b for a, b in zip(rates[name], rates[other], strict=True))
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    return {"median": middle, "lower_quartile": low, "upper_quartile": high}


def measure_speed(
    digits: Digits,
    rounds: int,
    steps: int,
    epochs: int,
    say: Callable[[str], object] = lambda line: None,
    device: torch.device | None = None,
) -> dict[str, Any]:
    """Measure all workloads on pairs of digits.

    Args:
        digits: Corpus of the mixtures; speed does not depend on it.
        rounds: Turns of every workload.
        steps: Training steps of a turn.
        epochs: Epochs that `scripts/fit.py` takes by default.
        say: Called with a line after each round.
        device: Device that is measured, by default the CPU.

    Returns:
        Plain values: mixtures per second of each workload, ratios, shares of the time in which the device computes and
        of its matrix peak, and the minutes that whole runs take.
    """
    device = device or torch.device("cpu")
    schedule = presets.schedule(digits.modality.shape, presets.MANY)["data"]
    workloads: dict[str, Workload] = {NAIVE: naive(digits, steps, device), FIT: fitting(digits, steps, device)}
    workloads |= {REMIX: remixing(digits, steps // 4 + 1, device)}
    workloads |= {ADAPT: remixing(digits, steps, device, schedule["batch_size"])}
    workloads |= {name: separating(digits, name, number, device) for name, number in SEPARATED.items()}
    workloads[REFINED] = separating(digits, "vae-k2", REFINED_MIXTURES, device, refine_steps=REFINE_STEPS)
    rates = take_turns(workloads, rounds, say)
    median = {name: statistics.median(turns) for name, turns in rates.items()}
    most = peak(device)
    each = {
        FIT: operations(partial(fitting, digits), FIT_BATCH),
        REMIX: operations(partial(remixing, digits), REMIX_BATCH),
    }
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "precision": fastest_precision(device.type),
        "rounds": rounds,
        "mixtures_per_second": median,
        "fit_over_naive": ratio(rates, FIT, NAIVE),
        "busy": {name: busy(workloads[name], device) for name in (FIT, REMIX, *SEPARATED)},
        "matrix_peak": most,
        "share_of_peak": {name: number * median[name] / most for name, number in each.items()},
        **minutes(median, schedule, epochs),
    }


def minutes(rates: dict[str, float], schedule: dict[str, Any], epochs: int) -> dict[str, float]:
    """Return the minutes that default runs take, without evaluation.

    Args:
        rates: Measured speed of each workload by its name, in mixtures per second.
        schedule: Options of `Remixes` with which a model is adapted.
        epochs: Number of epochs of `fit.py`.

    Returns:
        Minutes by the names "minutes_to_fit", "minutes_to_remix" and "minutes_to_adapt".
    """
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
        f"| {'separate with ' if n in separated else ''}{n} | {r:,.0f} | {_share(figures['busy'], n)} | "
        f"{_share(figures['share_of_peak'], n)} | {notes.get(n, '')} |"
        for n, r in rates.items()
    ]
    where = f"{figures['threads']} threads" if figures["device"] == "CPU" else figures["device"]
    how = f"{where}, {figures['precision']}, torch {figures['torch']}"
    head = f"\n| {how} | mixtures/s | computing | of the peak | |"
    peak_line = f"The peak, of one large matrix product, is {figures['matrix_peak'] / 1e12:.3g} TFLOP/s."
    return "\n".join([head, "|---|---|---|---|---|", *rows, "", peak_line, ""])


def _share(shares: dict[str, float], name: str) -> str:
    return f"{100 * shares[name]:.0f} %" if name in shares else ""
