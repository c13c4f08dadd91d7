"""`vaebss.separate` and `separate.py` find the same, and Python says what it assumes."""

import csv
import logging
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vaebss
from vaebss import FileError
from vaebss.commands import separate
from vaebss.data.corpora.digits import load_digits

RATE = 16_000


@pytest.fixture
def dim(tmp_path) -> np.ndarray:
    """Pairs of digits as dim pictures of 16 bits, (5, 28, 28), one eighth as bright as a screen shows them."""
    digits = load_digits("bundled", "nowhere").test[:10, 0].float() / 255
    pairs = ((digits[:5] + digits[5:]) / 16 * 65_535).numpy().astype(np.uint16)
    (tmp_path / "dim").mkdir()
    for number, pair in enumerate(pairs):
        Image.fromarray(pair).save(tmp_path / "dim" / f"{number}.png")
    return pairs


def duet(path: Path) -> np.ndarray:
    time = np.arange(2 * RATE) / RATE
    notes = np.sin(2 * np.pi * 330 * time) + np.sign(np.sin(2 * np.pi * 523 * time))
    sound = (0.2 * np.exp(-time / 2) * notes).astype(np.float32)
    pytest.importorskip("soundfile").write(path, sound, RATE, subtype="FLOAT")
    return sound


def command(path: Path, *options: str) -> list[int]:
    """Separate into a folder; the number of sources of each mixture."""
    assert separate.main([str(path), "--gpus=0", "--out", str(path.parent / "out"), *options]) == 0
    with (path.parent / "out" / "separations.csv").open(newline="") as file:
        return [int(row["count"]) for row in csv.DictReader(file)]


def test_dim_pictures_of_16_bits_have_the_same_sources(dim, tmp_path):
    """The command gives what slots without a source have to those with one, in proportion."""
    counts = command(tmp_path / "dim", "--format=npy")
    of_array, of_files = vaebss.separate(dim), vaebss.separate([tmp_path / "dim"])
    assert counts == of_array.count.tolist() == [int(found.count) for found in of_files] == [2] * 5
    torch.testing.assert_close(torch.stack([found.sources for found in of_files]), of_array.sources)
    for number, found in enumerate(of_files):
        own = found.sources[found.active].numpy()
        whole, mixture = own.sum(0), dim[number] / 65_535
        paths = [tmp_path / "out" / f"{number}_source{k + 1}.npy" for k in range(2)]
        written = np.stack([np.load(path) for path in paths]) / 65_535
        seen = whole > 1e-4
        np.testing.assert_allclose(written[:, seen], (own / np.maximum(whole, 1e-9) * mixture)[:, seen], atol=1e-6)


def test_a_recording_has_the_same_sources(tmp_path):
    sound = duet(tmp_path / "duet.wav")
    import soundfile

    assert command(tmp_path / "duet.wav") == [2]
    of_file, of_array = vaebss.separate(tmp_path / "duet.wav"), vaebss.separate(sound, sample_rate=RATE)
    assert of_file.active.tolist() == of_array.active.tolist() == [True, True]
    written = [soundfile.read(tmp_path / "out" / f"duet_source{k + 1}.wav")[0] for k in range(2)]
    np.testing.assert_allclose(of_file.sources, np.stack(written), atol=1e-5)
    torch.testing.assert_close(of_file.sources, of_array.sources, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg"])
def test_a_recording_that_breaks_off_is_told_and_separated_as_far_as_it_goes(kind, tmp_path, capsys):
    soundfile = pytest.importorskip("soundfile")
    path, sound = tmp_path / f"cut.{kind}", np.random.default_rng(0).standard_normal(6 * RATE) / 10
    soundfile.write(path, sound, RATE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vaebss.separate(path)  # a complete one is not told of
    contents, end = path.read_bytes(), path.stat().st_size * 6 // 10
    if kind == "flac":  # between two of its frames: within one it is refused, as it might be damaged anywhere
        start = contents.find(b"\xff\xf8")
        end = contents.rfind(contents[start : start + 4], 0, end)
    path.write_bytes(contents[:end])
    told = r"breaks off after [234]\.\d s, before its end: the file is incomplete"
    with pytest.warns(UserWarning, match=f"cut.{kind} {told}"):
        assert 2 * RATE < vaebss.separate(path).sources.shape[-1] < 5 * RATE
    command(path)
    lines = capsys.readouterr().out.splitlines()
    assert sum(bool(re.search(rf"cut\.{kind}: {told}$", line)) for line in lines) == 1


@pytest.mark.parametrize("kind", ["wav", "flac"])
def test_a_recording_that_does_not_say_how_long_it_is_is_not_told_to_break_off(kind, tmp_path):
    """Programs that write to a pipe cannot go back to the header."""
    path = tmp_path / f"piped.{kind}"
    pytest.importorskip("soundfile").write(path, np.random.default_rng(0).standard_normal(RATE) / 10, RATE)
    contents = bytearray(path.read_bytes())
    if kind == "wav":
        contents[4:8] = contents[40:44] = b"\xff" * 4
    else:
        contents[21] &= 0xF0
        contents[22:26] = bytes(4)
    path.write_bytes(contents)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert vaebss.separate(path).sources.shape[-1] == RATE


def test_a_list_answers_in_its_order_whatever_its_files_are(dim, tmp_path, caplog):
    sound = duet(tmp_path / "duet.wav")
    np.savez(tmp_path / "two.npz", a=dim[:2], b=dim[2])
    with caplog.at_level(logging.INFO, "vaebss"):
        found = vaebss.separate([tmp_path / "duet.wav", str(tmp_path / "two.npz"), tmp_path / "dim" / "3.png"])
    assert [tuple(each.sources.shape) for each in found] == [
        (2, len(sound)),
        (2, 4, 28, 28),
        (4, 28, 28),
        (4, 28, 28),
    ]
    assert [record.message for record in caplog.records if record.levelno == logging.INFO] == [
        "Model: remix-1to4",
        "Model: remix-lines",
    ]
    for wrong in (tmp_path / "two.npz", tmp_path / "dim"):
        with pytest.raises(FileError, match=r"may hold several files or arrays: give a list, \['"):
            vaebss.separate(wrong)
    with pytest.raises(FileError, match=r"none\.png does not exist"):
        vaebss.separate([tmp_path / "dim", tmp_path / "none.png"])
    with pytest.raises(ValueError, match="options for arrays"):
        vaebss.separate(tmp_path / "duet.wav", sample_rate=RATE)


@pytest.mark.parametrize(
    ("gain", "options", "level"),
    [
        (1, {}, logging.WARNING),  # the model knows sources of 0.5, and these reach 0.06
        (8, {}, logging.INFO),
        (1, {"source_max": 0.06, "invert": False}, None),
    ],
)
def test_what_is_assumed_is_told_and_is_a_warning_where_it_matters(dim, gain, options, level, caplog):
    with caplog.at_level(logging.INFO, "vaebss"):
        vaebss.separate(gain * dim, "remix-k2", **options)
    told = [record.levelno for record in caplog.records if record.message.startswith("Taken as bright on black")]
    assert told == ([] if level is None else [level])


@pytest.mark.parametrize("invert", [False, True])
def test_black_pictures_have_no_source(invert, tmp_path):
    black = np.full((28, 28), 255 if invert else 0, np.uint8)
    Image.fromarray(black).save(tmp_path / "black.png")
    assert command(tmp_path / "black.png", *(["--invert"] if invert else [])) == [0]
    assert int(vaebss.separate(black, "remix-1to4", invert=invert or None).count) == 0
