"""The command line of comparison: every method of the paper's Table II, trained alike and scored on the same mixtures.

Of notes of musical instruments it is Table III. With --shipped it is Table II of the models that come with the package.

One epoch of training is the whole budget, so that every method sees the same mixtures, and a bar shows how far it is.
A VAE of three or four slots begins with five, keeps the busiest after half of the budget and goes on with these.
"""

# K assumed sources, M true sources

import json
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse.typing import Path_fr
from tqdm.auto import tqdm

from vaebss.atomic import write_json, write_text
from vaebss.baselines.methods import (
    BEGIN_WITH,
    METHODS,
    WARMUP_STEPS,
    WARMUP_STEPS_SPARE,
    Estimator,
    Models,
    Setting,
    estimator,
    seen,
    shipped,
    trained,
)
from vaebss.baselines.published import published
from vaebss.baselines.table import table
from vaebss.commands.data_options import corpus_options
from vaebss.commands.resuming import flatten
from vaebss.commands.terminal import OneLineErrors, program, run_cleanly
from vaebss.commands.test import without_nan
from vaebss.commands.train import configurations
from vaebss.data.batches import Batch
from vaebss.data.corpora.open import open_corpus
from vaebss.data.mixtures import MNISTMixtures
from vaebss.figures.files import save_figure
from vaebss.figures.scores import slots_figure
from vaebss.figures.separations import comparison_figure
from vaebss.hardware import one_device
from vaebss.matching import MAX_SLOTS
from vaebss.modalities.audio import Audio
from vaebss.modalities.images import Images
from vaebss.modalities.modality import Modality
from vaebss.models.vae import VAE
from vaebss.paths import expanded
from vaebss.pretrained.catalogue import available
from vaebss.training.examples import SeparatedExamples, examples, separate_examples
from vaebss.training.scores import Scorer, score
from vaebss.training.vae import VAEBSS, mean_nats

PICTURED = 8  # mixtures
NUM_SOURCES = {Images.kind: [2, 3], Audio.kind: [2]}  # K that were published
SHIPPED = ("ae", "vae", "vae-refined")  # methods of which models come with the package

# Options that a comparison sets itself, or has under another name
OF_THE_DATA = {"image_shape", "exponent", "source_scale", "bounded"}
OWN: dict[str, Any] = {
    "data": {"num_mixed", "epoch_size", "seed", "val_mixtures"},
    "model": {"num_sources", "warmup_steps", "variational", "seed"} | OF_THE_DATA,
}
RENAMED = {"data.num_mixed": "num-mixed", "model.num_sources": "num-sources"}


def parse(args: list[str]) -> Any:
    """Options; whatever can be refused without looking at the data is refused here."""
    parser = OneLineErrors(prog=program("compare"), description="Train and score every method of Table II, or III.")
    config = "Of fit.py: its data and model sections hold unless options are typed. beta rises as in the table."
    parser.add_argument("--config", type=Path_fr | None, help=config)  # type: ignore[operator]
    known = "; ".join(f"of {kind}: {', '.join(methods)}" for kind, methods in METHODS.items())
    parser.add_argument("--methods", type=str | list[str] | None, help=f"One or a list; all by default, {known}.")
    parser.add_argument("--num-mixed", "--num_mixed", type=int, default=2, help="M, sources in a mixture.")
    slots = "K, or a list of them; by default those that were published."
    parser.add_argument("--num-sources", "--num_sources", type=int | list[int] | None, help=slots)
    parser.add_argument("--budget", type=int, default=400_000, help="Mixtures that each method sees in training.")
    begin = "Slots of a VAE that is to have 3 or 4: it keeps the K busiest after half the budget. 0: it begins with K."
    parser.add_argument("--begin-with", "--begin_with", type=int, default=BEGIN_WITH, help=begin)
    best = f"Score models that come with the package ({', '.join(SHIPPED)}) in place of training, whatever its options."
    parser.add_argument("--shipped", action="store_true", help=best)
    parser.add_argument("--out", type=str, default="comparison", help="Folder for results.")
    parser.add_argument("--gpus", type=int | None, help="0 is the CPU, 1 a GPU. By default what there is.")
    parser.add_argument("--seed", type=int, default=0, help="Of the training mixtures and all that is drawn.")
    parser.add_class_arguments(MNISTMixtures, "data", skip=OWN["data"])
    parser.add_class_arguments(VAEBSS, "model", skip=OWN["model"])
    typed = [option for path in configurations(args) for option in _options_of(path)]
    options = parser.parse_args([*typed, *args])
    options.corpus = open_corpus(**corpus_options(options.data))
    options.kind = options.corpus.modality.kind
    options.methods = _listed(options.methods, [*(SHIPPED if options.shipped else METHODS[options.kind])])
    options.num_sources = _listed(options.num_sources, NUM_SOURCES[options.kind])
    _check(options)
    return options


