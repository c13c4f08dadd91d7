"""Scores on digits that a model was trained on are told from test scores."""

import json
from pathlib import Path

import pytest

import vaebss
from vaebss import checkpoints
from vaebss.commands import test as scoring
from vaebss.pretrained.catalogue import card, kind_of
from vaebss.pretrained.lineage import knows_mnist

OF_DIGITS = [name for name in vaebss.available() if card(name)["trained_on"] == "mnist"]
CONTENTS = {
    "MNIST": ({"datamodule_hyper_parameters": {"source": "mnist"}}, True),
    "bundled digits": ({"datamodule_hyper_parameters": {"source": "bundled"}}, False),
    "own mixtures": ({"datamodule_hyper_parameters": {"source": "auto", "mixtures": "x"}}, False),
    "own mixtures, as a card has them": ({"datamodule_hyper_parameters": {"source": "mnist", "mixtures": "x"}}, False),
    "begun with a shipped model": ({"config": "seed: 0\ninit: remix-k2\nmodel:\n  lr: 1\n"}, True),
    "a shipped teacher": ({"config": "teacher: remix-1to4\n"}, True),
    "a teacher of notes": ({"config": "teacher: vae-notes\n"}, False),
    "a teacher of one's own": ({"config": "teacher: runs/remix-k2/last.ckpt\ninit: null\n"}, False),
    "nothing": ({}, False),
}


@pytest.mark.parametrize("case", CONTENTS)
def test_what_a_model_was_trained_on_is_read_from_its_checkpoint(case):
    contents, expected = CONTENTS[case]
    assert knows_mnist(contents) == expected


def test_shipped_models_of_digits_know_mnist():
    assert [name for name in vaebss.available() if kind_of(card(name)) == "images"] == OF_DIGITS
    for name in vaebss.available():
        assert knows_mnist(checkpoints.read(name)) == (name in OF_DIGITS)


@pytest.mark.parametrize("name", OF_DIGITS)
def test_cards_call_training_scores_so(name):
    assert "scores_on_bundled_digits" not in card(name)
    assert card(name)["scores_on_bundled_training_digits"]["n"] == 500


@pytest.mark.parametrize("name", ["remix-k2", "own"])
def test_scores_on_training_digits_are_told_in_one_line(name, checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    ckpt = str(checkpoint) if name == "own" else name
    options = ["--data.source=bundled", "--data.test_mixtures=20", "--gpus=0", "--out=out"]
    assert scoring.main(["--ckpt", ckpt, *options]) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if line == scoring.KNOWN]
    assert len(told) == (name == "remix-k2")
    assert len(scoring.KNOWN) <= 110
    assert json.loads(Path("out/results.json").read_text()).get("digits_known_from_training", False) == bool(told)
