"""Signals by which a scheduler or a user asks a program to end."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

NOTICES = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))  # of schedulers


@contextmanager
def ending_at_once(error: type[SystemExit] = SystemExit) -> Iterator[None]:
    """Have a scheduler's signal raise an error at once, so that files are closed and folders cleared away.

    Args:
        error: Class of the error; its exit code tells the signal, as shells do.
    """

    def end(number: int, *_: Any) -> None:
        raise error(128 + number)

    before = {number: signal.getsignal(number) for number in NOTICES}
    for number in NOTICES:
        set_handler(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            set_handler(number, handler)


def set_handler(number: int, handler: Any) -> None:
    """Set the handler of a signal, if this is the main thread: Python refuses it in any other.

    Args:
        number: Number of the signal, such as `signal.SIGTERM`.
        handler: Handler as in `signal.signal`.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(number, handler)
