"""Two processes that train together do what one with twice the batch does."""

import os
import signal
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import children
import pytest
import torch
from conftest import SHORT_RUN, quiet

from vaebss import VAEBSS, MNISTMixtures

STEPS, BATCH = 30, 32


class Recorded(VAEBSS):
    """Notes its first gradients, or its loss in every step; only the whole's, not one device's."""

    def __init__(self, folder: str, frozen: bool):
        super().__init__(hidden_dims=(64, 32), variational=False, lr_schedule="constant")
        self.folder, self.frozen = folder, frozen
        self.losses: list[torch.Tensor] = []

    def on_train_batch_start(self, batch, batch_idx):
        if self.frozen:  # batch norm knows nothing of the other device's mixtures
            self.eval()

    def on_before_optimizer_step(self, optimizer):
        if self.frozen and self.global_rank == 0:
            torch.save({name: weight.grad for name, weight in self.named_parameters()}, f"{self.folder}/gradients")

    def on_train_batch_end(self, outputs, batch, batch_idx):
        loss = torch.as_tensor(self.trainer.strategy.reduce(outputs["loss"].detach().clone(), reduce_op="mean"))
        self.losses.append(loss)

    def on_train_end(self):
        if self.global_rank == 0:
            torch.save(torch.stack(self.losses), f"{self.folder}/losses")


def train(folder, devices: int, frozen: bool, steps: int) -> None:
    folder.mkdir()
    torch.manual_seed(0)
    batch = 2 * BATCH // devices
    data = MNISTMixtures(source="bundled", batch_size=batch, epoch_size=steps * 2 * BATCH, val_mixtures=64)
    strategy = "ddp_fork" if devices > 1 else "auto"
    trainer = quiet(max_epochs=1, devices=devices, strategy=strategy, limit_val_batches=0)
    trainer.fit(Recorded(str(folder), frozen), data)


@pytest.fixture
def runs(tmp_path):
    def both(frozen: bool, steps: int, name: str):
        for devices in (1, 2):
            train(tmp_path / f"{devices}", devices, frozen, steps)
        return [torch.load(tmp_path / f"{devices}" / name, weights_only=True) for devices in (1, 2)]

    return both


def test_gradients_are_those_of_the_doubled_batch(runs):
    one, two = runs(frozen=True, steps=1, name="gradients")
    assert one.keys() == two.keys()
    for name, gradient in one.items():
        torch.testing.assert_close(two[name], gradient, atol=1e-5, rtol=1e-5, msg=name)


def test_loss_curves_agree(runs):
    one, two = runs(frozen=False, steps=STEPS, name="losses")
    assert len(one) == len(two) == STEPS
    torch.testing.assert_close(two, one, atol=0, rtol=0.01)


class Validated(VAEBSS):
    """Notes what each process logged of validation mixtures, of which it saw half."""

    folder = ""

    def on_validation_end(self):
        found = {name: value for name, value in self.trainer.callback_metrics.items() if name.startswith("val/")}
        torch.save(found, f"{self.folder}/{self.global_rank}")


def test_every_figure_of_validation_mixtures_is_of_all_processes(tmp_path):
    torch.manual_seed(0)
    data = MNISTMixtures(source="bundled", batch_size=BATCH, epoch_size=2 * BATCH, val_mixtures=64)
    model = Validated(hidden_dims=(64, 32))
    model.folder = str(tmp_path)
    quiet(max_epochs=1, devices=2, strategy="ddp_fork").fit(model, data)
    one, two = (torch.load(tmp_path / str(rank), weights_only=True) for rank in (0, 1))
    assert {"val/loss", "val/elbo", "val/confidence"} <= one.keys()
    torch.testing.assert_close(one, two, rtol=0, atol=0)


def beside(main: int, script: bytes = b"fit.py") -> int:
    """The process that Lightning started beside the main one."""
    children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
    (other,) = (child for child in children if script in Path(f"/proc/{child}/cmdline").read_bytes())
    return int(other)


def running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def two_processes(tmp_path):
    """A run that goes on for ever on two processes that have trained an epoch: the main one, and the other's number."""
    options = ["--trainer.accelerator=cpu", "--trainer.devices=2", "--data.source=bundled", *SHORT_RUN]
    main = children.start("fit", *options, "--trainer.max_epochs=10000", cwd=tmp_path)
    try:
        deadline = time.monotonic() + 600
        while not list(tmp_path.rglob("best.ckpt")):
            assert time.monotonic() < deadline
            assert main.exitcode is None
            time.sleep(0.2)
        yield main, beside(main.pid)
    finally:
        main.kill()


def code(main: BaseProcess) -> int | None:
    """The exit code of a process that ends."""
    main.join(120)
    return main.exitcode


def assert_ends(process: int) -> None:
    deadline = time.monotonic() + 120
    while running(process):
        assert time.monotonic() < deadline
        time.sleep(0.2)


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")


@linux
@pytest.mark.parametrize("victim", ["the main process", "the other"])
def test_one_process_killed_ends_both_and_says_so(victim, two_processes, tmp_path):
    main, other = two_processes
    os.kill(main.pid if victim == "the main process" else other, signal.SIGKILL)
    assert code(main)
    assert_ends(other)
    said = (tmp_path / "errors").read_text()
    assert "another process of this run has ended" in said or f"the main process {main.pid} has ended" in said
    assert "Traceback" not in said


@linux
@pytest.mark.parametrize("asked", ["the main process", "both"])
def test_processes_that_are_asked_to_stop_end_after_the_same_step(asked, two_processes, tmp_path):
    main, other = two_processes
    for process in [main.pid, other] if asked == "both" else [main.pid]:
        os.kill(process, signal.SIGTERM)
    assert code(main) == 128 + signal.SIGTERM
    assert_ends(other)
    said = (tmp_path / "output").read_text()
    assert said.count("Go on with:") == said.count("last.ckpt") == 1
    assert "Traceback" not in (tmp_path / "errors").read_text()
    assert "state_dict" in torch.load(next(tmp_path.rglob("last.ckpt")), weights_only=True)


@linux
def test_two_processes_that_make_a_bank_end_at_once(tmp_path):
    """The bank of 30,000 mixtures takes minutes."""
    options = ["--trainer.accelerator=cpu", "--trainer.devices=2", "--data.source=bundled", "--data.val_mixtures=16"]
    main = children.start("remix", *options, "--teacher=remix-k2", cwd=tmp_path)
    try:
        deadline = time.monotonic() + 600
        while not (tmp_path / "errors").is_file() or (tmp_path / "errors").read_text().count("Bank 1") < 2:  # of either
            assert time.monotonic() < deadline
            assert main.exitcode is None
            time.sleep(0.2)
        other = beside(main.pid, b"remix.py")
        os.kill(main.pid, signal.SIGTERM)
        assert code(main) == 128 + signal.SIGTERM
        assert_ends(other)
    finally:
        main.kill()
    assert "Go on with:" in (tmp_path / "output").read_text()
    assert "state_dict" in torch.load(next(tmp_path.rglob("last.ckpt")), weights_only=True)
