"""The command line of comparison: every method of the paper's Table II, trained alike and scored on the same mixtures.

One epoch of training is the whole budget, so that every method sees the same mixtures, and a bar shows how far it is.
"""

# B mixtures, K assumed sources, M true sources

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer, seed_everything
from pytorch_lightning.callbacks import TQDMProgressBar
from torch import Tensor
from tqdm.auto import tqdm

from vaebss.baselines import GLO, NMF, EqualShare, MixIT, OneSlot, Silence, ceilings
from vaebss.commands.terminal import OneLineErrors, quieten, run_cleanly
from vaebss.commands.test import without_nan
from vaebss.data.mixtures import Batch, MNISTMixtures
from vaebss.hardware import fastest_precision, one_device
from vaebss.metrics.separation import MAX_SLOTS, SeparationMetrics
from vaebss.models import objective
from vaebss.pictures import comparison_figure, slots_figure
from vaebss.seeding import generator
from vaebss.separation import Separation, active_slots
from vaebss.training.vae import NOISE, VAEBSS

METHODS = ("silence", "one-slot", "equal-share", "nmf", "ae", "glo", "mixit", "vae", "vae-refined")
CEILINGS = ("oracle-latents", "ideal-binary-mask", "ideal-ratio-mask")  # these see the true sources
GLO_SOURCES = 2  # as published

# Neri et al. 2021, Table II: K -> method -> PSNR (paper scale) in dB and SSIM, of mixed pairs of MNIST digits.
PUBLISHED = {
    2: {"nmf": (17.22, 0.50), "ae": (15.96, 0.43), "glo": (24.63, 0.86), "mixit": (25.69, 0.88), "vae": (26.69, 0.93)},
    3: {"nmf": (18.27, 0.44), "ae": (16.30, 0.43), "mixit": (25.41, 0.69), "vae": (27.68, 0.94)},
}
PUBLISHED_MIXED = 2  # M

# With a spare slot, a slow rise of beta leaves the sources in fewer slots, so that the spare one can fall silent.
WARMUP_STEPS, WARMUP_STEPS_SPARE = 100, 1_200
REFINEMENT = {"refine_steps": 60, "restarts": 1}  # like GLO, which fits latents to every test mixture too
PICTURED = 8  # mixtures
HEADER = (
    "| method | PSNR (paper scale) | published | PSNR | SSIM | published SSIM | count right | train, s | separate, s |",
    "|---|---|---|---|---|---|---|---|---|",
)

Estimator = Callable[[Batch], Separation]


def parse(args: list[str]) -> Any:
    """Options; whatever can be refused without looking at the data is refused here."""
    parser = OneLineErrors(prog="compare.py", description="Train and score every method of the paper's Table II.")
    known = ", ".join((*METHODS, *CEILINGS))
    parser.add_argument(
        "--methods", type=str | list[str], default=[*METHODS, *CEILINGS], help=f"One or a list of: {known}."
    )
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
    unknown = [method for method in options.methods if method not in METHODS + CEILINGS]
    if unknown or not options.methods:
        raise ValueError(f"--methods knows {', '.join(METHODS + CEILINGS)}, not {', '.join(unknown) or 'nothing'}")
    if not options.num_sources or not all(1 <= k <= MAX_SLOTS for k in options.num_sources):
        raise ValueError(f"--num-sources must be from 1 to {MAX_SLOTS}, not {options.num_sources}")
    if not 1 <= options.num_mixed <= MAX_SLOTS:
        raise ValueError(f"--num-mixed must be from 1 to {MAX_SLOTS}, not {options.num_mixed}")
    if options.num_mixed * options.data.source_scale > min(options.num_sources):
        raise ValueError(f"--num-mixed {options.num_mixed} is too bright for --num-sources {min(options.num_sources)}")
    if options.budget < options.data.batch_size:
        raise ValueError(f"--budget must be a batch of {options.data.batch_size} or more, not {options.budget}")
    for method in {"oracle-latents", "vae-refined"} & set(options.methods):
        if "vae" not in options.methods:
            raise ValueError(f"{method} needs the trained VAE: add vae to --methods")
    if options.seed < 0:
        raise ValueError(f"--seed must be 0 or more, not {options.seed}")
    one_device(options.gpus)
    if set(options.methods) == {"glo"} and GLO_SOURCES not in options.num_sources:
        raise ValueError(f"nothing to compare: glo is for K = {GLO_SOURCES} only, as published")


