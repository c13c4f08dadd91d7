"""Files of a folder by their kinds, and the arrays of an archive, each as if it were a file."""

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from vaebss.errors import FileError
from vaebss.paths import expanded

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
ARRAYS = (".npy", ".npz")
TABLES = (".csv",)
KINDS = IMAGES + TABLES + ARRAYS
CHOSEN = re.compile(r"(.+\.npz)\[(.*)\]", re.IGNORECASE | re.DOTALL)  # one array of an archive: file.npz[name]


def find(path: str | Path, nested: bool = False, suffixes: tuple[str, ...] = KINDS) -> list[Path]:
    """Return the file itself, or the files with images in a folder, sorted by name and without hidden ones.

    Tables in a folder of other files are left out, for they are lists and no mixtures.

    Args:
        path: Path of a file, of a folder, or of one array of an archive as `file.npz[name]`; `~` is the user's home.
        nested: Whether files in folders below are found too, sorted by path.
        suffixes: Suffixes of the files to find.

    Raises:
        FileError: The path does not exist, or holds no file with one of the suffixes.
    """
    with reading(path):
        path = expanded(path)
        if path.is_dir():
            return _in_folder(path, nested, suffixes)
        file, _ = chosen(path)
        if not file.is_file():
            raise FileError(f"{path} does not exist")
        if file.suffix.lower() not in suffixes:
            raise FileError(f"{path} is of an unknown kind; known are {', '.join(suffixes)}")
    return [path]


def _in_folder(folder: Path, nested: bool, suffixes: tuple[str, ...]) -> list[Path]:
    if files := [*_visible(folder, nested, suffixes)]:
        files = [file for file in files if not file.lower().endswith(TABLES)] or files
        return [*map(Path, sorted(files, key=lambda file: file.replace(os.sep, "\0")))]  # as paths are ordered
    below = next(map(Path, _visible(folder, True, suffixes, onerror=None)), None)
    hint = f"; folders below do, such as {below.parent}" if below else ""
    raise FileError(f"{folder} holds no such files; known are {', '.join(suffixes)}{hint}")


def _refuse(error: OSError) -> None:
    raise FileError(f"{error.filename} cannot be read: {error.strerror}") from error


def _visible(
    folder: Path, nested: bool, suffixes: tuple[str, ...], onerror: Callable[[OSError], None] | None = _refuse
) -> Iterator[str]:
    """Yield the paths of files in a folder, without hidden ones.

    Args:
        folder: The folder.
        nested: Whether folders below are searched too.
        suffixes: Suffixes of the files.
        onerror: Function that is called with the error of each folder that may not be read; None leaves these out.
    """
    for place, below, names in os.walk(folder, onerror=onerror):
        below[:] = [name for name in below if nested and not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in suffixes:  # noqa: PTH122  for speed
                yield os.path.join(place, name)  # noqa: PTH118


def chosen(path: Path) -> tuple[Path, str | None]:
    """Return the file of a path, and the name of the array in it that is asked for."""
    match = CHOSEN.fullmatch(str(path))
    return (Path(match[1]), match[2]) if match else (path, None)


def is_table(path: Path) -> bool:
    """Return whether a file is a table of lines, judged by its suffix."""
    return path.suffix.lower() in TABLES


def is_array(path: Path) -> bool:
    """Return whether a file holds arrays, judged by its suffix."""
    return chosen(path)[0].suffix.lower() in ARRAYS


def each_array(path: Path) -> list[Path]:
    """Return a path for each array of an archive of several arrays, or the path itself for any other file, also a
    broken one."""
    names: list[str] = []
    with suppress(FileError):  # which is told of where it is read
        names = list(arrays_in(path)) if path.suffix.lower() == ".npz" else []
    return [Path(f"{path}[{name}]") for name in names] if len(names) > 1 else [path]


def arrays_in(file: Path) -> Any:
    """Return the arrays of a file by their names, read when they are looked up. The name of a single array is empty."""
    with reading(file):
        loaded: Any = np.load(file, mmap_mode="r", allow_pickle=False)
    return {"": loaded} if isinstance(loaded, np.ndarray) else loaded


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Turn any error while a file is read into a FileError that names its path. Pipes and devices are refused."""
    try:
        check_no_pipe(path)
        yield
    except FileError:
        raise
    except Exception as error:  # readers of broken files raise whatever they like
        raise FileError(f"{path} cannot be read: {error or type(error).__name__}") from error


def check_no_pipe(path: str | Path) -> None:
    """Raise a FileError if a path is a pipe or a device, as reading it might never end."""
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):  # nothing lies there, or nothing that can be looked at
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise FileError(f"{path} is a pipe or a device and not a file: use - to read from a pipe")
