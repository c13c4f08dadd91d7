"""A shipped separator adapts to given mixtures of any size, from the command line and from Python."""

import json
import math
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from worlds import spectra, world

import vaebss
from vaebss.checkpoints import load
from vaebss.commands import fit, remix, separate, test
from vaebss.data.bank import Bank
from vaebss.data.corpora import pictures
from vaebss.metrics.images import qualities
from vaebss.metrics.metric import mean_per_mixture
from vaebss.modalities.appearance import estimated_scale
from vaebss.modalities.image_files import read_mixtures
from vaebss.modalities.images import seen_by
from vaebss.modalities.modality import separate_signals
from vaebss.modalities.tables import read_table
from vaebss.training import adapting, presets, statistics, student
from vaebss.training.student import slot_by_slot_loss

SHORT = ("--gpus=0", "--data.epochs_per_round=1", "--data.epoch_size=16", "--model.widths=[4,6,8]")


def mixtures(number: int, size: int, channels: int = 1) -> torch.Tensor:
    return world(number, size, 0, channels).sum(1)


@pytest.fixture
def file(tmp_path, request, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "mixtures.npy", mixtures(20, *request.param).numpy())
    return tmp_path / "mixtures.npy"


@pytest.mark.parametrize("file", [(28, 1), (18, 3)], ids=["grey", "colour"], indirect=True)
def test_the_one_command_adapts_a_shipped_model(file, tmp_path, capsys):
    assert remix.main(["--data.mixtures", str(file), *SHORT]) == 0
    told = capsys.readouterr().out
    for line in ("remix-k2 teaches", "up to 0.5", "So few mixtures", "before: 0.", "after: 0.", "adapted.png"):
        assert line in told
    assert "Score it" not in told  # nobody knows the sources
    folder = tmp_path / "lightning_logs" / "version_0"
    assert (folder / "adapted.png").is_file()
    student = load(folder / "checkpoints" / "last.ckpt")
    assert not student.bounded
    assert student.image_shape == np.load(file).shape[1:]
    command = next(line for line in told.splitlines() if line.startswith("Separate:"))
    assert separate.main([*command.split(" separate ")[-1].split("separate.py")[-1].split(), "--gpus=0"]) == 0
    assert "Taken as" not in capsys.readouterr().out  # a model of these very mixtures need not look at them


@pytest.mark.parametrize("file", [(28, 1)], indirect=True)
def test_a_student_of_classes_says_so_and_is_taught_slot_by_slot(file, tmp_path, monkeypatch):
    taught = []
    monkeypatch.setattr(student, "slot_by_slot_loss", lambda *given: taught.append(0) or slot_by_slot_loss(*given))
    typed = ["--data.keep=[1.0]", "--data.source_classes=true"]
    assert remix.main(["--data.mixtures", str(file), *typed, *SHORT]) == 0
    folder = tmp_path / "lightning_logs" / "version_0"
    assert load(folder / "checkpoints" / "last.ckpt").modality == {"kind": "images", "voices": True}
    assert taught
    bank = Bank.load(folder / "bank.pt")
    assert bank.voices is not None
    assert bank.voices.tolist() == [0, 1] * 18


def test_lines_have_no_classes():
    with pytest.raises(ValueError, match="source_classes"):
        vaebss.adapt(spectra(20, 0).sum(1).flatten(1), steps=20, source_classes=True)


@pytest.mark.parametrize("file", [(28, 1)], indirect=True)
def test_the_hint_states_the_axes_that_were_stated(file, tmp_path, capsys):
    np.save(file, np.load(file)[:, 0].transpose(1, 2, 0))
    assert remix.main(["--data.mixtures", str(file), "--data.axes=HWN", *SHORT]) == 0
    command = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("Separate:"))
    assert "--axes HWN" in command
    assert separate.main([*command.split("separate.py")[-1].split(), "--gpus=0"]) == 0


@pytest.mark.parametrize("file", [(16, 1)], indirect=True)
@pytest.mark.parametrize(
    ("option", "typed"), [("--init", []), ("--teacher", []), ("--init", ["--data.invert=false"])], ids=str
)
def test_none_starts_from_nothing(file, option, typed, tmp_path, capsys, monkeypatch):
    read = []
    monkeypatch.setattr(pictures, "read_mixtures", lambda files, **of: read.append(files) or read_mixtures(files, **of))
    nothing = (option, "none", "--teacher_epochs=1", "--data.keep=[0.9]", *typed)
    assert remix.main(["--data.mixtures", str(file), *SHORT, *nothing, "--trainer.limit_train_batches=2"]) == 0
    told = capsys.readouterr().out
    assert "a new VAE teaches" in told
    assert "before" not in told.replace("Before and after", "")
    assert read == [[Path(file)]]  # once, for the options, the student and its teacher
    assert (tmp_path / "lightning_logs" / "version_0" / "teacher").is_dir()


