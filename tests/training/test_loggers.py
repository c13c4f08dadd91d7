"""What is written of a run is the same with whatever logger, and for the runs that it needs first."""

import csv
import shlex

import pytest
import yaml
from conftest import SHORT_RUN
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from vaebss.commands import fit, remix

CPU = ["--gpus=0", "--data.source=bundled", *SHORT_RUN, "--trainer.max_epochs=1", "--data.epoch_size=256"]
REMIX = ["--data.num_mixtures=60", "--data.keep=[0.5]", "--data.epochs_per_round=1", "--data.refine_steps=1"]
REMIX += ["--gpus=0", "--data.source=bundled", "--data.epoch_size=64", "--data.batch_size=32", "--data.val_mixtures=16"]
REMIX += ["--model.widths=[4,6,8]", "--model.bottleneck=8", "--trainer.limit_train_batches=2"]


def assert_compared(run) -> None:
    """By its ELBO or confidence, in TensorBoard, with options that any YAML reader can open."""
    assert isinstance(yaml.safe_load((run / "hparams.yaml").read_text())["image_shape"], list)
    events = EventAccumulator(str(run))
    events.Reload()
    scalars = events.Tags()["scalars"]
    own = "val/elbo" if "val/elbo" in scalars else "val/confidence"
    assert events.Scalars("hp_metric")[-1].value == pytest.approx(events.Scalars(own)[-1].value)


def test_tensorboard_by_name(here, capsys):
    named = ["--trainer.logger=TensorBoardLogger", "--trainer.logger.save_dir=boards of mine"]
    assert fit.main([*CPU, *named]) == 0
    assert_compared(here / "boards of mine" / "lightning_logs" / "version_0")
    watch = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("Watch it:"))
    assert (here / shlex.split(watch)[-1] / "version_0" / "hparams.yaml").is_file()


def test_csv_by_name(here, capsys):
    assert fit.main([*CPU, "--trainer.logger=CSVLogger", "--trainer.logger.save_dir=table"]) == 0
    run = here / "table" / "lightning_logs" / "version_0"
    assert isinstance(yaml.safe_load((run / "hparams.yaml").read_text())["image_shape"], list)
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    elbo, score = ([row[name] for row in rows if row[name]][-1] for name in ("val/elbo", "hp_metric"))
    assert float(score) == pytest.approx(float(elbo))
    assert "Watch it" not in capsys.readouterr().out


def test_teacher_and_student(here):
    assert remix.main([*REMIX, "--teacher_epochs=1"]) == 0
    assert_compared(here / "lightning_logs" / "version_0")
    assert_compared(here / "lightning_logs" / "version_0" / "teacher")
