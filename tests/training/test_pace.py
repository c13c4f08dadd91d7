"""A number of steps, stated or chosen for a time, and what follows from it."""

import time
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import yaml
from pytorch_lightning import Callback

import vaebss
from vaebss.commands import fit, remix, teacher, terminal
from vaebss.data.mixtures import EVALUATION_BATCH
from vaebss.data.remixes import NUM_MIXTURES, Remixes
from vaebss.training import adapting, pace
from vaebss.training.banks import BankMaker, TooLittleTimeError
from vaebss.training.student import RemixSeparator
from vaebss.training.vae import VAEBSS

COMMON = ["--gpus=0", "--data.source=bundled", "--data.batch_size=32", "--data.val_mixtures=32"]
COMMON += ["--trainer.enable_progress_bar=false", "--trainer.logger=false"]
FIT = [*COMMON, "--trainer.max_epochs=3", "--model.hidden_dims=[16,8]"]
REMIX = [*COMMON, "--data.num_mixtures=64", "--data.keep=[0.5,0.5]", "--data.epochs_per_round=2"]
REMIX += ["--model.widths=[4,6]", "--model.bottleneck=8"]


def run_of(here, number: int) -> tuple[dict, dict]:
    """The options that a run saved, and its last checkpoint."""
    folder = here / "lightning_logs" / f"version_{number}"
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    return yaml.safe_load((folder / "config.yaml").read_text()), last


def assert_same(first: dict, second: dict) -> None:
    assert first["global_step"] == second["global_step"]
    for name, value in first["state_dict"].items():
        assert torch.equal(value, second["state_dict"][name]), name


@pytest.fixture(autouse=True)
def own_time(monkeypatch):
    """The clock goes on while this process computes, whatever others do, and jumps in each step: few fill a time."""
    steps = []
    monkeypatch.setattr(time, "monotonic", lambda: time.process_time() + 0.05 * len(steps))
    for system in (VAEBSS, RemixSeparator):

        def slow(self, batch, batch_idx, real=system.training_step):
            steps.append(batch_idx)
            return real(self, batch, batch_idx)

        monkeypatch.setattr(system, "training_step", slow)


@pytest.fixture
def fast_trials(monkeypatch):
    """Trials of a few steps: what they measure is unfit for planning, and may be anything."""
    monkeypatch.setattr(pace, "TRIAL_STEPS", 8)


@pytest.mark.parametrize("command", ["fit", "remix"])
def test_a_run_of_some_minutes_is_the_run_of_as_many_steps_bit_for_bit(command, here, checkpoint, fast_trials, capsys):
    main, options = (fit.main, FIT) if command == "fit" else (remix.main, [*REMIX, f"--teacher={checkpoint}"])
    assert main([*options, "--minutes=0.1"]) == 0
    config, last = run_of(here, 0)
    steps, epochs = config["steps"], 3 if command == "fit" else 4
    assert config["minutes"] is None
    assert config["data"]["epoch_size"] == steps // epochs * 32
    assert last["global_step"] == steps
    assert steps % epochs == 0
    assert f"Steps: {steps} (--steps) fit into 0.1 minutes. Expected end: " in capsys.readouterr().out
    assert main([*options, f"--steps={steps}"]) == 0
    again, other = run_of(here, 1)
    assert_same(last, other)
    assert again["data"] == config["data"]


def test_steps_are_rounded_down_to_whole_epochs_and_end_the_schedule(here):
    assert fit.main([*FIT, "--steps=13", "--trainer.accumulate_grad_batches=2"]) == 0
    config, last = run_of(here, 0)
    assert (config["steps"], last["global_step"], config["data"]["epoch_size"]) == (12, 12, 4 * 2 * 32)
    assert last["lr_schedulers"][0]["_last_lr"] == [pytest.approx(1e-5)]


def test_a_run_of_some_steps_is_resumed_without_a_trial(here, monkeypatch):
    assert fit.main([*FIT, "--steps=6"]) == 0
    monkeypatch.setattr(pace, "steps_until", None)
    last = here / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt"
    assert fit.main(["--ckpt", str(last)]) == 0
    assert run_of(here, 0)[0]["steps"] == 6


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--steps=6", "--minutes=1"], "give one of them"),
        (["--minutes=0"], "--minutes must be above 0"),
        (["--steps=2"], "steps must be 3 or more"),
        (["--minutes=0.00001"], "too short for 3 epochs"),
        (["--steps=6", "--trainer.max_epochs=-1"], "--trainer.max_epochs"),
    ],
)
def test_what_cannot_be_is_one_line(options, says, here, fast_trials, capsys):
    assert fit.main([*FIT, *options]) == 2
    assert says in capsys.readouterr().err.strip().splitlines()[-1]


