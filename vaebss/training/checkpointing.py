"""Checkpoints of a run: written completely, after each epoch and where a run is stopped, never of diverged weights."""

import math
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.utilities.exceptions import SIGTERMException

from vaebss.atomic import atomic_write
from vaebss.signals import NOTICES, set_handler

CHECKED_STEPS = 50  # from one look at the losses to the next, on a GPU


class WholeCheckpoints(TorchCheckpointIO):
    """A writer of checkpoints that replaces a file only once the new one is complete.

    A run that is killed, or that finds the disk full, leaves the checkpoint before.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(Path(path)) as part:
            super().save_checkpoint(checkpoint, part, storage_options)


class FiniteTraining(Callback):
    """A callback that ends a run whose loss is no longer finite, before its weights reach a checkpoint.

    On a CPU it looks at each loss. On a GPU it would have to wait for it: there it looks at the sum of all losses every
    few steps, and before each checkpoint.

    Raises:
        ValueError: The loss is not finite; the error names the step, the logged values and the weights concerned.
    """

    def __init__(self):
        self.losses: Any = 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.losses = self.losses + outputs["loss"].detach()
        if self.losses.device.type == "cpu" or trainer.global_step % CHECKED_STEPS == 0:
            self._check(trainer, pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._check(trainer, pl_module)

    def _check(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if math.isfinite(self.losses):
            return
        parts = ["train/loss"]
        parts += [name for name, value in pl_module.named_parameters() if not torch.isfinite(value).all()][:3]
        raise ValueError(
            f"training diverged in step {trainer.global_step}: {', '.join(parts)} is not a number. The last "
            "checkpoint was written before: start a new run from it (--init) with a lower --model.lr"
        )


class RunCheckpoints(ModelCheckpoint):
    """A callback that writes `last.ckpt` before and after each epoch and where a run is stopped; and `best.ckpt`.

    The best epoch has the highest `monitor` on validation mixtures. Like all choices it is made without true sources:
    `monitor` is the unweighted ELBO, the model's confidence or its blind gain.

    Args:
        monitor: Name of the logged value.
        folder: Returns the folder of the run, once training begins; checkpoints go into its subfolder `checkpoints`.

    Attributes:
        trained: Whether at least one step of training could begin.
    """

    def __init__(self, monitor: str, folder: Callable[[], Path]):
        self.folder, self.trained, self.speaks = folder, False, True
        self.asked_to_stop = 0  # number of the signal that asked
        super().__init__(
            filename="best",
            monitor=monitor,
            mode="max",
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )

    @property
    def last_path(self) -> Path:
        return Path(self.dirpath or ".") / "last.ckpt"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]  # a dry run has no folder
            self.dirpath = str(self.folder() / "checkpoints")
        super().setup(trainer, pl_module, stage)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.ckpt_path is None:  # a new run
            self._save_last(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self.asked_to_stop, self.trained, self.speaks = 0, True, trainer.is_global_zero
        for number in (signal.SIGINT, *NOTICES):  # Lightning's handler of SIGTERM has processes wait for ever
            set_handler(number, self._ask_to_stop)

    def _ask_to_stop(self, number: int, *_: Any) -> None:
        """Stop the run after this step, so that its checkpoint is complete; a second signal ends it at once."""
        set_handler(number, signal.SIG_DFL)
        self.asked_to_stop = number
        if number == signal.SIGINT and self.speaks:
            os.write(2, b"\nStopping once the step is done; Ctrl-C again ends at once\n")  # print is not for handlers

    def _is_asked(self, trainer: Trainer) -> bool:
        """Return whether any process of the run was asked to stop: all of them stop after the same step."""
        if trainer.world_size > 1:
            return trainer.strategy.reduce_boolean_decision(self.asked_to_stop > 0, all=False)
        return self.asked_to_stop > 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        whole = (batch_idx + 1) % trainer.accumulate_grad_batches == 0  # gradients are in no checkpoint
        more = batch_idx + 1 < trainer.num_training_batches  # after the last, the epoch is ended first
        if whole and more and self._is_asked(trainer):
            self._save_last(trainer)
            self._stop()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.monitor in trainer.callback_metrics:  # else nothing has been validated so far
            super().on_train_epoch_end(trainer, pl_module)
        self._save_last(trainer)
        if self._is_asked(trainer):
            self._stop()

    def _stop(self) -> None:
        """End the run, with an exit code that tells the signal; another process of the run may have got it."""
        raise SIGTERMException(128 + (self.asked_to_stop or signal.SIGTERM))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        set_handler(signal.SIGINT, signal.default_int_handler)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        super().on_exception(trainer, pl_module, exception)
        set_handler(signal.SIGINT, signal.default_int_handler)  # Lightning would ignore Ctrl-C from here on

    def _save_last(self, trainer: Trainer) -> None:
        """Write `last.ckpt`, for which ModelCheckpoint's own `save_last` would wait until the next best epoch."""
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]  # a dry run
            trainer.save_checkpoint(self.last_path)


def checkpoints_of(trainer: Trainer) -> RunCheckpoints:
    """Return a trainer's RunCheckpoints; a user may have added a ModelCheckpoint beside it."""
    return next(each for each in trainer.checkpoint_callbacks if isinstance(each, RunCheckpoints))
