"""Messages of Lightning that only its developers need, hidden while vaebss trains."""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

LOGGERS = ("pytorch_lightning", "lightning_fabric")
FOREIGN = (  # warnings of Lightning that no user can act upon
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
    r"The '\w+' does not have many workers",  # none is fastest, see MNISTMixtures
    r"The number of training batches \(\d+\) is smaller than the logging interval",
    r"Checkpoint directory .+ exists and is not empty",  # of a resumed run
    r"\s*Unable to serialize instance",  # such as a device among the options of a callback, in config.yaml
    r"You're resuming from a checkpoint that ended before the epoch ended",  # our loaders go on from there
)


@contextmanager
def quiet_lightning(*others: str) -> Iterator[None]:
    """Hide Lightning's notes on devices, its tips, and the warnings that no user can act upon; undone at the end.

    Args:
        others: Regular expressions of the beginnings of other warnings to hide.
    """
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for message in (*FOREIGN, *others):
            warnings.filterwarnings("ignore", message)
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextmanager
def quiet_writers() -> Iterator[None]:
    """Hide the traceback of a thread that cannot write, such as TensorBoard's: its owner raises the same error."""

    def show(error: threading.ExceptHookArgs) -> None:
        if not issubclass(error.exc_type, OSError):
            before(error)

    before = threading.excepthook
    threading.excepthook = show
    try:
        yield
    finally:
        threading.excepthook = before
