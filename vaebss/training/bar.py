"""The progress of a run in one line of a terminal."""

import math
from contextlib import suppress
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import TQDMProgressBar
from tqdm import tqdm


class RunBar(TQDMProgressBar):
    """One progress bar for the whole run: the time left is that of the run, not that of the epoch."""

    BAR_FORMAT = "{desc} {percentage:3.0f}%|{bar}| {remaining} left{postfix}"
    loss: float | None = None  # of the last update, as loggers get the loss less often

    def on_train_start(self, *args: Any) -> None:
        super().on_train_start(*args)
        trainer: Trainer = args[0]
        bar, total = self.train_progress_bar, self.total_train_batches * (trainer.max_epochs or -1)
        bar.initial = bar.n = self._batches(trainer)  # earlier steps of a resumed run took no time in this one
        bar.total = total if 0 < total < math.inf else None
        self.on_train_epoch_start(trainer)  # Lightning does not call it in an epoch that is resumed before its end

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        of = f"/{trainer.max_epochs}" if self.train_progress_bar.total else ""
        self.train_progress_bar.set_description_str(f"Epoch {trainer.current_epoch + 1}{of}")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.is_enabled and ((batch_idx + 1) % self.refresh_rate == 0 or trainer.is_last_batch):
            self.train_progress_bar.n = self._batches(trainer)
            self.loss = float(outputs["loss"]) * trainer.accumulate_grad_batches  # Lightning has divided it by that
            self.train_progress_bar.set_postfix(self.get_metrics(trainer, pl_module))

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """End the bar's line, on which the error would be printed."""
        with suppress(TypeError):  # there is no bar before training begins
            self.train_progress_bar.close()

    def init_validation_tqdm(self) -> Any:
        """Return a bar that stays hidden: validation is short, and would take a second line."""
        return tqdm(disable=True)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        main = trainer.datamodule.modality.metrics[0]  # type: ignore[attr-defined]
        shown = {"loss": self.loss, main.title: trainer.progress_bar_metrics.get(f"val/{main.name}")}
        return {name: value for name, value in shown.items() if value is not None}

    def _batches(self, trainer: Trainer) -> int:
        """Return the number of batches so far, over all epochs."""
        return trainer.fit_loop.epoch_loop.total_batch_idx + 1
