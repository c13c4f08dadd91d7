"""Training on a folder of mixtures whose sources nobody knows."""

import shlex

import numpy as np
import pytest
import torch
from PIL import Image

from vaebss import MNISTMixtures, load
from vaebss.commands import fit, remix, separate, test

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


def test_a_folder_trains_both_stages_and_can_be_separated(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    given = [*TINY, "--data.mixtures", str(folder)]
    assert fit.main([*given, "--trainer.max_epochs=2", "--model.hidden_dims=[32,16]"]) == 0
    printed = capsys.readouterr()
    assert "psnr" not in printed.out + printed.err
    assert "Score it" not in printed.out
    hint = next(line for line in printed.out.splitlines() if line.startswith("Separate:"))
    assert separate.main([*shlex.split(hint)[3:], "--gpus=0"]) == 0
    teacher = tmp_path / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt"
    assert not load(teacher).bounded  # nobody knows how bright the sources are

    small = ("--data.keep=[0.9,0.9]", "--data.epochs_per_round=1", "--model.widths=[4,6,8]", "--model.bottleneck=16")
    assert remix.main([*given, *small, "--teacher", str(teacher), "--data.refine_steps=2"]) == 0
    student = tmp_path / "lightning_logs" / "version_1" / "checkpoints" / "last.ckpt"
    assert not load(student).bounded

    assert separate.main([str(folder), "--ckpt", str(student), "--out", str(tmp_path / "out"), "--gpus=0"]) == 0
    shape = np.asarray(Image.open(next((tmp_path / "out").glob("*_source1.png")))).shape
    assert shape == np.asarray(Image.open(folder / "00.png")).shape

    capsys.readouterr()
    assert test.main(["--ckpt", str(student)]) == 0
    said = capsys.readouterr().out
    assert "Estimated without true sources: PSNR (paper scale)" in said
    assert "--data.sources" in said
