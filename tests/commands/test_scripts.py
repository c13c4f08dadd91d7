import json
import re
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml
from conftest import REPOSITORY, SHORT_RUN, script

from vaebss import hardware
from vaebss.commands import fit, remix
from vaebss.commands import test as scoring


def test_a_run_leaves_what_was_promised(run_folder, checkpoint):
    version = checkpoint.parents[1]
    assert (version / "checkpoints" / "best.ckpt").is_file()
    config = yaml.safe_load((version / "config.yaml").read_text())
    assert config["model"]["hidden_dims"] == [32, 16]
    assert config["data"]["source"] == "bundled"
    assert list(version.glob("events.out.tfevents.*"))
    assert not list(version.rglob("*.part"))


def test_tensorboard_shows_curves_and_pictures(checkpoint):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(checkpoint.parents[1]), size_guidance={"images": 0})
    events.Reload()
    scalars = {"loss", "elbo", "distortion", "rate", "psnr", "psnr_paper", "active", "count"}
    assert {f"val/{name}" for name in scalars} <= set(events.Tags()["scalars"])
    assert {"val/separations", "samples of the prior"} <= set(events.Tags()["images"])


def test_test_scores_a_run(run_folder, checkpoint, tmp_path):
    refine = ("--refine-steps", 2, "--restarts", 1)
    result = script("test.py", "--ckpt", checkpoint, "--out", tmp_path / "out", *refine, cwd=run_folder)
    assert result.returncode == 0, result.stderr
    assert "PSNR (paper scale)" in result.stdout
    assert "64 test mixtures of bundled digits" in result.stdout
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["data"] == "bundled"
    assert results["n"] == 64
    for kind in ("raw", "masked", "refined"):
        assert results[kind]["psnr_paper"] - results[kind]["psnr"] == pytest.approx(6.0206, abs=1e-3)
        assert set(results[kind]) >= {"psnr_paper_median", "psnr_paper_worst_decile", "ssim", "count"}
    assert results["loss"] == pytest.approx(results["distortion"] + 0.5 * results["rate"], rel=1e-5)
    assert (tmp_path / "out" / "separations.png").read_bytes().startswith(b"\x89PNG")


def test_masks_may_be_scored_without_their_bound(run_folder, checkpoint, tmp_path):
    scores = []
    for bounded in ("true", "false"):
        options = ("--gpus", "0", "--out", str(tmp_path / bounded), "--bounded", bounded)
        assert scoring.main(["--ckpt", str(checkpoint), *options]) == 0
        results = json.loads((tmp_path / bounded / "results.json").read_text())
        assert results["bounded"] == (bounded == "true")
        scores.append(results["masked"]["psnr_paper"])
    assert scores[0] > scores[1]


@pytest.mark.parametrize("name", ["missing.ckpt", "empty.ckpt"])
def test_test_refuses_a_bad_checkpoint_in_one_line(name, tmp_path):
    (tmp_path / "empty.ckpt").touch()
    (tmp_path / "results.json").write_text("old")
    result = script("test.py", "--ckpt", tmp_path / name, cwd=tmp_path)
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert name in result.stderr
    assert (tmp_path / "results.json").read_text() == "old"


