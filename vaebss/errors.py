"""Errors whose messages are one line for the user, and checks that raise them."""

import math


class DataError(RuntimeError):
    """An error for data that cannot be loaded or fail verification; the message says what to do.

    Examples:
        >>> from pathlib import Path
        >>> import vaebss
        >>> Path("MNIST/raw").mkdir(parents=True)
        >>> size = Path("MNIST/raw/train-images-idx3-ubyte.gz").write_bytes(b"damaged")
        >>> try:
        ...     vaebss.MNISTMixtures(source="mnist", root=".").prepare_data()
        ... except vaebss.DataError as error:
        ...     print(error)
        MNIST...
    """


class OneLineError(ValueError):
    """An error with a message of one line; line breaks in file names or quoted messages become spaces."""

    def __init__(self, message: str):
        super().__init__(" ".join(message.splitlines()))


class FileError(OneLineError):
    """An error for a file that holds no mixtures; the message is one line that names the file.

    Examples:
        >>> import vaebss
        >>> try:
        ...     vaebss.separate("missing.png", "remix-k2")
        ... except vaebss.FileError as error:
        ...     print(error)
        missing.png does not exist
    """


class CheckpointError(OneLineError):
    """An error for a checkpoint that cannot be opened; the message is one line that names it.

    Examples:
        >>> import vaebss
        >>> try:
        ...     vaebss.load("missing.ckpt")
        ... except vaebss.CheckpointError as error:
        ...     print(error)
        no checkpoint at missing.ckpt, and no shipped model: ...
    """


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or the error's class if it has none.

    An error of the system is its file, if it names one, and what is wrong with it, without a number.
    """
    if isinstance(error, OSError) and error.strerror:
        names = [str(name) for name in (error.filename, error.filename2) if name is not None]
        return " ".join(": ".join([*names, str(error.strerror)]).splitlines())
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def check_at_least(lowest: float, **numbers: float) -> None:
    """Raise a ValueError that names the first number below `lowest`, infinite or NaN. In a name, `__` is a dot."""
    for name, number in numbers.items():
        if not lowest <= number < math.inf:
            raise ValueError(f"{name.replace('__', '.')} must be {lowest} or more, not {number}")


def check_above_zero(**numbers: float) -> None:
    """Raise a ValueError that names the first number not above 0, infinite or NaN. In a name, `__` is a dot."""
    for name, number in numbers.items():
        if not 0 < number < math.inf:
            raise ValueError(f"{name.replace('__', '.')} must be above 0, not {number}")


def counted(number: int, thing: str) -> str:
    """Return a number with its noun, such as "1 mixture" or "2 mixtures".

    Args:
        number: Number of things, 0 or more.
        thing: Singular of the noun; its plural is formed with "s".
    """
    return f"{number} {thing}" + ("" if number == 1 else "s")
