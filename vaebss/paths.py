"""Paths as users type them."""

from pathlib import Path

from vaebss.errors import FileError


def expanded(path: str | Path) -> Path:
    """Return a path with the home folder in place of a leading `~` or `~user`.

    Raises:
        FileError: there is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise FileError(f"{path}: no user has the home folder {Path(path).parts[0]}; write ./~ for a folder") from error
