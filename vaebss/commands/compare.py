"""The command line of comparison: every method of the paper's Table II, trained alike and scored on the same mixtures.

One epoch of training is the whole budget, so that every method sees the same mixtures, and a bar shows how far it is.
"""

# K assumed sources, M true sources

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from vaebss.baselines.methods import (
    METHODS,
    PUBLISHED_MIXED,
    WARMUP_STEPS,
    WARMUP_STEPS_SPARE,
    Estimator,
    Models,
    Setting,
    estimator,
    trained,
)
from vaebss.commands.terminal import OneLineErrors, program, run_cleanly
from vaebss.commands.test import without_nan
from vaebss.data.mixtures import MNISTMixtures
from vaebss.hardware import one_device
from vaebss.matching import MAX_SLOTS
from vaebss.models.vae import VAE
from vaebss.pictures import comparison_figure, slots_figure
from vaebss.training.scores import Apart, Scorer, apart, examples, mean_nats, score

PICTURED = 8  # mixtures
HEADER = (
    "| method | PSNR (paper scale) | published | PSNR | SSIM | published SSIM | count right | train, s | separate, s |",
    "|---|---|---|---|---|---|---|---|---|",
)


def parse(args: list[str]) -> Any:
    """Options; whatever can be refused without looking at the data is refused here."""
    parser = OneLineErrors(prog=program("compare"), description="Train and score every method of the paper's Table II.")
    known = ", ".join(METHODS)
    parser.add_argument("--methods", type=str | list[str], default=[*METHODS], help=f"One or a list of: {known}.")
    parser.add_argument("--num-mixed", "--num_mixed", type=int, default=2, help="M, digits in a mixture.")
    parser.add_argument(
        "--num-sources", "--num_sources", type=int | list[int], default=[2, 3], help="K, or a list of them."
    )
    parser.add_argument("--budget", type=int, default=400_000, help="Mixtures that each method sees in training.")
    parser.add_argument("--out", type=str, default="comparison", help="Folder for results.")
    parser.add_argument("--gpus", type=int | None, help="0 is the CPU, 1 a GPU. By default what there is.")
    parser.add_argument("--seed", type=int, default=0, help="Of the training mixtures and all that is drawn.")
    parser.add_class_arguments(MNISTMixtures, "data", skip={"num_mixed", "epoch_size", "seed", "val_mixtures"})
    options = parser.parse_args(args)
    options.methods = [options.methods] if isinstance(options.methods, str) else options.methods
    options.num_sources = [options.num_sources] if isinstance(options.num_sources, int) else options.num_sources
    _check(options)
    return options


def _check(options: Any) -> None:
    unknown = [method for method in options.methods if method not in METHODS]
    if unknown or not options.methods:
        raise ValueError(f"--methods knows {', '.join(METHODS)}, not {', '.join(unknown) or 'nothing'}")
    if not options.num_sources or not all(1 <= k <= MAX_SLOTS for k in options.num_sources):
        raise ValueError(f"--num-sources must be from 1 to {MAX_SLOTS}, not {options.num_sources}")
    if not 1 <= options.num_mixed <= MAX_SLOTS:
        raise ValueError(f"--num-mixed must be from 1 to {MAX_SLOTS}, not {options.num_mixed}")
    if options.num_mixed * options.data.source_scale > min(options.num_sources):
        raise ValueError(f"--num-mixed {options.num_mixed} is too bright for --num-sources {min(options.num_sources)}")
    if options.budget < options.data.batch_size:
        raise ValueError(f"--budget must be a batch of {options.data.batch_size} or more, not {options.budget}")
    for method in options.methods:
        if (needed := METHODS[method].needs) not in (None, *options.methods):
            raise ValueError(f"{method} needs the trained model of {needed}: add {needed} to --methods")
    if options.seed < 0:
        raise ValueError(f"--seed must be 0 or more, not {options.seed}")
    one_device(options.gpus)
    if not any(methods for _, methods in _plan(options)):
        raise ValueError(f"nothing to compare: {options.methods[0]} is not for K = {options.num_sources}, as published")


def compare(options: Any) -> None:
    """Train and score as the options say; writes comparison.md, .json and .png, and slots.png of more than one K."""
    data = _data(options)
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "comparison.md").touch()  # a folder that cannot be written to shows before any training
    started = time.perf_counter()
    comparison: dict[str, Any] = {
        "data": data.hparams.source,
        "num_mixed": options.num_mixed,
        "test_mixtures": data.hparams.test_mixtures,
        "budget": options.budget,
        "seed": options.seed,
        "results": [],
    }
    first = examples(data.test_dataloader(), PICTURED)
    shown: dict[str, Apart] = {}
    device = one_device(options.gpus).type
    for num_sources, methods in _plan(options, say=print):
        models: Models = {}
        for method in methods:
            print(f"\nK = {num_sources}, {method}", flush=True)
            steps = options.budget // data.hparams.batch_size
            setting = Setting(num_sources, steps, data.hparams.source_scale, options.seed, device)
            result, answer = _run(method, setting, data, models)
            comparison["results"].append(result)
            comparison["seconds"] = time.perf_counter() - started
            shown[f"{method}, K = {num_sources}"] = apart(answer(first), first, data.modality)
            (out / "comparison.json").write_text(json.dumps(without_nan(comparison), indent=2) + "\n")
            (out / "comparison.md").write_text(table(comparison))
    mixture, _, truth = next(iter(shown.values()))
    estimates = {label: taken.estimates for label, taken in shown.items()}
    figures = {"comparison.png": comparison_figure(mixture, truth, estimates, data.modality.figure)}
    if len(options.num_sources) > 1:
        figures["slots.png"] = slots_figure(_by_slots(comparison["results"]))
    for name, figure in figures.items():
        figure.savefig(out / name)
    print(f"\n{table(comparison)}\nWritten: {out}/comparison.md, comparison.json, {', '.join(figures)}")


