"""The command line of comparison: every method of the paper's Table II, trained alike and scored on the same mixtures.

Of notes of musical instruments it is Table III. With --shipped it is Table II of the models that come with the package.
"""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse.typing import Path_fr

from vaebss.atomic import make_folder, write_json, write_text
from vaebss.baselines.comparison import SHIPPED, Comparison, ComparisonPlan, run_comparison
from vaebss.baselines.method import BEGIN_WITH
from vaebss.baselines.methods import METHODS
from vaebss.commands.data_options import corpus_options
from vaebss.commands.terminal import OneLineErrors, program, run_cleanly
from vaebss.commands.test import without_nan
from vaebss.commands.yaml_options import configurations, flatten
from vaebss.data.corpora.open import open_corpus
from vaebss.data.mixtures import MNISTMixtures
from vaebss.figures.files import save_figure
from vaebss.hardware import one_device
from vaebss.paths import expanded
from vaebss.training.vae import VAEBSS

# Options that a comparison sets itself, or has under another name
OF_THE_DATA = {"image_shape", "exponent", "source_scale", "bounded"}
OWN: dict[str, Any] = {
    "data": {"num_mixed", "epoch_size", "seed", "val_mixtures"},
    "model": {"num_sources", "warmup_steps", "variational", "seed"} | OF_THE_DATA,
}
RENAMED = {"data.num_mixed": "num-mixed", "model.num_sources": "num-sources"}


def parse(args: list[str]) -> Any:
    """Parse the options; refuse whatever can be refused without looking at the data."""
    parser = OneLineErrors(prog=program("compare"), description="Train and score every method of Table II, or III.")
    config = "Configuration of fit.py, whose data and model sections hold unless options are typed. "
    config += "The warm-up of beta is that of the table."
    parser.add_argument("--config", type=Path_fr | None, help=config)  # type: ignore[operator]
    known = "; ".join(f"For {kind}: {', '.join(methods)}" for kind, methods in METHODS.items())
    parser.add_argument("--methods", type=str | list[str] | None, help=f"Method or list; by default all. {known}.")
    parser.add_argument("--num-mixed", "--num_mixed", type=int, default=2, help="M, number of sources in a mixture.")
    slots = "K, the number of sources that models assume, or a list. By default as published."
    parser.add_argument("--num-sources", "--num_sources", type=int | list[int] | None, help=slots)
    parser.add_argument("--budget", type=int, default=400_000, help="Number of mixtures that each method trains on.")
    begin = "Slots at the start of a VAE of 3 or 4, which keeps the K busiest after half the budget; 0 starts with K."
    parser.add_argument("--begin-with", "--begin_with", type=int, default=BEGIN_WITH, help=begin)
    best = f"Shipped models ({', '.join(SHIPPED)}) are scored, and none is trained. Options of training have no effect."
    parser.add_argument("--shipped", action="store_true", help=best)
    parser.add_argument("--out", type=str, default="comparison", help="Folder for results.")
    parser.add_argument("--gpus", type=int | None, help="Number of GPUs, 0 or 1. By default what is available.")
    parser.add_argument("--seed", type=int, default=0, help="Random seed.")
    parser.add_class_arguments(MNISTMixtures, "data", skip=OWN["data"])
    parser.add_class_arguments(VAEBSS, "model", skip=OWN["model"])
    typed = [option for path in configurations(args) for option in _options_of(path)]
    options = parser.parse_args([*typed, *args])
    numbers = {name: options[name] for name in ("num_mixed", "budget", "begin_with", "shipped", "seed")}
    options.plan = ComparisonPlan(
        open_corpus(**corpus_options(options.data)),
        _listed(options.methods),
        _listed(options.num_sources),
        **numbers,
        device=one_device(options.gpus).type,
        model=options.model.as_dict(),
        data=options.data.as_dict(),
    )
    return options


def _options_of(path: Path) -> list[str]:
    """Return the options of data and model in a configuration of fit.py, as they would be typed."""
    try:
        sections = dict(yaml.safe_load(path.read_text()))
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise ValueError(f"{path} is not a configuration of fit.py") from error
    options = flatten({name: sections[name] for name in OWN if name in sections})
    own = {f"{section}.{name}" for section, names in OWN.items() for name in names} - RENAMED.keys()
    values = {RENAMED.get(name, name): value for name, value in options.items() if name not in own}
    return [f"--{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in values.items()]


def _listed(given: Any) -> list[Any] | None:
    """Return one or several as a list; None stays."""
    return given if given is None or isinstance(given, list) else [given]


def compare(options: Any) -> None:
    """Train and score as the options say.

    Writes comparison.md, .json and .png; and slots.png, the scores against K, if there are several K.
    """
    options.plan.prepare()
    out = expanded(options.out)
    make_folder(out)

    def save(found: Comparison) -> None:
        write_json(without_nan(found.facts), out / "comparison.json")
        write_text(found.table, out / "comparison.md")

    found = run_comparison(options.plan, save, say=partial(print, flush=True))
    figures = {f"{name}.png": figure for name, figure in found.figures().items()}
    for name, figure in figures.items():
        save_figure(figure, out / name)
    print(f"\n{found.table}\nWritten: {out}/comparison.md, comparison.json, {', '.join(figures)}")


def main(args: list[str] | None = None) -> int:
    """Entry point of scripts/compare.py.

    Examples:
        >>> few = ["--data.source", "bundled", "--data.test_mixtures", "8"]
        >>> main(["--methods", "equal-share", "--num-sources", "2", *few, "--gpus", "0"])
        K = 2, equal-share
        ...
        Written: ...
        0
    """
    torch.set_float32_matmul_precision("high")
    return run_cleanly("compare", lambda: compare(parse(sys.argv[1:] if args is None else args)))
