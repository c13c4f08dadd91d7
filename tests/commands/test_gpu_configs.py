"""The configurations for a GPU train where there is none, two steps of a small network."""

import pytest
import torch
import yaml
from conftest import REPOSITORY

from vaebss.commands import remix
from vaebss.data.corpora import notes

PATHS = sorted((REPOSITORY / "configs").glob("gpu-*.yaml"))
SMALL = ["--gpus=0", "--minutes=null", "--steps=2", "--data.num_mixtures=40", "--data.keep=[0.5]"]
SMALL += ["--data.epochs_per_round=1", "--data.batch_size=8", "--data.val_mixtures=16", "--data.refine_steps=0"]
SMALL += ["--model.widths=[8,8]", "--model.bottleneck=8", "--trainer.logger=false"]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_configuration_for_a_gpu_trains(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = yaml.safe_load(path.read_text())
    assert options["minutes"] < 10
    if options["data"].get("source") == "notes":
        pytest.importorskip("soundfile")
        pytest.importorskip("pretty_midi")  # whose font stands in for the better one
        monkeypatch.setattr(notes, "RANGES", {0: (55, 80), 19: (60, 62), 40: (60, 80)})
        own = [f"--data.soundfont={notes.bundled_font()}"]
    else:
        own = ["--data.source=bundled"]
    assert remix.main(["--config", str(path), *SMALL, *own]) == 0
    last = tmp_path / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 2
    assert "has not been run on a GPU" in " ".join(path.read_text().replace("#", " ").split())