def _options_of(path: Path) -> list[str]:
    """What a configuration of fit.py says of data and model, as if it were typed."""
    try:
        sections = dict(yaml.safe_load(path.read_text()))
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise ValueError(f"{path} is not a configuration of fit.py") from error
    options = flatten({name: sections[name] for name in OWN if name in sections})
    own = {f"{section}.{name}" for section, names in OWN.items() for name in names} - RENAMED.keys()
    values = {RENAMED.get(name, name): value for name, value in options.items() if name not in own}
    return [f"--{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in values.items()]


def _listed(given: Any, default: list[Any]) -> list[Any]:
    """One or several, or the default for nothing said."""
    if given is None:
        return default
    return given if isinstance(given, list) else [given]


def _check(options: Any) -> None:
    known = METHODS[options.kind]
    unknown = [method for method in options.methods if method not in known]
    if unknown or not options.methods:
        raise ValueError(f"--methods knows {', '.join(known)}, not {', '.join(unknown) or 'nothing'}")
    if not options.num_sources or not all(1 <= k <= MAX_SLOTS for k in options.num_sources):
        raise ValueError(f"--num-sources must be from 1 to {MAX_SLOTS}, not {options.num_sources}")
    if not 1 <= options.num_mixed <= MAX_SLOTS:
        raise ValueError(f"--num-mixed must be from 1 to {MAX_SLOTS}, not {options.num_mixed}")
    brightest = options.data.source_scale if options.kind == Images.kind else 0  # nobody knows that of notes
    if options.num_mixed * brightest > min(options.num_sources):
        raise ValueError(f"--num-mixed {options.num_mixed} is too bright for --num-sources {min(options.num_sources)}")
    if options.budget < 2 * options.data.batch_size:
        raise ValueError(f"--budget must be two batches of {options.data.batch_size} or more, not {options.budget}")
    if not 0 <= options.begin_with <= MAX_SLOTS:
        raise ValueError(f"--begin-with must be from 0 to {MAX_SLOTS}, not {options.begin_with}")
    for method in options.methods:
        if (needed := known[method].needs) not in (None, *options.methods):
            raise ValueError(f"{method} needs the trained model of {needed}: add {needed} to --methods")
    if options.shipped:
        _check_shipped(options)
    if options.seed < 0:
        raise ValueError(f"--seed must be 0 or more, not {options.seed}")
    one_device(options.gpus)
    if not any(methods for _, methods in _plan(options)):
        raise ValueError(f"nothing to compare: {options.methods[0]} is not for K = {options.num_sources}, as published")


def _check_shipped(options: Any) -> None:
    if options.kind != Images.kind or not set(options.methods) <= set(SHIPPED):
        raise ValueError(f"--shipped knows {', '.join(SHIPPED)} of digits, not {', '.join(options.methods)}")
    for num_sources in options.num_sources:
        if (model := shipped("vae", num_sources)) not in available():
            raise ValueError(f"--shipped lacks {model}: there are {', '.join(available())}")


def compare(options: Any) -> None:
    """Train and score as the options say; writes comparison.md, .json and .png, and slots.png of more than one K."""
    data = _data(options)
    out = expanded(options.out)
    out.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=out).close()  # a folder that cannot be written to shows before any training
    started = time.perf_counter()
    comparison: dict[str, Any] = {
        "kind": options.kind,
        "data": data.hparams.source,
        "of": data.corpus.title,
        "num_mixed": options.num_mixed,
        "test_mixtures": data.hparams.test_mixtures,
        "budget": options.budget,
        "seed": options.seed,
        "warmup": f"{WARMUP_STEPS} steps where K is 1 or 2, else over {WARMUP_STEPS_SPARE} or half of all",
        "begin_with": options.begin_with,
        "shipped": options.shipped,
        "results": [],
    }
    first = examples(data.test_dataloader(), PICTURED)
    shown: dict[str, SeparatedExamples] = {}
    device = one_device(options.gpus).type
    for num_sources, methods in _plan(options, say=print):
        models: Models = {}
        for method in methods:
            print(f"\nK = {num_sources}, {method}", flush=True)
            steps = options.budget // data.hparams.batch_size
            drawn = num_sources, steps, data.hparams.source_scale, options.seed
            how = options.model.as_dict(), options.begin_with, options.shipped
            setting = seen(method, Setting(*drawn, device, data.modality, *how))
            result, answer = _run(method, setting, data, models)
            comparison["results"].append(result)
            comparison["seconds"] = time.perf_counter() - started
            shown[f"{method}, K = {num_sources}"] = _apart(answer, first, setting.modality, setting.source_scale)
            write_json(without_nan(comparison), out / "comparison.json")
            write_text(table(comparison), out / "comparison.md")
    given = next(iter(shown.values()))
    estimates = {label: taken.estimates for label, taken in shown.items()}
    figures = {"comparison.png": comparison_figure(given.signals, given.sources, estimates, data.modality.figure)}
    if len(options.num_sources) > 1:
        main = data.modality.metrics[0]
        figures["slots.png"] = slots_figure(_by_slots(comparison["results"]), main.name, main.label)
    for name, figure in figures.items():
        save_figure(figure, out / name)
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
    data = MNISTMixtures(**options.data.as_dict() | drawn | {"source": options.corpus})
    data.prepare_data()
    data.setup()
    return data