def build(method: str, num_sources: int, steps: int, source_scale: float = 0.5, seed: int = 0) -> Any:
    """An untrained separator, to be trained for so many steps; nothing for a ceiling, which trains nothing."""
    seed_everything(seed, verbose=False)
    shared: dict[str, Any] = {"num_sources": num_sources, "source_scale": source_scale}
    match method:
        case "silence":
            return Silence(**shared)
        case "one-slot":
            return OneSlot(**shared)
        case "equal-share":
            return EqualShare(**shared)
        case "nmf":
            return NMF(**shared, seed=seed)
        case "ae":
            return VAEBSS(**shared, variational=False)
        case "glo":
            return GLO(**shared, seed=seed)
        case "mixit":
            return MixIT(**shared)
        case "vae":
            warmup_steps = WARMUP_STEPS if num_sources <= 2 else WARMUP_STEPS_SPARE
            return VAEBSS(**shared, warmup_steps=min(warmup_steps, steps // 2), seed=seed)
        case _:
            return None


def train(model: Any, data: MNISTMixtures, gpus: int | None) -> None:
    """One epoch of `data`, on mixtures alone. What learns nothing is left as it is."""
    if isinstance(model, NMF):
        model.fit(data)
    if not isinstance(model, LightningModule):
        return
    accelerator = one_device(gpus)
    trainer = Trainer(
        accelerator=accelerator,
        devices=1,
        max_epochs=1,
        precision=fastest_precision(accelerator),  # type: ignore[arg-type]
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        callbacks=[TQDMProgressBar(refresh_rate=20)],
    )
    batches = model.batches(data) if isinstance(model, GLO) else data.train_dataloader()
    trainer.fit(model, batches)
    model.to(trainer.strategy.root_device)


def estimator(method: str, models: dict[str, Any], source_scale: float) -> Estimator:
    """How a method, one of the trained `models`, answers a batch; ceilings alone look at its sources."""
    match method:
        case "ideal-ratio-mask":
            ceiling = ceilings.ideal_ratio_mask
        case "ideal-binary-mask":
            ceiling = ceilings.ideal_binary_mask
        case "oracle-latents":
            ceiling = partial(ceilings.oracle_latents, models["vae"])
        case "vae-refined":
            return lambda batch: models["vae"].separate(batch["mixture"], **REFINEMENT)
        case _:
            return lambda batch: models[method].separate(batch["mixture"])

    def answer(batch: Batch) -> Separation:
        estimates = ceiling(batch["mixture"], batch["sources"])
        return Separation(estimates, active_slots(estimates, source_scale), torch.zeros(len(estimates)))

    return answer


def score(answer: Estimator, batches: Iterable[Batch], num_slots: int, source_scale: float) -> dict[str, Any]:
    """Metrics over all batches."""
    metrics = SeparationMetrics(num_slots, source_scale)
    for batch in batches:
        separation = answer(batch)
        metrics.update(separation.sources, separation.active, batch["sources"], batch["count"])
    return metrics.compute()


@torch.no_grad()
def mean_elbo(model: VAEBSS, batches: Iterable[Batch]) -> float:
    """Of mixtures, in nats; it knows no sources, so that it may choose K."""
    noise = generator(model.hparams.seed, NOISE["test"], device=model.device)
    with model.evaluating():
        bounds = [objective.elbo(*model.bound(batch["mixture"].to(model.device), noise)) for batch in batches]
    return float(torch.cat(bounds).mean())


def compare(args: list[str]) -> None:
    """Train and score as the options say; writes comparison.md, .json and .png, and slots.png of more than one K."""
    options = parse(args)
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
    batch = next(iter(data.test_dataloader()))
    examples = {name: value[:PICTURED] for name, value in batch.items()}
    pictures: dict[str, Tensor] = {}
    for num_sources, methods in _plan(options):
        models: dict[str, Any] = {}
        for method in methods:
            print(f"\nK = {num_sources}, {method}", flush=True)
            result, answer = _run(method, num_sources, data, options, models)
            comparison["results"].append(result)
            comparison["seconds"] = time.perf_counter() - started
            pictures[f"{method}, K = {num_sources}"] = answer(examples).sources
            (out / "comparison.json").write_text(json.dumps(without_nan(comparison), indent=2) + "\n")
            (out / "comparison.md").write_text(table(comparison))
    figures = {"comparison.png": comparison_figure(examples["mixture"], examples["sources"], pictures)}
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


def _plan(options: Any) -> Iterator[tuple[int, list[str]]]:
    """K and its methods, the VAE before what needs it."""
    for num_sources in options.num_sources:
        methods = [method for method in METHODS + CEILINGS if method in options.methods]
        if "glo" in methods and num_sources != GLO_SOURCES:
            print(f"glo is left out for K = {num_sources}: it is for K = {GLO_SOURCES} only, as published", flush=True)
            methods.remove("glo")
        yield num_sources, methods


def _run(
    method: str, num_sources: int, data: MNISTMixtures, options: Any, models: dict[str, Any]
) -> tuple[dict[str, Any], Estimator]:
    """Train and score one method: its result, and how it answers. Adds it to `models`, the trained ones for this K."""
    scale = data.hparams.source_scale
    models[method] = build(method, num_sources, options.budget // data.hparams.batch_size, scale, options.seed)
    started = time.perf_counter()
    train(models[method], data, options.gpus)
    trained = time.perf_counter()
    answer = estimator(method, models, scale)
    slots = options.num_mixed if method in CEILINGS else num_sources
    scores = score(answer, tqdm(data.test_dataloader(), desc="separating"), slots, scale)
    if method == "vae":
        scores["elbo"] = mean_elbo(models[method], data.test_dataloader())
    result = {
        "method": method,
        "num_sources": num_sources,
        "sees_truth": method in CEILINGS,
        "train_seconds": trained - started,
        "separate_seconds": time.perf_counter() - trained,
        "scores": scores,
    }
    if options.num_mixed == PUBLISHED_MIXED and method in PUBLISHED.get(num_sources, {}):
        psnr, ssim = PUBLISHED[num_sources][method]
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
    quieten()
    torch.set_float32_matmul_precision("high")
    return run_cleanly("compare.py", lambda: compare(sys.argv[1:] if args is None else args))
