"""What shows how far a training is does not depend on which other packages are installed."""

import torch
from pytorch_lightning.trainer.connectors import callback_connector
from worlds import world

from vaebss.checkpoints import load
from vaebss.training import adapting


def test_adapting_has_our_own_bar_also_where_rich_is_installed(monkeypatch, capsys):
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
