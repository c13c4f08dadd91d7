"""Long proofs, run by hand: pytest -m soak"""

import os
import random
import re
import signal
import subprocess
import sys
import time
import tomllib
import venv
from pathlib import Path

import pytest
import torch
import yaml
from conftest import REPOSITORY, SHORT_RUN

pytestmark = pytest.mark.soak

KILLS = TOGETHER = 20
MINUTES = float(os.environ.get("SOAK_MINUTES", "30"))
FIT = ("fit.py", *SHORT_RUN, "--trainer.max_epochs=8", "--data.epoch_size=20000")
REMIX = (
    "remix.py",
    *("--data.num_mixtures=400", "--data.epoch_size=640", "--data.epochs_per_round=2", "--data.keep=[0.9,0.9]"),
    *("--data.batch_size=16", "--data.val_mixtures=16", "--model.widths=[4,6,8]", "--model.bottleneck=16"),
    *("--teacher_epochs=2", "--data.refine_steps=5"),
)


def start(folder: Path, *args: object) -> subprocess.Popen:
    name, *options = map(str, args)
    command = [sys.executable, str(REPOSITORY / "scripts" / name), "--gpus=0", *options]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def last_checkpoint(folder: Path) -> Path | None:
    found = sorted(folder.glob("lightning_logs/version_*/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime)
    return found[-1] if found else None


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(last_checkpoint(folder), weights_only=True)["state_dict"]


@pytest.mark.parametrize("run", [FIT, REMIX], ids=["fit", "remix"])
def test_killed_at_any_moment_a_run_goes_on_bit_for_bit(run, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    began = time.monotonic()
    assert start(whole, *run, "--data.source=bundled").wait() == 0
    length, moments, kills = time.monotonic() - began, random.Random(0), 0
    while True:
        last = last_checkpoint(broken)
        again = (run[0], "--ckpt", last) if last else (*run, "--data.source=bundled")
        process = start(broken, *again)
        try:
            process.wait(moments.uniform(0, length) if kills < KILLS else None)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            continue
        assert process.returncode == 0, process.stderr.read().decode()
        if kills >= KILLS:
            break
        (last_checkpoint(broken)).unlink()  # it ended before its time: from the start, for the kills that are left
    expected, found = weights(whole), weights(broken)
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_two_runs_started_together_have_folders_of_their_own(tmp_path):
    options = (*SHORT_RUN, "--trainer.max_epochs=1", "--data.source=bundled")
    for number in range(TOGETHER):
        pair = [
            start(tmp_path, "fit.py", *options, f"--seed_everything={seed}") for seed in (2 * number, 2 * number + 1)
        ]
        assert [process.wait() for process in pair] == [0, 0]
    runs = sorted((tmp_path / "lightning_logs").iterdir())
    seeds = [yaml.safe_load((run / "config.yaml").read_text())["seed_everything"] for run in runs]
    assert sorted(seeds) == list(range(2 * TOGETHER))
    for run, seed in zip(runs, seeds, strict=True):
        kept = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
        assert kept["hyper_parameters"]["seed"] == seed
        assert len(list(run.glob("events.out.*"))) == 1


def test_pictures_and_scores_reach_wandb_offline(tmp_path):
    pytest.importorskip("wandb")
    logger = ("--trainer.logger=WandbLogger", "--trainer.logger.offline=true", "--trainer.logger.save_dir=boards")
    process = start(tmp_path, "fit.py", *SHORT_RUN, "--data.source=bundled", *logger)
    _, error = process.communicate()
    assert process.returncode == 0, error.decode()
    (run,) = (tmp_path / "boards" / "wandb").glob("offline-run-*")
    assert list((run / "files" / "media" / "images").rglob("*separations*.png"))
    assert list((run / "files" / "media" / "table").rglob("*.json"))  # the run's card
    record = next(run.glob("run-*.wandb")).read_bytes()
    assert b"val/elbo" in record
    assert b"hp_metric" in record


def test_a_long_run_does_not_grow(tmp_path):
    process = start(tmp_path, "fit.py", "--data.source=bundled", "--trainer.max_epochs=100000")
    status = Path("/proc") / str(process.pid)
    sizes, handles = [], []
    try:
        for _ in range(30):
            time.sleep(2 * MINUTES)
            assert process.poll() is None
            resident = next(line for line in (status / "status").read_text().splitlines() if line.startswith("VmRSS"))
            sizes.append(int(resident.split()[1]) / 1024)
            handles.append(len(list((status / "fd").iterdir())))
    finally:
        process.kill()
        process.wait()
    logs = sum(file.stat().st_size for file in tmp_path.rglob("events.out.*")) / 2**20
    print(f"RSS {sizes[9]:.0f} to {sizes[-1]:.0f} MiB, handles {handles[9]} to {handles[-1]}, logs {logs:.1f} MiB")
    assert sizes[-1] < 1.02 * max(sizes[9:15])
    assert handles[-1] <= handles[9] + 2
    assert logs < MINUTES


def test_the_lowest_versions_will_do(tmp_path):
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    required = project["dependencies"] + project["optional-dependencies"]["test"]
    lowest = [re.sub(r">=([^,]+).*", r"==\1", requirement) for requirement in required]
    assert all("==" in requirement for requirement in lowest)
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    for arguments in (lowest, ["--no-deps", "-e", str(REPOSITORY)]):
        subprocess.run([python, "-m", "pip", "install", "-q", *arguments], check=True)
    subprocess.run([python, "-m", "pytest", "-q", "-x", str(REPOSITORY / "tests")], check=True, cwd=REPOSITORY)
