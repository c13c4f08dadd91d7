"""A training run: its own folder, and how it begins, is told about and ends."""

import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger

from vaebss.commands.terminal import TERMINATED, call, short
from vaebss.training.callbacks import RunCheckpoints

LOGS = "lightning_logs"
VERSION = "VAEBSS_VERSION"  # environment variable that tells a run's other processes its folder


class RunLogger(TensorBoardLogger):
    """TensorBoard's, in a folder that no other run can have taken in the meantime."""

    @classmethod
    def of(cls, root: str | None, ckpt: str | None, checkpoint: dict[str, Any]) -> "RunLogger":
        """For a new run under `root`, or for that of the checkpoint to resume, in its own folder."""
        run = Path(ckpt or "").expanduser().resolve().parent.parent
        number = run.name.removeprefix("version_")
        if ckpt and number.isdigit():
            logs = run.parent
            return cls(logs.parent, logs.name, int(number), purge_step=checkpoint["global_step"])
        return cls(Path(root or Path.cwd()).expanduser(), LOGS)

    def _get_next_version(self) -> int:
        if os.environ.get("LOCAL_RANK", "0") != "0" and VERSION in os.environ:
            return int(os.environ[VERSION])
        number = super()._get_next_version()
        while True:
            try:
                Path(self.root_dir, f"version_{number}").mkdir(parents=True)
            except FileExistsError:
                number += 1
            else:
                os.environ[VERSION] = str(number)
                return number


class Run:
    """What a training command does with its trainer.

    Args:
        command: its name.
        trainer: with RunCheckpoints among its callbacks.
    """

    def __init__(self, command: str, trainer: Trainer):
        self.command, self.trainer = command, trainer
        self.checkpoints: RunCheckpoints = next(c for c in trainer.callbacks if isinstance(c, RunCheckpoints))  # type: ignore[attr-defined]

    @property
    def folder(self) -> Path:
        return Path(self.trainer.log_dir or self.trainer.default_root_dir)

    def say(self, line: str) -> None:
        """Print, on one process only."""
        if self.trainer.is_global_zero:
            print(line, flush=True)

    def prepare(self, data: LightningDataModule) -> None:
        """What is wrong with the data is said before there is a run."""
        end_with_main_process()
        if self.trainer.is_global_zero:
            data.prepare_data()
            data.setup("fit")

    def fit(self, model: LightningModule, data: LightningDataModule, begun: str | None) -> None:
        """Train, from a checkpoint if one is given, then say where the result is and what can be done with it."""
        try:
            self.trainer.fit(model, data, ckpt_path=begun, weights_only=True)
        except SystemExit as stop:  # Lightning's answer to Ctrl-C and SIGTERM, once it has shut down
            last = self.checkpoints.last_path
            more = f" Go on with:\n  {call(self.command)} --ckpt {short(last)}" if last.is_file() else ""
            self.say(f"\nInterrupted.{more}")
            raise SystemExit(stop.code or TERMINATED) from stop
        except RuntimeError as error:
            if not isinstance(error, torch.distributed.DistBackendError) and "gloo" not in str(error):
                raise
            raise ConnectionError(
                "another process of this run has ended; what is wrong with it stands above, if it could say so. Go on "
                f"with --ckpt {short(self.checkpoints.last_path)}"
            ) from error
        self._tell()

    def _tell(self) -> None:
        last, best = self.checkpoints.last_path, Path(self.checkpoints.best_model_path)
        self.say(f"\nCheckpoint: {short(last)} (best on validation mixtures, without the truth: {short(best)})")
        self.say(f"Score it:   {call('test')} --ckpt {short(last)}")
        self.say(f"Watch it:   tensorboard --logdir {short(self.folder.parent)}")


def end_with_main_process() -> None:
    """In a process that Lightning started beside the main one: end when that does, and not wait for it for ever."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        return
    main = os.getppid()

    def watch() -> None:
        while os.getppid() == main:
            time.sleep(1)
        print(f"the main process {main} has ended, and so do the others", file=sys.stderr, flush=True)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
