"""Paths that users type, and how they are shown."""

from pathlib import Path


def expanded(path: str | Path) -> Path:
    """Replace a leading `~` by the user's home folder.

    Raises:
        ValueError: The user does not exist; the message is one line.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{path} names the home folder of an unknown user") from error


def encodable(text: str) -> str:
    """Escape the bytes of a file name that are not UTF-8, which a list cannot hold."""
    return text.encode("utf-8", "backslashreplace").decode()


def printable(text: str) -> str:
    """Turn text with file names into one line that a terminal can show: line breaks and other controls are escaped."""
    return "".join(letter if letter.isprintable() else encodable(repr(letter)[1:-1]) for letter in text)
