"""Runs of version 0.2.0, after epoch 2 of 4, still open, separate, score as they did, and go on."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import vaebss
from vaebss.commands import fit, remix, test

STORED = Path(__file__).parent / "same"
LAST = Path("lightning_logs/version_0/checkpoints/last.ckpt")
COMMANDS = {"fit": fit, "remix": remix}  # one to three digits, of several gains; and given mixtures
PSNR = {"fit": 21.93, "remix": 19.21}  # that version's, in dB
SCORED = {"fit": ["--data.test_mixtures=64"], "remix": ["--data.sources=[rows.npy,columns.npy]"]}


@pytest.fixture(params=COMMANDS)
def name(request, tmp_path, monkeypatch) -> str:
    """A command whose run lies in the working folder, beside the mixtures that remix.py was given: bars that cross."""
    monkeypatch.chdir(tmp_path)
    LAST.parent.mkdir(parents=True)
    shutil.copy(STORED / f"{request.param}-0.2.0.ckpt", LAST)
    row, column = np.meshgrid(np.arange(12), np.arange(12), indexing="ij")
    rows = np.stack([0.5 * (row == number % 12) for number in range(60)]).astype(np.float32)
    columns = np.stack([0.5 * (column == 5 * number % 12) for number in range(60)]).astype(np.float32)
    for file, pictures in (("rows", rows), ("columns", columns), ("mixtures", rows + columns)):
        np.save(f"{file}.npy", pictures)
    return request.param


def test_it_separates(name):
    model = vaebss.load(LAST)
    mixture = torch.rand(4, *model.image_shape, generator=torch.Generator().manual_seed(0)) / 2
    torch.testing.assert_close(model.separate(mixture).sources.sum(1), mixture, atol=1e-5, rtol=0)


def test_it_scores_what_it_scored(name):
    assert test.main([f"--ckpt={LAST}", "--gpus=0", "--out=scores", *SCORED[name]]) == 0
    scores = json.loads(Path("scores/results.json").read_text())
    assert scores["masked"]["psnr_paper"] == pytest.approx(PSNR[name], abs=0.01)


def test_it_goes_on_with_the_options_that_it_had(name):
    before = torch.load(LAST, weights_only=True)
    assert COMMANDS[name].main([f"--ckpt={LAST}", "--gpus=0"]) == 0
    after = torch.load(LAST, weights_only=True)
    assert (before["epoch"], after["epoch"], before["global_step"], after["global_step"]) == (1, 3, 20, 40)
    for options in ("hyper_parameters", "datamodule_hyper_parameters", "modality"):
        assert {option: after[options][option] for option in before[options]} == before[options]
    moved = [name for name, value in before["state_dict"].items() if not torch.equal(value, after["state_dict"][name])]
    assert moved
    assert all(value.isfinite().all() for value in after["state_dict"].values())
