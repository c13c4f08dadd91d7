"""The command line of evaluation: scores a checkpoint on fixed test mixtures, as a table, a file and a picture."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vaebss.atomic import make_folder, write_json
from vaebss.blind import summary_of
from vaebss.checkpoints import build, read
from vaebss.commands.data_options import corpus_options
from vaebss.commands.terminal import OneLineErrors, program, run_cleanly
from vaebss.data.corpora.open import is_class
from vaebss.data.mixtures import MNISTMixtures
from vaebss.figures.files import save_figure
from vaebss.figures.scores import confusion_figure
from vaebss.figures.separations import separation_figure
from vaebss.hardware import one_device
from vaebss.metrics.metric import Metric
from vaebss.modalities.modality import Modality
from vaebss.models.separator import Separator
from vaebss.models.vae import VAE
from vaebss.paths import expanded
from vaebss.pretrained.catalogue import available
from vaebss.pretrained.lineage import knows_mnist
from vaebss.training.examples import SeparatedExamples, examples, separate_examples
from vaebss.training.scores import evaluate
from vaebss.training.vae import mean_nats

PICTURED = 8  # mixtures
OBJECTIVE = ("loss", "elbo", "distortion", "rate")  # what a model with a likelihood logs

KNOWN = "The bundled digits are MNIST training digits, which this model was trained on: this is no test score."


def parse(args: list[str]) -> tuple[Any, dict[str, Any]]:
    """Parse the options, with the checkpoint's data options as defaults; return them and the checkpoint.

    Raises:
        ValueError: The checkpoint cannot be read, or names a corpus of the user's own that --data.source does not.
    """
    parser = OneLineErrors(prog=program("test"), description="Score a checkpoint on fixed test mixtures.")
    parser.add_argument("--ckpt", required=True, type=str, help="Checkpoint, or name of a shipped model.")
    parser.add_argument(
        "--out", type=str | None, help="Folder for results; by default the checkpoint's, or ./results/NAME."
    )
    parser.add_gpus()
    parser.add_refinement()
    bounded = "Bound on masked estimates: none is brighter than a source can be. By default as in training."
    parser.add_argument("--bounded", type=bool | None, help=bounded)
    parser.add_class_arguments(MNISTMixtures, "data")
    checkpoint = read(parser.parse_args(args).ckpt)
    known = {*parser.get_defaults().data.keys()}
    saved = {name: value for name, value in checkpoint.get("datamodule_hyper_parameters", {}).items() if name in known}
    own = saved.pop("source", None) if is_class(saved.get("source")) else None
    parser.set_defaults({f"data.{name}": value for name, value in saved.items()})
    options = parser.parse_args(args)
    if own and options.data.source == parser.get_default("data.source"):
        raise ValueError(f"it was trained on {own}, which only your own --data.source may name: type it again")
    return options, checkpoint


def test(options: Any, checkpoint: dict[str, Any]) -> None:
    """Score as the options say; print a table and write results.json and separations.png.

    Where the true sources are unknown, this prints an estimate of the score and writes nothing.

    Args:
        options: Options of test.py.
        checkpoint: Contents of the checkpoint that they name.

    Raises:
        ValueError: The model lacks an option, or --data.source_scale is not that of the model.
    """
    model = build(checkpoint, options.ckpt).to(one_device(options.gpus))
    refinement = {"refine_steps": options.refine_steps, "restarts": options.restarts}
    model.check_options(**refinement)
    if options.bounded is not None:
        model.bounded = options.bounded
    data = MNISTMixtures(**options.data.as_dict() | corpus_options(options.data))
    data.modality = data.corpus.seen_by(model)
    if data.hparams.source_scale != model.source_scale:
        raise ValueError(f"--data.source_scale must be that of the model, {model.source_scale}")
    out = folder_for(options)
    make_folder(out)
    data.prepare_data()
    data.setup("test")
    print(f"Separating {named(data)}", flush=True)
    if not data.corpus.has_truth:
        mixtures, most, recordings = data.corpus.splits.test, data.hparams.test_mixtures, data.corpus.recordings
        print(summary_of(model, data.modality, mixtures, most, recordings))
        print("To score with true sources, name their files with --data.sources.")
        return
    results = described(model, data, options.ckpt) | (refinement if options.refine_steps else {})
    if not data.corpus.given and data.corpus.name == "bundled" and knows_mnist(checkpoint):
        print(KNOWN, flush=True)
        results["digits_known_from_training"] = True
    results |= evaluate(model, tqdm(data.test_dataloader(), unit="batch"), data.modality, **refinement)
    results |= mean_nats(model, data.test_dataloader()) if isinstance(model, VAE) else {}
    print(table(results, data.modality.metrics))
    if has_counts(results):
        print(count_table(results.get("refined", results["masked"]), data.modality.metrics[0]))
    print("Written:", ", ".join(map(str, write(results, model, data, out))))


def named(data: MNISTMixtures) -> str:
    """Return the name of what is scored."""
    drawn, corpus = data.hparams, data.corpus
    if corpus.given:
        return f"{min(drawn.test_mixtures, len(corpus.splits.test))} mixtures of {corpus.title}"
    return f"{drawn.test_mixtures} test mixtures of {corpus.title}, M = {drawn.num_mixed}"


def folder_for(options: Any) -> Path:
    """Return the folder for results: as typed, else beside the checkpoint, but never in the package."""
    shipped = Path("results") / options.ckpt if options.ckpt in available() else None
    return expanded(options.out or shipped or Path(options.ckpt).parent)


def described(model: Separator, data: MNISTMixtures, ckpt: str) -> dict[str, Any]:
    """Return a description of the model and of the mixtures that were scored.

    Args:
        model: Model that was scored.
        data: Data module of the test mixtures.
        ckpt: Checkpoint of the model, as it was named.
    """
    return {
        "data": data.corpus.name,
        "n": data.hparams.test_mixtures,
        "num_mixed": data.hparams.num_mixed,
        "num_sources": model.num_sources,
        "bounded": model.bounded,
        "checkpoint": str(ckpt),
    }


def write(results: dict[str, Any], model: Separator, data: MNISTMixtures, out: Path) -> list[Path]:
    """Write results as a file and as pictures.

    Args:
        results: Scores and descriptions by their names.
        model: Model that was scored.
        data: Data whose first mixtures are drawn, and written as sounds if they are audible.
        out: Folder for the files.

    Returns:
        The paths of the files.
    """
    first = examples(data.test_dataloader(), PICTURED)
    shown = separate_examples(model.separate(first["mixture"]), first, data.modality, model.source_scale)
    figures = {"separations.png": separation_figure(*shown, data.modality.figure)}
    if has_counts(results):
        figures["counts.png"] = confusion_figure(results.get("refined", results["masked"])["confusion"])
    write_json(without_nan(results), out / "results.json")
    for name, figure in figures.items():
        save_figure(figure, out / name)
    sounds = [write_sounds(shown, data.modality, out / "examples")] if data.modality.audible else []
    return [out / "results.json", *(out / name for name in figures), *sounds]


def write_sounds(shown: SeparatedExamples, modality: Modality, folder: Path) -> Path:
    """Write mixtures, estimates and, where known, true sources as sounds.

    Args:
        shown: Separated mixtures.
        modality: Modality of the sounds, which decides the format of the files.
        folder: Folder for the files; it is created if it does not exist, and its parent has to exist.

    Returns:
        The folder.
    """
    folder.mkdir(exist_ok=True)
    for number, name, sound in shown.named():
        modality.write(sound, folder / f"{number}_{name.replace(' ', '')}{modality.formats[0]}")
    return folder


def has_counts(results: dict[str, Any]) -> bool:
    """Return whether the test mixtures differ in their number of sources."""
    return sum(map(any, results["masked"]["confusion"])) > 1


def table(results: dict[str, Any], metrics: Sequence[Metric]) -> str:
    """Return results as lines of text, with a row for each statistic of the metrics.

    Args:
        results: Scores of the columns "raw", "masked" and "refined", as far as there are such, and of the objective.
        metrics: Metrics of the modality, the main one first.
    """
    columns = [name for name in ("raw", "masked", "refined") if name in results]
    lines = ["\n" + " " * 24 + "".join(f"{name:>10}" for name in columns)]
    rows = {metric.key(part): f"  {part.replace('_', ' ')}" for metric in metrics for part in metric.rows}
    rows |= {metric.name: metric.label for metric in metrics} | {"count": "count right"}
    for name, label in rows.items():
        lines.append(f"{label:24}" + "".join(f"{results[column][name]:10.3f}" for column in columns))
    nats = ", ".join(f"{name} {results[name]:.2f}" for name in OBJECTIVE if name in results)
    return "\n".join([*lines, f"{nats} nats per mixture\n" if nats else ""])


def count_table(scores: dict[str, Any], main: Metric) -> str:
    """Return, for each true number of sources, its mixtures, their main metric, and the numbers that were found.

    Args:
        scores: Scores of one column, with "confusion" and the main metric by count.
        main: Main metric of the modality.
    """
    slots, width = len(scores["confusion"][0]), len(main.label) + 2
    lines = [f"true number  mixtures  {main.label}  taken for" + "".join(f"{number:8}" for number in range(slots))]
    for number, quality in scores[f"{main.name}_by_count"].items():
        taken = scores["confusion"][number]
        shares = "".join(f"{100 * times / sum(taken):7.1f}%" for times in taken)
        lines.append(f"{number:11}{sum(taken):10}{quality:{width}.3f}{'':11}{shares}")
    return "\n".join([*lines, ""])


def without_nan(value: Any) -> Any:
    """Replace NaN and infinities, which JSON lacks, by None."""
    if isinstance(value, dict):
        return {name: without_nan(item) for name, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def main(args: list[str] | None = None) -> int:
    """Entry point of scripts/test.py.

    Examples:
        >>> main(["--ckpt", "vae-k2", "--data.source", "bundled", "--data.test_mixtures", "8", "--gpus", "0"])
        Separating 8 test mixtures of bundled digits, M = 2
        ...
        PSNR (paper scale), dB ...
        0
    """
    return run_cleanly("test", lambda: test(*parse(sys.argv[1:] if args is None else args)))
