"""Unsupervised single-channel blind source separation with variational auto-encoders."""

from vaebss.checkpoints import CheckpointError, load
from vaebss.data.digits import DataError
from vaebss.data.mixtures import MNISTMixtures
from vaebss.pretrained.shelf import available
from vaebss.separation import Separation
from vaebss.training.student import Remixes, RemixSeparator
from vaebss.training.vae import VAEBSS

__all__ = [
    "VAEBSS",
    "CheckpointError",
    "DataError",
    "MNISTMixtures",
    "RemixSeparator",
    "Remixes",
    "Separation",
    "available",
    "load",
]
