"""The command line of shipping: a checkpoint becomes a model of the package, with a card of how it scores."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

from vaebss.commands.terminal import OneLineErrors, program, run_cleanly
from vaebss.pretrained import catalogue
from vaebss.version import __version__

LICENCE = "MNIST: Y. LeCun, C. Cortes and C. Burges, CC BY-SA 3.0"
NOTES = 1_000  # pairs that score a model of sound
LOOK_SIZE = 1_000  # training mixtures that tell how all look
BUNDLED = {"source": "bundled", "test_mixtures": 500}  # for a quick check that nothing has changed
OF_MIXTURES = ("source", "num_mixed", "source_scale", "window", "bands", "pooled", "compression", "add", "level")


def parse(args: list[str]) -> Any:
    """Parse the options."""
    parser = OneLineErrors(prog=program("ship"), description="Put a trained model into the package, with its card.")
    ckpt = "Checkpoint of fit.py or remix.py, or several that started from the same weights, whose mean is shipped."
    parser.add_argument("--ckpt", required=True, type=str, nargs="+", help=ckpt)
    parser.add_argument("--name", required=True, type=str, help="Name of the model, such as vae-k2.")
    parser.add_argument("--command", required=True, type=str, help="Command that trained it, for the card.")
    bits = "Bits of each weight of matrices and kernels on disk: 8, or 16 for half precision."
    parser.add_argument("--bits", type=Literal[8, 16], default=8, help=bits)
    parser.add_argument("--refine-steps", "--refine_steps", type=int, default=0, help="Steps of a refined score.")
    parser.add_argument("--root", type=str, default="./data", help="Folder of MNIST or of notes, for the scores.")
    parser.add_argument("--soundfont", type=str | None, help="SoundFont of the notes; by default that of pretty_midi.")
    parser.add_argument("--licence", type=str, default=LICENCE, help="Licence of the training data.")
    options = parser.parse_args(args)
    catalogue.check_name(options.name)
    return options


def ship(options: Any) -> None:
    """Pack a checkpoint's weights, or the mean of several's, score what is left, and put it into the package.

    Raises:
        ValueError: A checkpoint cannot be read, or no test mixtures are known for its kind of signals.
    """
    from vaebss.checkpoints import FORMATS, mean, read  # only now, so that options are refused at once
    from vaebss.hardware import commit
    from vaebss.pretrained.weights import packed, restored

    every = [read(path) for path in options.ckpt]
    checkpoint, steps = mean(every), sum(run.get("global_step", 0) for run in every)
    data = checkpoint.get("datamodule_hyper_parameters", {})
    facts: dict[str, Any] = {
        "command": options.command,
        "commit": commit(),
        "vaebss": __version__,
        "format": FORMATS[options.bits],
        "bits": options.bits,
        "seed": data.get("seed"),
        "trained_on": data.get("source"),
        "steps_of_the_last_run": steps or None,
        "mixtures_seen_in_the_last_run": steps * data.get("batch_size", 0),
        "licence_of_the_data": options.licence,
    }
    kept = catalogue.opened(restored(packed(checkpoint, options.bits)), catalogue.described(checkpoint))
    if (kind := catalogue.kind_of(checkpoint)) not in SCORED:
        raise ValueError(f"no test mixtures of {kind} are known to score the model on: only of {', '.join(SCORED)}")
    facts["look"] = look(kept, options)
    facts |= SCORED[kind](checkpoint, partial(scores, kept), options)
    print("Written:", catalogue.ship(options.name, checkpoint, facts, bits=options.bits))


def of_notes(checkpoint: dict[str, Any], score: Callable[..., Any], options: Any) -> dict[str, Any]:
    """Return the facts of a model of sound: its font, and its scores on held-out notes and on instruments never heard.

    Args:
        checkpoint: Contents of the checkpoint.
        score: Function that scores the model with given options of the data, see `scores`.
        options: Options of ship.py.
    """
    data = {"root": options.root, "soundfont": options.soundfont, "test_mixtures": NOTES}
    data["refinement"] = {"refine_steps": options.refine_steps}
    font = checkpoint.get("datamodule_hyper_parameters", {}).get("soundfont") or "TimGM6mb"
    return {
        "trained_on": f"notes of {Path(font).stem}",
        "split_of_the_notes": "by recording",
        "scores_on_held_out_notes": score(**data),
        "scores_on_instruments_never_heard": score(**data, unheard=True),
    }


def of_digits(checkpoint: dict[str, Any], score: Callable[..., Any], options: Any) -> dict[str, Any]:
    """Return the scores of a model of pictures on MNIST and on the bundled digits.

    Args:
        checkpoint: Contents of the checkpoint.
        score: Function that scores the model with given options of the data, see `scores`.
        options: Options of ship.py.
    """
    from vaebss.pretrained.lineage import knows_mnist

    seen, refinement = "training_" if knows_mnist(checkpoint) else "", {"refine_steps": options.refine_steps}
    return {
        "scores_on_mnist_test_mixtures": score(refinement, source="mnist", root=options.root),
        f"scores_on_bundled_{seen}digits": score(**BUNDLED),
    }


SCORED = {"images": of_digits, "audio": of_notes}  # what a card says of a model, by its kind


def mixtures_of(checkpoint: dict[str, Any], stage: str, **options: Any) -> Any:
    """Return the mixtures that a checkpoint was trained for, ready for a stage.

    Args:
        checkpoint: Contents of the checkpoint.
        stage: Stage that is prepared, such as "test".
        options: Options of the data that differ from those of the checkpoint.
    """
    from vaebss.data.mixtures import MNISTMixtures

    kept = checkpoint["datamodule_hyper_parameters"]
    of_mixtures = {name: kept[name] for name in OF_MIXTURES if kept.get(name) is not None}
    data = MNISTMixtures(**of_mixtures | options)
    data.prepare_data()
    data.setup(stage)
    return data


def look(checkpoint: dict[str, Any], options: Any) -> dict[str, Any]:
    """Return what training mixtures of a checkpoint look like, see `likeness`.

    Args:
        checkpoint: Contents of the checkpoint.
        options: Options of ship.py: the folders of the data.
    """
    from vaebss.likeness import look_of

    drawn: dict[str, Any] = {"batch_size": LOOK_SIZE, "epoch_size": LOOK_SIZE}
    digits = catalogue.kind_of(checkpoint) == catalogue.IMAGES
    drawn |= {"source": "bundled"} if digits else {"root": options.root, "soundfont": options.soundfont}
    return look_of(next(iter(mixtures_of(checkpoint, "fit", **drawn).train_dataloader()))["mixture"])


def scores(checkpoint: dict[str, Any], refinement: dict[str, int] | None = None, **options: Any) -> dict[str, Any]:
    """Return the scores of a checkpoint on test mixtures.

    Args:
        checkpoint: Contents of the checkpoint.
        refinement: Number of refinement steps and of restarts, by their names; None for no refinement.
        options: Options of the data that differ from those of the checkpoint, see `mixtures_of`.
    """
    from tqdm import tqdm

    from vaebss.checkpoints import build
    from vaebss.training.scores import evaluate

    data, model = mixtures_of(checkpoint, "test", **options), build(checkpoint, "the checkpoint")
    results = evaluate(model, tqdm(data.test_dataloader(), unit="batch"), data.modality, **refinement or {})
    columns = [column for column in ("masked", "refined") if column in results]
    metrics = data.modality.metrics
    names = [*(metric.key(part) for metric in metrics for part in metric.rows)]
    names += ["count", f"{metrics[0].name}_by_count", "confusion"]
    chosen = {column: {name: results[column][name] for name in names} for column in columns}
    return {"n": data.hparams.test_mixtures, "num_mixed": data.hparams.num_mixed} | chosen


def main(args: list[str] | None = None) -> int:
    """Entry point of scripts/ship.py.

    Examples:
        >>> main(["--ckpt", "vae-k9", "--name", "mine", "--command", "python scripts/fit.py"])  # there is no such model
        2
    """
    return run_cleanly("ship", lambda: ship(parse(sys.argv[1:] if args is None else args)))
