"""A training run: its folder, its start, its progress and its end."""

import os
import shlex
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only

from vaebss.commands.terminal import TERMINATED, call, short
from vaebss.data.mixtures import MNISTMixtures
from vaebss.errors import CheckpointError, first_line
from vaebss.metrics.metric import Metric
from vaebss.paths import expanded
from vaebss.training.checkpointing import checkpoints_of

LOGS = "lightning_logs"
CHECKPOINTS = "checkpoints"
RUN = "VAEBSS_RUN"  # environment variable that tells a run's other processes its folder
FIGURES = {
    "val/elbo": "ELBO {:.2f} nats",
    "val/confidence": "confidence {:.3f}",
    "val/blind_gain": "estimated gain over an equal share {:.1f} dB",
}


class RunFolder:
    """The folder of the results of a run, which no other run can use at the same time.

    Args:
        root: Folder of the logs; by default the working directory.
        ckpt: Path of the checkpoint of a run to resume, whose folder is used again.
    """

    def __init__(self, root: str | None = None, ckpt: str | None = None):
        self.logs = expanded(root or Path.cwd()) / LOGS
        place = expanded(ckpt or "").resolve().parent
        self.resumed = place.parent if ckpt and place.name == CHECKPOINTS else None

    @cached_property
    def path(self) -> Path:
        """The folder; it is created on first access."""
        if self.resumed:
            return self.resumed
        if rank_zero_only.rank:  # type: ignore[attr-defined]
            return Path(os.environ.get(RUN, self.logs / f"version_{self._first()}"))
        for number in count(self._first()):
            path = self.logs / f"version_{number}"
            with suppress(FileExistsError):
                path.mkdir(parents=True)
                os.environ[RUN] = str(path)
                return path
        raise AssertionError("numbers do not end")

    def _first(self) -> int:
        """Return one more than the highest version, so that only the number of a deleted last run is used again."""
        taken = [folder.name.removeprefix("version_") for folder in self.logs.glob("version_*")]
        return 1 + max((int(number) for number in taken if number.isdigit()), default=-1)


class RunLogger(TensorBoardLogger):
    """A TensorBoard logger that writes into the folder of the run."""

    def __init__(self, folder: RunFolder, purge_step: int | None = None):
        self.folder = folder
        super().__init__(folder.logs.parent, folder.logs.name, default_hp_metric=False, purge_step=purge_step)

    @property
    def log_dir(self) -> str:
        return str(self.folder.path)

    @property
    def version(self) -> str:
        return self.folder.path.name


class Run:
    """The steps that a training command takes with its trainer.

    Args:
        command: Name of the command.
        trainer: Trainer with RunCheckpoints among its callbacks.
        folder: Folder of the run.
    """

    def __init__(self, command: str, trainer: Trainer, folder: RunFolder):
        self.command, self.trainer, self._folder = command, trainer, folder
        self.checkpoints = checkpoints_of(trainer)

    @property
    def folder(self) -> Path:
        return self._folder.path

    @property
    def is_dry(self) -> bool:
        """True if the run only tries a few batches and writes no files."""
        return bool(self.trainer.fast_dev_run)  # type: ignore[attr-defined]

    def say(self, line: str) -> None:
        """Print a line, on one process only."""
        if self.trainer.is_global_zero:
            print(line, flush=True)

    def prepare(self, data: LightningDataModule) -> None:
        """Prepare the data, so that errors in them are reported before the run begins."""
        end_with_main_process()
        if self.trainer.is_global_zero:
            data.prepare_data()
            data.setup("fit")

    def begin(self) -> None:
        """Print where the run goes and in which precision it computes, and start the clock."""
        self.began = time.monotonic()
        self.say("Dry run: no files are kept" if self.is_dry else f"Training into {short(self.folder)}")
        self.say(f"Precision: {self.trainer.precision} (--trainer.precision)")

    def fit(self, model: LightningModule, data: MNISTMixtures, begun: str | None) -> None:
        """Train, then print where the result is and what can be done with it.

        Args:
            model: Module to train.
            data: Data to train on.
            begun: Path of a checkpoint of this run, from which it goes on; None begins it.

        Raises:
            CheckpointError: The checkpoint does not hold the state of this run.
            ConnectionError: Another process of this run has ended.
        """
        try:
            self.trainer.fit(model, data, ckpt_path=begun, weights_only=True)
        except SystemExit as stop:  # Lightning's answer to Ctrl-C and SIGTERM, once it has shut down
            last = self.checkpoints.last_path
            more = f" Go on with:\n  {call(self.command, '--ckpt', short(last))}" if last.is_file() else ""
            self.say(f"\nInterrupted.{more}")
            code = (stop.code or TERMINATED) if self.trainer.is_global_zero else 0  # which others end with, is no error
            raise SystemExit(code) from stop
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            if begun is None or self.checkpoints.trained:
                raise
            raise CheckpointError(f"{begun} does not hold the state of this run: {first_line(error)}") from error
        except RuntimeError as error:
            if not isinstance(error, torch.distributed.DistBackendError) and "gloo" not in str(error):
                raise
            raise ConnectionError(
                "another process of this run has ended; its error, if it printed one, stands above. Resume "
                f"with --ckpt {short(self.checkpoints.last_path)}"
            ) from error
        if self.checkpoints.trained:
            self.say(
                f"\n{final(self.trainer.callback_metrics, data.modality.metrics[0], time.monotonic() - self.began)}"
            )
        else:
            self.say(f"\nNothing is left to train: all {self.trainer.current_epoch} epochs are done")
        self._tell(data.hparams, data.corpus.has_truth)

    def _tell(self, options: Mapping[str, Any], scored: bool) -> None:
        """Print where the result is and what can be done with it; a test is proposed only where true sources are
        known."""
        last = self.checkpoints.last_path
        best = last.with_name("best.ckpt")
        if not last.is_file():
            return
        chosen = f" (best on validation mixtures, without the truth: {short(best)})" if best.is_file() else ""
        self.say(f"Checkpoint: {short(last)}{chosen}")
        if mixtures := options.get("mixtures"):
            axes = ["--axes", options["axes"]] if options.get("axes") else []
            self.say(f"Separate:   {call('separate', mixtures, *axes, '--ckpt', short(last))}")
        if scored:
            self.say(f"Score it:   {call('test', '--ckpt', short(last))}")
        for logger in self.trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logs = str(short(Path(logger.log_dir).parent))
                self.say(f"Watch it:   {shlex.join(['tensorboard', '--logdir', logs])}")


def final(found: Mapping[str, Any], main: Metric, seconds: float) -> str:
    """Return a line with the figures of validation mixtures and the time that the run took.

    Args:
        found: Values that the run logged, by their names.
        main: Main metric, which is in the line if it was logged.
        seconds: Duration of the run.
    """
    told = [words.format(float(found[tag])) for tag, words in FIGURES.items() if tag in found]
    told += [main.text(float(found[tag])) for tag in (f"val/{main.name}",) if tag in found]
    return f"{', '.join(told) or 'Nothing validated'}, after {timedelta(seconds=round(seconds))}"


def end_with_main_process() -> None:
    """Make a worker process of Lightning exit when the main process exits, instead of waiting for it for ever."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        return
    main = os.getppid()

    def watch() -> None:
        while os.getppid() == main:
            time.sleep(1)
        print(f"the main process {main} has ended: the other processes end too", file=sys.stderr, flush=True)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
