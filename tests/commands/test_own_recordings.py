"""A user's own recordings and notes through the commands: train, score, separate; what is refused, in one line."""

import json
from pathlib import Path

import numpy as np
import pytest

from vaebss import load
from vaebss.commands import compare, fit, separate, test

soundfile = pytest.importorskip("soundfile")

RATE = 22_050
SMALL = ("--data.batch_size", "8", "--data.epoch_size", "16", "--data.val_mixtures", "8", "--trainer.max_epochs", "1")
SMALL += ("--model.hidden_dims", "[16]", "--model.output", "softplus", "--gpus", "0")
LAST = "lightning_logs/version_0/checkpoints/last.ckpt"


def written(name: str, hertz: float, seconds: float = 7.0) -> None:
    Path(name).parent.mkdir(exist_ok=True)
    soundfile.write(name, 0.05 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE), RATE)


@pytest.fixture
def users_folder(tmp_path, monkeypatch):
    """Two recordings, their stems, and thirty notes."""
    monkeypatch.chdir(tmp_path)
    for number in range(2):
        written(f"low/{number}.wav", 200 + 30 * number)
        written(f"high/{number}.flac", 900 + 200 * number)
        parts = [soundfile.read(name)[0] for name in (f"low/{number}.wav", f"high/{number}.flac")]
        Path("recordings").mkdir(exist_ok=True)
        soundfile.write(f"recordings/{number}.wav", sum(parts), RATE)
    for number in range(30):
        written(f"my_notes/{number}.wav", 110 * 2 ** (number / 6), 1.5)


def test_recordings_are_trained_on_blind_scored_by_stems_and_taken_apart(users_folder, capsys):
    assert fit.main(["--data.mixtures", "recordings", *SMALL]) == 0
    model = load(LAST)
    assert model.modality["kind"] == "audio"
    assert model.source_scale == float("inf")
    assert test.main(["--ckpt", LAST, "--gpus", "0", "--data.test_mixtures", "40"]) == 0
    said = capsys.readouterr().out
    assert "Estimated without true sources: SI-SDR" in said
    assert "--data.sources" in said
    scored = ["--data.sources", "[low,high]", "--data.test_mixtures", "8", "--out", "scores"]
    assert test.main(["--ckpt", LAST, "--gpus", "0", *scored]) == 0
    assert "si_sdr" in json.loads(Path("scores/results.json").read_text())["masked"]
    assert separate.main(["recordings", "--ckpt", LAST, "--out", "out", "--gpus", "0"]) == 0
    assert [*Path("out").glob("1_source*.wav")]


def test_a_run_on_recordings_is_resumed(users_folder, capsys):
    assert fit.main(["--data.mixtures", "recordings", *SMALL]) == 0
    assert fit.main(["--ckpt", LAST, "--gpus", "0"]) == 0
    assert "Nothing is left to train" in capsys.readouterr().out


def test_a_recording_that_breaks_off_is_told_once_and_trained_on(users_folder, capsys):
    cut = Path("recordings/1.wav")
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 6 // 10])
    assert fit.main(["--data.mixtures", "recordings", *SMALL, "--trainer.fast_dev_run", "true"]) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    told_of = "recordings/1.wav breaks off after 4.2 s, before its end: the file is incomplete"
    assert told == [f"fit.py: warning: {told_of}"]


def test_own_notes_are_trained_on_scored_and_compared(users_folder, capsys):
    counts = ["--data.num_mixed", "[1, 3]", "--model.num_sources", "3", "--data.gains", "[0.5, 1.0]"]
    assert fit.main(["--data.source", "my_notes", *SMALL, *counts]) == 0
    assert test.main(["--ckpt", LAST, "--gpus", "0", "--data.test_mixtures", "30", "--out", "scores"]) == 0
    assert "Separating 30 test mixtures of notes of my_notes, M = [1, 3]" in capsys.readouterr().out
    confusion = json.loads(Path("scores/results.json").read_text())["masked"]["confusion"]
    assert [sum(row) > 0 for row in confusion] == [False, True, True, True]
    own = ["--data.source", "my_notes", "--data.batch_size", "8", "--model.hidden_dims", "[16]"]
    brief = ["--methods", "vae", "--num-sources", "2", "--budget", "16", "--data.test_mixtures", "8", "--gpus", "0"]
    assert compare.main([*own, "--model.output", "softplus", *brief]) == 0
    assert "Mixtures of 2 notes of my_notes" in Path("comparison/comparison.md").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data.mixtures", "both"], "put them into separate folders"),
        (["--data.mixtures", "nothing"], "holds no such files"),
        (["--data.mixtures", "low/0.wav"], "holds 7.0 seconds of sound: training needs 10.1 or more"),
        (["--data.source", "both"], "put them into separate folders"),
        (["--data.source", "recordings"], "holds 2 notes: mixing needs 10 or more"),
        (["--data.mixtures", "recordings", "--data.sources", "[low,my_notes]"], "must hold as many recordings"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_is_refused_in_one_line(users_folder, capsys, options, message):
    written("both/a.wav", 440)
    np.save("both/b.npy", np.zeros((12, 8, 8)))
    Path("nothing").mkdir()
    assert fit.main([*options, *SMALL]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("fit.py: error: ")
    assert message in line
    assert not Path("lightning_logs").exists()
