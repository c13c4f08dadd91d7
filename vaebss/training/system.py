"""Parts that all trained separators share: a model, a learning rate that falls, and checkpoints that describe
themselves."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

from pytorch_lightning import LightningModule
from torch import Tensor

from vaebss.checkpoints import FORMAT, for_lightning
from vaebss.modalities.modality import Modality, separate_signals
from vaebss.modalities.registry import modality_of
from vaebss.models.separator import Separator
from vaebss.separation import Separation
from vaebss.training.capture import at_once
from vaebss.version import __version__

EvaluationStage = Literal["val", "test"]
HELD = "model."  # before the names of the weights, in here though not on disk


class System(LightningModule, ABC):
    """A LightningModule that holds a separator, which knows nothing of its training, and defines how it learns.

    Its hyper-parameters are those of the separator and of the training, lr and lr_min among them. What a step computes
    is a function of tensors alone, `cost` of `inputs`, so that a GPU can replay it, see `training.capture`.
    """

    launch = staticmethod(at_once)

    hparams: Any  # an AttributeDict, which type checkers cannot see into
    model: Separator

    def _set_model(self, model: Separator, **training: Any) -> None:
        """Set the model and save the hyper-parameters. Subclasses call this once, in __init__."""
        self.model = model
        options = {name: list(value) if isinstance(value, tuple) else value for name, value in model.options.items()}
        self.save_hyperparameters(options | training)  # of plain values: loggers write them as YAML for any reader

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: str | Path, *args: Any, **options: Any) -> Self:  # type: ignore[override]
        """Load as Lightning does, but from what `vaebss.load` opens, and without importing what a checkpoint names."""
        file = for_lightning(checkpoint_path, cls, cls.CHECKPOINT_HYPER_PARAMS_KEY)
        return super().load_from_checkpoint(file, *args, **options)

    @abstractmethod
    def inputs(self, batch: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """Return the inputs of `cost` for a training batch, of the same shapes for all batches."""

    @abstractmethod
    def cost(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the loss of `inputs`, (), and whatever else is logged, without gradients."""

    def compute(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the cost; a Capture replaces this for the time of a training."""
        return self.cost(*inputs)

    def forward(self, mixture: Tensor) -> Tensor:
        return self.model(mixture)

    def separate(self, mixture: Tensor, **options: Any) -> Separation:
        """Separate mixtures (B, C, H, W) by `Separator.separate` of the model."""
        return self.model.separate(mixture, **options)

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> Mapping[str, Any]:
        """Separate the mixtures of a batch, for callbacks to score.

        Args:
            batch: Batch, of which only the "mixture" (B, C, H, W) is read.
            batch_idx: Number of the batch in the epoch.
        """
        return self.evaluated(batch["mixture"], "val", batch_idx)

    def test_step(self, batch: dict[str, Tensor], batch_idx: int) -> Mapping[str, Any]:
        return self.evaluated(batch["mixture"], "test", batch_idx)

    def predict_step(self, batch: dict[str, Tensor] | Tensor, batch_idx: int) -> Separation:
        """Separate a batch of mixtures; `Trainer.predict` calls this.

        Args:
            batch: Signals (B, *S), or a batch of a data module, which has them as "signal".
            batch_idx: Number of the batch, which does not matter.
        """
        signals = batch if isinstance(batch, Tensor) else batch["signal"]
        return separate_signals(self.model.separate, self.modality, signals)

    def evaluated(self, mixture: Tensor, stage: EvaluationStage, batch_idx: int) -> Mapping[str, Any]:
        """Separate the mixtures of a batch, and log means that need no true source.

        Args:
            mixture: Pictures of the mixtures, (B, C, H, W).
            stage: "val" or "test", the beginning of the names that are logged.
            batch_idx: Number of the batch.

        Returns:
            The separation, as "separation".
        """
        separation = self.model.separate(mixture)
        count, confidence = separation.count.float().mean(), separation.confidence.mean()
        means = {f"{stage}/active": count, f"{stage}/confidence": confidence}
        self.log_dict(means, batch_size=len(mixture), sync_dist=True)
        return {"separation": separation}

    @property
    def logs_now(self) -> bool:
        """True if loggers record this step. Logging every step would take a seventh of the time of a small one."""
        trainer: Any = self.trainer
        return (self.global_step + 1) % max(1, trainer.log_every_n_steps) == 0

    def log_rate(self) -> None:
        """Log the learning rate of this step."""
        optimizer: Any = self.optimizers()
        self.log("train/lr", optimizer.param_groups[0]["lr"])

    def cosine(self, step: int) -> float:
        """Return the factor of the learning rate at an optimiser step: it falls from 1 to lr_min / lr in training."""
        if step == 0:  # before training starts; to ask for its steps would load the data ahead of a resumed epoch
            return 1.0
        lowest = self.hparams.lr_min / self.hparams.lr
        done = min(step / self.trainer.estimated_stepping_batches, 1.0)
        return lowest + (1 - lowest) * 0.5 * (1 + math.cos(math.pi * done))

    def setup(self, stage: str) -> None:
        """Tell the model what kind of signal its mixtures are pictures of."""
        modality = getattr(getattr(self.trainer, "datamodule", None), "modality", None)
        if modality is not None:
            self.model.modality = modality.options
            vars(self).pop("modality", None)  # which is derived from it

    @cached_property
    def modality(self) -> Modality:
        """The modality of the training mixtures."""
        return modality_of(self.model)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = {name.removeprefix(HELD): value for name, value in checkpoint["state_dict"].items()}
        checkpoint |= {"state_dict": state, "model_class": type(self).__name__, "format": FORMAT, "vaebss": __version__}
        checkpoint["modality"] = dict(self.model.modality)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"] = {HELD + name: value for name, value in checkpoint["state_dict"].items()}
