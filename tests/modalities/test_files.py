import errno
import os
from pathlib import Path

import pytest

from vaebss.errors import FileError
from vaebss.modalities.files import find

FOLDER = ["10.png", "2.PNG", "deep/er/0.png", "deep/1.npy", "._2.png", ".hidden.png", "Thumbs.db", ".git/3.png"]


@pytest.fixture
def folder(tmp_path):
    for name in FOLDER:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"not read here")
    (tmp_path / "called.png").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("nested", "names"), [(False, ["10.png", "2.PNG"]), (True, ["10.png", "2.PNG", "deep/1.npy", "deep/er/0.png"])]
)
def test_a_folder_lists_what_is_not_hidden(folder, nested, names):
    assert [path.relative_to(folder).as_posix() for path in find(folder, nested)] == names


def test_files_are_ordered_as_paths_are_and_links_to_folders_are_not_entered(tmp_path):
    for name in ("a/z.png", "a b/y.png", "a.png", "a-/x.png", "B.png", "a/b/c.png", "ab.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"not read here")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "folder.png").symlink_to(tmp_path / "a")
    (tmp_path / "gone.png").symlink_to("nowhere")
    names = ["B.png", "a/b/c.png", "a/z.png", "a b/y.png", "a-/x.png", "a.png", "ab.png", "gone.png"]
    files = find(tmp_path, nested=True)
    assert [path.relative_to(tmp_path).as_posix() for path in files] == names
    assert files == sorted(files)


def test_a_folder_whose_images_lie_below_says_so(folder):
    for name in ("10.png", "2.PNG", "deep/1.npy"):
        (folder / name).unlink()
    with pytest.raises(FileError, match=r"holds no such files; known are .*; folders below do, such as .*er$"):
        find(folder)


@pytest.mark.parametrize("nested", [False, True])
def test_an_empty_folder_is_refused(tmp_path, nested):
    with pytest.raises(FileError, match=r"holds no such files; known are .*\.npz$"):
        find(tmp_path, nested)


@pytest.fixture
def locked(folder, monkeypatch):
    """Folders that may not be read: whoever runs the tests may read all."""
    refused, listed = set(), os.scandir

    def scandir(path):
        if Path(path) in refused:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    return refused


@pytest.mark.parametrize("nested", [False, True])
def test_a_folder_that_may_not_be_read_is_told_also_where_it_lies_below(folder, nested, locked):
    locked.add(folder / "deep" if nested else folder)
    with pytest.raises(FileError, match=f"^{min(locked)} cannot be read: Permission denied$"):
        find(folder, nested)


def test_a_folder_below_that_may_not_be_read_matters_only_where_it_is_searched(folder, locked):
    locked.add(folder / "deep")
    assert find(folder) == [folder / "10.png", folder / "2.PNG"]
    for path in find(folder):
        path.unlink()
    (folder / "fine").mkdir()
    (folder / "fine" / "1.png").touch()
    with pytest.raises(FileError, match=rf"^{folder} holds no such files; .* such as {folder / 'fine'}$"):
        find(folder)


def test_home_is_expanded(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    assert find("~/10.png") == [folder / "10.png"]
    assert find("~") == [folder / "10.png", folder / "2.PNG"]
