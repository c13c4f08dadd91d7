"""Whatever of Lightning's Trainer is asked for works, or is refused in one line that says why."""

import re

import numpy as np
import pytest
import torch
import yaml
from conftest import SHORT_RUN
from torch.optim.swa_utils import SWALR

from vaebss.commands import fit, remix

RUN = ["--data.source=bundled", *SHORT_RUN, "--trainer.max_epochs=1", "--data.epoch_size=256"]
CPU = [*RUN, "--gpus=0"]
STUDENT = [
    "--gpus=0",
    "--data.source=bundled",
    "--data.num_mixtures=60",
    "--data.epoch_size=96",
    "--data.batch_size=32",
]
STUDENT += ["--data.val_mixtures=16", "--data.keep=[0.5,0.5]", "--data.epochs_per_round=1", "--data.refine_steps=1"]
STUDENT += ["--model.widths=[4,6,8]", "--model.bottleneck=8"]

SCHEDULE_IS_DATA = pytest.mark.skipif(
    "state_dict" not in vars(SWALR),
    reason="this torch saves a function in the schedule of SWA, which weights_only refuses to load (pytorch #163105)",
)
WORK = [
    ["gradient_clip_val=0.5", "precision=bf16-mixed"],
    ["gradient_clip_val=0.5", "gradient_clip_algorithm=value"],
    ["overfit_batches=1"],
    ["overfit_batches=0.5"],
    ["precision=64-true"],
    ["limit_train_batches=1"],
    ["limit_val_batches=0"],
    ["val_check_interval=0.5"],
    ["check_val_every_n_epoch=2", "num_sanity_val_steps=2"],
    ["max_steps=1"],
    ["max_time=00:00:00:01"],
    ["accumulate_grad_batches=2", "log_every_n_steps=0"],
    ["deterministic=true", "detect_anomaly=true", "inference_mode=false"],
    ["reload_dataloaders_every_n_epochs=1", "profiler=simple"],
    ["callbacks=EarlyStopping", "callbacks.monitor=val/confidence", "callbacks.mode=max"],
    ["callbacks=LearningRateMonitor"],
    ["callbacks=ModelCheckpoint", "callbacks.monitor=val/confidence"],
    pytest.param(["callbacks=StochasticWeightAveraging", "callbacks.swa_lrs=0.01"], marks=SCHEDULE_IS_DATA),
    ["logger=CSVLogger", "logger.save_dir=.", "enable_autolog_hparams=false"],
    ["logger=false"],
]

REFUSED = [
    (["precision=16-true"], "too coarse"),
    (["precision=bf16-true"], "too coarse"),
    (["precision=transformer-engine"], "transformer_engine"),
    (["enable_checkpointing=false"], "enable_checkpointing"),
    (
        ["callbacks=EarlyStopping", "callbacks.monitor=val/nothing"],
        "a callback watches val/nothing, which is not logged. This run logs",
    ),
    (["logger=WandbLogger"], "WandbLogger: Requirement 'wandb"),
    (["callbacks=RichProgressBar"], "RichProgressBar"),
    (["accelerator=tpu"], "torch_xla"),
    (["accelerator=gpu"], "gpu"),
    (["accelerator=mps"], "MPSAccelerator"),
    (["strategy=nonsense"], "nonsense"),
    (["accelerator=cpu", "devices=0"], "devices"),
    (["num_nodes=0"], "num_nodes"),
]


def trainer(options: list[str]) -> list[str]:
    return [f"--trainer.{option}" for option in options]


def warned(capsys) -> list[str]:
    """What a user sees of warnings: Python's, which name a line of code, and ours."""
    return [line for line in capsys.readouterr().err.splitlines() if re.search(r"\.py:\d+: |warning: ", line)]


@pytest.mark.parametrize("options", WORK, ids=" ".join)
def test_works(options, here, capsys):
    assert fit.main([*CPU, *trainer(options)]) == 0
    assert not warned(capsys)
    last = here / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt"
    assert all(torch.isfinite(value).all() for value in torch.load(last, weights_only=True)["state_dict"].values())