@pytest.mark.parametrize("name", ["fit.py", "test.py"])
def test_help_explains(name, tmp_path):
    result = script(name, "--help", cwd=tmp_path)
    assert result.returncode == 0
    assert "Brightest pixel" in result.stdout


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--gpus", "999"], "999"),
        (["--gpus", "-1"], "--gpus"),
        (["--model.num_sources", "0"], "num_sources"),
        (["--model.num_sources", "9"], "num_sources"),
        (["--data.num_mixed", "[1, 5]"], "too bright"),
        (["--model.prior", "cauchy"], "model.prior"),
        (["--data.source", "cifar"], "data.source"),
        (["--data.num_mixed", "[4, 1]"], "num_mixed"),
        (["--unknown", "1"], "--unknown"),
        (["--ckpt", "missing.ckpt"], "missing.ckpt"),
        (["--config", "missing.yaml"], "missing.yaml"),
        (["--data.source", "mnist", "--data.train_size", "0"], "train_size"),
    ],
)
def test_fit_refuses_bad_options_in_one_line(options, reason, tmp_path):
    result = script("fit.py", *options, cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert reason in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", sorted((REPOSITORY / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_configuration_is_one_of_its_script(path, capsys):
    main = remix.main if path.stem.startswith("remix") else fit.main
    with pytest.raises(SystemExit) as stop:
        main(["--config", str(path), "--print_config"])
    assert stop.value.code == 0
    given = yaml.safe_load(path.read_text())
    found = yaml.safe_load(capsys.readouterr().out)
    assert {key: found[part][key] for part in given for key in given[part]} == {
        key: value for options in given.values() for key, value in options.items()
    }


def test_an_error_comes_whole_where_it_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("VAEBSS_TRACEBACK", "1")
    result = script("test.py", "--ckpt", "missing.ckpt", cwd=tmp_path)
    assert result.returncode != 0
    assert "Traceback" in result.stderr


def test_one_gpu_without_a_gpu_is_the_cpu(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert hardware.trainer_devices(1) == {"accelerator": "cpu", "devices": 1}
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert hardware.trainer_devices(0) == hardware.trainer_devices(None) == {"accelerator": "cpu", "devices": 1}
    assert capsys.readouterr().out == ""
    with pytest.raises(ValueError, match="more GPUs"):
        hardware.trainer_devices(2)


def test_gpus_are_used_where_they_are(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert hardware.trainer_devices(2) == hardware.trainer_devices(None) == {"accelerator": "gpu", "devices": 2}
    assert hardware.trainer_devices(0) == {"accelerator": "cpu", "devices": 1}
    with pytest.raises(ValueError, match="more GPUs"):
        hardware.trainer_devices(3)
    assert hardware.one_device(1) == hardware.one_device(None) == "gpu"
    with pytest.raises(ValueError, match="one device"):
        hardware.one_device(2)


def weights(path):
    return torch.load(path, weights_only=True)["state_dict"]


def test_a_killed_run_goes_on_as_if_never_stopped(tmp_path):
    options = ["--gpus", "0", "--data.source", "bundled", *SHORT_RUN, "--trainer.max_epochs=6"]
    assert script("fit.py", *options, cwd=tmp_path).returncode == 0
    whole = tmp_path / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt"
    killed = tmp_path / "lightning_logs" / "version_1" / "checkpoints" / "last.ckpt"
    process = subprocess.Popen(
        [sys.executable, REPOSITORY / "scripts" / "fit.py", *options], cwd=tmp_path, stdout=subprocess.DEVNULL
    )
    wait_for(lambda: killed.is_file() and torch.load(killed, weights_only=True)["epoch"] >= 1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert torch.load(killed, weights_only=True)["epoch"] < 5
    result = script("fit.py", "--ckpt", killed, "--gpus", 0, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert not (tmp_path / "lightning_logs" / "version_2").exists()
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(killed)[name]), name


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_leaves_a_checkpoint_and_says_how_to_go_on(stop, tmp_path):
    options = ["--gpus", "0", "--data.source", "bundled", *SHORT_RUN, "--trainer.max_epochs=1000"]
    process = subprocess.Popen(
        [sys.executable, REPOSITORY / "scripts" / "fit.py", *options],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # shells ignore it for background jobs
    )
    last = tmp_path / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt"
    wait_for(lambda: last.is_file() and torch.load(last, weights_only=True)["global_step"] > 0)
    process.send_signal(stop)
    output, _ = process.communicate(timeout=30)
    assert process.returncode != 0
    assert "fit.py --ckpt lightning_logs/version_0/checkpoints/last.ckpt" in output
    assert "state_dict" in torch.load(last, weights_only=True)


REMIX_RUN = (
    "--gpus=0",
    "--data.source=bundled",
    "--data.num_mixtures=60",
    "--data.epoch_size=960",
    "--data.epochs_per_round=3",
    "--data.keep=[0.5,0.5]",
    "--data.val_mixtures=16",
    "--model.widths=[4,6,8]",
    "--model.bottleneck=16",
)


def killed_chain(folder, *options, watched, steps) -> None:
    """Start remix.py and kill it once a checkpoint has so many steps."""
    command = [sys.executable, REPOSITORY / "scripts" / "remix.py", *REMIX_RUN, *map(str, options)]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    wait_for(lambda: watched.is_file() and torch.load(watched, weights_only=True)["global_step"] >= steps)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize("steps", [0, 10, 40])
def test_a_killed_chain_goes_on_in_its_round(steps, checkpoint, tmp_path):
    run = tmp_path / "lightning_logs" / "version_0"
    last = run / "checkpoints" / "last.ckpt"
    killed_chain(tmp_path, "--teacher", checkpoint, watched=last, steps=steps)
    result = script("remix.py", "--ckpt", last, "--gpus", 0, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert torch.load(last, weights_only=True)["global_step"] == 60
    assert torch.load(run / "bank.pt", weights_only=True)["round"] == 1


def test_a_chain_killed_in_its_teacher_can_be_resumed(tmp_path):
    run = tmp_path / "lightning_logs" / "version_0"
    killed_chain(tmp_path, watched=run / "teacher" / "checkpoints" / "last.ckpt", steps=0)
    saved = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 0
    assert saved["model_class"] == "RemixSeparator"


def wait_for(condition, seconds: float = 120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_resumed_run_refuses_other_options_by_name(checkpoint, run_folder):
    result = script("fit.py", "--ckpt", checkpoint, "--model.beta", 0.3, cwd=run_folder)
    assert result.returncode == 2
    assert "--model.beta 0.3" in result.stderr
    same = script("fit.py", "--ckpt", checkpoint, "--model.beta", 0.5, "--gpus", 0, cwd=run_folder)
    assert same.returncode == 0, same.stderr


def test_init_starts_a_new_run_from_weights(checkpoint, tmp_path):
    options = [
        "--trainer.max_epochs=1",
        "--data.epoch_size=32",
        "--data.batch_size=32",
        "--model.lr=1e-12",
        "--model.lr_min=0",
    ]
    result = script("fit.py", "--init", checkpoint, "--gpus", 0, "--data.source", "bundled", *options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    new = weights(tmp_path / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt")
    torch.testing.assert_close(new["decoder.layers.0.weight"], weights(checkpoint)["decoder.layers.0.weight"])


def test_init_brings_the_options_of_its_model(checkpoint, tmp_path, capsys):
    dim = torch.load(checkpoint, weights_only=True)
    dim["hyper_parameters"]["source_scale"] = 0.25
    torch.save(dim, tmp_path / "dim.ckpt")
    model = fit.FitCLI(["--init", str(tmp_path / "dim.ckpt"), "--gpus", "0"]).model
    assert model.hparams.source_scale == 0.25
    assert tuple(model.hparams.hidden_dims) == (32, 16)
    assert remix.main(["--teacher", str(tmp_path / "dim.ckpt"), "--gpus", "0"]) == 2
    assert "source_scale" in capsys.readouterr().err


def test_trainer_options_hold_for_the_teacher_and_the_place_of_the_logs(tmp_path):
    options = ("--trainer.default_root_dir", tmp_path / "here", "--trainer.limit_train_batches", 2)
    result = script("remix.py", *REMIX_RUN, *options, "--teacher-epochs", 1, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    run = tmp_path / "here" / "lightning_logs" / "version_0"
    assert torch.load(run / "teacher" / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 2
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 12
    assert not (tmp_path / "lightning_logs").exists()


def test_the_best_of_several_starts_goes_on_as_if_it_had_been_the_only_one(tmp_path):
    options = ["--gpus", 0, "--data.source", "bundled", *SHORT_RUN]
    result = script("fit.py", *options, "--starts", 2, "--start_epochs", 1, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    elbos = [float(value) for value in re.findall(r"ELBO (-?[\d.]+), rate", result.stdout)]
    best = max(range(2), key=elbos.__getitem__)
    assert len(elbos) == 2
    assert f"Going on with seed {best}" in result.stdout
    assert (tmp_path / "lightning_logs" / "version_0" / "starts.png").read_bytes().startswith(b"\x89PNG")
    assert script("fit.py", *options, "--seed_everything", best, cwd=tmp_path).returncode == 0
    several, alone = (tmp_path / "lightning_logs" / f"version_{n}" / "checkpoints" / "last.ckpt" for n in (0, 1))
    for name, value in weights(alone).items():
        assert torch.equal(value, weights(several)[name]), name
    again = script("fit.py", "--ckpt", several, "--gpus", 0, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
