import csv
import errno

import pytest
import torch
from conftest import quiet
from pytorch_lightning import Trainer
from pytorch_lightning.demos.boring_classes import BoringModel
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.plugins.io import TorchCheckpointIO

from vaebss import VAEBSS, MNISTMixtures
from vaebss.training.checkpointing import FiniteTraining, RunCheckpoints, WholeCheckpoints


class Worsening(BoringModel):
    """A model whose first epoch is its best."""

    def on_validation_epoch_end(self):
        self.log("val/elbo", -float(self.current_epoch))


def test_last_is_the_last_epoch_and_best_the_best(tmp_path):
    checkpoints = RunCheckpoints("val/elbo", lambda: tmp_path)
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=tmp_path,
        max_epochs=3,
        limit_train_batches=2,
        limit_val_batches=1,
        num_sanity_val_steps=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[checkpoints],
        plugins=[WholeCheckpoints()],
    )
    trainer.fit(Worsening())
    assert torch.load(checkpoints.last_path, weights_only=True)["global_step"] == 6
    assert torch.load(checkpoints.best_model_path, weights_only=True)["global_step"] == 2
    assert sorted(path.name for path in checkpoints.last_path.parent.iterdir()) == ["best.ckpt", "last.ckpt"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), RuntimeError("unexpected pos 64 vs 0")])
def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(error, tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"epoch": 1}, path)

    def full(self, contents, part, options):
        part.write_bytes(b"half of it")
        raise error

    monkeypatch.setattr(TorchCheckpointIO, "save_checkpoint", full)
    with pytest.raises(OSError, match=r"last\.ckpt cannot be written.*kept"):
        WholeCheckpoints().save_checkpoint({"epoch": 2}, path)
    assert torch.load(path, weights_only=True) == {"epoch": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_run_that_goes_astray_ends_and_names_the_part(tmp_path):
    data = MNISTMixtures(source="bundled", batch_size=16, epoch_size=160)
    trainer = quiet(max_epochs=1, callbacks=[FiniteTraining()])
    model = VAEBSS(hidden_dims=(32, 16), lr=1e30, lr_schedule="constant")
    with pytest.raises(ValueError, match=r"step [1-9]: train/loss") as caught:
        trainer.fit(model, data)
    assert "\n" not in str(caught.value)


def test_curves_have_a_point_for_every_step_that_the_logger_keeps(tmp_path):
    data = MNISTMixtures(source="bundled", batch_size=16, epoch_size=160)
    logger = CSVLogger(tmp_path, name="", version="")
    options = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(accelerator="cpu", max_epochs=2, logger=logger, log_every_n_steps=3, **options)
    trainer.fit(VAEBSS(hidden_dims=(32, 16)), data)
    with (tmp_path / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["train/loss"]]
    assert [int(row["step"]) for row in rows] == [2, 5, 8, 11, 14, 17]
    assert all(float(row["train/rate"]) > 0 for row in rows)
