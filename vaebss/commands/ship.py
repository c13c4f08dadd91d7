"""The command line of shipping: a checkpoint becomes a model of the package, with a card of how it scores."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from vaebss.checkpoints import read
from vaebss.commands import test as scoring
from vaebss.commands.terminal import OneLineErrors, quieten, run_cleanly
from vaebss.pretrained import shelf as shipped

LICENCE = "MNIST: Y. LeCun, C. Cortes and C. Burges, CC BY-SA 3.0"
BUNDLED = ("--data.source", "bundled", "--data.test_mixtures", "500")  # for a quick check that nothing has changed
SCORES = (
    "psnr_paper",
    "psnr_paper_worst_decile",
    "psnr",
    "ssim",
    "si_sdr",
    "count",
    "psnr_paper_by_count",
    "confusion",
)


def ship(args: list[str]) -> None:
    """Halve a checkpoint's weights, score what is left, and put both into the package with how it came about."""
    parser = OneLineErrors(prog="ship.py", description="Put a trained model into the package, with its card.")
    parser.add_argument("--ckpt", required=True, type=str, help="Checkpoint of fit.py or remix.py.")
    parser.add_argument("--name", required=True, type=str, help="Of the model, such as vae-k2.")
    parser.add_argument("--command", required=True, type=str, help="What made it, for the card.")
    parser.add_argument("--refine-steps", "--refine_steps", type=int, default=0, help="Score it refined as well.")
    parser.add_argument("--root", type=str, default="./data", help="Folder of MNIST, whose test digits score it.")
    options = parser.parse_args(args)
    shipped.check_name(options.name)
    checkpoint = read(options.ckpt)
    data = checkpoint.get("datamodule_hyper_parameters", {})
    facts: dict[str, Any] = {
        "command": options.command,
        "commit": _commit(),
        "seed": data.get("seed"),
        "trained_on": data.get("source"),
        "steps_of_the_last_run": checkpoint.get("global_step"),
        "mixtures_seen_in_the_last_run": checkpoint.get("global_step", 0) * data.get("batch_size", 0),
        "licence_of_the_data": LICENCE,
    }
    refine = ["--refine_steps", str(options.refine_steps)]
    with tempfile.TemporaryDirectory() as folder:
        halved = f"{folder}/{options.name}.ckpt"
        weights = shipped.halved(checkpoint["state_dict"])
        torch.save(shipped.opened(weights, shipped.described(checkpoint)), halved)
        facts["scores_on_mnist_test_mixtures"] = scores(halved, "--data.root", options.root, *refine)
        facts["scores_on_bundled_digits"] = scores(halved, *BUNDLED)
    print("Written:", shipped.ship(options.name, checkpoint, facts))


def scores(ckpt: str, *options: str) -> dict[str, Any]:
    """Of a checkpoint or shipped model, on MNIST test digits unless the options say otherwise."""
    with tempfile.TemporaryDirectory() as folder:
        scoring.score(["--ckpt", ckpt, "--out", folder, "--data.source", "mnist", *options])
        results = json.loads((Path(folder) / "results.json").read_text())
    columns = [column for column in ("masked", "refined") if column in results]
    chosen = {column: {score: results[column][score] for score in SCORES} for column in columns}
    return {"n": results["n"], "num_mixed": results["num_mixed"]} | chosen


def _commit() -> str | None:
    """Of the working tree, if it is one."""
    here = Path(__file__).parent
    found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=False)
    return found.stdout.strip() or None


def main(args: list[str] | None = None) -> int:
    """Entry point of scripts/ship.py."""
    quieten()
    return run_cleanly("ship.py", lambda: ship(sys.argv[1:] if args is None else args))
