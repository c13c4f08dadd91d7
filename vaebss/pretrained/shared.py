"""Models to pass on: a folder with weights as safetensors and a card, here or on the Hugging Face Hub."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

from vaebss.errors import CheckpointError, first_line
from vaebss.pretrained import shelf

WEIGHTS, CARD = "model.safetensors", "card.json"
HUB = "hf://"  # before owner/name
AVERAGE, NETWORK = "average.module.", "network."  # of a student: the first stands in for the second, which it follows


def is_shared(path: str | Path) -> bool:
    """Whether it names a folder, or a repository of the Hub."""
    return str(path).startswith(HUB) or Path(path).expanduser().is_dir()


def write(checkpoint: dict[str, Any], folder: str | Path) -> Path:
    """The contents of a checkpoint, its weights in half precision, as a folder that `read` opens; its path.

    Raises:
        ImportError: safetensors is not installed.
    """
    weights = shelf.halved(checkpoint["state_dict"])
    doubled = {NETWORK + name.removeprefix(AVERAGE) for name in weights if name.startswith(AVERAGE)}
    own = {name: value.contiguous() for name, value in weights.items() if name not in doubled}
    folder = Path(folder).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    _needed("safetensors.torch").save_file(own, folder / WEIGHTS)
    known = {name: checkpoint[name] for name in ("vaebss", "format")}
    (folder / CARD).write_text(json.dumps(shelf.described(checkpoint) | known, indent=2) + "\n")
    return folder


def read(path: str | Path) -> dict[str, Any]:
    """The contents of a checkpoint that `write` wrote; nothing in the files is run.

    Args:
        path: the folder, or hf://owner/name, whose two files are fetched then.

    Raises:
        CheckpointError: they are not there, or damaged.
        ImportError: safetensors, or for the Hub huggingface_hub, is not installed.
    """
    folder = _fetched(str(path)) if str(path).startswith(HUB) else Path(path).expanduser()
    load_file = _needed("safetensors.torch").load_file
    try:
        card, weights = json.loads((folder / CARD).read_text()), load_file(folder / WEIGHTS)
        followed = {NETWORK + key.removeprefix(AVERAGE): value for key, value in weights.items() if AVERAGE in key}
        return shelf.opened(weights | followed, card)
    except Exception as error:  # a stranger's files fail to load in any way they like
        lacking = f"{path} holds no {CARD} and {WEIGHTS} that can be opened"
        raise CheckpointError(f"{lacking}: {first_line(error)}") from error


def _fetched(address: str) -> Path:
    hub = _needed("huggingface_hub")
    try:
        return Path(hub.snapshot_download(address.removeprefix(HUB), allow_patterns=[WEIGHTS, CARD]))
    except Exception as error:
        raise CheckpointError(f"{address} cannot be fetched: {first_line(error)}") from error


def _needed(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(f"to share models: pip install 'vaebss[hub]' ({first_line(error)})") from error
