import errno

import pytest
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.demos.boring_classes import BoringModel

from vaebss.callbacks import RunCheckpoints, WholeCheckpoints


class Worsening(BoringModel):
    """A model whose first epoch is its best."""

    def on_validation_epoch_end(self):
        self.log("val/elbo", -float(self.current_epoch))


def test_last_is_the_last_epoch_and_best_the_best(tmp_path):
    checkpoints = RunCheckpoints("val/elbo")
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


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"epoch": 1}, path)

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="space"):
        WholeCheckpoints().save_checkpoint({"epoch": 2}, path)
    assert torch.load(path, weights_only=True) == {"epoch": 1}
