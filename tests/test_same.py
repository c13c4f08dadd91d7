"""Training is what it was: runs of version 0.1.0 go on, and begin anew, to the very weights that it came to."""

import hashlib
import shutil
from pathlib import Path

import pytest
import torch

import vaebss
from vaebss.commands import fit, remix

STORED = Path(__file__).parent / "same"  # after epoch 1 of 4 (checkpoints), and at the end (weights)
COMMON = ["--gpus=0", "--data.source=bundled", "--trainer.precision=32-true", "--trainer.max_epochs=4"]
FIT = [*COMMON, "--data.epoch_size=640", "--data.batch_size=64", "--data.val_mixtures=64"]
FIT += ["--model.hidden_dims=[8,6]", "--model.latent_dim=4"]
REMIX = [*COMMON, "--data.num_mixtures=60", "--data.epoch_size=320", "--data.batch_size=32", "--data.val_mixtures=16"]
REMIX += ["--data.epochs_per_round=2", "--data.keep=[0.5,0.5]", "--model.widths=[4,6,8]", "--model.bottleneck=8"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt"


def digest(weights: dict[str, torch.Tensor]) -> str:
    tensors = (weights[name].contiguous().numpy().tobytes() for name in sorted(weights))
    return hashlib.sha256(b"".join(tensors)).hexdigest()


def assert_same(path: Path, name: str, tolerance: float) -> None:
    """Bit for bit; or, where a processor rounds otherwise, within a share of each tensor's norm."""
    found = torch.load(path, weights_only=True)["state_dict"]
    stored = torch.load(STORED / f"{name}-end.pt", weights_only=True)
    if digest(found) == digest(stored):
        return
    assert found.keys() == stored.keys()
    for key, value in stored.items():
        far = (found[key].double() - value.double()).norm() / value.double().norm().clamp(min=1e-12)
        assert far < tolerance, (key, float(far))


@pytest.mark.parametrize("name", ["fit", "remix"])
def test_an_old_checkpoint_opens_and_separates(name, random_mixture):
    separation = vaebss.load(STORED / f"{name}-0.1.0.ckpt").separate(random_mixture / 2)
    torch.testing.assert_close(separation.sources.sum(1), random_mixture / 2, atol=1e-5, rtol=0)


def test_an_old_run_of_fit_goes_on(here):
    here.parent.mkdir(parents=True)
    shutil.copy(STORED / "fit-0.1.0.ckpt", here)
    assert fit.main(["--ckpt", str(here)]) == 0
    assert_same(here, "fit", 1e-4)


def test_an_old_run_of_remix_goes_on(here, tmp_path):
    here.parent.mkdir(parents=True)
    shutil.copy(STORED / "remix-0.1.0.ckpt", here)
    assert remix.main(["--ckpt", str(here)]) == 0  # its second round makes a bank of its own
    assert_same(here, "remix", 1e-3)  # a step along orthogonalised momentum is of half precision


def test_a_new_run_of_fit_comes_to_the_same(here):
    assert fit.main(FIT) == 0
    assert_same(here, "fit", 1e-4)


def test_a_new_run_of_remix_comes_to_the_same(here, tmp_path):
    assert fit.main([*FIT, "--trainer.default_root_dir", str(tmp_path / "teacher")]) == 0
    teacher = tmp_path / "teacher" / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt"
    assert remix.main([*REMIX, "--teacher", str(teacher)]) == 0
    assert_same(here, "remix", 0.05)  # which estimates a bank keeps may hang on a last bit


def test_old_checkpoints_start_new_runs(here):
    short = [
        "--gpus=0",
        "--data.source=bundled",
        "--trainer.max_epochs=1",
        "--data.epoch_size=64",
        "--data.batch_size=32",
    ]
    old = [str(STORED / f"{name}-0.1.0.ckpt") for name in ("fit", "remix")]
    assert fit.main([*short, "--init", old[0]]) == 0
    tiny = ["--data.num_mixtures=40", "--data.keep=[0.5]", "--data.epochs_per_round=1", "--data.val_mixtures=16"]
    assert remix.main([*short, *tiny, "--init", old[1], "--teacher", old[0]]) == 0
