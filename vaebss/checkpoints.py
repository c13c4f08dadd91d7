"""Opening checkpoints, without ever running code from them."""

import warnings
from pathlib import Path
from typing import Any

import torch

from vaebss.pretrained import shelf as shipped
from vaebss.training.student import RemixSeparator
from vaebss.training.vae import VAEBSS

MODELS: dict[str, Any] = {model.__name__: model for model in (VAEBSS, RemixSeparator)}


class CheckpointError(ValueError):
    """A checkpoint that cannot be opened; the message is one line."""


def read(path: str | Path) -> dict[str, Any]:
    """The contents of a checkpoint of this package, or of a shipped model: tensors and plain values only.

    Raises:
        CheckpointError: missing, truncated, foreign, or one that would have to run code to be opened.
    """
    if str(path) in shipped.available():
        return shipped.read_shipped(str(path))
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}, and no shipped model: {', '.join(shipped.available())}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a stranger's file fails to load in any way it likes
        raise CheckpointError(f"{path} is not a checkpoint that can be opened safely: {first_line(error)}") from error
    expected = {"state_dict", "hyper_parameters", "model_class"}
    if not isinstance(checkpoint, dict) or not expected <= checkpoint.keys() or checkpoint["model_class"] not in MODELS:
        raise CheckpointError(f"{path} is not a checkpoint of vaebss")
    return checkpoint


def load(path: str | Path) -> VAEBSS | RemixSeparator:
    """A trained model, on the CPU and in eval mode, ready to `separate`.

    Args:
        path: checkpoint written by scripts/fit.py or any Trainer, or the name of a shipped model.

    Raises:
        CheckpointError: a ValueError of one line.
    """
    return build(read(path), path)


def build(checkpoint: dict[str, Any], path: str | Path) -> VAEBSS | RemixSeparator:
    """The model of a checkpoint that `read` returned."""
    try:
        model = MODELS[checkpoint["model_class"]](**checkpoint["hyper_parameters"])
        model.load_state_dict(checkpoint["state_dict"])
    except (TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path} does not fit its own model: {first_line(error)}") from error
    if not all(torch.isfinite(value).all() for value in model.state_dict().values()):
        raise CheckpointError(f"{path} holds weights that are NaN or infinite")
    return model.eval()


def first_line(error: Exception) -> str:
    """What went wrong, in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
