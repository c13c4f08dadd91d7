"""Opening checkpoints as plain models, without ever running code from them."""

import inspect
import io
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from vaebss.errors import CheckpointError, first_line
from vaebss.modalities.registry import check_modality
from vaebss.models.masker import Masker
from vaebss.models.separator import Separator
from vaebss.models.vae import VAE
from vaebss.paths import expanded
from vaebss.pretrained import catalogue, shared
from vaebss.version import __version__

FORMAT = 1  # of what is in a checkpoint; without a number it is of vaebss 0.1.0, which is the same but for that
FORMATS = {16: FORMAT, 8: 2}  # of a model's folder, by the bits of its weights
MODELS: dict[str, Any] = {"VAEBSS": VAE, "RemixSeparator": Masker}  # by the LightningModule that trained them
PARTS: dict[str, type] = {"state_dict": dict, "hyper_parameters": dict, "model_class": str}  # of every checkpoint
OTHER_PARTS: dict[str, type] = {"modality": dict, "datamodule_hyper_parameters": dict, "config": str}
OTHER_PARTS |= {"format": int, "vaebss": str, "global_step": int}


def read(path: str | Path) -> dict[str, Any]:
    """Read the contents of a checkpoint, a shipped model or a shared one: tensors and plain values only.

    Raises:
        CheckpointError: The file is missing, truncated, foreign, of a newer format, or would have to run code.
    """
    if not str(path):
        raise CheckpointError("the name of a checkpoint or of a shipped model is empty")
    if str(path) in catalogue.available():
        return catalogue.read_shipped(str(path))
    if shared.is_shared(path):
        return _checked(shared.read(path), path)
    path = expanded(path)
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}, and no shipped model: {', '.join(catalogue.available())}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a stranger's file fails to load in any way it likes
        raise CheckpointError(f"{path} is not a checkpoint that can be opened safely: {first_line(error)}") from error
    return _checked(checkpoint, path)


def _checked(checkpoint: Any, path: str | Path) -> dict[str, Any]:
    """Return the contents of a checkpoint if its parts are of the right types.

    Raises:
        CheckpointError: A part is missing or of another type, or the format is a newer one.
    """
    foreign = f"{path} is not a checkpoint of vaebss"
    if not isinstance(checkpoint, dict) or not PARTS.keys() <= checkpoint.keys():
        raise CheckpointError(f"{foreign}: it must be a dict that holds {', '.join(PARTS)}")
    for name, kind in (PARTS | OTHER_PARTS).items():
        if name in checkpoint and not isinstance(checkpoint[name], kind):
            found = type(checkpoint[name]).__name__
            raise CheckpointError(f"{foreign}: {name} must be of type {kind.__name__}, not {found}")
    if checkpoint["model_class"] not in MODELS:
        raise CheckpointError(f"{foreign}: model_class must be {' or '.join(MODELS)}, not {checkpoint['model_class']}")
    if not all(_is_weight(value) for value in checkpoint["state_dict"].values()):
        raise CheckpointError(f"{foreign}: state_dict must hold dense tensors of real numbers alone")
    source = checkpoint.get("datamodule_hyper_parameters", {}).get("source", "")
    if not isinstance(source, str):
        raise CheckpointError(f"{foreign}: the source of its data must be of type str, not {type(source).__name__}")
    if checkpoint.get("format", 0) > max(FORMATS.values()):
        raise CheckpointError(f"{path} was written by vaebss {checkpoint.get('vaebss')}: this version cannot read it")
    return checkpoint


