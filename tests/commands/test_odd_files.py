"""One odd file is told in one line; the others are separated, and the list and the contact sheet are complete."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vaebss.commands import separate
from vaebss.commands.output_folder import SHEET
from vaebss.commands.separation_list import LIST

GOOD = ("0.png", "z.png")  # before and after the odd ones


def picture(path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 128, (28, 28), dtype=np.uint8)).save(path)


def bad(path: Path) -> None:
    path.write_bytes(b"nothing")


ODD = {  # file name, what makes it, and whether it can be separated
    "a pipe": ("m.png", os.mkfifo, False),
    "a link to itself": ("m.png", lambda path: path.symlink_to("m.png"), False),
    "a link to nothing": ("m.png", lambda path: path.symlink_to("nowhere"), False),
    "no picture": ("m.png", bad, False),
    "no UTF-8, no picture": (os.fsdecode(b"caf\xe9.png"), bad, False),
    "no UTF-8": (os.fsdecode(b"caf\xe9.png"), picture, True),
    "several lines": ("a\nb.png", picture, True),
    "too long for its sources": ("m" * 250 + ".png", picture, False),
}


def run(folder: Path, *options: str) -> int:
    return separate.main([str(folder), "--gpus=0", "--out", str(folder / "out"), *options])


def assert_complete(folder: Path, names: list[str]) -> None:
    with (folder / "out" / LIST).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == names
    assert (folder / "out" / SHEET).is_file()
    written = {f"{row['name']}_source{k + 1}" for row in rows for k in range(int(row["count"]))}
    files = {path.name.encode("utf-8", "backslashreplace").decode() for path in (folder / "out").iterdir()}
    assert {name.rpartition(".")[0] for name in files - {LIST, SHEET}} == written


@pytest.mark.parametrize("kind", ODD)
def test_one_odd_file_does_not_stop_the_others(kind, tmp_path, capsys):
    name, make, is_separated = ODD[kind]
    for good in GOOD:
        picture(tmp_path / good)
    try:
        make(tmp_path / name)
    except OSError:
        pytest.skip("this system has no such files")
    assert run(tmp_path, "--ckpt=remix-k2", "--source-max=0.5") == (0 if is_separated else 2)
    errors = capsys.readouterr().err.strip().splitlines()
    told = [line for line in errors if line.startswith("separate.py: error: ")]
    assert len(told) == (not is_separated)
    stem = Path(name).stem.encode("utf-8", "backslashreplace").decode()
    assert_complete(tmp_path, sorted(["0", "z", *([stem] if is_separated else [])]))


def test_a_file_that_vanishes_or_may_not_be_read_is_told(tmp_path, monkeypatch, capsys):
    for name in (*GOOD, "gone.png", "locked.png"):
        picture(tmp_path / name)
    separate_file = separate.separate_file

    def vanishing(separator, path, *args):
        (tmp_path / "gone.png").unlink(missing_ok=True)
        return separate_file(separator, path, *args)

    opened = Image.open

    def locked(path, *args, **options):
        if str(path).endswith("locked.png"):  # whoever runs the tests may read all files
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *args, **options)

    monkeypatch.setattr(separate, "separate_file", vanishing)
    monkeypatch.setattr(Image, "open", locked)
    assert run(tmp_path, "--ckpt=remix-k2", "--source-max=0.5") == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("separate.py: error: ")]
    assert len(errors) == 2
    assert "gone.png cannot be read" in errors[0]
    assert "locked.png cannot be read" in errors[1]
    assert_complete(tmp_path, ["0", "z"])


def test_odd_recordings_do_not_stop_the_others(tmp_path, capsys):
    soundfile = pytest.importorskip("soundfile")
    sound = 0.2 * np.sin(np.arange(16_000) * 0.13)
    for name in ("a.wav", "b.flac", "z.wav"):
        soundfile.write(tmp_path / name, sound, 16_000)
    contents = bytearray((tmp_path / "b.flac").read_bytes())
    contents[21] &= 0xF0  # as many samples as nobody knows
    contents[22:26] = bytes(4)
    (tmp_path / "b.flac").write_bytes(contents)
    os.mkfifo(tmp_path / "x.wav")
    bad(tmp_path / "y.wav")
    assert run(tmp_path) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("separate.py: error: ")]
    assert len(errors) == 2
    assert "x.wav is a pipe" in errors[0]
    assert "y.wav" in errors[1]
    assert_complete(tmp_path, ["a", "b", "z"])
    again, _ = soundfile.read(next((tmp_path / "out").glob("b_source1.wav")))
    assert len(again) == len(sound)
