"""How far a run is, in one line of a terminal."""

import math
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm, convert_inf


class RunBar(TQDMProgressBar):
    """One bar for the whole run, so that the time left is the run's and not the epoch's."""

    BAR_FORMAT = "{desc} {percentage:3.0f}%|{bar}| {remaining} left{postfix}"
    loss = math.nan  # of the last step looked at: a logger is told more seldom

    def on_train_start(self, *args: Any) -> None:
        super().on_train_start(*args)
        trainer: Trainer = args[0]
        bar, epochs = self.train_progress_bar, trainer.max_epochs or -1
        bar.initial = bar.n = self._batches(trainer)  # of a resumed run, whose earlier steps took no time in this one
        bar.total = convert_inf(self.total_train_batches * epochs) if epochs > 0 else None
        self.on_train_epoch_start(trainer)  # which Lightning leaves out in an epoch that is resumed amid

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        of = f"/{trainer.max_epochs}" if self.train_progress_bar.total else ""
        self.train_progress_bar.set_description_str(f"Epoch {trainer.current_epoch + 1}{of}")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._should_update(batch_idx + 1, int(self.total_train_batches)):
            self.train_progress_bar.n = self._batches(trainer)
            self.loss = float(outputs["loss"]) * trainer.accumulate_grad_batches  # by which Lightning divides it
            self.train_progress_bar.set_postfix(self.get_metrics(trainer, pl_module))

    def init_validation_tqdm(self) -> Tqdm:
        """None: it takes a moment, and would be a second line."""
        return Tqdm(disable=True)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        main = trainer.datamodule.modality.metrics[0]  # type: ignore[attr-defined]
        score = trainer.progress_bar_metrics.get(f"val/{main.name}")
        return {"loss": self.loss} | ({} if score is None else {main.title: score})

    def _batches(self, trainer: Trainer) -> int:
        """Of all epochs, this one among them."""
        return trainer.fit_loop.epoch_loop.total_batch_idx + 1