@pytest.mark.parametrize("options", WORK, ids=" ".join)
def test_works_for_a_student(options, here, checkpoint, capsys):
    assert remix.main([*STUDENT, "--teacher", str(checkpoint), *trainer(options)]) == 0
    assert not warned(capsys)
    last = here / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt"
    assert all(torch.isfinite(value).all() for value in torch.load(last, weights_only=True)["state_dict"].values())


@pytest.mark.parametrize(("options", "named"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_is_refused_in_one_line(options, named, here, capsys):
    if named in ("gpu", "MPSAccelerator") and (torch.cuda.is_available() or torch.backends.mps.is_available()):
        pytest.skip("there is one")
    if "RichProgressBar" in named or "wandb" in named:
        try:
            __import__("rich" if "Rich" in named else "wandb")
            pytest.skip("it is installed")
        except ImportError:
            pass
    device = [] if any(option.startswith("accelerator") for option in options) else ["--gpus=0"]
    assert fit.main([*RUN, *device, *trainer(options)]) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert len(error) == 1
    assert named in error[0]


def test_adapting_without_validation_stops_nothing_early(here, capsys):
    mixtures = torch.zeros(12, 16, 16)
    mixtures[:, 3:9, 3:9] += 0.5
    np.save("mixtures.npy", mixtures)
    options = [
        "--data.mixtures=mixtures.npy",
        "--gpus=0",
        "--data.keep=[0.5]",
        "--data.epochs_per_round=1",
        "--steps=2",
    ]
    assert remix.main([*options, "--trainer.limit_val_batches=0"]) == 0
    assert not warned(capsys)


def test_overfitting_is_to_the_same_batches(here):
    assert fit.main([*CPU, "--trainer.max_epochs=3", "--trainer.overfit_batches=1"]) == 0
    last = here / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt"
    kept = torch.load(last, weights_only=True)
    assert kept["global_step"] == 3
    assert kept["datamodule_hyper_parameters"]["num_mixtures"] == 128


def test_a_home_folder_is_one(here, monkeypatch):
    monkeypatch.setenv("HOME", str(here / "home"))
    assert fit.main([*CPU, "--trainer.default_root_dir=~/runs"]) == 0
    assert [path.name for path in here.iterdir()] == ["home"]
    assert (here / "home" / "runs" / "lightning_logs" / "version_0" / "config.yaml").is_file()


def test_loggers_other_than_tensorboard_get_pictures_and_the_run_card(here):
    assert fit.main([*CPU, *trainer(["logger=CSVLogger", "logger.save_dir=csv"])]) == 0
    made = {path.name for path in (here / "csv").rglob("*")}
    assert {"run.md", "metrics.csv", "separations_2.png", "prior_samples_2.png"} <= made
    assert (here / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt").is_file()


def test_what_tensorboard_shows_of_a_run(here):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert fit.main([*CPU]) == 0
    run = here / "lightning_logs" / "version_0"
    assert yaml.safe_load((run / "hparams.yaml").read_text())["hidden_dims"] == [32, 16]
    events = EventAccumulator(str(run), size_guidance={"tensors": 0})
    events.Reload()
    tags = events.Tags()
    assert not [tag for kind in ("scalars", "images", "tensors") for tag in tags[kind] if " " in tag]
    assert events.Scalars("hp_metric")[-1].value == pytest.approx(events.Scalars("val/elbo")[-1].value)
    assert "run/text_summary" in tags["tensors"]


def test_rates_have_curves(here):
    assert (
        fit.main([*CPU, "--trainer.log_every_n_steps=1", "--trainer.logger=CSVLogger", "--trainer.logger.save_dir=."])
        == 0
    )
    header = next((here / "lightning_logs").rglob("metrics.csv")).read_text().splitlines()[0]
    assert {"train/lr", "train/beta", "train/loss"} <= set(header.split(","))
