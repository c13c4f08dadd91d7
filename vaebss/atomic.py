"""Files that are written whole or not at all."""

import errno
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vaebss.errors import first_line

# How the system says that there is no more room; NumPy and Pillow do so without a number.
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, None}


class NoRoomError(OSError):
    """An error for a file that cannot be written, as the disk is full; the message is one line."""


def make_folder(path: Path) -> None:
    """Make a folder unless it is there, and see that files can be made in it.

    Raises:
        OSError: They cannot; the message is one line.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        raise type(error)(f"no files can be written into {path}: {error.strerror}") from error


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a path of the same name in another folder; the file written there takes the place of `path` at the end.

    Until then, and after an error, `path` is what it was before, and nothing is left beside it. A link at `path` is
    replaced, and what it points to stays; so do other names of the same file.

    Raises:
        NoRoomError: The disk is full. PyTorch's writer says so by a RuntimeError.
        OSError: A folder lies at `path`, or no file can be made there.
    """
    if path.is_dir() and not path.is_symlink():
        raise IsADirectoryError(f"{path} is a folder: name a file")
    try:
        folder = Path(tempfile.mkdtemp(prefix=".part-", dir=path.parent))
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(path)) from error
    part = folder / path.name
    try:
        yield part
        part.replace(path)
    except NoRoomError:  # of another file that is written at the same time
        raise
    except (OSError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno not in FULL:
            raise
        kept = "; the one from before is kept" if path.is_file() else ""
        raise NoRoomError(f"{path} cannot be written, is the disk full?{kept} ({first_line(error)})") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_text(text: str, path: Path) -> None:
    """Write a file of text in UTF-8, see `atomic_write`.

    Args:
        text: Content of the file.
        path: Path of the file.

    Raises:
        OSError: The file cannot be written.
    """
    with atomic_write(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(value: Any, path: Path) -> None:
    """Write a file of JSON, see `atomic_write`.

    Args:
        value: Plain values.
        path: Path of the file.

    Raises:
        OSError: The file cannot be written.
        TypeError: JSON has no such value.
    """
    write_text(json.dumps(value, indent=2) + "\n", path)
