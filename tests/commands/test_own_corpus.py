"""A user's own corpus trains and is scored without a change of the package."""

from typing import ClassVar

import pytest
import torch
import yaml
from chirps import Chirps
from conftest import quiet

from vaebss import VAEBSS, MNISTMixtures
from vaebss.commands import fit, test

SHORT = ["--gpus=0", "--model.hidden_dims=[8]", "--data.epoch_size=64", "--data.batch_size=16"]
SHORT += ["--data.val_mixtures=8", "--trainer.max_epochs=1", "--trainer.enable_progress_bar=false"]


def test_it_trains_from_python():
    data = MNISTMixtures(source=Chirps(), epoch_size=64, batch_size=16, val_mixtures=8)
    model = VAEBSS(hidden_dims=(8,), image_shape=data.image_shape, source_scale=data.brightest)
    quiet(max_epochs=1).fit(model, data)
    assert data.hparams.source == "chirps.Chirps"
    assert data.hparams.source_scale == 0.5
    batch = next(iter(data.test_dataloader()))
    torch.testing.assert_close(batch["sources"].sum(1), batch["mixture"])


def test_it_trains_from_the_command_line_and_is_scored(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    own = ["--data.source=chirps.Chirps", "--data.source.number=80"]
    assert fit.main([*own, *SHORT]) == 0
    run = tmp_path / "lightning_logs" / "version_0"
    source = yaml.safe_load((run / "config.yaml").read_text())["data"]["source"]
    assert source == {"class_path": "chirps.Chirps", "init_args": {"number": 80}}
    ckpt = run / "checkpoints" / "last.ckpt"
    assert fit.main([f"--ckpt={ckpt}", "--trainer.max_epochs=1"]) == 2
    assert "chirps.Chirps" in capsys.readouterr().err
    assert fit.main([f"--ckpt={ckpt}", *own]) == 0
    assert test.main([f"--ckpt={ckpt}", "--gpus=0"]) == 2  # no checkpoint has a module imported
    assert "it was trained on chirps.Chirps" in capsys.readouterr().err
    assert test.main([f"--ckpt={ckpt}", "--gpus=0", *own, "--data.test_mixtures=10"]) == 0
    assert "10 test mixtures of chirps, M = 2" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["chirps.Chirp", "nowhere.Chirps"])
def test_a_class_that_is_not_there_is_refused_in_one_line(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert fit.main([f"--data.source={name}", *SHORT]) == 2
    assert capsys.readouterr().err.count("\n") == 1


class Counted(Chirps):
    """Chirps that count how often they are made."""

    made: ClassVar[list[int]] = []

    def __init__(self, number: int = 80):
        super().__init__(number)
        self.made.append(number)


def test_it_is_made_once_for_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Counted.made.clear()
    assert fit.main([f"--data.source={__name__}.Counted", "--data.source.number=70", *SHORT]) == 0
    assert Counted.made == [70]
