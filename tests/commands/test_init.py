"""A run that starts from the weights of another."""

import pytest
import torch
from conftest import SHORT_RUN

from vaebss import VAE, load
from vaebss.commands import fit, remix
from vaebss.models import pruning


def test_a_run_with_fewer_slots_drops_the_most_silent(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tiny = ["--gpus=0", "--data.source=bundled", *SHORT_RUN, "--trainer.max_epochs=1"]
    assert fit.main([*tiny, "--model.num_sources=4"]) == 0
    first = tmp_path / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt"
    monkeypatch.setattr(pruning, "usage", lambda model, mixtures: torch.tensor([0.1, 0.9, 0.0, 0.6]))
    still = ("--model.lr=1e-12", "--model.lr_min=0")
    assert fit.main([*tiny, *still, "--init", str(first), "--model.num_sources=2"]) == 0
    assert (
        "Of 4 slots these are kept, the busiest on validation mixtures: 2 (90 %), 4 (60 %)" in capsys.readouterr().out
    )
    many, few = (load(first.parents[2] / f"version_{n}" / "checkpoints" / "last.ckpt") for n in (0, 1))
    assert isinstance(many, VAE)
    assert isinstance(few, VAE)
    kept = pruning.pruned(many, [1, 3]).encoder.state_dict()
    for name in few.encoder.by_slot:
        torch.testing.assert_close(few.encoder.state_dict()[name], kept[name])


@pytest.mark.parametrize("option", ["--model.num_sources=3", "--model.latent_dim=7"])
def test_weights_that_do_not_fit_are_one_line(option, checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert fit.main(["--init", str(checkpoint), option, "--gpus=0", "--data.source=bundled"]) == 2
    error = capsys.readouterr().err
    assert error.endswith("do not fit the --model options given\n")
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_remix_can_begin_anew_where_weights_do_not_fit(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert remix.main(["--init=remix-k2", "--model.bottleneck=16", "--gpus=0", "--data.source=bundled"]) == 2
    error = capsys.readouterr().err
    assert error.endswith("do not fit the --model options given; --init none starts from random weights\n")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--ckpt={0}", "--init={0}"], "give one of them"),
        (["--init=remix-k2"], "not a checkpoint of fit.py"),
        (["--ckpt=vae-k2"], "use --init instead of --ckpt"),
    ],
)
def test_a_run_has_one_beginning(options, reason, checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert fit.main([option.format(checkpoint) for option in options]) == 2
    assert reason in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
