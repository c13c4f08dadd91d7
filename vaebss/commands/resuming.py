"""Options that a resumed run takes from its checkpoint, and those whose values would import code.

A checkpoint can come from anybody, and the options in it are classes as well: `trainer.profiler`, `trainer.strategy`
and `trainer.plugins`. Only those of a fixed list are imported; all others must be typed again by the user.
"""

import math
import re
from collections.abc import Iterable
from functools import reduce
from pathlib import Path
from typing import Any

import yaml

from vaebss.commands.yaml_options import flatten, load_options
from vaebss.data.corpora.open import is_class
from vaebss.errors import CheckpointError, first_line

RUN_STATE: dict[str, type] = {"config": str, "loops": dict, "optimizer_states": list, "lr_schedulers": list}
LIGHTNING = "pytorch-lightning_version"  # of the Lightning that wrote a checkpoint, such as 2.6.0rc1
VERSION = re.compile(r"\d+(\.\d+)*(a\d+|b\d+|rc\d+)?(\.post\d+)?(\.dev\d+)?(\+[a-z0-9.]+)?")

# Where and beside what a run happens, not what it computes: these may differ when it is resumed.
PLACE = {"config", "ckpt", "init", "starts", "start_epochs", "gpus", "capture"}
PLACE |= {"data.root", "data.num_workers", "trainer.accelerator", "trainer.devices", "trainer.logger"}
PLACE |= {"trainer.callbacks", "trainer.enable_progress_bar", "trainer.default_root_dir"}

CLASSES = frozenset(  # that a checkpoint may name; no prefixes, as torch and Lightning have modules that run programs
    (
        "pytorch_lightning.profilers.AdvancedProfiler",
        "pytorch_lightning.profilers.PassThroughProfiler",
        "pytorch_lightning.profilers.PyTorchProfiler",
        "pytorch_lightning.profilers.SimpleProfiler",
        "pytorch_lightning.strategies.DDPStrategy",
        "pytorch_lightning.strategies.FSDPStrategy",
        "pytorch_lightning.strategies.SingleDeviceStrategy",
        "pytorch_lightning.plugins.AsyncCheckpointIO",
        "pytorch_lightning.plugins.MixedPrecision",
        "pytorch_lightning.plugins.Precision",
        "pytorch_lightning.plugins.TorchSyncBatchNorm",
        "lightning_fabric.plugins.TorchCheckpointIO",
        "lightning_fabric.plugins.environments.LightningEnvironment",
        "lightning_fabric.plugins.environments.SLURMEnvironment",
        "lightning_fabric.plugins.environments.TorchElasticEnvironment",
        "vaebss.training.checkpointing.WholeCheckpoints",
    )
)
MOVED = {"vaebss.training.callbacks.WholeCheckpoints": "vaebss.training.checkpointing.WholeCheckpoints"}  # since 0.2.0
PICTURED = ("window", "bands", "pooled", "compression", "add")  # options of spectrograms
WORD = re.compile(r"[a-z0-9_:-]*")  # names neither a class nor a module nor, as a rule, a file
SECTIONS = ("trainer", "data", "model", "config")  # as a plain string, each would be the path of another file


def saved_options(checkpoint: dict[str, Any], path: str, known: Iterable[str]) -> dict[str, Any]:
    """Return the options that a run was started with, by their full names, without those of PLACE.

    Args:
        checkpoint: Contents of `path`.
        path: Path of the checkpoint, for errors.
        known: Names of the options of this version.

    Raises:
        CheckpointError: The training state is missing or malformed, or options no longer exist.
    """
    if lacking := [name for name, kind in RUN_STATE.items() if not isinstance(checkpoint.get(name), kind)]:
        raise CheckpointError(
            f"{path} has no training state ({', '.join(sorted(lacking))} missing or malformed): "
            "use --init instead of --ckpt"
        )
    if not VERSION.fullmatch(str(written := checkpoint.get(LIGHTNING))) or not isinstance(written, str):
        raise CheckpointError(
            f"{path} has {str(written)[:80]!r} as {LIGHTNING}, which is no version: use --init instead of --ckpt"
        )
    saved = configuration(checkpoint, path, known)
    saved = {name: value for name, value in saved.items() if not lies_below(name, PLACE)}
    if gone := [name for name in saved if name not in known]:
        raise CheckpointError(
            f"{path} has options that no longer exist ({', '.join(map(str, gone))}): use --init instead of --ckpt"
        )
    return saved


