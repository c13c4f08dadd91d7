"""What a run leaves behind while it trains: checkpoints, its configuration, and pictures in TensorBoard."""

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.cli import SaveConfigCallback
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.plugins.io import TorchCheckpointIO

from vaebss.checkpoints import first_line
from vaebss.pictures import confusion_figure, rows_figure, separation_figure


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place and then renames it: a run that is killed, or finds the disk full, leaves
    the previous one."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        part = Path(f"{path}.part")
        try:
            super().save_checkpoint(checkpoint, part, storage_options)
            part.replace(path)
        except (OSError, RuntimeError) as error:  # PyTorch's writer knows a full disk as a RuntimeError
            part.unlink(missing_ok=True)
            kept = "; the one from before is kept" if Path(path).is_file() else ""
            raise OSError(f"{path} cannot be written, is the disk full?{kept} ({first_line(error)})") from error


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
    """`last.ckpt` after every epoch, and before the first; `best.ckpt` by a figure on validation mixtures.

    That choice, like all others, sees mixtures alone: `monitor` is the unweighted ELBO or the model's confidence.
    """

    def __init__(self, monitor: str):
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

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.ckpt_path is None:  # a new run
            trainer.save_checkpoint(self.last_path)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        trainer.save_checkpoint(self.last_path)  # ModelCheckpoint's own `save_last` waits for the next best


class RunConfig(SaveConfigCallback):
    """The run's configuration, in its folder and in every checkpoint, so that a resumed run has the same."""

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        # What was settled at run time, "auto", is what a resumed run must use.
        settled = self.config.clone(with_meta=False)
        settled.data.source = trainer.datamodule.hparams.source  # type: ignore[attr-defined]
        checkpoint["config"] = self.parser.dump(settled, skip_link_targets=True, skip_validation=True)


class SeparationPictures(Callback):
    """Draws the same validation mixtures taken apart, how many sources were found, and samples of the prior.

    Args:
        every_n_epochs: how often.
        num_mixtures: how many mixtures.
    """

    def __init__(self, every_n_epochs: int = 5, num_mixtures: int = 8):
        self.every_n_epochs, self.num_mixtures = every_n_epochs, num_mixtures

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        last = trainer.current_epoch + 1 == trainer.max_epochs
        due = trainer.current_epoch % self.every_n_epochs == 0 or last
        if not (due and isinstance(trainer.logger, TensorBoardLogger) and trainer.is_global_zero):
            return
        model: Any = pl_module
        batch = next(iter(trainer.datamodule.val_dataloader()))  # type: ignore[attr-defined]
        mixture = batch["mixture"][: self.num_mixtures]
        separation = model.separate(mixture.to(model.device)).to(mixture.device)
        figure = separation_figure(
            mixture, separation, batch["sources"][: self.num_mixtures] if "sources" in batch else None
        )
        trainer.logger.experiment.add_figure("val/separations", figure, trainer.global_step)
        if len(model.val_report.get("psnr_paper_by_count", ())) > 1:
            counts = confusion_figure(model.val_report["confusion"])
            trainer.logger.experiment.add_figure("val/counts", counts, trainer.global_step)
        if not hasattr(model, "sample"):
            return
        rows = model.sample(4 * self.num_mixtures).split(self.num_mixtures)
        samples = rows_figure({f"samples {row + 1}": images for row, images in enumerate(rows)})
        trainer.logger.experiment.add_figure("samples of the prior", samples, trainer.global_step)


class BankReport(Callback):
    """Shows each new bank of pseudo-sources, and how its quality follows the separator's confidence."""

    def __init__(self):
        self.round = -1

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        logger = trainer.logger
        if data.bank.round == self.round or not isinstance(logger, TensorBoardLogger) or not trainer.is_global_zero:
            return
        self.round = data.bank.round
        rows = data.bank.images[:32].split(8)
        figure = rows_figure({f"pseudo-sources {row + 1}": images for row, images in enumerate(rows)})
        logger.experiment.add_figure("bank", figure, trainer.global_step)
        for percent, psnr in data.bank_quality.items():
            logger.experiment.add_scalar(f"bank/psnr_paper of the surest, round {self.round + 1}", psnr, percent)
