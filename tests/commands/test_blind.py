"""Training on a folder of mixtures whose sources nobody knows."""

import numpy as np
import pytest
import torch
from conftest import script
from PIL import Image

from vaebss import MNISTMixtures, load
from vaebss.commands import separate as separating

TINY = ("--gpus=0", "--data.epoch_size=64", "--data.batch_size=16")


@pytest.fixture(params=[(1, 28, 28), (3, 32, 32)], ids=["grey", "colour"])
def folder(request, tmp_path):
    """Forty mixtures as PNG."""
    digits = MNISTMixtures(source="bundled")
    digits.setup()
    mixtures = next(iter(digits.val_dataloader()))["mixture"][:40]
    channels, *size = request.param
    mixtures = torch.nn.functional.interpolate(mixtures, size).expand(-1, channels, -1, -1)
    (tmp_path / "mixtures").mkdir()
    for number, mixture in enumerate((mixtures * 255).byte().permute(0, 2, 3, 1).squeeze(3).numpy()):
        Image.fromarray(np.ascontiguousarray(mixture)).save(tmp_path / "mixtures" / f"{number:02d}.png")
    return tmp_path / "mixtures"


def test_a_folder_trains_both_stages_and_can_be_separated(folder, tmp_path):
    given = (*TINY, "--data.mixtures", folder)
    fit = script("fit.py", *given, "--trainer.max_epochs=2", "--model.hidden_dims=[32,16]", cwd=tmp_path)
    assert fit.returncode == 0, fit.stderr
    assert "psnr" not in fit.stdout + fit.stderr
    teacher = tmp_path / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt"
    assert not load(teacher).hparams.bounded  # nobody knows how bright the sources are

    small = ("--data.keep=[0.9,0.9]", "--data.epochs_per_round=1", "--model.widths=[4,6,8]", "--model.bottleneck=16")
    remix = script("remix.py", *given, *small, "--teacher", teacher, "--data.refine_steps=2", cwd=tmp_path)
    assert remix.returncode == 0, remix.stderr
    student = tmp_path / "lightning_logs" / "version_1" / "checkpoints" / "last.ckpt"
    assert not load(student).hparams.bounded

    assert separating.main([str(folder), "--ckpt", str(student), "--out", str(tmp_path / "out"), "--gpus=0"]) == 0
    shape = np.asarray(Image.open(next((tmp_path / "out").glob("*_source1.png")))).shape
    assert shape == np.asarray(Image.open(folder / "00.png")).shape

    test = script("test.py", "--ckpt", student, cwd=tmp_path)
    assert test.returncode == 2
    assert "nobody knows" in test.stderr
    assert test.stderr.count("\n") == 1
