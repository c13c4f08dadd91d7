"""Trained models that come with the package: weights as safetensors, each with a card that describes it."""

import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebss.atomic import atomic_write, write_json

if TYPE_CHECKING:  # names are known at once, weights take PyTorch
    import torch

FOLDER = Path(__file__).parent
IMAGES = "images"  # kind of the models whose card or checkpoint states none
DEFAULT_MODELS = {IMAGES: "remix-1to4", "audio": "remix-lines"}  # by the kind of signal that a user has
DEFAULT_MODEL = DEFAULT_MODELS[IMAGES]
OF_ITS_MACHINE = ("root", "mixtures", "soundfont", "num_workers")  # data options that depend on the user's machine
DIGITS = "source"  # data option for the set of digits, which depends on the user too
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def available() -> list[str]:
    """Return the names of the models that come with the package, for `vaebss.load` and `--ckpt`.

    Examples:
        >>> import vaebss
        >>> "remix-k2" in vaebss.available()
        True
    """
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def card(name: str) -> dict[str, Any]:
    """Return the card of a shipped model: what it is, how it was trained and its scores; see `ship`.

    Raises:
        KeyError: There is no model of this name.
    """
    if name not in available():
        raise KeyError(name)
    return json.loads((FOLDER / f"{name}.json").read_text())


def read_shipped(name: str) -> dict[str, Any]:
    """Read a shipped model as the contents of a checkpoint, with weights in single precision."""
    from vaebss.pretrained import weights

    return opened(weights.read(FOLDER / f"{name}.safetensors"), card(name))


def opened(state_dict: "dict[str, torch.Tensor]", card: dict[str, Any]) -> dict[str, Any]:
    """Return a model's weights and its card as the contents of a checkpoint.

    Args:
        state_dict: Weights by their names.
        card: Card of the model, as it was read from JSON.
    """
    options = card["hyper_parameters"].items()
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in options}  # as before JSON
    if "source_scale" in options:
        options["source_scale"] = options["source_scale"] or math.inf  # unknown; JSON has no infinity
    return card | {"hyper_parameters": options, "state_dict": state_dict}


def described(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return the entries of a card that describe the model itself."""
    known = {"modality": checkpoint["modality"]} if "modality" in checkpoint else {}
    left_out = (*OF_ITS_MACHINE, DIGITS) if kind_of(checkpoint) == IMAGES else OF_ITS_MACHINE
    data = checkpoint.get("datamodule_hyper_parameters", {})
    return known | {
        "model_class": checkpoint["model_class"],
        "hyper_parameters": _in_json(checkpoint["hyper_parameters"]),
        "datamodule_hyper_parameters": _in_json({key: data[key] for key in data if key not in left_out}),
    }


def kind_of(contents: dict[str, Any]) -> str:
    """Return the kind of the mixtures that a model separates, from its card or the contents of its checkpoint."""
    return contents.get("modality", {}).get("kind", IMAGES)


def _in_json(options: dict[str, Any]) -> dict[str, Any]:
    return {key: None if value == math.inf else value for key, value in options.items()}


def check_name(name: str) -> None:
    """Raise a ValueError unless `name` can be a model's name."""
    if not NAME.fullmatch(name):
        raise ValueError(f"a model's name is lower-case words joined by hyphens, such as vae-k2, not {name!r}")


def ship(
    name: str, checkpoint: dict[str, Any], facts: dict[str, Any], folder: Path | None = None, bits: int = 8
) -> Path:
    """Write a model's weights and its card.

    Args:
        name: Lower-case words joined by hyphens.
        checkpoint: Contents of a checkpoint, see `checkpoints.read`.
        facts: Further entries of the card: how the model was trained, and its scores.
        folder: Folder to write to; by default the package's.
        bits: Number of bits of the weights, 16 or 8, see `weights.packed`.

    Returns:
        The path of the weights.

    Raises:
        ValueError: The name has another form.
    """
    check_name(name)
    folder = folder or FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    return write(checkpoint, facts, folder / f"{name}.safetensors", folder / f"{name}.json", bits)


def write(
    checkpoint: dict[str, Any], facts: dict[str, Any], weights_path: Path, card_path: Path, bits: int = 16
) -> Path:
    """Write a model's weights and its card, both files or neither; return the weights' path.

    Args:
        checkpoint: Contents of a checkpoint, see `checkpoints.read`.
        facts: Further entries of the card.
        weights_path: Path of the safetensors file.
        card_path: Path of the JSON file.
        bits: Number of bits of the weights, 16 or 8, see `weights.packed`.

    Raises:
        OSError: The disk is full.
    """
    from vaebss.pretrained import weights

    with atomic_write(weights_path) as part:
        weights.write(checkpoint, part, bits)
        write_json(described(checkpoint) | facts, card_path)
    return weights_path
