"""Unsupervised single-channel blind source separation with variational auto-encoders."""

# Public names are imported when they are first asked for (PEP 562): whoever separates need not wait for what trains.

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vaebss.version import __version__ as __version__

if TYPE_CHECKING:
    from vaebss.api import adapt, evaluate_blind, separate
    from vaebss.blind import BlindScore
    from vaebss.checkpoints import load, save
    from vaebss.components import Components, find_components
    from vaebss.data.mixtures import MNISTMixtures
    from vaebss.data.remixes import Remixes
    from vaebss.errors import CheckpointError, DataError, FileError
    from vaebss.models.masker import Masker
    from vaebss.models.vae import VAE
    from vaebss.pretrained.catalogue import available
    from vaebss.separation import Separation
    from vaebss.training.scores import Scores
    from vaebss.training.student import RemixSeparator
    from vaebss.training.vae import VAEBSS

_HOMES = {
    "BlindScore": "blind",
    "VAE": "models.vae",
    "VAEBSS": "training.vae",
    "CheckpointError": "errors",
    "Components": "components",
    "DataError": "errors",
    "FileError": "errors",
    "MNISTMixtures": "data.mixtures",
    "Masker": "models.masker",
    "RemixSeparator": "training.student",
    "Remixes": "data.remixes",
    "Scores": "training.scores",
    "Separation": "separation",
    "adapt": "api",
    "available": "pretrained.catalogue",
    "evaluate_blind": "api",
    "find_components": "components",
    "load": "checkpoints",
    "save": "checkpoints",
    "separate": "api",
}

__all__ = [
    "VAE",
    "VAEBSS",
    "BlindScore",
    "CheckpointError",
    "Components",
    "DataError",
    "FileError",
    "MNISTMixtures",
    "Masker",
    "RemixSeparator",
    "Remixes",
    "Scores",
    "Separation",
    "adapt",
    "available",
    "evaluate_blind",
    "find_components",
    "load",
    "save",
    "separate",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vaebss' has no attribute {name!r}")
    return getattr(import_module(f"vaebss.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
