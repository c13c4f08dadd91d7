"""The command line of the benchmark: how fast this machine trains, separates and adapts, workloads taking turns."""

import sys

import torch
from pytorch_lightning import seed_everything

from vaebss.atomic import make_folder, write_json
from vaebss.baselines.speed import measure_speed, report
from vaebss.commands.fit import DEFAULT_EPOCHS
from vaebss.commands.terminal import OneLineErrors, program, run_cleanly
from vaebss.data.corpora.digits import Digits
from vaebss.hardware import one_device
from vaebss.paths import expanded


def run(args: list[str]) -> None:
    """Run the benchmark with the options; print a table and write benchmark.json.

    Raises:
        ValueError: An option is out of its range.
    """
    about = "Measure how fast this machine's CPU, or one GPU, trains, separates and adapts, on pairs of digits."
    parser = OneLineErrors(prog=program("benchmark"), description=about)
    parser.add_argument("--rounds", type=int, default=3, help="Number of turns of every workload.")
    parser.add_argument("--steps", type=int, default=60, help="Training steps in a turn.")
    parser.add_argument("--gpus", type=int, default=0, help="Number of GPUs: 1 measures a GPU, 0 the CPU.")
    parser.add_argument("--out", type=str, default="benchmark", help="Folder for benchmark.json.")
    options = parser.parse_args(args)
    if options.rounds < 1 or options.steps < 2:
        raise ValueError("--rounds must be 1 or more and --steps 2 or more")
    device = one_device(options.gpus)
    out = expanded(options.out)
    make_folder(out)
    torch.set_float32_matmul_precision("high")  # as training commands set it
    seed_everything(0, verbose=False)
    digits = Digits(source="bundled")  # speed does not depend on them
    figures = measure_speed(digits, options.rounds, options.steps, DEFAULT_EPOCHS, print, device)
    print(report(figures))
    write_json(figures, out / "benchmark.json")
    print(f"Written: {out / 'benchmark.json'}")


def main(args: list[str] | None = None) -> int:
    """Entry point of scripts/benchmark.py.

    Examples:
        >>> main(["--rounds", "0"])  # too few: one line on stderr, and exit code 2
        2
    """
    return run_cleanly("benchmark", lambda: run(sys.argv[1:] if args is None else args))
