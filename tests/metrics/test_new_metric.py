"""A metric of the package's own kind takes one file: a function and its record show it wherever scores are shown."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import vaebss

PACKAGE = Path(vaebss.__file__).parent
CHANGED = Path("metrics/images.py")
ADDED = '''

def worst_pixel(estimates: Tensor, sources: Tensor) -> Tensor:
    """Minus the largest error of a pixel of each source: (B, M, C, H, W) twice -> (B, M)."""
    return -(estimates - sources).abs().flatten(2).amax(2).double()


METRICS += (Metric("worst_pixel", worst_pixel, "worst pixel", unit="", decimals=3, rows=SPREAD),)
'''
COMMANDS = """
import sys
from pathlib import Path
from vaebss.commands import compare, fit, test

data = ["--gpus", "0", "--data.source", "bundled", "--data.test_mixtures", "20"]
log = ["--trainer.logger=CSVLogger", "--trainer.logger.save_dir=."]
short = ["--trainer.max_epochs=1", "--data.epoch_size=64", "--data.batch_size=32", "--data.val_mixtures=20"]
assert fit.main([*data, *short, "--model.hidden_dims=[8]", *log]) == 0
(checkpoint,) = map(str, Path().rglob("last.ckpt"))
assert test.main(["--ckpt", checkpoint, *data, "--out", "scores"]) == 0
assert compare.main([*data, "--budget", "512", "--methods", "silence", "--num-sources", "2", "--out", "compared"]) == 0
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The results of a package in which one file was changed, and what was printed."""
    folder = tmp_path_factory.mktemp("metric")
    package = folder / "package" / "vaebss"
    (package / CHANGED.parent).mkdir(parents=True)
    for path in [*PACKAGE.iterdir(), *(PACKAGE / CHANGED.parent).iterdir()]:
        place = package / path.relative_to(PACKAGE)
        if path.name != "__pycache__" and not place.exists():
            place.symlink_to(path)
    (package / CHANGED).unlink()
    (package / CHANGED).write_text((PACKAGE / CHANGED).read_text() + ADDED)
    environment = os.environ | {"PYTHONPATH": str(package.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", COMMANDS]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    (folder / "printed.txt").write_text(done.stdout)
    return folder


def test_test_prints_and_writes_it(folder):
    results = json.loads((folder / "scores" / "results.json").read_text())
    for column in ("raw", "masked"):
        assert -1 <= results[column]["worst_pixel"] < 0
        assert results[column]["worst_pixel_worst_decile"] <= results[column]["worst_pixel_median"] < 0
    shown = [f"{results[column]['worst_pixel']:.3f}" for column in ("raw", "masked")]
    rows = [line.split() for line in (folder / "printed.txt").read_text().splitlines()]
    assert ["worst", "pixel", *shown] in rows


def test_a_training_logs_it(folder):
    (path,) = folder.rglob("metrics.csv")
    with path.open(newline="") as file:
        logged = [row["val/worst_pixel"] for row in csv.DictReader(file)]
    assert [-1 <= float(value) < 0 for value in logged if value] == [True]


def test_a_comparison_reports_it(folder):
    (result,) = json.loads((folder / "compared" / "comparison.json").read_text())["results"]
    header, _, row = (folder / "compared" / "comparison.md").read_text().splitlines()[-3:]
    place = [cell.strip() for cell in header.split("|")].index("worst pixel")
    assert row.split("|")[place].strip() == f"{result['scores']['worst_pixel']:.3f}"
