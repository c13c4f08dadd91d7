import contextlib
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two threads beside another process wait for each other; before torch

import pytest
import torch
from pytorch_lightning import Trainer

from vaebss import MNISTMixtures
from vaebss.commands import fit
from vaebss.data.corpora import image_sets
from vaebss.training import presets

REPOSITORY = Path(__file__).parents[1]


def script(name: str, *args: object, cwd: Path) -> subprocess.CompletedProcess:
    """Run a script as a user would, from any folder."""
    command = [sys.executable, str(REPOSITORY / "scripts" / name), *map(str, args)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, env=dict(os.environ))


@contextlib.contextmanager
def full_disk():
    """No file can grow beyond 10 kB, which a program notices as it does a full disk."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def quiet(**options) -> Trainer:
    """A trainer on the CPU that prints and writes nothing."""
    return Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **options,
    )


def prepared(**options) -> MNISTMixtures:
    """Mixtures that are ready to be asked for batches, without a trainer."""
    data = MNISTMixtures(**options)
    data.prepare_data()
    data.setup()
    return data


@pytest.fixture(scope="session")
def digits_module() -> MNISTMixtures:
    data = MNISTMixtures(source="bundled", val_mixtures=100, test_mixtures=100)
    data.setup()
    return data


@pytest.fixture
def here(tmp_path: Path, monkeypatch) -> Path:
    """An empty folder, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def no_network(monkeypatch) -> None:
    """Mirrors that nobody answers at, as on a machine without network."""
    for name, files in image_sets.IMAGE_SETS.items():
        monkeypatch.setitem(image_sets.IMAGE_SETS, name, replace(files, mirrors=("http://127.0.0.1:1/",)))


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory) -> Path:
    """The working folder of a short run of fit.py."""
    folder = tmp_path_factory.mktemp("run")
    with contextlib.chdir(folder):
        assert fit.main(["--gpus", "0", "--data.source", "bundled", *SHORT_RUN]) == 0
    return folder


SHORT_RUN = (
    "--trainer.max_epochs=2",
    "--data.epoch_size=512",
    "--data.batch_size=128",
    "--data.val_mixtures=64",
    "--data.test_mixtures=64",
    "--model.hidden_dims=[32,16]",
)


def assert_same_weights(found: Path, expected: Path) -> None:
    """Check that two checkpoints have the same weights, bit for bit."""
    ours, theirs = (torch.load(path, weights_only=True)["state_dict"] for path in (found, expected))
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert torch.equal(ours[name], value), name


@pytest.fixture(scope="session")
def checkpoint(run_folder) -> Path:
    return run_folder / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt"


@pytest.fixture
def small_students(monkeypatch) -> None:
    """Students of user-supplied mixtures with few channels, and the smallest batches."""
    monkeypatch.setattr(presets, "WIDTHS", {math.inf: (4, 6, 8)})
    monkeypatch.setattr(presets, "PIXELS", 0)


@pytest.fixture
def random_mixture() -> torch.Tensor:
    return torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(1))


def pytest_collection_modifyitems(items) -> None:
    """Skip what needs a GPU where there is none."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="there is no GPU"))


def pytest_addoption(parser) -> None:
    parser.addoption("--skipped", type=Path, metavar="FILE", help="file for the names of all skipped tests")


def pytest_terminal_summary(terminalreporter, config) -> None:
    """Write the names of the tests, and of whole files, that were skipped, for `pytest @FILE` with more installed."""
    if path := config.getoption("--skipped"):
        names = {report.nodeid for report in terminalreporter.getreports("skipped")}
        path.write_text("".join(f"{name}\n" for name in sorted(names)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Give each of two workers one half of the tests, not every other one: so few fixtures are set up in both."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log) if config.getoption("dist") == "load" else None
