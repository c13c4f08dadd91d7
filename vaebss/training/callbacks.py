"""What a run leaves behind while it trains: checkpoints, its configuration, and pictures and sounds in TensorBoard."""

import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.cli import SaveConfigCallback
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.utilities.exceptions import SIGTERMException

from vaebss.atomic import atomic_write
from vaebss.figures.scores import confusion_figure
from vaebss.figures.separations import separation_figure
from vaebss.hardware import commit
from vaebss.models.vae import VAE
from vaebss.training.boards import add_figure, add_score, add_sound, add_text
from vaebss.training.scores import Apart, BankScores, Scores, apart, examples
from vaebss.version import __version__


class WholeCheckpoints(TorchCheckpointIO):
    """Writes checkpoints whole or not at all: a run that is killed, or finds the disk full, leaves the last one."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(Path(path)) as part:
            super().save_checkpoint(checkpoint, part, storage_options)


class FiniteTraining(Callback):
    """Ends a run whose loss or weights are no longer numbers, before they reach a checkpoint."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if torch.isfinite(outputs["loss"]):
            return
        parts = [name for name, value in trainer.callback_metrics.items() if not torch.isfinite(value).all()]
        parts += [name for name, value in pl_module.named_parameters() if not torch.isfinite(value).all()][:3]
        raise ValueError(
            f"training went astray in step {trainer.global_step}: {', '.join(parts)} is not a number; the last "
            "checkpoint is from before. Go on from it in a new run (--init) with a lower --model.lr"
        )


class RunCheckpoints(ModelCheckpoint):
    """`last.ckpt` after every epoch, before the first and where a run is stopped; `best.ckpt` by a figure.

    That is of validation mixtures, and like all choices it sees mixtures alone: `monitor` is the unweighted ELBO or the
    model's confidence.

    Args:
        monitor: the figure.
        folder: the run's, asked for when training begins; the checkpoints go into one below it.
    """

    def __init__(self, monitor: str, folder: Callable[[], Path]):
        self.folder, self.asked_to_stop, self.trained = folder, 0, False  # which signal
        self.speaks = True
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
        answer(signal.SIGINT, self._ask_to_stop)
        if trainer.world_size > 1:  # Lightning's handler has the processes wait for each other amid a step, for ever
            answer(signal.SIGTERM, self._ask_to_stop)

    def _ask_to_stop(self, number: int, *_: Any) -> None:
        """Ask the run to stop between two steps, so that what is saved is whole; asked once more, it ends at once."""
        answer(number, signal.SIG_DFL)
        self.asked_to_stop = number
        if number == signal.SIGINT and self.speaks:
            os.write(2, b"\nStopping once the step is done; Ctrl-C again ends at once\n")  # print is not for handlers

    def _is_asked(self, trainer: Trainer) -> bool:
        """Whether any process of the run was asked to stop: all of them stop after the same step."""
        if trainer.world_size > 1:
            return trainer.strategy.reduce_boolean_decision(self.asked_to_stop > 0, all=False)
        return self.asked_to_stop > 0 or trainer.received_sigterm

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        whole = (batch_idx + 1) % trainer.accumulate_grad_batches == 0  # gradients are in no checkpoint
        more = batch_idx + 1 < trainer.num_training_batches  # after the last, the epoch is ended first
        if whole and more and self._is_asked(trainer):
            self._save_last(trainer)
            self._stop(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        self._save_last(trainer)
        if self._is_asked(trainer):
            self._stop(trainer)

    def _stop(self, trainer: Trainer) -> None:
        """End the run as Lightning would, which itself answers SIGTERM in a single process."""
        if trainer.world_size > 1:
            raise SIGTERMException(128 + (self.asked_to_stop or signal.SIGTERM))
        if self.asked_to_stop:
            raise KeyboardInterrupt

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        answer(signal.SIGINT, signal.default_int_handler)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        super().on_exception(trainer, pl_module, exception)
        answer(signal.SIGINT, signal.default_int_handler)  # Lightning would no longer listen

    def _save_last(self, trainer: Trainer) -> None:
        """ModelCheckpoint's own `save_last` waits for the next best."""
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]  # a dry run
            trainer.save_checkpoint(self.last_path)