def _by_slots(results: list[dict[str, Any]]) -> dict[str, dict[int, dict[str, float]]]:
    """Scores by method and K, of the methods that see no truth."""
    scores: dict[str, dict[int, dict[str, float]]] = {}
    for result in results:
        if not result["sees_truth"]:
            scores.setdefault(result["method"], {})[result["num_sources"]] = result["scores"]
    return scores


def _data(options: Any) -> MNISTMixtures:
    drawn = {"num_mixed": options.num_mixed, "epoch_size": options.budget, "seed": options.seed}
    data = MNISTMixtures(**options.data.as_dict(), **drawn)
    data.prepare_data()
    data.setup()
    return data


def _plan(options: Any, say: Any = lambda line: None) -> Iterator[tuple[int, list[str]]]:
    """K and its methods, in the table's order."""
    for num_sources in options.num_sources:
        methods = [method for method in METHODS if method in options.methods]
        for method in methods[:]:
            if METHODS[method].only_k not in (None, num_sources):
                say(f"{method} is left out for K = {num_sources}: it is for K = {METHODS[method].only_k} only")
                methods.remove(method)
        yield num_sources, methods


def _run(name: str, setting: Setting, data: MNISTMixtures, models: Models) -> tuple[dict[str, Any], Estimator]:
    """Train and score one method: its result, and how it answers. Adds to `models`, the trained ones for this K."""
    method, num_mixed, started = METHODS[name], data.counts[1], time.perf_counter()
    if model := trained(name, setting, data):
        models[name] = model
    done = time.perf_counter()
    answer = estimator(name, models)
    slots = num_mixed if method.sees_truth else setting.num_sources
    scorer = Scorer(slots, data.hparams.source_scale, data.modality)
    scores = score(answer, tqdm(data.test_dataloader(), desc="separating"), scorer)
    if name == "vae" and isinstance(model, VAE):
        scores["elbo"] = mean_nats(model, data.test_dataloader())["elbo"]  # knows no sources, so that it may choose K
    result = {
        "method": name,
        "num_sources": setting.num_sources,
        "sees_truth": method.sees_truth,
        "train_seconds": done - started,
        "separate_seconds": time.perf_counter() - done,
        "scores": scores,
    }
    if num_mixed == PUBLISHED_MIXED and setting.num_sources in method.published:
        psnr, ssim = method.published[setting.num_sources]
        result["published"] = {"psnr_paper": psnr, "ssim": ssim}
    return result, answer


def table(comparison: dict[str, Any]) -> str:
    """The comparison as Markdown, a table for each K."""
    lines = [
        f"Mixtures of {comparison['num_mixed']} {comparison['data']} digits; every method trained on "
        f"{comparison['budget']} mixtures and scored on the same {comparison['test_mixtures']} test mixtures, in "
        f"{comparison['seconds'] / 60:.0f} minutes in all. PSNR in dB; the paper's scale has sources in [0, 0.5], the "
        "other digits in [0, 1]. Published: Neri et al. 2021, Table II. Methods in italics see the true sources. The "
        f"VAE's beta rises over {WARMUP_STEPS} steps where K is 1 or 2, else over {WARMUP_STEPS_SPARE} or half of all.",
    ]
    for num_sources in dict.fromkeys(result["num_sources"] for result in comparison["results"]):
        lines += ["", f"## K = {num_sources}", "", *HEADER]
        lines += [_row(result) for result in comparison["results"] if result["num_sources"] == num_sources]
    return "\n".join(lines) + "\n"


def _row(result: dict[str, Any]) -> str:
    scores, published = result["scores"], result.get("published")
    cells = (
        f"*{result['method']}*" if result["sees_truth"] else result["method"],
        f"{scores['psnr_paper']:.2f}",
        f"{published['psnr_paper']:.2f}" if published else "",
        f"{scores['psnr']:.2f}",
        f"{scores['ssim']:.3f}",
        f"{published['ssim']:.2f}" if published else "",
        f"{100 * scores['count']:.1f} %",
        f"{result['train_seconds']:.0f}",
        f"{result['separate_seconds']:.0f}",
    )
    return f"| {' | '.join(cells)} |"


def main(args: list[str] | None = None) -> int:
    """Entry point of scripts/compare.py."""
    torch.set_float32_matmul_precision("high")
    return run_cleanly("compare", lambda: compare(parse(sys.argv[1:] if args is None else args)))
