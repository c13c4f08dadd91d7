"""A record of how a run was made: its options, the command, the versions of the code, and its score."""

import shlex
import sys
from importlib.metadata import version
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.cli import SaveConfigCallback

from vaebss.atomic import atomic_write
from vaebss.hardware import commit
from vaebss.training.boards import add_score, add_text
from vaebss.training.checkpointing import checkpoints_of
from vaebss.version import __version__


class RunConfig(SaveConfigCallback):
    """A callback that saves the run's options in its folder and in every checkpoint, where a resumed run reads them."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and not trainer.fast_dev_run:  # type: ignore[attr-defined]  # a dry run leaves nothing
            path = checkpoints_of(trainer).folder() / "config.yaml"
            with atomic_write(path) as part:
                self.parser.save(self.config, part, skip_none=False, multifile=False)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        # What was left to be decided was decided at run time, and a resumed run must use the decision.
        resolved, data = self.config.clone(with_meta=False), trainer.datamodule.hparams  # type: ignore[attr-defined]
        if isinstance(resolved.data.source, str):
            resolved.data.source = data.source
        if "source_classes" in data:
            resolved.data.source_classes = data.source_classes
        checkpoint["config"] = self.parser.dump(resolved, skip_link_targets=True, skip_validation=True)


class RunCard(Callback):
    """A callback that logs the command, the versions of code and packages, the data and the model; then the score."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data: Any = trainer.datamodule.hparams  # type: ignore[attr-defined]
        model: Any = pl_module.model
        facts = {
            "command": shlex.join(sys.argv),
            "commit": commit(),
            "vaebss": __version__,
            "PyTorch": torch.__version__,
            "Lightning": version("pytorch-lightning"),
            "data": f"{data.mixtures or data.source}, {data.num_mixed} mixed, {data.epoch_size} mixtures an epoch",
            "model": f"{type(model).__name__}, K = {model.num_sources}",
        }
        rows = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
        add_text(trainer, "run", f"| | |\n|---|---|\n{rows}")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        score = trainer.callback_metrics.get(str(checkpoints_of(trainer).monitor))
        if score is not None:
            hparams: Any = trainer.datamodule.hparams  # type: ignore[attr-defined]
            add_score(trainer, float(score), {**hparams, **pl_module.hparams})
