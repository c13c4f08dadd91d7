"""What shows how far a training is does not depend on which other packages are installed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import torch
from conftest import SHORT_RUN
from pytorch_lightning.trainer.connectors import callback_connector
from worlds import world

import vaebss
from vaebss.checkpoints import load
from vaebss.commands import fit
from vaebss.training import adapting


def test_adapting_says_nothing_but_its_progress(capfd):
    """In a process of its own, as Lightning says some things only once, and pytest hides others."""
    code = "import torch, vaebss\nmixtures = torch.zeros(10, 1, 16, 16)\nmixtures[..., 4:9, 4:9] += 0.5\n"
    code += "mixtures[..., 7:12, 6:9] += 0.5\nfrom vaebss.training import presets\n"
    code += "presets.WIDTHS, presets.PIXELS = {16: (4, 6, 8)}, 0\nvaebss.adapt(mixtures, steps=20)"
    environment = {**os.environ, "PYTHONPATH": str(Path(vaebss.__file__).parents[1])}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=300)
    said = "".join(capfd.readouterr()).replace("\r", "\n").splitlines()
    told = [line for line in said if line.strip("\x1b[A ") and not re.match(r"(Bank|Epoch|Training) ", line)]
    assert told == []


def test_the_bar_shows_a_loss_once_it_is_known(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = ["--data.source=bundled", "--gpus=0", *SHORT_RUN, "--trainer.max_epochs=1", "--data.epoch_size=320"]
    assert fit.main([*options, "--trainer.val_check_interval=2"]) == 0
    out = capsys.readouterr().out
    assert "loss=" in out
    assert "nan" not in out


def test_adapting_has_our_own_bar_also_where_rich_is_installed(small_students, monkeypatch, capsys):
    def rich_bar():
        raise RecursionError("rich prints into itself in a notebook")

    monkeypatch.setattr(callback_connector, "_RICH_AVAILABLE", True)
    monkeypatch.setattr(callback_connector, "RichProgressBar", rich_bar)
    mixtures, teacher = world(12, 16, 0, 1).sum(1), load("remix-k2")
    shown = adapting.adapt(mixtures, teacher, steps=20).state_dict()
    assert "/20 " in capsys.readouterr().out.replace("\r", "\n").splitlines()[-1]
    hidden = adapting.adapt(mixtures, teacher, steps=20, progress=False).state_dict()
    assert not capsys.readouterr().out
    assert all(torch.equal(value, hidden[name]) for name, value in shown.items())