def initial_options(checkpoint: dict[str, Any], known: Any) -> dict[str, Any]:
    """Return the hyper-parameters of the model to start from, and its options of brightness and spectrograms.

    Args:
        checkpoint: Contents of the model's checkpoint.
        known: Full names of the options that the command has.

    Returns:
        Values by the full names of options. Options that may import a class are left out.
    """
    hparams = checkpoint.get("hyper_parameters", {})
    options = {f"model.{name}": value for name, value in hparams.items()}
    options |= {f"data.{name}": value for name, value in hparams.items() if name == "source_scale" and value < math.inf}
    options |= {f"data.{name}": value for name, value in checkpoint.get("modality", {}).items() if name in PICTURED}
    doubtful = importable(options)
    return {name: value for name, value in options.items() if name in known and name not in doubtful}


def configuration(checkpoint: dict[str, Any], path: str, known: Iterable[str]) -> dict[str, Any]:
    """Return all options in a checkpoint's `config`, by their full names.

    Args:
        checkpoint: Contents of the checkpoint.
        path: Path of the checkpoint, for errors.
        known: Full names of the options that the command has, which are not taken apart further.

    Raises:
        CheckpointError: The options are not a mapping in YAML.
    """
    try:
        text = str(reduce(lambda text, moved: text.replace(*moved), MOVED.items(), checkpoint["config"]))
        options = load_options(text, "config")
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} has options that cannot be read: {first_line(error)}") from error
    if not isinstance(options, dict):
        raise CheckpointError(f"{path} has options that cannot be read: they must be a mapping")
    return flatten(options, known)


def importable(options: dict[str, Any]) -> dict[str, str]:
    """Return the names of those options whose values may have something imported, each with that part of the value.

    Args:
        options: Values of options by their full names, such as "trainer.profiler".
    """
    own = {name for name in ("data.source",) if isinstance(options.get(name), str) and is_class(options[name])}
    strict = {name: name.startswith("trainer.") or name in SECTIONS or name in own for name in options}
    found = {name: _importable(value, strict[name]) for name, value in options.items()}
    return {name: part for name, part in found.items() if part is not None}


def _importable(value: Any, strict: bool) -> str | None:
    """Return the first string of a value that is neither of CLASSES nor a word; strings beside dicts only if strict."""
    if isinstance(value, dict):
        parts = [_importable(part, True) for pair in value.items() for part in pair]
    elif isinstance(value, list | tuple | set):
        parts = [_importable(part, strict) for part in value]
    else:
        harmless = not isinstance(value, str) or not strict or value in CLASSES
        return None if harmless or (WORD.fullmatch(value) and not Path(value).is_file()) else value
    return next((part for part in parts if part is not None), None)


def trusted_options(saved: dict[str, Any], typed: dict[str, Any], path: str) -> dict[str, Any]:
    """Return the saved options without those that may import a class, which must have been typed again.

    Args:
        saved: Options in the checkpoint, by their full names.
        typed: Options on the command line, by their full names.
        path: Path of the checkpoint, for errors.

    Raises:
        CheckpointError: Such an option was not typed, or was typed with another value.
    """
    doubtful = importable(saved)
    for name, part in doubtful.items():
        if typed.get(name) != saved[name]:
            raise CheckpointError(
                f"{path} names {part[:80]!r} in --{name}, which a checkpoint may not have imported: if you trust it, "
                f"type --{name} again as the run had it"
            )
    return {name: value for name, value in saved.items() if name not in doubtful}


def check_teacher_config(path: str | Path) -> None:
    """Raise a CheckpointError if a file of options that a checkpoint names may have something imported."""
    for name, part in importable(flatten(load_options(Path(path).read_text(), path))).items():
        raise CheckpointError(
            f"{path}, which the checkpoint names as --teacher, has {part[:80]!r} in {name}: if you trust it, type "
            "--teacher again"
        )


def lies_below(name: str, names: Iterable[str]) -> bool:
    """Return whether an option is one of those named, or a part of one.

    Args:
        name: Full name of the option, such as "model.lr".
        names: Full names, such as "model".
    """
    return any(f"{name}.".startswith(f"{above}.") for above in names)


def refuse_others(saved: dict[str, Any], options: dict[str, Any]) -> None:
    """Raise a ValueError if the command line changes a saved option.

    Args:
        saved: Options of the run to resume, by their full names.
        options: Options as parsed, with the saved ones as their defaults, by their full names.
    """
    for name, value in saved.items():
        if options.get(name) != value:
            raise ValueError(
                f"--{name} {options.get(name)} differs from the run to resume, which has {value}: leave it out, "
                "or start a new run"
            )