def _is_weight(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.layout == torch.strided and not value.is_complex()


def load(path: str | Path) -> Separator:
    """Load a trained model, a VAE or a Masker, on the CPU and in eval mode.

    Args:
        path: Path of a checkpoint that scripts/fit.py or any Trainer wrote; name of a shipped model; path of a folder
            that `save` wrote; hf://owner/name for such a folder on the Hugging Face Hub; or hf://owner/name@revision
            for that folder at a branch, tag or commit.

    Raises:
        CheckpointError: The model is missing or cannot be opened safely.

    Examples:
        >>> import torch, vaebss
        >>> model = vaebss.load("remix-k2")
        >>> model.separate(torch.rand(4, 1, 28, 28)).sources.shape
        torch.Size([4, 2, 1, 28, 28])
    """
    return build(read(path), path)


def for_lightning(path: str | Path, kind: type, key: str) -> io.BytesIO:
    """Return a checkpoint in memory that Lightning's `load_from_checkpoint` may open: nothing in it names code.

    Lightning imports and calls what hyper-parameters with a leading underscore name. They are left out, and so is all
    but the weights and the hyper-parameters.

    Args:
        path: Path or name of the checkpoint, as `load` takes it.
        kind: Class of the LightningModule or LightningDataModule to make.
        key: Name under which the checkpoint holds its hyper-parameters.

    Raises:
        CheckpointError: The file is not one of vaebss, holds another module, or lacks the hyper-parameters.
    """
    checkpoint = read(path)
    build(checkpoint, path)
    if kind.__name__ in MODELS and checkpoint["model_class"] != kind.__name__:
        raise CheckpointError(f"{path} holds a {checkpoint['model_class']}, not a {kind.__name__}")
    if key not in checkpoint:
        raise CheckpointError(f"{path} has no {key}, of which a {kind.__name__} is made")
    options = {name: value for name, value in checkpoint[key].items() if not str(name).startswith("_")}
    file = io.BytesIO()
    kept = {"state_dict": checkpoint["state_dict"], key: options}
    torch.save(kept | {"pytorch-lightning_version": version("pytorch-lightning")}, file)
    file.seek(0)
    return file


def mean(checkpoints: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the first checkpoint's contents with the mean of all weights. All should have the same initial weights.

    The mean network separates about as well as an ensemble of all ("model soups", Wortsman et al. 2022).

    Raises:
        CheckpointError: The checkpoints have weights of different shapes.
    """
    states = [checkpoint["state_dict"] for checkpoint in checkpoints]
    shapes = [{name: value.shape for name, value in state.items()} for state in states]
    if any(shape != shapes[0] for shape in shapes):
        raise CheckpointError("weights of different shapes have no mean: all checkpoints must be of one network")
    means = {
        name: torch.stack([state[name] for state in states]).mean(0) if value.is_floating_point() else value
        for name, value in states[0].items()
    }
    return checkpoints[0] | {"state_dict": means}


def save(model: Separator, folder: str | Path, bits: int = 16) -> Path:
    """Write a model to a folder that `load` opens, and return its path.

    The folder can be shared, and uploaded as a model to the Hugging Face Hub.

    Args:
        model: VAE or Masker.
        folder: Folder to write to; it is created if it does not exist.
        bits: Bits of a weight on disk. 16 is half precision. With 8, matrices and kernels of convolutions are int8 with
            a scale for each row. Everything else is in half precision, as is the output layer of a VAE of pictures, and
            the folder is about half as large.

    Raises:
        ValueError: `bits` is neither 16 nor 8, or the model is of another class, which `load` could not make again.

    Examples:
        >>> import vaebss
        >>> folder = vaebss.save(vaebss.VAE(num_sources=2), "my-model")
        >>> vaebss.load(folder).num_sources
        2
    """
    if bits not in FORMATS:
        raise ValueError(f"bits must be 16 or 8, not {bits!r}")
    names = {kind: name for name, kind in MODELS.items()}
    if type(model) not in names:
        raise ValueError(f"only a VAE or a Masker itself can be saved, not a {type(model).__name__}: use torch.save")
    facts = {"model_class": names[type(model)], "modality": dict(model.modality), "hyper_parameters": model.options}
    facts |= {"state_dict": model.state_dict(), "vaebss": __version__, "format": FORMATS[bits]}
    return shared.write(facts, folder, bits)


@torch.inference_mode(False)  # weights that are created in inference mode could be neither refined with nor trained
def build(checkpoint: dict[str, Any], path: str | Path) -> Separator:
    """Return the model of a checkpoint, on the CPU and in eval mode.

    Args:
        checkpoint: Contents of the checkpoint, as `read` returned them.
        path: Path or name of the checkpoint, for errors.

    Raises:
        CheckpointError: The options, the weights and the modality do not fit each other, or weights are not finite.
    """
    kind = MODELS[checkpoint["model_class"]]
    known = inspect.signature(kind).parameters
    options = {name: value for name, value in checkpoint["hyper_parameters"].items() if name in known}
    try:
        with torch.device("meta"):  # shapes are compared before memory is taken for them
            _check_shapes(kind(**options), checkpoint["state_dict"])
        model = kind(**options)
        model.load_state_dict(checkpoint["state_dict"])
        model.modality = dict(checkpoint.get("modality", model.modality))
        check_modality(model)
    except Exception as error:  # a stranger's options can be wrong in any way
        raise CheckpointError(f"{path} does not fit its own model: {first_line(error)}") from error
    if not all(torch.isfinite(value).all() for value in model.state_dict().values()):
        raise CheckpointError(f"{path} holds weights that are NaN or infinite")
    if str(path) in catalogue.available():
        model.look = checkpoint.get("look")
    return model.eval()


def _check_shapes(model: Separator, state_dict: dict[str, torch.Tensor]) -> None:
    """Raise a ValueError that names the first weight whose shape differs from the model's."""
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in state_dict.items()}
    for name in expected | found:
        if expected.get(name) != found.get(name):
            raise ValueError(f"the shape of {name} must be {expected.get(name)}, not {found.get(name)}")
