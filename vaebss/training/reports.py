"""Pictures, sounds and curves of a run: what is separated, and what is in the bank."""

from collections.abc import Iterator
from typing import Any

from matplotlib.figure import Figure
from pytorch_lightning import Callback, LightningModule, Trainer

from vaebss.figures.scores import confusion_figure
from vaebss.figures.separations import separation_figure
from vaebss.models.vae import VAE
from vaebss.training.boards import add_figure, add_sound
from vaebss.training.examples import SeparatedExamples, examples, separate_examples
from vaebss.training.scores import BankScores, Scores


class SeparationPictures(Callback):
    """A callback that logs the separation of the same validation mixtures, counts of sources, and samples of the prior.

    Audible signals are logged as sounds, too; mixtures and true sources only once.

    Args:
        every_n_epochs: Epochs from one report to the next; the last epoch is always reported.
        num_mixtures: Number of mixtures.
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
        shown = separate_examples(model.separate(batch["mixture"]), batch, data.modality, model.source_scale)
        for tag, figure in self._figures(trainer, model, shown):
            add_figure(trainer, tag, figure)
        if data.modality.audible:
            for number, name, sound in shown.named():
                if name.startswith("estimate") or not self.heard_truth:
                    add_sound(trainer, f"val/{number}/{name.replace(' ', '_')}", sound, data.modality.rate)
            self.heard_truth = True

    def _figures(self, trainer: Trainer, model: Any, shown: SeparatedExamples) -> Iterator[tuple[str, Figure]]:
        modality: Any = trainer.datamodule.modality  # type: ignore[attr-defined]
        yield "val/separations", separation_figure(*shown, modality.figure)
        report = next((callback.report for callback in trainer.callbacks if isinstance(callback, Scores)), {})  # type: ignore[attr-defined]
        if sum(map(any, report.get("confusion", ()))) > 1:
            yield "val/counts", confusion_figure(report["confusion"])
        if isinstance(model, VAE):
            rows = model.sample(4 * self.num_mixtures).split(self.num_mixtures)
            yield (
                "val/prior_samples",
                modality.plot_pictures({f"samples {row + 1}": part for row, part in enumerate(rows)}),
            )


class BankReport(Callback):
    """A callback that logs each new bank of pseudo-sources, and how its quality follows the separator's confidence."""

    def __init__(self):
        self.round = -1

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        bank = data.banks.bank
        if bank.round == self.round or not trainer.is_global_zero:
            return
        self.round = bank.round
        rows = bank.sources[:32].float().split(8)
        figure = data.modality.figure({f"pseudo-sources {row + 1}": part for row, part in enumerate(rows)})
        add_figure(trainer, "bank/pseudo_sources", figure)
        scores: BankScores = data.banks.watch
        for percent, quality in scores.by_confidence().items():
            name = f"bank/{scores.name}_by_confidence/round_{self.round + 1}"
            for logger in trainer.loggers:
                logger.log_metrics({name: quality}, percent)
