"""Models in folders that can be shared: weights as safetensors and a card, local or on the Hugging Face Hub."""

import json
from pathlib import Path
from typing import Any

from vaebss.errors import CheckpointError, first_line
from vaebss.paths import expanded
from vaebss.pretrained import catalogue, weights

WEIGHTS, CARD = "model.safetensors", "card.json"
HUB = "hf://"  # before owner/name, or owner/name@revision


def is_shared(path: str | Path) -> bool:
    """Return whether `path` names a folder or a repository of the Hugging Face Hub."""
    return str(path).startswith(HUB) or expanded(path).is_dir()


def write(checkpoint: dict[str, Any], folder: str | Path, bits: int = 16) -> Path:
    """Write the contents of a checkpoint as a folder that `read` opens.

    Args:
        checkpoint: Contents of a checkpoint.
        folder: Path of the folder, which is created.
        bits: Bits of the weights, 16 or 8, see `weights.packed`.

    Returns:
        The path of the folder.
    """
    folder = expanded(folder)
    folder.mkdir(parents=True, exist_ok=True)
    known = {name: checkpoint[name] for name in ("vaebss", "format")}
    catalogue.write(checkpoint, known, folder / WEIGHTS, folder / CARD, bits)
    return folder


def read(path: str | Path) -> dict[str, Any]:
    """Read the contents of a checkpoint that `write` wrote. No code in the files is run.

    Args:
        path: The folder, or hf://owner/name, whose two files are fetched then. hf://owner/name@revision fetches a
            branch, tag or commit.

    Raises:
        CheckpointError: The files are missing or damaged.
        ImportError: The path is on the Hub and huggingface_hub is not installed.
    """
    folder = _fetched(str(path)) if str(path).startswith(HUB) else expanded(path)
    try:
        return catalogue.opened(weights.read(folder / WEIGHTS), json.loads((folder / CARD).read_text()))
    except Exception as error:  # foreign files can fail to load in any way
        lacking = f"{path} holds no {CARD} and {WEIGHTS} that can be opened"
        raise CheckpointError(f"{lacking}: {first_line(error)}") from error


def _fetched(address: str) -> Path:
    try:
        import huggingface_hub as hub
    except ImportError as error:
        raise ImportError(
            f"models of the Hub need huggingface_hub: pip install 'vaebss[hub]' ({first_line(error)})"
        ) from error
    try:
        name, _, revision = address.removeprefix(HUB).partition("@")
        return Path(hub.snapshot_download(name, revision=revision or None, allow_patterns=[WEIGHTS, CARD]))
    except Exception as error:
        raise CheckpointError(f"{address} cannot be fetched: {first_line(error)}") from error
