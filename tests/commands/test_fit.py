"""fit.py and test.py, in process: what a run leaves, how it is resumed, started from others and scored."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import yaml
from conftest import REPOSITORY, SHORT_RUN, assert_same_weights
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import ModelSummary

from vaebss import hardware
from vaebss.commands import fit, remix, test
from vaebss.commands.run import RunFolder
from vaebss.commands.yaml_options import flatten

RUN = ["--gpus=0", "--data.source=bundled", *SHORT_RUN]


class StopAfter(Callback):
    """Ends a run early whose schedules are made for longer."""

    def __init__(self, epochs: int):
        self.epochs = epochs

    def on_train_epoch_end(self, trainer, pl_module):
        trainer.should_stop = trainer.current_epoch + 1 >= self.epochs


def last(folder, number: int = 0):
    return folder / "lightning_logs" / f"version_{number}" / "checkpoints" / "last.ckpt"


def weights(path):
    return torch.load(path, weights_only=True)["state_dict"]


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
    assert {"val/separations", "val/prior_samples"} <= set(events.Tags()["images"])


def test_test_scores_a_run(checkpoint, tmp_path, capsys):
    refine = ["--refine-steps=2", "--restarts=1", "--gpus=0"]
    assert test.main(["--ckpt", str(checkpoint), "--out", str(tmp_path / "out"), *refine]) == 0
    printed = capsys.readouterr().out
    assert "PSNR (paper scale)" in printed
    assert "64 test mixtures of bundled digits" in printed
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["data"] == "bundled"
    assert results["n"] == 64
    for kind in ("raw", "masked", "refined"):
        assert results[kind]["psnr_paper"] - results[kind]["psnr"] == pytest.approx(6.0206, abs=1e-3)
        assert set(results[kind]) >= {"psnr_paper_median", "psnr_paper_worst_decile", "ssim", "count"}
    assert results["loss"] == pytest.approx(results["distortion"] + 0.5 * results["rate"], rel=1e-5)
    assert (tmp_path / "out" / "separations.png").read_bytes().startswith(b"\x89PNG")


def test_masks_may_be_scored_without_their_bound(checkpoint, tmp_path):
    scores = []
    for bounded in ("true", "false"):
        options = ("--gpus", "0", "--out", str(tmp_path / bounded), "--bounded", bounded)
        assert test.main(["--ckpt", str(checkpoint), *options]) == 0
        results = json.loads((tmp_path / bounded / "results.json").read_text())
        assert results["bounded"] == (bounded == "true")
        scores.append(results["masked"]["psnr_paper"])
    assert scores[0] > scores[1]


@pytest.mark.parametrize("path", sorted((REPOSITORY / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_configuration_is_one_of_its_script(path, capsys):
    main = remix.main if "remix" in path.stem else fit.main
    with pytest.raises(SystemExit) as stop:
        main(["--config", str(path), "--print_config"])
    assert stop.value.code == 0
    given, found = flatten(yaml.safe_load(path.read_text())), flatten(yaml.safe_load(capsys.readouterr().out))
    assert {name: found[name] for name in given} == given


@pytest.mark.parametrize(("amx", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
def test_a_run_says_in_which_precision_the_processor_lets_it_compute(amx, precision, here, monkeypatch, capsys):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": amx, "avx512_bf16": True}, raising=False)
    assert fit.main([*RUN, "--trainer.fast_dev_run=1"]) == 0
    assert f"Precision: {precision} (--trainer.precision)" in capsys.readouterr().out.splitlines()[:3]


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
    assert hardware.one_device(1) == hardware.one_device(None) == torch.device("cuda")
    with pytest.raises(ValueError, match="one device"):
        hardware.one_device(2)


def test_a_resumed_run_refuses_other_options_by_name(checkpoint, capsys):
    assert fit.main(["--ckpt", str(checkpoint), "--model.beta=0.3"]) == 2
    assert "--model.beta 0.3" in capsys.readouterr().err
    assert fit.main(["--ckpt", str(checkpoint), "--model.beta=0.5", "--gpus=0"]) == 0


@pytest.mark.parametrize("begun", [["--data.source=auto"], ["--init=FIRST"]])
def test_a_run_is_resumed_with_the_options_in_its_own_folder(begun, checkpoint, here, no_network, capsys):
    begun = [option.replace("FIRST", str(checkpoint)) for option in begun]
    assert fit.main([*RUN, *begun]) == 0
    own = ["--config", str(last(here).parents[1] / "config.yaml"), "--ckpt", str(last(here))]
    before = weights(last(here))
    assert fit.main(own) == 0
    assert "Nothing is left to train: all 2 epochs are done" in capsys.readouterr().out
    assert all(torch.equal(value, before[name]) for name, value in weights(last(here)).items())
    assert fit.main([*own, "--init=vae-k2"]) == 2
    assert "give one of them" in capsys.readouterr().err


CUT = {
    "optimizer": lambda kept: kept.pop("optimizer_states"),
    "weights alone": lambda kept: [kept.pop(name) for name in ("optimizer_states", "lr_schedulers", "callbacks")],
    "progress": lambda kept: kept.pop("loops"),
    "option": lambda kept: kept.update(config=kept["config"].replace("model:\n", "model:\n  gone: 3\n")),
    "trainer": lambda kept: kept.update(config=kept["config"].replace("trainer:\n", "trainer:\n  gone: 3\n")),
}


@pytest.mark.parametrize("kind", CUT)
def test_what_cannot_be_resumed_is_said_and_can_be_an_init(kind, checkpoint, here, capsys):
    kept = torch.load(checkpoint, weights_only=True)
    CUT[kind](kept)
    torch.save(kept, "cut.ckpt")
    assert fit.main(["--ckpt=cut.ckpt", "--gpus=0"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "use --init instead of --ckpt" in error
    assert [path.name for path in here.iterdir()] == ["cut.ckpt"]
    assert fit.main([*RUN, "--init=cut.ckpt", "--trainer.max_epochs=1"]) == 0


def test_a_hyper_parameter_that_is_no_more_is_passed_over(checkpoint, here):
    kept = torch.load(checkpoint, weights_only=True)
    torch.save(kept | {"hyper_parameters": kept["hyper_parameters"] | {"gone": 3}}, "older.ckpt")
    assert fit.main([*RUN, "--init=older.ckpt", "--trainer.max_epochs=1"]) == 0
    assert fit.main(["--ckpt=older.ckpt", "--gpus=0"]) == 0


def test_fewer_epochs_than_are_done_are_refused(checkpoint, capsys):
    assert fit.main(["--ckpt", str(checkpoint), "--gpus=0", "--trainer.max_epochs=1"]) == 2
    error = capsys.readouterr().err
    assert "--trainer.max_epochs 1 differs from the run to resume, which has 2" in error
    assert error.count("\n") == 1


def test_a_run_that_is_done_says_so_and_names_its_own_files(checkpoint, here, capsys):
    copy = here / "lightning_logs" / "my copy" / "checkpoints"
    shutil.copytree(checkpoint.parent, copy)
    assert fit.main(["--ckpt", str(copy / "last.ckpt"), "--gpus=0"]) == 0
    printed = capsys.readouterr().out
    assert "Nothing is left to train: all 2 epochs are done" in printed
    assert "lightning_logs/my copy/checkpoints/best.ckpt)" in printed
    assert "--ckpt 'lightning_logs/my copy/checkpoints/last.ckpt'" in printed


def test_a_run_stopped_between_epochs_goes_on_as_if_never_stopped(here):
    assert fit.main([*RUN, "--trainer.max_epochs=4"]) == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit.FitCLI, "own_callbacks", lambda cli: [StopAfter(2)])
        assert fit.main([*RUN, "--trainer.max_epochs=4"]) == 0
    assert torch.load(last(here, 1), weights_only=True)["epoch"] == 1
    assert fit.main(["--ckpt", str(last(here, 1)), "--gpus=0"]) == 0
    assert not last(here, 2).exists()
    assert_same_weights(last(here, 1), last(here))


def test_init_starts_a_new_run_from_weights(checkpoint, here):
    still = ["--data.epoch_size=32", "--data.batch_size=32", "--model.lr=1e-12", "--model.lr_min=0"]
    assert fit.main(["--init", str(checkpoint), *RUN[:2], "--trainer.max_epochs=1", *still]) == 0
    layer = "decoder.layers.0.weight"
    torch.testing.assert_close(weights(last(here))[layer], weights(checkpoint)[layer])


def test_init_brings_the_options_of_its_model(checkpoint, tmp_path, capsys):
    dim = torch.load(checkpoint, weights_only=True)
    dim["hyper_parameters"]["source_scale"] = 0.25
    torch.save(dim, tmp_path / "dim.ckpt")
    model = fit.FitCLI(["--init", str(tmp_path / "dim.ckpt"), "--gpus", "0"]).model
    assert model.model.source_scale == 0.25
    assert model.model.hidden_dims == (32, 16)
    assert remix.main(["--teacher", str(tmp_path / "dim.ckpt"), "--gpus", "0"]) == 2
    assert "source_scale" in capsys.readouterr().err


@pytest.mark.parametrize(("typed", "summaries"), [([], 0), (["--trainer.enable_model_summary=true"], 1)])
def test_lightning_prints_no_table_of_the_model_unless_it_is_asked_for(typed, summaries, here):
    callbacks = fit.FitCLI([*RUN, *typed]).trainer.callbacks
    assert sum(isinstance(callback, ModelSummary) for callback in callbacks) == summaries


def test_a_removed_option_says_what_replaces_it_and_changes_nothing(here, capsys):
    assert fit.main([*RUN, "--starts=2", "--start-epochs=1"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("no longer options") == 1
    assert "--seed_everything" in printed
    assert fit.main(RUN) == 0
    assert "no longer options" not in capsys.readouterr().out
    assert_same_weights(last(here), last(here, 1))


def test_a_run_begun_with_a_removed_option_goes_on(checkpoint, here, capsys):
    kept = torch.load(checkpoint, weights_only=True)
    kept["config"] = f"starts: 2\nstart_epochs: 1\n{kept['config']}"  # as version 0.2.0 wrote it
    torch.save(kept, "older.ckpt")
    (here / "config.yaml").write_text(kept["config"])
    assert fit.main(["--ckpt=older.ckpt", "--gpus=0"]) == 0
    assert fit.main(["--config=config.yaml", "--ckpt=older.ckpt", "--gpus=0"]) == 0
    assert "no longer options" not in capsys.readouterr().out


def test_runs_begun_together_have_folders_of_their_own(here):
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: RunFolder(str(here)).path, range(40)))
    assert sorted(path.name for path in paths) == sorted(f"version_{number}" for number in range(40))


def test_a_renamed_run_goes_on_in_its_own_folder(here):
    assert fit.main([*RUN, "--trainer.max_epochs=1"]) == 0
    other = here / "lightning_logs" / "mine"
    last(here).parents[1].rename(other)
    assert fit.main([*RUN, "--trainer.max_epochs=1"]) == 0
    before = last(here).read_bytes()
    assert fit.main(["--ckpt", str(other / "checkpoints" / "last.ckpt"), "--gpus=0"]) == 0
    assert last(here).read_bytes() == before
    assert sorted(path.name for path in (here / "lightning_logs").iterdir()) == ["mine", "version_0"]


def test_a_dry_run_leaves_nothing_behind(here, capsys):
    assert fit.main([*RUN, "--trainer.fast_dev_run=true"]) == 0
    assert not list(here.iterdir())
    assert "Score it" not in capsys.readouterr().out


def test_a_run_without_a_logger_has_a_folder_too(here):
    for _ in range(2):
        assert fit.main([*RUN, "--trainer.max_epochs=1", "--trainer.logger=false"]) == 0
    assert last(here).is_file()
    assert last(here, 1).is_file()