def _plan(options: Any, say: Any = lambda line: None) -> Iterator[tuple[int, list[str]]]:
    """K and its methods, in the table's order."""
    for num_sources in options.num_sources:
        methods = [method for method in METHODS[options.kind] if method in options.methods]
        for method in methods[:]:
            if (only := METHODS[options.kind][method].only_k) not in (None, num_sources):
                say(f"{method} is left out for K = {num_sources}: it is for K = {only} only")
                methods.remove(method)
        yield num_sources, methods


def _run(name: str, setting: Setting, data: MNISTMixtures, models: Models) -> tuple[dict[str, Any], Estimator]:
    """Train and score one method: its result, and how it answers. Adds to `models`, the trained ones for this K."""
    method, num_mixed = METHODS[setting.modality.kind][name], data.counts[1]
    started, computed = time.perf_counter(), time.process_time()
    if model := trained(name, setting, data):
        models[name] = model
    done = time.perf_counter()
    answer = estimator(name, setting, models)
    slots = num_mixed if method.sees_truth else setting.num_sources
    scorer = Scorer(slots, data.hparams.source_scale, setting.modality)
    scores = score(answer, _pictured(tqdm(data.test_dataloader(), desc="separating"), setting.modality), scorer)
    if name == "vae" and isinstance(model, VAE):
        scores["elbo"] = mean_nats(model, data.test_dataloader())["elbo"]  # knows no sources, so that it may choose K
    result = {
        "method": name,
        "num_sources": setting.num_sources,
        "sees_truth": method.sees_truth,
        "train_seconds": None if setting.shipped else done - started,
        "separate_seconds": time.perf_counter() - done,
        "cpu_seconds": time.process_time() - computed,
        "scores": scores,
    }
    if figures := published(setting.modality.kind, name, setting.num_sources, num_mixed):
        result["published"] = figures
    return result, answer


def _pictured(batches: Iterable[Batch], modality: Modality) -> Iterator[Batch]:
    """Batches as a modality sees them."""
    for batch in batches:
        yield batch | {"mixture": modality.picture(batch["signal"])}


def _apart(answer: Estimator, batch: Batch, modality: Modality, source_scale: float) -> SeparatedExamples:
    """A batch and what a method that sees it so found in it."""
    (pictured,) = _pictured([batch], modality)
    return separate_examples(answer(pictured), pictured, modality, source_scale)


def main(args: list[str] | None = None) -> int:
    """Entry point of scripts/compare.py."""
    torch.set_float32_matmul_precision("high")
    return run_cleanly("compare", lambda: compare(parse(sys.argv[1:] if args is None else args)))
