"""What is hidden from the user, and in how many lines the rest is told."""

import threading

import pytest

from vaebss.errors import first_line
from vaebss.quiet import quiet_writers


@pytest.mark.parametrize(("error", "shown"), [(OSError(28, "No space left"), False), (ValueError("a fault"), True)])
def test_only_a_thread_that_cannot_write_ends_without_a_traceback(error, shown, monkeypatch):
    def fail() -> None:
        raise error

    told = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    before = threading.excepthook
    with quiet_writers():
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
    assert len(told) == shown
    assert threading.excepthook is before


LINES = [
    (OSError(28, "No space left on device"), "No space left on device"),
    (OSError(30, "Read-only file system", "out/logs"), "out/logs: Read-only file system"),
    (OSError(18, "Invalid cross-device link", "a\nb", None, "c"), "a b: c: Invalid cross-device link"),
    (OSError("no room"), "no room"),
    (ValueError("one\ntwo"), "one"),
    (ValueError(), "ValueError"),
]


@pytest.mark.parametrize(("error", "line"), LINES, ids=str)
def test_an_error_is_told_in_its_first_line(error, line):
    assert first_line(error) == line
