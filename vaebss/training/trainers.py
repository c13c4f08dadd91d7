"""A Trainer that leaves nothing behind."""

from typing import Any

from pytorch_lightning import Trainer

from vaebss.hardware import fastest_precision
from vaebss.training.capture import Capture


def bare_trainer(**options: Any) -> Trainer:
    """Return a Trainer on one device, as fast as possible, without a logger, checkpoints or a summary of the model.

    It has the device's fastest precision, and a GPU replays steps from CUDA graphs.

    Args:
        options: Keyword arguments of the Trainer; they override the defaults above.
    """
    bare = {"devices": 1, "precision": fastest_precision(options.get("accelerator", "auto"))}
    bare["callbacks"] = [Capture(), *options.pop("callbacks", [])]
    bare |= dict.fromkeys(["logger", "enable_checkpointing", "enable_model_summary"], False)
    return Trainer(**bare | options)
