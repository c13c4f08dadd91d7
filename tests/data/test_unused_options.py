"""Options of another kind of data are told in one line, and change nothing."""

import numpy as np
import pytest
import torch

from vaebss import MNISTMixtures
from vaebss.data.mixtures import tell_once
from vaebss.data.remixes import Remixes


@pytest.fixture(autouse=True)
def anew() -> None:
    tell_once.cache_clear()


def told(capsys) -> list[str]:
    return capsys.readouterr().out.splitlines()


CASES = {
    "digits": (
        {"source": "bundled"},
        {"soundfont": "a.sf2", "bands": 9, "axes": "NHW"},
        {"gains": [0.5, 1.0]},
    ),
    "notes": ({"source": "notes"}, {"train_size": 9, "invert": True}, {"bands": 100, "detune": 2.0}),
    "mixtures of your own": (
        {"mixtures": "x.npy"},
        {"num_mixed": [1, 3], "gains": [0.5, 1.0], "train_size": 9},
        {"max_pixels": 64, "axes": "NHW"},
    ),
    "single pictures": ({"source": "x.npy"}, {"unheard": True, "level": 0.5}, {"train_size": 9, "noise": 0.1}),
}


@pytest.mark.parametrize("kind", CASES)
def test_what_has_no_meaning_is_told_in_one_line_and_what_has_is_not(kind, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.random.default_rng(0).random((20, 9, 9), dtype=np.float32))
    of_kind, without, with_meaning = CASES[kind]
    MNISTMixtures(**of_kind, **with_meaning)
    assert told(capsys) == []
    data = MNISTMixtures(**of_kind, **with_meaning, **without)
    (line,) = told(capsys)
    head, _, names = line.partition(": ")
    assert head == f"Not used with {kind}"
    assert set(names.split(", ")) == {f"data.{name}" for name in without}
    assert all(data.hparams[name] == value for name, value in without.items())
    MNISTMixtures(**of_kind, **without)
    assert told(capsys) == []  # once in a run


def test_options_of_remixes_are_told_as_well(capsys):
    Remixes(source="bundled", remix_detune=2.0, remix_gains=[0.5, 1.0])
    assert told(capsys) == ["Not used with digits: data.remix_detune"]
    Remixes(source="notes", remix_detune=2.0)
    assert told(capsys) == []


def test_options_without_meaning_change_no_mixture():
    def first(**options) -> torch.Tensor:
        data = MNISTMixtures(source="bundled", test_mixtures=20, **options)
        data.setup("test")
        return next(iter(data.test_dataloader()))["mixture"]

    assert torch.equal(first(), first(detune=2.0, unheard=True, max_pixels=9, level=0.5))
