"""Number of training steps that fit into a time. A trial on a copy of the model measures what a step takes.

The trial changes nothing: neither weights nor random numbers nor data. Only the number of steps follows from it.
"""

import copy
import time
from collections.abc import Callable
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from vaebss.data.mixtures import EVALUATION_BATCH, MNISTMixtures
from vaebss.data.remixes import Remixes
from vaebss.errors import check_at_least
from vaebss.models.separator import Separator
from vaebss.training.banks import BankMaker, TooLittleTimeError

TRIAL_STEPS = 1_000  # at most,
TRIAL_SHARE = 0.03  # and for this share of the time
WARM_STEPS = 5  # before the clock starts
BANKS_SHARE = 1 / 3  # of the time, which all banks together take at most if their length follows from it


class Stopwatch(Callback):
    """A callback that measures the steps of a trial and what follows the last of them, and stops the trial.

    Args:
        seconds: Time after which the trial stops.

    Attributes:
        marks: Times at which the steps ended, from the last step that only warms up.
        step: Seconds of a step; set when training ends, as `rest` is.
        rest: Seconds of an epoch beside its steps: validation.
    """

    def __init__(self, seconds: float):
        self.seconds = seconds
        self.marks: list[float] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step >= WARM_STEPS:
            self.marks.append(time.monotonic())
            enough = len(self.marks) > 1 and self.marks[-1] - self.marks[0] > self.seconds
            trainer.should_stop = trainer.strategy.reduce_boolean_decision(enough, all=False)
        if trainer.should_stop or trainer.is_last_batch:
            self.marks[-1:] = [finished()]

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.rest = finished() - self.marks[-1]
        self.step = (self.marks[-1] - self.marks[0]) / (trainer.global_step - WARM_STEPS)


def finished() -> float:
    """Return the time at which a GPU, if there is one, has done all that it was asked to do."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.monotonic()


def set_steps(data: MNISTMixtures, steps: int, trainer: Trainer, epochs: int | None = None) -> int:
    """Set the length of an epoch so that all epochs together have `steps` optimiser steps.

    Args:
        data: Data of the run, whose option `epoch_size` is set.
        steps: Number of steps, which is rounded down to a multiple of the number of epochs.
        trainer: Trainer of the run.
        epochs: Number of epochs; by default the trainer's.

    Returns:
        The number of steps that the run has.

    Raises:
        ValueError: There are fewer steps than epochs, or the number of epochs is not limited.
    """
    epochs = trainer.max_epochs if epochs is None else epochs
    if not epochs or epochs < 0:
        raise ValueError("a number of steps needs a number of epochs: set --trainer.max_epochs")
    check_at_least(epochs, steps=steps)
    batches = steps // epochs * trainer.accumulate_grad_batches * trainer.world_size
    data.hparams.epoch_size = batches * data.hparams.batch_size
    return steps // epochs * epochs


def steps_until(
    end: float, model: LightningModule, data: MNISTMixtures, epochs: int, trainer: Callable[..., Trainer]
) -> int:
    """Return how many steps of training end at a time, a multiple of the number of epochs.

    Validation, the estimate of quality at the end, which separates as many mixtures, and later banks take their time as
    well. The first bank is made in the trial, and kept.

    Args:
        end: Time of `time.monotonic()` at which training should end.
        model: Module to train; it stays as it is.
        data: Data of the run; its option `epoch_size` is lost.
        epochs: Number of epochs.
        trainer: Makes a Trainer as the run's from further options.

    Raises:
        TooLittleTimeError: The time is too short for the first bank, or for a step in each epoch.
    """
    trial, watch = copy.deepcopy(model), Stopwatch(TRIAL_SHARE * (end - time.monotonic()))
    trying = trainer(max_epochs=1, callbacks=[watch], enable_progress_bar=False, num_sanity_val_steps=0)
    set_steps(data, TRIAL_STEPS, trying, epochs=1)
    later, banks = 0.0, getattr(data, "banks", None)
    with torch.random.fork_rng():
        if isinstance(banks, BankMaker):
            banks.end = end
        trying.fit(trial, data)
        if isinstance(banks, BankMaker):
            banks.end = None
            student: Any = trial.model
            later = later_banks(data, student.to(trying.strategy.root_device))
        left = end - time.monotonic() - (epochs + 1) * watch.rest - later
    steps = trying.strategy.broadcast(int(left / watch.step) // epochs * epochs)
    if steps < epochs:
        raise TooLittleTimeError(
            f"the time is too short for {epochs} epochs, of a step each at least: allow more minutes, or fewer epochs "
            "(--trainer.max_epochs; of remix.py --data.epochs_per_round)"
        )
    return steps


def shorten_banks(end: float, data: Remixes) -> int:
    """Lower the number of mixtures in a bank until all banks take at most a third of the time that is left.

    Args:
        end: Time of `time.monotonic()` at which training should end.
        data: Data of the run, with its maker of banks; its option `num_mixtures` is lowered.

    Returns:
        The number of mixtures, a batch at least.
    """
    banks: Any = data.banks
    student, teacher = banks.student, banks.teacher()  # which may have to be trained first
    seconds = banks.seconds(teacher) + later_banks(data, student.to(teacher.device))
    share = min(1.0, BANKS_SHARE * (end - time.monotonic()) / seconds)
    data.hparams.num_mixtures = max(EVALUATION_BATCH, int(share * data.hparams.num_mixtures))
    return data.hparams.num_mixtures


def later_banks(data: Any, student: Separator) -> float:
    """Return how many seconds the student will take to make the banks of remixes after the first one.

    Args:
        data: Data module of the remixes.
        student: Model of the student, whose speed is measured.
    """
    number = data.num_banks - 1
    return number * data.banks.seconds(student) if number else 0.0
