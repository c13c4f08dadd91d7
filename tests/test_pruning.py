import pytest
import torch
from conftest import script

from vaebss import VAEBSS, load
from vaebss.commands import fit
from vaebss.models.pruning import pruned, usage


@pytest.fixture
def model():
    torch.manual_seed(0)
    return VAEBSS(4, hidden_dims=(32, 16)).eval()


def test_the_slots_that_stay_answer_as_before(model, random_mixture):
    fewer = pruned(model, [3, 1])
    assert fewer.hparams.num_sources == 2
    torch.testing.assert_close(fewer(random_mixture), model(random_mixture)[:, [3, 1]])


def test_usage_is_the_share_of_mixtures(model, random_mixture):
    separation = model.separate(random_mixture)
    assert torch.equal(usage(model, random_mixture), separation.active.sum(0) / 5)


def test_a_run_with_fewer_slots_drops_the_most_silent(tmp_path):
    many = ("--model.num_sources=4", "--model.hidden_dims=[32,16]", "--gpus=0", "--data.source=bundled")
    short = ("--trainer.max_epochs=1", "--data.epoch_size=64", "--data.batch_size=32", "--data.val_mixtures=50")
    assert script("fit.py", *many, *short, cwd=tmp_path).returncode == 0
    first = tmp_path / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt"
    options = ("--init", first, "--model.num_sources=2", "--gpus=0", "--data.source=bundled", *short)
    result = script("fit.py", *options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "Of 4 slots these are kept" in result.stdout
    last = tmp_path / "lightning_logs" / "version_1" / "checkpoints" / "last.ckpt"
    assert load(last).hparams.num_sources == 2


@pytest.mark.parametrize("option", ["--model.num_sources=3", "--model.latent_dim=7"])
def test_weights_that_do_not_fit_are_one_line(option, checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert fit.main(["--init", str(checkpoint), option, "--gpus=0", "--data.source=bundled"]) == 2
    error = capsys.readouterr().err
    assert "do not fit the --model options" in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())