@pytest.mark.parametrize("channels", [1, 3])
def test_adapt_answers_a_separator_of_the_mixtures_own_size(channels, small_students, monkeypatch):
    monkeypatch.setattr(presets, "STEPS", {math.inf: 4})
    given = (255 * mixtures(20, 18, channels)).byte()
    model = vaebss.adapt(given)
    assert model.image_shape == (channels, 18, 18)
    assert not model.training
    sources = vaebss.separate(given, model).sources
    torch.testing.assert_close(sources.sum(1), given / 255, atol=1e-5, rtol=0)


def test_adapting_is_reproducible_and_leaves_random_numbers_alone(small_students, monkeypatch):
    monkeypatch.setattr(presets, "STEPS", {math.inf: 4})
    given, teacher = mixtures(20, 16), load("remix-k2")
    before = torch.random.get_rng_state()
    first, second = (vaebss.adapt(given, teacher, seed=3).state_dict() for _ in range(2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (torch.rand(9, 16, 16), "the array holds 9 mixtures: training needs 10 or more"),
        (-torch.ones(20, 16, 16), "the array holds numbers below 0: set them to 0"),
        (
            torch.full((20, 16, 16), torch.nan),
            "the array holds NaN, infinity or numbers too large",
        ),
        (torch.rand(20, 4, 4), "the array has shape (20, 4, 4), not (H, W), (N, H, W)"),
    ],
    ids=["too few", "below 0", "NaN", "too small"],
)
def test_what_cannot_be_adapted_to_is_refused_in_one_line(given, words):
    with pytest.raises(ValueError, match=rf"^{re.escape(words)}[^\n]*$"):
        vaebss.adapt(given)


@pytest.mark.parametrize("minutes", [0, math.inf, math.nan])
def test_a_time_that_is_none_is_refused(minutes):
    with pytest.raises(ValueError, match=r"^minutes must be above 0"):
        vaebss.adapt(mixtures(20, 16), minutes=minutes)


def test_a_time_that_is_too_short_is_refused_without_options_of_commands():
    teacher = vaebss.VAE(hidden_dims=(16, 8)).eval()
    with pytest.raises(ValueError, match=r"^1e-05 minutes are too short to train on these mixtures: allow more$"):
        vaebss.adapt(mixtures(20, 16), teacher, minutes=1e-5)


def test_pictures_brighter_than_the_teacher_knows_get_no_advice_that_adapt_does_not_take(
    small_students, monkeypatch, recwarn
):
    monkeypatch.setattr(presets, "STEPS", {math.inf: 4})
    given, teacher = mixtures(20, 28), vaebss.VAE(hidden_dims=(16, 8)).eval()
    given[0, 0, 0] = 1.9
    vaebss.adapt(given, teacher)
    assert not [warning for warning in recwarn if "source_max" in str(warning.message)]


def test_brightness_is_estimated_and_scales_with_the_mixtures():
    bright = mixtures(100, 28)
    assert estimated_scale(bright) == 0.5
    assert estimated_scale(0.6 * bright) == 0.3
    assert estimated_scale(100 * bright) == 1
    assert estimated_scale(0 * bright) == 1


@pytest.mark.parametrize(("slots", "name"), [(1, "remix-k2"), (2, "remix-k2"), (3, "remix-1to4"), (5, None)])
def test_the_teacher_has_slots_enough(slots, name):
    assert presets.default_teacher(slots) == name


@pytest.mark.parametrize("changed", [None, *presets.SIZES])
def test_a_student_begins_as_its_teacher_where_it_is_of_the_same_size(changed):
    """As a shipped model by name, and as any other."""
    sizes = {"image_shape": (1, 28, 28), "widths": (24, 48, 96), "bottleneck": 384}
    other = {"image_shape": (1, 28, 30), "widths": (24, 48, 95), "bottleneck": 383}
    sizes |= {changed: other[changed]} if changed else {}
    assert presets.fits_student("remix-k2", *sizes.values()) == (changed is None)
    torch.manual_seed(1)
    teacher = vaebss.Masker(2, **sizes).eval()
    student, _ = adapting.build_student(mixtures(20, 28), teacher)
    known, found = teacher.state_dict(), student.model.state_dict()
    same = [torch.equal(known[name], value) for name, value in found.items() if known[name].shape == value.shape]
    assert all(same) == (changed is None)


