"""Signals by which a scheduler or a user asks a program to end."""

import signal
import threading
from collections.abc import Callable, Iterator
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


@contextmanager
def held_back() -> Iterator[Callable[[], None]]:
    """Yield a function from whose call on signals wait until the end of the block, so that what follows is whole.

    Until that call, a signal acts at once. Of several signals the first one acts.
    """
    held: list[int] = []
    before: dict[int, Any] = {}

    def hold() -> None:
        for number in (signal.SIGINT, *NOTICES):
            before[number] = signal.getsignal(number)
            set_handler(number, lambda number, _: held.append(number))

    try:
        yield hold
    finally:
        for number, handler in before.items():
            set_handler(number, handler)
        for number in held[:1]:
            signal.raise_signal(number)


def set_handler(number: int, handler: Any) -> None:
    """Set the handler of a signal, if this is the main thread: Python refuses it in any other.

    Args:
        number: Number of the signal, such as `signal.SIGTERM`.
        handler: Handler as in `signal.signal`.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(number, handler)
