"""What a run shows while it goes on, and what it leaves when it is stopped amid an epoch."""

import errno
import os
import signal
import time
from functools import cache
from pathlib import Path

import children
import pytest
import torch
from conftest import SHORT_RUN
from pytorch_lightning.trainer.connectors import signal_connector

from vaebss.commands import fit, remix
from vaebss.commands.run import final
from vaebss.commands.train import TrainParser
from vaebss.data import mixtures
from vaebss.data.mixtures import MNISTMixtures
from vaebss.metrics.images import METRICS
from vaebss.training.banks import BankMaker
from vaebss.training.checkpointing import RunCheckpoints

COMMON = ["--gpus=0", "--data.source=bundled", "--trainer.precision=32-true", "--trainer.logger=false"]
RUN = [*COMMON, *SHORT_RUN, "--trainer.max_epochs=3"]
REMIX = [*COMMON, "--data.num_mixtures=60", "--data.epoch_size=160", "--data.batch_size=32", "--data.val_mixtures=16"]
REMIX += ["--data.epochs_per_round=2", "--data.keep=[0.5,0.5]", "--model.widths=[4,6,8]", "--model.bottleneck=8"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The last checkpoint of runs that are not stopped; each is made when it is first asked for."""

    @cache
    def run(command, *options: str) -> Path:
        folder = tmp_path_factory.mktemp("whole")
        assert command.main([*options, f"--trainer.default_root_dir={folder}"]) == 0
        return last(folder)

    return run


def last(folder: Path) -> Path:
    return folder / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt"


def assert_same(found: Path, expected: Path) -> None:
    ours, theirs = (torch.load(path, weights_only=True) for path in (found, expected))
    assert ours["global_step"] == theirs["global_step"]
    for name, value in theirs["state_dict"].items():
        assert torch.equal(ours["state_dict"][name], value), name


def stopped(command, options, monkeypatch, step, number) -> None:
    """A run that gets a signal in a step, as Ctrl-C or `kill` would send it."""
    moments = [step]

    def send(self, trainer, *_):
        if trainer.global_step in moments:
            moments.clear()
            os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        patch.setattr(RunCheckpoints, "on_train_batch_start", send)
        with pytest.raises(SystemExit):
            command.main(options)


@pytest.mark.parametrize(  # amid the second epoch of 4 steps, and in its last
    ("step", "number"), [(5, signal.SIGINT), (5, signal.SIGTERM), (5, signal.SIGUSR1), (7, signal.SIGTERM)]
)
def test_a_stopped_run_goes_on_from_that_very_step(step, number, whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stopped(fit, RUN, monkeypatch, step, number)
    assert torch.load(last(tmp_path), weights_only=True)["global_step"] == step + 1
    assert fit.main(["--ckpt", str(last(tmp_path)), "--gpus=0"]) == 0
    assert_same(last(tmp_path), whole(fit, *RUN))


def test_no_gradients_are_lost_that_add_up_over_several_batches(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = [*RUN, "--trainer.accumulate_grad_batches=2"]
    assert fit.main([*options, "--trainer.default_root_dir=whole"]) == 0
    stopped(fit, options, monkeypatch, 2, signal.SIGINT)
    assert torch.load(last(tmp_path), weights_only=True)["global_step"] == 3
    assert fit.main(["--ckpt", str(last(tmp_path)), "--gpus=0"]) == 0
    assert_same(last(tmp_path), last(tmp_path / "whole"))


def test_a_stopped_student_goes_on_from_that_very_step(whole, tmp_path, checkpoint, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = [*REMIX, "--teacher", str(checkpoint)]
    stopped(remix, options, monkeypatch, 12, signal.SIGINT)
    assert torch.load(last(tmp_path), weights_only=True)["global_step"] == 13
    assert remix.main(["--ckpt", str(last(tmp_path)), "--gpus=0"]) == 0
    assert_same(last(tmp_path), whole(remix, *options))


def test_a_run_that_is_stopped_while_it_validates_has_its_epoch(tmp_path, monkeypatch):
    """The second batch of validation follows too, so that the run is as one that was not stopped there."""
    monkeypatch.chdir(tmp_path)
    options, moments = [*RUN, "--data.val_mixtures=33"], [0]
    monkeypatch.setattr(mixtures, "EVALUATION_BATCH", 32)

    def send(self, trainer, module, batch, index, *_):
        if index in moments:
            moments.clear()
            os.kill(os.getpid(), signal.SIGTERM)

    assert fit.main([*options, "--trainer.default_root_dir=whole"]) == 0
    with monkeypatch.context() as patch:
        patch.setattr(RunCheckpoints, "on_validation_batch_start", send)
        with pytest.raises(SystemExit):
            fit.main(options)
    assert torch.load(last(tmp_path), weights_only=True)["global_step"] == 4
    assert fit.main(["--ckpt", str(last(tmp_path)), "--gpus=0"]) == 0
    assert_same(last(tmp_path), last(tmp_path / "whole"))


@pytest.mark.parametrize(("bank", "number"), [(0, signal.SIGTERM), (0, signal.SIGUSR1), (1, signal.SIGTERM)])
def test_a_run_that_is_stopped_while_it_makes_a_bank_ends_at_once(
    bank, number, whole, tmp_path, checkpoint, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    options, make = [*REMIX, "--teacher", str(checkpoint)], BankMaker.make

    def interrupted(self, separator, round):
        if round == bank:
            os.kill(os.getpid(), number)
            raise AssertionError("the bank was made all the same")
        return make(self, separator, round)

    with monkeypatch.context() as patch:
        patch.setattr(BankMaker, "make", interrupted)
        with pytest.raises(SystemExit) as ended:
            remix.main(options)
    assert ended.value.code == 128 + number
    assert "Go on with:" in capsys.readouterr().out
    assert torch.load(last(tmp_path), weights_only=True)["global_step"] == 10 * bank
    assert remix.main(["--ckpt", str(last(tmp_path)), "--gpus=0"]) == 0
    assert_same(last(tmp_path), whole(remix, *options))


SLURM = {"NTASKS": 1, "JOB_ID": 77, "JOB_NAME": "train", "PROCID": 0, "LOCALID": 0, "NODEID": 0, "NNODES": 1}
SLURM |= {"NTASKS_PER_NODE": 1, "NODELIST": "localhost"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_job_of_slurm_that_is_stopped_goes_on_from_that_very_step(number, whole, tmp_path, monkeypatch):
    """No checkpoint lies in the working folder, with which any other run there would begin."""
    monkeypatch.chdir(tmp_path)
    expected = whole(fit, *RUN)
    for name, value in SLURM.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    monkeypatch.setattr(signal_connector, "call", lambda *_: pytest.fail("the job asked to be queued again"))
    stopped(fit, RUN, monkeypatch, 5, number)
    assert [path.name for path in tmp_path.iterdir()] == ["lightning_logs"]
    assert torch.load(last(tmp_path), weights_only=True)["global_step"] == 6
    assert fit.main(["--ckpt", str(last(tmp_path)), "--gpus=0"]) == 0
    assert_same(last(tmp_path), expected)


def test_a_second_ctrl_c_ends_at_once_and_leaves_the_checkpoint_whole(tmp_path):
    process = children.start("fit", *RUN, "--trainer.max_epochs=1000", cwd=tmp_path)
    deadline = time.monotonic() + 300
    while not (last(tmp_path).is_file() and torch.load(last(tmp_path), weights_only=True)["global_step"] > 0):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    os.kill(process.pid, signal.SIGINT)
    process.join(120)
    assert process.exitcode
    assert "state_dict" in torch.load(last(tmp_path), weights_only=True)


def printed(name: str, *args: object, cwd: Path) -> list[list[str]]:
    """The lines that a script prints to a terminal of 80 columns, and those of its errors."""
    process = children.start(name, *args, cwd=cwd, COLUMNS="80")
    process.join(300)
    assert process.exitcode == 0
    return [(cwd / file).read_text().replace("\r", "\n").splitlines() for file in ("output", "errors")]


def test_a_line_of_80_columns_says_how_far_the_run_is(tmp_path):
    output, errors = printed("fit", *RUN, cwd=tmp_path)
    bars = [line for line in output if "left" in line]
    assert max(map(len, bars)) <= 80
    for told in ("Epoch 3/3", "100%", "loss=", "PSNR="):
        assert told in bars[-1]
    assert not [line for line in errors if "pytorch_lightning" in line]
    summary = next(line for line in output if line.startswith("ELBO"))
    assert "after 0:00:" in summary


def test_a_resumed_run_warns_of_nothing_and_its_bar_goes_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stopped(fit, RUN, monkeypatch, 5, signal.SIGINT)
    output, errors = printed("fit", "--gpus=0", "--ckpt", last(tmp_path), cwd=tmp_path)
    assert not [line for line in errors if "pytorch_lightning" in line]
    bars = [line for line in output if "left" in line]
    assert any("Epoch 2/3  50%" in line for line in bars)
    assert "Epoch 3/3 100%" in bars[-1]


def test_ctrl_c_while_nothing_is_trained_is_one_line(tmp_path, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(MNISTMixtures, "prepare_data", interrupted)
    assert fit.main(RUN) == 130
    assert capsys.readouterr().err == "\nInterrupted.\n"
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_no_half_of_the_options(tmp_path, monkeypatch, capsys):
    def full(self, config, path, **_):
        Path(path).write_text("model:")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(TrainParser, "save", full)
    assert fit.main(RUN) == 2
    assert "config.yaml cannot be written, is the disk full?" in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.rglob("config.yaml"))


def test_the_end_names_what_is_known():
    found = {"val/elbo": torch.tensor(-305.12), "val/psnr_paper": 29.1}
    assert final(found, METRICS[0], 754.4) == "ELBO -305.12 nats, PSNR 29.10 dB (paper scale), after 0:12:34"
    assert final({}, METRICS[0], 1) == "Nothing validated, after 0:00:01"