@pytest.mark.parametrize("file", [(28, 1)], indirect=True)
def test_a_run_that_renews_its_banks_ends_after_eight_epochs_without_gain(file, tmp_path):
    short = ["--gpus=0", "--data.epoch_size=24", "--data.keep=[0.8,0.9]", "--data.renew=true"]
    assert remix.main(["--data.mixtures", str(file), *short]) == 0
    folder = tmp_path / "lightning_logs" / "version_0"
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert (last["epoch"], Bank.load(folder / "bank.pt").round) == (7, 7)
    assert last["datamodule_hyper_parameters"]["renew"]
    assert [state["patience"] for state in last["callbacks"].values() if "patience" in state] == [8]


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 48, 48), (1, 64, 64), (1, 96, 96), (1, 1, 300)])
def test_there_is_a_schedule_for_every_size(shape):
    schedule = presets.schedule(shape, 200)
    steps = 4 * schedule["data"]["epoch_size"] / schedule["data"]["batch_size"]
    assert schedule["data"]["batch_size"] >= 8
    larger = sum(max(shape) > side for side in (40, 80))
    assert (len(schedule["model"]["widths"]), steps) == ((3, 900), (4, 900), (5 - (shape[1] == 1), 600))[larger]
    renewed = [presets.schedule(shape, number)["data"]["renew"] for number in (200, 2_000, 2_001)]
    assert renewed == [shape[1] > 1, shape[1] > 1, False]


@pytest.mark.parametrize(("last", "slots", "told"), [(-90.0, 2, "remix-k2"), (-90.0, 6, "best.ckpt"), (-80.2, 2, "")])
def test_fit_says_when_held_out_mixtures_got_worse(last, slots, told, capsys):
    checkpoints = SimpleNamespace(best_model_score=torch.tensor(-80.0), best_model_path="best.ckpt")
    trainer = SimpleNamespace(callback_metrics={"val/elbo": torch.tensor(last)})
    fit.warn(SimpleNamespace(checkpoints=checkpoints, trainer=trainer, say=print), presets.default_teacher(slots))
    said = capsys.readouterr().out
    assert told in said
    assert said.count("\n") == bool(told)
    assert ("remix.py --data.mixtures adapts" in said) == (told == "remix-k2")