def test_a_bank_that_takes_longer_than_there_is_time_is_not_made(monkeypatch):
    data = Remixes(source="bundled", num_mixtures=8 * EVALUATION_BATCH)
    data.setup()
    model, seen = vaebss.VAE(hidden_dims=(16, 8)).eval(), []
    maker = BankMaker(data, model, lambda: model)
    monkeypatch.setattr(maker, "_separated", lambda *args: seen.append(time.sleep(0.2)) or separated(*args))
    separated = BankMaker._separated.__get__(maker)
    maker.end = time.monotonic() + 1
    with pytest.raises(ValueError, match="first bank alone takes"):
        maker(0)
    assert len(seen) == 2
    maker.end = None
    assert maker(0).round == 0


def test_a_script_begins_before_its_imports(monkeypatch):
    monkeypatch.setattr(terminal, "CLOCK", {})
    monkeypatch.setattr(terminal, "import_module", lambda name: time.sleep(0.3) or SimpleNamespace(main=terminal.began))
    began = time.monotonic()
    assert terminal.start("fit") - began < 0.2


def test_adapting_takes_about_the_minutes_that_it_may(small_students, monkeypatch, capsys):
    mixtures = torch.rand(20, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    teacher = vaebss.VAE(hidden_dims=(16, 8)).eval()
    monkeypatch.setattr(adapting, "early_stopping", lambda *_: Callback())  # it would end the run before
    began = time.monotonic()
    student = adapting.adapt(mixtures, teacher, progress=False, minutes=0.15)
    assert 3 < time.monotonic() - began < 27
    steps = int(capsys.readouterr().out.split()[0])
    again = adapting.adapt(mixtures, teacher, progress=False, steps=steps)
    for name, value in student.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_banks_are_shortened_to_a_third_of_the_time(monkeypatch):
    data = Remixes(source="bundled", num_mixtures=20 * EVALUATION_BATCH, keep=(0.5, 0.5, 0.5))
    data.setup()
    model = vaebss.VAE(hidden_dims=(16, 8)).eval()
    data.banks = BankMaker(data, model, lambda: model)
    monkeypatch.setattr(BankMaker, "seconds", lambda self, separator: 20.0)
    now = time.monotonic()
    assert pace.shorten_banks(now + 360, data) == 20 * EVALUATION_BATCH  # 60 s of 360 are less than a third
    assert pace.shorten_banks(now + 90, data) == pytest.approx(10 * EVALUATION_BATCH, rel=0.1)
    assert pace.shorten_banks(now, data) == data.hparams.num_mixtures == EVALUATION_BATCH
    data.hparams.num_mixtures, data.hparams.renew = 20 * EVALUATION_BATCH, True  # 18 banks
    assert pace.shorten_banks(now + 540, data) == pytest.approx(10 * EVALUATION_BATCH, rel=0.1)


def test_minutes_choose_the_length_of_a_bank_that_is_not_stated(here, checkpoint, fast_trials, capsys):
    options = [option for option in REMIX if "num_mixtures" not in option] + ["--data.refine_steps=1"]
    assert remix.main([*options, f"--teacher={checkpoint}", "--minutes=0.15"]) == 0
    config, last = run_of(here, 0)
    number = config["data"]["num_mixtures"]
    assert EVALUATION_BATCH <= number < NUM_MIXTURES
    assert last["datamodule_hyper_parameters"]["num_mixtures"] == number
    assert f"Mixtures in a bank: {number} (--data.num_mixtures)" in capsys.readouterr().out


@pytest.mark.parametrize(("fit", "epochs"), [(10_000, 5), (10, 2), (3, 1), (None, 1)])
def test_a_teacher_has_half_the_minutes(fit, epochs, monkeypatch):
    """An epoch has five steps, and five epochs are usual."""
    mixtures = SimpleNamespace(hparams=SimpleNamespace(epoch_size=160, batch_size=32))

    def steps_until(end, *_):
        assert end - time.monotonic() == pytest.approx(300, abs=10)
        mixtures.hparams.epoch_size = 1
        if fit is None:
            raise TooLittleTimeError
        return fit

    monkeypatch.setattr(teacher, "steps_until", steps_until)
    config = SimpleNamespace(teacher_epochs=None, minutes=10)
    cli: Any = SimpleNamespace(config=config, teacher_config={"trainer": {"max_epochs": 5}}, began=time.monotonic())
    cli.trial_trainer = None
    assert teacher.teacher_epochs(cli, cast(Any, None), cast(Any, mixtures)) == epochs
    assert mixtures.hparams.epoch_size == 160
    config.teacher_epochs = 7
    assert teacher.teacher_epochs(cli, cast(Any, None), cast(Any, mixtures)) == 7
