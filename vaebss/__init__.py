"""Unsupervised single-channel blind source separation with variational auto-encoders."""

from vaebss.checkpoints import CheckpointError, load
from vaebss.data import MNISTMixtures
from vaebss.digits import DataError
from vaebss.remix import Remixes, RemixSeparator
from vaebss.separation import Separation
from vaebss.separator import VAEBSS
from vaebss.shipped import available

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