@pytest.mark.parametrize("shape", [(1, 40, 36), (1, 1, 90)], ids=["pictures", "lines"])
def test_any_model_is_scored_on_pairs_of_ones_own(shape, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sources = torch.rand(12, 2, *shape, generator=torch.Generator().manual_seed(0)) / 2
    for name, signals in {"mixtures": sources.sum(1), "first": sources[:, 0], "second": sources[:, 1]}.items():
        np.save(f"{name}.npy", signals.numpy())
    pairs = ["--data.mixtures=mixtures.npy", "--data.sources=[first.npy,second.npy]", "--data.invert=false"]
    assert test.main(["--ckpt=remix-k2", "--gpus=0", "--out=scored", *pairs]) == 0
    assert "12 mixtures of mixtures.npy" in capsys.readouterr().out
    scores = json.loads(Path("scored/results.json").read_text())
    teacher, mixtures = load("remix-k2"), sources.sum(1)
    found = separate_signals(teacher.separate, seen_by(teacher, mixtures, 0.5), mixtures).sources
    count = torch.full((12,), 2)
    expected = float(mean_per_mixture(qualities(0.5)["psnr_paper"], found, sources, count).mean())
    assert abs(scores["masked"]["psnr_paper"] - expected) < 0.05
    assert 0 <= scores["masked"]["ssim"] <= 1
    assert (tmp_path / "scored" / "separations.png").is_file()


def test_a_vae_weighs_given_mixtures_by_how_bright_they_are(tmp_path, monkeypatch):
    """Alone and as a teacher: what it sees is small, and the objective is for that."""
    monkeypatch.chdir(tmp_path)
    given = mixtures(40, 40)
    np.save(tmp_path / "given.npy", given.numpy())
    short = ("--gpus=0", "--trainer.enable_progress_bar=false", "--model.hidden_dims=[16]", "--data.epoch_size=8")
    one = (*short, "--data.batch_size=8", "--trainer.max_epochs=1")
    assert fit.main(["--data.mixtures=given.npy", *one]) == 0
    nothing = ("--init=none", "--teacher_epochs=1", "--data.keep=[0.9]", "--trainer.limit_train_batches=1")
    assert remix.main(["--data.mixtures=given.npy", *SHORT, *nothing]) == 0
    expected = statistics.vae_options(given, 0.5, 2)["model"]
    for folder in ("version_0", "version_1/teacher"):
        model = load(tmp_path / "lightning_logs" / folder / "checkpoints" / "last.ckpt")
        assert {name: getattr(model, name) for name in expected} == expected
        assert model.image_shape == (1, 28, 28)
        found = vaebss.separate(given, model).sources
        torch.testing.assert_close(found.sum(1), given, atol=1e-5, rtol=0)


def test_a_vae_of_ones_own_images_teaches_a_student_of_their_size(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "images.npy", world(20, 36, 0).flatten(0, 2).numpy())
    own = (
        "--data.source=images.npy",
        "--data.val_mixtures=8",
        "--gpus=0",
        "--data.batch_size=8",
        "--data.epoch_size=8",
    )
    assert fit.main([*own, "--trainer.max_epochs=1", "--model.hidden_dims=[16]"]) == 0
    taught = "lightning_logs/version_0/checkpoints/last.ckpt"
    lessons = ("--data.num_mixtures=16", "--data.keep=[0.9]", "--data.epochs_per_round=1", "--model.widths=[4,6,8]")
    assert remix.main([*own, "--teacher", taught, *lessons]) == 0
    student = load("lightning_logs/version_1/checkpoints/last.ckpt")
    assert (load(taught).image_shape, student.image_shape) == ((1, 28, 28), (1, 36, 36))


UNIT = 4e4  # of spectra that are counted


def spectra_csv(path, number=24):
    """A table of lines in columns, counts above 1, with an axis; its values (number, 256)."""
    values = UNIT * spectra(number, 0).sum(1).flatten(1)
    rows = ["nm," + ",".join(f"s{n}" for n in range(number))]
    rows += [",".join(map(str, [400 + 2 * at, *map(float, column)])) for at, column in enumerate(values.T)]
    path.write_text("\n".join(rows))
    return values


def test_lines_of_a_table_are_adapted_to_and_come_back_with_their_axis(tmp_path, monkeypatch, capsys):
    """A VAE teaches the student, which has convolutions along the lines; sources have the unit of the table."""
    monkeypatch.chdir(tmp_path)
    values = spectra_csv(tmp_path / "spectra.csv")
    short = ("--teacher_epochs=1", "--data.keep=[0.9]", "--trainer.limit_train_batches=2")
    assert remix.main(["--data.mixtures", "spectra.csv", *SHORT, *short]) == 0
    assert "a new VAE teaches" in capsys.readouterr().out
    student = load("lightning_logs/version_0/checkpoints/last.ckpt")
    assert (student.view, student.image_shape) == ("lines", (1, 1, 256))
    assert student.modality["unit"] == pytest.approx(float(values.max()), rel=1e-3)
    arguments = ["spectra.csv", "--ckpt=lightning_logs/version_0/checkpoints/last.ckpt", "--gpus=0"]
    assert separate.main([*arguments, "--components"]) == 0
    told = capsys.readouterr().out
    assert "each column is a line, axis nm from 400 to 910" in told
    number = int(re.search(r"(\d+) components?, at most \d together", told)[1])
    lines, table = read_table(Path("separated/component_spectra.csv"))
    assert (lines.shape, table.axis, table.corner) == ((number, 256), read_table(Path("spectra.csv"))[1].axis, "nm")
    rows = Path("separated/component_amounts.csv").read_text().splitlines()
    assert rows[0].split(",") == ["mixture", *(f"component{k + 1}" for k in range(number))]
    assert [row.split(",")[0] for row in rows[1:]] == [f"spectra[{n}]" for n in range(24)]
    found, tables = zip(*(read_table(path) for path in sorted(Path("separated").glob("*_source*.csv"))), strict=True)
    np.testing.assert_allclose(sum(found), values, atol=1e-4 * UNIT)
    assert all(table == read_table(Path("spectra.csv"))[1] for table in tables)


def test_adapt_trains_a_vae_for_lines_of_any_unit(monkeypatch):
    monkeypatch.setattr(adapting, "VAE_EPOCHS_OF_LINES", 2)
    given = UNIT * spectra(20, 0).sum(1).flatten(1)
    model = vaebss.adapt(given, num_sources=3, steps=4)
    assert (model.image_shape, model.num_sources, type(model)) == ((1, 1, 256), 3, vaebss.VAE)
    assert all(
        torch.equal(*each)
        for each in zip(model.parameters(), vaebss.adapt(given, num_sources=3, steps=4).parameters(), strict=True)
    )
    sources = vaebss.separate(given, model).sources
    torch.testing.assert_close(sources.sum(1), given, atol=1e-4 * UNIT, rtol=0)
    torch.testing.assert_close(vaebss.separate(given / 2, model).sources.sum(1), given / 2, atol=1e-4 * UNIT, rtol=0)


def test_many_slots_need_a_model_of_pictures_that_has_them():
    with pytest.raises(ValueError, match=r"^no shipped model has 5 slots: pass a model with as many$"):
        vaebss.adapt(mixtures(20, 16), num_sources=5)


def test_no_slots_are_refused():
    with pytest.raises(ValueError, match=r"^num_sources must be 1 or more, not 0$"):
        vaebss.adapt(UNIT * spectra(20, 0).sum(1).flatten(1), num_sources=0)
