"""Classes of sources are found in the first bank of a user's pictures, and slots become classes from then on."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor
from worlds import glyphs, world

from vaebss.checkpoints import load
from vaebss.commands import remix
from vaebss.data.bank import Bank
from vaebss.data.corpora.pictures import GivenPictures
from vaebss.data.remixes import Remixes
from vaebss.modalities import source_classes
from vaebss.training.adapting import build_student
from vaebss.training.banks import CLASSES_FOUND, CLASSES_MISSED, BankMaker

SHORT = ["--gpus=0", "--trainer.precision=32-true", "--data.keep=[0.9]", "--data.epochs_per_round=2"]
SHORT += ["--data.renew=true", "--data.epoch_size=48"]
RUN = Path("lightning_logs/version_0")
LAST = RUN / "checkpoints" / "last.ckpt"


@pytest.fixture(scope="module")
def of_classes() -> Tensor:
    return world(130, 28, 3).sum(1)


@pytest.fixture(scope="module")
def of_letters() -> Tensor:
    return glyphs(130, 28, 3).sum(1)


def adapted(mixtures: Tensor, *typed: str) -> dict[str, Tensor]:
    """The weights after a short run on mixtures in a file of the working folder."""
    np.save("mixtures.npy", mixtures.numpy())
    assert remix.main(["--data.mixtures=mixtures.npy", *SHORT, *typed]) == 0
    run = max(Path("lightning_logs").iterdir(), key=lambda path: path.stat().st_mtime)
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def first_bank(mixtures: Tensor, stated: bool | None) -> tuple[list[str], bool]:
    """The lines that are told of the first bank, and whether slots are classes in it and from then on."""
    told: list[str] = []
    _, data = build_student(mixtures, load("remix-k2"), source_classes=stated)
    data.banks.tell = told.append  # type: ignore[union-attr]
    bank = data.banks(0)  # type: ignore[misc]
    assert data.modality.voices is data.hparams.source_classes is (bank.voices is not None)
    return told, data.modality.voices


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_evident_classes_get_slots_as_if_that_had_been_typed(here, of_classes, capsys):
    found = adapted(of_classes)
    assert CLASSES_FOUND in capsys.readouterr().out
    contents = torch.load(LAST, weights_only=True)
    assert contents["modality"] == {"kind": "images", "voices": True}
    assert contents["datamodule_hyper_parameters"]["source_classes"] is True
    assert "\n  source_classes: true\n" in contents["config"]
    assert Bank.load(RUN / "bank.pt").voices is not None
    assert same(found, adapted(of_classes, "--data.source_classes=true"))
    assert CLASSES_FOUND not in capsys.readouterr().out


def test_without_evident_classes_nothing_changes(here, of_letters):
    found = adapted(of_letters)
    assert torch.load(LAST, weights_only=True)["datamodule_hyper_parameters"]["source_classes"] is False
    assert load(LAST).modality == {"kind": "images"}
    assert same(found, adapted(of_letters, "--data.source_classes=false"))


@pytest.mark.parametrize("typed", [[], ["--config", str(RUN / "config.yaml")]], ids=["alone", "its options again"])
def test_a_resumed_run_keeps_what_its_first_bank_decided(typed, here, of_classes, monkeypatch):
    np.save("mixtures.npy", of_classes.numpy())
    make = BankMaker.make
    with monkeypatch.context() as patch:
        patch.setattr(BankMaker, "make", lambda self, of, number: make(self, of, {0: 0}[number]))
        with pytest.raises(KeyError):
            remix.main(["--data.mixtures=mixtures.npy", *SHORT])
    (RUN / "bank.pt").unlink()
    monkeypatch.setattr(source_classes, "are_evident", None)  # it is not asked again
    assert remix.main([*typed, "--ckpt", str(LAST)]) == 0
    assert load(LAST).modality["voices"]
    assert Bank.load(RUN / "bank.pt").voices is not None
    assert torch.load(LAST, weights_only=True)["datamodule_hyper_parameters"]["source_classes"] is True


@pytest.mark.parametrize(("stated", "lines"), [(None, [CLASSES_FOUND]), (True, []), (False, [])])
def test_the_first_bank_decides_unless_it_is_told(stated, lines, of_classes):
    told, voices = first_bank(of_classes, stated)
    assert (told, voices) == (lines, stated is not False)


@pytest.mark.parametrize(("stated", "lines"), [(None, []), (True, [CLASSES_MISSED])])
def test_classes_that_are_not_evident_are_not_made_up(stated, lines, of_letters):
    told, voices = first_bank(of_letters, stated)
    assert (told, voices) == (lines, stated is True)


@pytest.mark.parametrize("source", ["bundled", GivenPictures(torch.rand(20, 1, 16, 16), tile=16)])
def test_digits_and_tiles_are_not_looked_at_for_classes(source):
    assert Remixes(source=source).hparams.source_classes is False


def test_processes_take_the_answer_of_the_first_one(of_classes):
    data = Remixes(source=GivenPictures(of_classes))
    assert data.hparams.source_classes is None
    asked: list[bool] = []
    strategy = SimpleNamespace(broadcast=lambda evident: asked.append(evident) or False)
    data.trainer = SimpleNamespace(strategy=strategy)  # type: ignore[assignment]
    data.settle_classes(True)
    assert (asked, data.hparams.source_classes, data.modality.voices) == ([True], False, False)
