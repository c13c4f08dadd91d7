"""What a user types, each in a process of its own: the three commands of the README, kills, stops and errors."""

import os
import signal
import subprocess
import sys
import time

import children
import pytest
import torch
from conftest import SHORT_RUN, assert_same_weights, script

from vaebss import CheckpointError
from vaebss.commands import fit, remix, separate


def wait_for(condition, seconds: float = 300):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_three_commands_as_typed(tmp_path):
    short = [option for option in SHORT_RUN if "epoch" in option or "mixtures" in option or "hidden" in option]
    trained = script("fit.py", "--gpus", 1, "--data.source", "bundled", *short, cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert "pytorch_lightning" not in trained.stderr
    last = tmp_path / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt"
    assert f"--ckpt {last.relative_to(tmp_path)}" in trained.stdout
    scored = script("test.py", "--ckpt", last.relative_to(tmp_path), cwd=tmp_path)
    assert scored.returncode == 0, scored.stderr
    assert (last.parent / "separations.png").is_file()
    board = subprocess.run(
        [sys.executable, "-m", "tensorboard.main", "--logdir", "lightning_logs", "--inspect"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "val/psnr_paper" in board.stdout


def test_a_killed_run_goes_on_as_if_never_stopped(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--gpus", "0", "--data.source", "bundled", *SHORT_RUN, "--trainer.max_epochs=6"]
    assert fit.main(options) == 0
    whole = tmp_path / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt"
    killed = tmp_path / "lightning_logs" / "version_1" / "checkpoints" / "last.ckpt"
    process = children.start("fit", *options, cwd=tmp_path)
    wait_for(lambda: killed.is_file() and torch.load(killed, weights_only=True)["epoch"] >= 1)
    process.kill()
    process.join()
    assert torch.load(killed, weights_only=True)["epoch"] < 5
    assert fit.main(["--ckpt", str(killed), "--gpus", "0"]) == 0
    assert not (tmp_path / "lightning_logs" / "version_2").exists()
    assert_same_weights(killed, whole)


def test_a_stopped_run_leaves_a_checkpoint_and_says_how_to_go_on(tmp_path):
    options = ["--gpus", "0", "--data.source", "bundled", *SHORT_RUN, "--trainer.max_epochs=1000"]
    process = children.start("fit", *options, cwd=tmp_path)
    last = tmp_path / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt"
    wait_for(lambda: last.is_file() and torch.load(last, weights_only=True)["global_step"] > 0)
    os.kill(process.pid, signal.SIGINT)
    process.join(120)
    assert process.exitcode
    assert "fit.py --ckpt lightning_logs/version_0/checkpoints/last.ckpt" in (tmp_path / "output").read_text()
    assert "state_dict" in torch.load(last, weights_only=True)


REMIX_RUN = (
    "--gpus=0",
    "--data.source=bundled",
    "--data.num_mixtures=60",
    "--data.epoch_size=320",
    "--data.batch_size=32",
    "--data.refine_steps=1",
    "--data.epochs_per_round=3",
    "--data.keep=[0.5,0.5]",
    "--data.val_mixtures=16",
    "--model.widths=[4,6,8]",
    "--model.bottleneck=16",
)


def killed_chain(folder, *options, watched, steps) -> None:
    """Start remix.py and kill it once a checkpoint has so many steps."""
    process = children.start("remix", *REMIX_RUN, *options, cwd=folder)
    wait_for(lambda: watched.is_file() and torch.load(watched, weights_only=True)["global_step"] >= steps)
    process.kill()
    process.join()


def test_a_killed_chain_goes_on_as_if_never_stopped(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert remix.main([*REMIX_RUN, "--teacher", str(checkpoint)]) == 0
    whole, run = (tmp_path / "lightning_logs" / f"version_{number}" for number in (0, 1))
    last = run / "checkpoints" / "last.ckpt"
    killed_chain(tmp_path, "--teacher", checkpoint, watched=last, steps=10)
    assert torch.load(last, weights_only=True)["global_step"] < 60
    assert remix.main(["--ckpt", str(last), "--gpus", "0"]) == 0
    assert torch.load(last, weights_only=True)["global_step"] == 60
    assert torch.load(run / "bank.pt", weights_only=True)["round"] == 1
    assert_same_weights(last, whole / "checkpoints" / "last.ckpt")


def test_an_error_is_one_line_and_comes_whole_where_it_is_asked_for(tmp_path, monkeypatch):
    short = script("separate.py", "x.png", "--ckpt", "missing.ckpt", cwd=tmp_path)
    assert short.returncode == 2
    assert short.stderr.count("\n") == 1
    assert "missing.ckpt" in short.stderr
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv("VAEBSS_TRACEBACK", "1")
    with pytest.raises(CheckpointError, match=r"missing\.ckpt"):
        separate.main(["x.png", "--ckpt", "missing.ckpt"])


AT_ONCE = """
import sys
from contextlib import suppress
def asked(command, *args):
    from importlib import import_module
    sys.argv = ["x.py"]
    with suppress(SystemExit):
        import_module(f"vaebss.commands.{command}").main([*args])
from vaebss.__main__ import main
for name in ("--help", "no-such-command"):
    sys.argv = ["vaebss", name]
    main()
for command in ("separate", "export", "demo", "ship"):
    asked(command, "--help")
    asked(command, "--no-such-option")
asked("separate", "x.png", "--source-max", "0")
import vaebss
heavy = {"torch", "torch._dynamo", "pytorch_lightning", "torchmetrics", "torchvision", "matplotlib"}
print("before", sorted(heavy & set(sys.modules)), file=sys.stderr)
import torch
vaebss.load("remix-k2").separate(torch.rand(2, 1, 28, 28) / 2)
for name in vaebss.available():
    vaebss.load(name)
print("after", sorted(heavy & set(sys.modules)), file=sys.stderr)
"""


def test_what_does_not_train_need_not_wait_for_what_does(tmp_path):
    done = subprocess.run([sys.executable, "-c", AT_ONCE], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "before []" in done.stderr
    assert "after ['torch']" in done.stderr
