"""A file is written whole or not at all."""

import errno
import tempfile

import numpy as np
import pytest
import torch
from conftest import full_disk
from matplotlib.figure import Figure

from vaebss.atomic import atomic_write, make_folder, write_json
from vaebss.data.remixes import Bank
from vaebss.errors import FileError
from vaebss.figures.files import save_figure
from vaebss.modalities import sound_files
from vaebss.pictures import save_image
from vaebss.training.checkpointing import WholeCheckpoints

pytest.importorskip("resource")


def of_numpy(path, number):
    with atomic_write(path) as part, part.open("wb") as file:
        np.savez(file, numbers=np.full(number, 1.0))


def of_sources(path, number):
    """Two at once, as sources of a mixture are."""
    with atomic_write(path.with_name("other")) as other, atomic_write(path) as part:
        for place in (part, other):
            with place.open("wb") as file:
                np.save(file, np.full(number, 1.0))
    path.with_name("other").unlink()


def of_picture(path, number):
    side = 4 if number < 10 else 300
    with atomic_write(path) as part:
        save_image(torch.rand(side, side, generator=torch.Generator().manual_seed(0)), part.with_suffix(".png"))
        part.with_suffix(".png").replace(part)


def of_figure(path, number):
    figure = Figure(figsize=(1, 1) if number < 10 else (9, 9))
    figure.subplots().imshow(np.random.default_rng(0).random((90, 90)))
    save_figure(figure, path)


WRITERS = {
    "a bank": lambda path, number: Bank(torch.ones(number, 1, 2, 2), (1, 2), 0).save(path),
    "a checkpoint": lambda path, number: WholeCheckpoints().save_checkpoint({"weights": torch.ones(number)}, path),
    "an array": of_numpy,
    "sources": of_sources,
    "a picture": of_picture,
    "JSON": lambda path, number: write_json(["results"] * number, path),
    "a figure": of_figure,
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("was_there", [True, False])
def test_a_full_disk_is_one_line_and_leaves_what_was_there(write, was_there, tmp_path):
    path = tmp_path / "file"
    if was_there:
        write(path, 1)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with full_disk(), pytest.raises(OSError, match="file cannot be written, is the disk full") as caught:
        write(path, 100_000)
    assert "\n" not in str(caught.value)
    assert ("the one from before is kept" in str(caught.value)) == was_there
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    write(path, 2)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_a_full_disk_is_told_of_a_sound_as_well(suffix, tmp_path):
    pytest.importorskip("soundfile")
    noise = torch.rand(200_000, generator=torch.Generator().manual_seed(0))
    with full_disk(), pytest.raises(FileError, match=rf"file{suffix} cannot be written, is the disk full\? \(.+\)$"):
        sound_files.write(noise, tmp_path / f"file{suffix}", 16_000)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("error", [ValueError("a sum that is wrong"), KeyboardInterrupt()])
def test_what_goes_wrong_otherwise_is_told_as_it_is(error, tmp_path):
    def fail():
        with atomic_write(path) as part:
            part.write_text("half")
            raise error

    path = tmp_path / "file"
    path.write_text("before")
    with pytest.raises(type(error)):
        fail()
    assert [file.read_text() for file in tmp_path.iterdir()] == ["before"]


def test_a_link_is_replaced_and_what_it_points_to_stays(tmp_path):
    (tmp_path / "theirs").write_text("kept")
    (tmp_path / "file").symlink_to("theirs")
    write_json(3, tmp_path / "file")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"theirs": "kept", "file": "3\n"}


def test_a_folder_in_place_of_the_file_is_told_before_anything_is_written(tmp_path):
    with pytest.raises(OSError, match="is a folder: name a file"), atomic_write(tmp_path):
        pytest.fail("it is no place for a file")
    (tmp_path / "link").symlink_to(tmp_path)
    write_json(3, tmp_path / "link")
    assert (tmp_path / "link").read_text() == "3\n"


def test_a_folder_that_takes_no_files_is_told(tmp_path, monkeypatch):
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]
    assert not [*(tmp_path / "a" / "b").iterdir()]
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=f"^no files can be written into {tmp_path / 'file'}: File exists$"):
        make_folder(tmp_path / "file")

    def refused(**_):
        raise PermissionError(errno.EACCES, "Permission denied", "tmp123")  # whoever runs the tests may write all

    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    monkeypatch.setattr(tempfile, "mkdtemp", refused)
    with pytest.raises(PermissionError, match=f"^no files can be written into {tmp_path / 'a'}: Permission denied$"):
        make_folder(tmp_path / "a")
    with pytest.raises(PermissionError) as caught:
        write_json(3, tmp_path / "results.json")
    assert caught.value.filename == str(tmp_path / "results.json")