def answer(number: int, handler: Any) -> None:
    """Set what answers a signal; other threads than the main one are never asked."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(number, handler)


class RunConfig(SaveConfigCallback):
    """The run's configuration, in its folder and in every checkpoint, so that a resumed run has the same."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        checkpoints: Any = trainer.checkpoint_callback
        if stage == "fit" and not trainer.fast_dev_run:  # type: ignore[attr-defined]  # a dry run leaves nothing
            path = checkpoints.folder() / "config.yaml"
            self.parser.save(self.config, path, skip_none=False, overwrite=True, multifile=False)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        # What was settled at run time, "auto", is what a resumed run must use.
        settled = self.config.clone(with_meta=False)
        if isinstance(settled.data.source, str):
            settled.data.source = trainer.datamodule.hparams.source  # type: ignore[attr-defined]
        checkpoint["config"] = self.parser.dump(settled, skip_link_targets=True, skip_validation=True)


class SeparationPictures(Callback):
    """Shows the same validation mixtures taken apart, how many sources were found, and samples of the prior.

    What can be listened to can be heard, too; mixtures and true sources once.

    Args:
        every_n_epochs: how often.
        num_mixtures: how many mixtures.
    """

    def __init__(self, every_n_epochs: int = 5, num_mixtures: int = 8):
        self.every_n_epochs, self.num_mixtures, self.heard_truth = every_n_epochs, num_mixtures, False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        last = trainer.current_epoch + 1 == trainer.max_epochs
        due = trainer.current_epoch % self.every_n_epochs == 0 or last
        if not (due and trainer.loggers and trainer.is_global_zero):
            return
        model: Any = pl_module.model
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        batch = examples(data.val_dataloader(), self.num_mixtures)
        shown = apart(model.separate(batch["mixture"]), batch, data.modality, model.source_scale)
        for tag, figure in self._figures(trainer, model, shown):
            add_figure(trainer, tag, figure)
        if data.modality.audible:
            for number, name, sound in shown.named():
                if name.startswith("estimate") or not self.heard_truth:
                    add_sound(trainer, f"val/{number}/{name.replace(' ', '_')}", sound, data.modality.rate)
            self.heard_truth = True

    def _figures(self, trainer: Trainer, model: Any, shown: Apart) -> Iterator[tuple[str, Figure]]:
        modality: Any = trainer.datamodule.modality  # type: ignore[attr-defined]
        yield "val/separations", separation_figure(*shown, modality.figure)
        report = next((callback.report for callback in trainer.callbacks if isinstance(callback, Scores)), {})  # type: ignore[attr-defined]
        if sum(map(any, report.get("confusion", ()))) > 1:
            yield "val/counts", confusion_figure(report["confusion"])
        if isinstance(model, VAE):
            rows = model.sample(4 * self.num_mixtures).split(self.num_mixtures)
            yield "val/prior_samples", modality.drawn({f"samples {row + 1}": part for row, part in enumerate(rows)})


class RunCard(Callback):
    """Writes down what a run is: the command, the code and packages, the data and the model; in the end, its score."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data: Any = trainer.datamodule.hparams  # type: ignore[attr-defined]
        model: Any = pl_module.model
        told = {
            "command": shlex.join(sys.argv),
            "commit": commit(),
            "vaebss": __version__,
            "PyTorch": torch.__version__,
            "Lightning": version("pytorch-lightning"),
            "data": f"{data.mixtures or data.source}, {data.num_mixed} mixed, {data.epoch_size} mixtures an epoch",
            "model": f"{type(model).__name__}, K = {model.num_sources}",
        }
        rows = "\n".join(f"| {name} | {value} |" for name, value in told.items())
        add_text(trainer, "run", f"| | |\n|---|---|\n{rows}")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        checkpoints: Any = trainer.checkpoint_callback
        score = trainer.callback_metrics.get(str(checkpoints.monitor))
        if score is not None:
            hparams: Any = trainer.datamodule.hparams  # type: ignore[attr-defined]
            add_score(trainer, float(score), {**hparams, **pl_module.hparams})


class BankReport(Callback):
    """Shows each new bank of pseudo-sources, and how its quality follows the separator's confidence."""

    def __init__(self):
        self.round = -1
        self.scores: BankScores | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        model: Any = pl_module.model
        self.scores = BankScores(model.source_scale, trainer.datamodule.modality)  # type: ignore[attr-defined]
        trainer.datamodule.banks.watch = self.scores  # type: ignore[attr-defined]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        bank = data.banks.bank
        if bank.round == self.round or not trainer.is_global_zero:
            return
        self.round = bank.round
        rows = bank.sources[:32].float().split(8)
        figure = data.modality.figure({f"pseudo-sources {row + 1}": part for row, part in enumerate(rows)})
        add_figure(trainer, "bank/pseudo_sources", figure)
        assert self.scores is not None  # since setup
        for percent, quality in self.scores.by_confidence().items():
            name = f"bank/{self.scores.name}_by_confidence/round_{self.round + 1}"
            for logger in trainer.loggers:
                logger.log_metrics({name: quality}, percent)
