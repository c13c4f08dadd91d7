"""The second stage on notes, as a user would: a teacher by a file of options, remixes, scores, separation."""

import contextlib
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from vaebss import Masker, load
from vaebss.commands import remix, separate, test
from vaebss.data import remixes
from vaebss.data.bank import Bank
from vaebss.data.corpora import lines, notes
from vaebss.data.remixes import Remixes
from vaebss.modalities.registry import modality_of

pytest.importorskip("pretty_midi")
soundfile = pytest.importorskip("soundfile")

FEW = {0: (55, 80), 40: (60, 80), 73: (60, 84)}
TEACHER = {
    "model": {"hidden_dims": [16], "output": "softplus", "lr": 1e-3},
    "data": {"bands": 80, "batch_size": 8, "epoch_size": 16},
    "trainer": {"max_epochs": 1},
}
STUDENT = {
    "teacher": "teacher.yaml",
    "model": {"view": "bands", "widths": [6, 8], "bottleneck": 8, "harmonics": [0.5, 1.0, 2.0]},
    "data": {"source": "notes", "bands": 96, "num_mixtures": 20, "keep": [0.5, 0.5], "epochs_per_round": 1}
    | {"batch_size": 8, "epoch_size": 16, "val_mixtures": 8, "remix_gains": [0.5, 1.0], "remix_detune": 2.0},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The working folder of a short run on a few notes, and its checkpoint."""
    folder = tmp_path_factory.mktemp("remixed")
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(folder):
        patch.setattr(notes, "RANGES", FEW)
        for name, options in (("teacher", TEACHER), ("student", STUDENT)):
            Path(f"{name}.yaml").write_text(yaml.dump(options))
        assert remix.main(["--config", "student.yaml", "--gpus", "0"]) == 0
        (checkpoint,) = folder.glob("lightning_logs/version_0/checkpoints/last.ckpt")
        score = ["--ckpt", str(checkpoint), "--gpus", "0", "--data.test_mixtures", "12", "--out", "scores"]
        assert test.main(score) == 0
    return folder, checkpoint


def test_the_teacher_is_trained_as_its_file_says(trained):
    folder, _ = trained
    (checkpoint,) = folder.glob("lightning_logs/version_0/teacher/checkpoints/last.ckpt")
    teacher = load(checkpoint)
    assert (teacher.hidden_dims, teacher.output, teacher.modality["bands"]) == ((16,), "softplus", 80)


def test_the_student_sees_its_own_bands_and_takes_any_file_apart(trained, tmp_path):
    _, checkpoint = trained
    student = load(checkpoint)
    assert isinstance(student, Masker)
    assert (student.modality["bands"], student.image_shape, student.view) == (96, (1, 96, 16), "bands")
    assert student.harmonics == (0.5, 1, 2)
    assert student.frequencies == modality_of(student).frequencies
    assert math.isinf(student.source_scale)
    sound = 0.3 * torch.sin(torch.arange(40_000) / 16_000 * 2 * torch.pi * 440)
    soundfile.write(tmp_path / "duet.wav", sound.numpy(), 16_000, subtype="FLOAT")
    assert separate.main([str(tmp_path / "duet.wav"), "--ckpt", str(checkpoint), "--out", str(tmp_path / "out")]) == 0
    found = [soundfile.read(path)[0] for path in sorted((tmp_path / "out").glob("duet_source*.wav"))]
    np.testing.assert_allclose(sum(found), sound.numpy(), atol=1e-4, rtol=0)


def test_the_bank_holds_sounds(trained):
    folder, _ = trained
    bank = Bank.load(folder / "lightning_logs/version_0/bank.pt")
    assert bank.sources.shape[1:] == (notes.SAMPLES,)


def test_pseudo_sources_are_played_anew_in_every_epoch_though_the_same_in_each():
    data = Remixes(source="notes", remix_detune=2.0)
    sound = torch.sin(torch.arange(4_000) * 0.2).half().repeat(3, 1)
    first, again, second = (data.played(Bank(sound, (2, 2), 0), epoch) for epoch in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], first[1])  # each by its own share
    rising = (first.float().diff(dim=1).sign().diff(dim=1) < 0).sum(1)  # peaks: of a lower pitch there are fewer
    assert (rising <= 4_000 * 0.2 / (2 * math.pi) + 1).all()
    assert torch.equal(Remixes(source="notes").played(Bank(sound, (2, 2), 0), 1), sound)


def test_a_student_of_lines_begins_with_notes_and_goes_on_with_lines(trained, monkeypatch):
    folder, checkpoint = trained
    monkeypatch.chdir(folder)
    monkeypatch.setattr(notes, "RANGES", FEW)
    for module, number in ((remixes, "LINES"), (lines, "LINES"), (lines, "HELD_OUT")):
        monkeypatch.setattr(module, number, 100)
    banks = []
    monkeypatch.setattr(Bank, "save", lambda bank, path: banks.append(bank))
    options = ["--teacher", str(checkpoint), "--data.source", "lines", "--data.instruments", "4", "--gpus", "0"]
    assert remix.main(["--config", "student.yaml", *options]) == 0
    first, second = banks
    assert set(first.instruments.tolist()) == {0, 1, 2, 3}
    assert len(first.instruments) == len(first.sources)
    assert second.instruments is None
    assert second.sources.shape[1:] == (notes.SAMPLES,)


def test_gains_of_remixes_are_checked():
    with pytest.raises(ValueError, match="gains"):
        Remixes(source="notes", remix_gains=[0.5])


def test_a_student_learns_on_from_recordings(trained, tmp_path, monkeypatch, capsys):
    _, checkpoint = trained
    monkeypatch.chdir(tmp_path)
    sound = torch.randn(12 * 16_000, generator=torch.Generator().manual_seed(0)) / 10
    soundfile.write("duet.wav", sound.numpy(), 16_000, subtype="FLOAT")
    short = ["--data.num_mixtures", "12", "--data.val_mixtures", "6", "--data.epoch_size", "48", "--gpus", "0"]
    options = ["--init", str(checkpoint), "--data.mixtures", "duet.wav", "--data.epochs_per_round", "1"]
    assert remix.main([*options, *short]) == 0
    assert f"12 seconds of sound, {checkpoint} teaches" in capsys.readouterr().out
    run = tmp_path / "lightning_logs/version_0"
    assert (run / "adapted.png").is_file()
    before, after = load(checkpoint), load(run / "checkpoints/last.ckpt")
    assert after.modality == {**before.modality, "voices": True}  # of one recording
    assert any(not torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True))


def test_a_recipe_is_found_beside_the_file_that_names_it(trained, tmp_path, monkeypatch):
    folder, _ = trained
    monkeypatch.chdir(tmp_path)
    cli = remix.RemixCLI(["--config", str(folder / "student.yaml")])
    assert cli.config.teacher == str(folder / "teacher.yaml")
    assert list(cli.teacher_config["model"]["hidden_dims"]) == TEACHER["model"]["hidden_dims"]


@pytest.mark.parametrize("again", [[], ["--config", "student.yaml"]])
def test_a_run_goes_on_with_the_recipe_that_it_had(trained, again, monkeypatch):
    folder, checkpoint = trained
    monkeypatch.chdir(folder)
    assert remix.RemixCLI(["--ckpt", str(checkpoint), *again]).config.teacher == "teacher.yaml"


def test_what_has_been_taught_is_its_own_teacher_whatever_the_file_says(trained, monkeypatch):
    folder, checkpoint = trained
    monkeypatch.chdir(folder)
    monkeypatch.setattr(notes, "RANGES", FEW)
    assert remix.main(["--config", "student.yaml", "--init", str(checkpoint), "--gpus", "0"]) == 0
    run = folder / "lightning_logs" / "version_1"
    assert not (run / "teacher").exists()
    saved = yaml.safe_load((run / "config.yaml").read_text())
    assert saved["teacher"] == str(checkpoint)  # whoever resumes the run finds it


def test_recordings_need_a_teacher_of_sound(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    soundfile.write("duet.wav", [0.1] * 200_000, 16_000)
    assert remix.main(["--teacher", "none", "--data.mixtures", "duet.wav"]) == 2
    assert "recordings need a teacher: a model of sound, or a .yaml file" in capsys.readouterr().err


@pytest.mark.parametrize(("new", "bands"), [([], 256), (["--init", "none"], 192)])
def test_a_student_of_recordings_begins_with_the_shipped_model(new, bands, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sound = torch.randn(12 * 16_000, generator=torch.Generator().manual_seed(0)) / 10
    soundfile.write("duet.wav", sound.numpy(), 16_000, subtype="FLOAT")
    short = ["--data.num_mixtures", "12", "--data.val_mixtures", "6", "--data.epoch_size", "48", "--gpus", "0"]
    assert (
        remix.main(
            ["--data.mixtures", "duet.wav", "--data.keep", "[0.5]", "--data.epochs_per_round", "1", *short, *new]
        )
        == 0
    )
    assert "12 seconds of sound, remix-lines teaches" in capsys.readouterr().out
    student = load("lightning_logs/version_0/checkpoints/last.ckpt")
    assert (student.view, student.modality["bands"]) == ("bands", bands)
