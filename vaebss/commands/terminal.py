"""Parts that all command lines share: options, errors in one line, and the program's name as it was typed."""

import errno
import logging
import os
import shlex
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn, TextIO

from jsonargparse import ArgumentParser

from vaebss.errors import DataError, first_line
from vaebss.paths import printable
from vaebss.quiet import quiet_lightning, quiet_writers

PART, ALL, GROUPS = "--help.", "all", ("data", "model", "trainer")  # options that print help
SHORT_HELPS = Path(__file__).parent / "help"  # of commands that take seconds to import
TRACEBACK = "VAEBSS_TRACEBACK"  # environment variable, for those who change the code
TERMINATED, INTERRUPTED = 128 + signal.SIGTERM, 128 + signal.SIGINT  # the exit codes that shells give
CLOCK: dict[str, float] = {}  # when the script began
CONSOLE = "vaebss "  # how the program's name begins where it is the console command
OBSERVER = "lightning_fabric.strategies.launchers.subprocess_script"  # says when one of several processes has ended


class OneLineErrors(ArgumentParser):
    """An argument parser with errors of one line, where others print all their options first.

    `--help.all` prints the help of all options, and `--help.data` that of the options whose names begin with `--data`.
    """

    def parse_args(self, args: Any = None, *rest: Any, **options: Any) -> Any:
        for arg in sys.argv[1:] if args is None else args:
            if arg.startswith(PART):
                self.print_part(arg.removeprefix(PART))
                raise SystemExit(0)
        return super().parse_args(args, *rest, **options)

    def add_gpus(self) -> None:
        """Add the option for the device."""
        self.add_argument(
            "--gpus", type=int | None, help="Number of GPUs, 0 for the CPU. By default what is available."
        )

    def add_refinement(self) -> None:
        """Add the options of a VAE's refinement."""
        steps = "Steps that refine the latents of a VAE; 60 are enough."
        self.add_argument("--refine-steps", "--refine_steps", type=int, default=0, help=steps)
        self.add_argument("--restarts", type=int, default=0, help="Further starts of refinement; the best is kept.")

    def print_part(self, part: str) -> None:
        """Print the help of the options of a group, or of all options.

        Raises:
            ValueError: There is no such group.
        """
        groups: Any = self._action_groups
        parts = {action.dest.partition(".")[0]: group for group in groups[::-1] for action in group._group_actions}
        names = [name for name in GROUPS if name in parts]
        if part != ALL:
            if part not in names:
                raise ValueError(f"{PART}{part} must be one of {', '.join(PART + name for name in (*names, ALL))}")
            groups[:] = [parts[part]]
            self.usage, self.description = "%(prog)s [options]", None
        self.print_help()

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        reason = " ".join(message.split())
        print(f"{self.prog}: error: {reason} (--help lists the options)", file=sys.stderr)
        raise SystemExit(2)


def began() -> float:
    """Return when the program began, by `time.monotonic()`; or now where it is not a script, and imports are done."""
    return CLOCK.get("began", time.monotonic())


def start(command: str) -> int:
    """Run a command with the arguments that were typed, and return its exit code.

    Short help is printed from a file where there is one, before anything is imported that takes seconds.
    """
    CLOCK.setdefault("began", time.monotonic())
    path = SHORT_HELPS / f"{command}.txt"
    if {"-h", "--help"} & {*sys.argv[1:]} and path.is_file():
        print(path.read_text().replace(f"{command}.py", program(command), 1), end="")
        return 0
    return import_module(f"vaebss.commands.{command}").main()


def program(command: str) -> str:
    """Return the name of a command as it was typed: `vaebss test` or `test.py`."""
    return CONSOLE + command if sys.argv[0].startswith(CONSOLE) else f"{command}.py"


def call(command: str, *args: object) -> str:
    """Return how to call another command the same way: `vaebss test ...` or `python scripts/test.py ...`."""
    here = Path(sys.argv[0])
    folder = here.parent if (here.parent / f"{command}.py").is_file() else Path("scripts")
    words = program(command).split() if sys.argv[0].startswith(CONSOLE) else ["python", f"{folder / command}.py"]
    return shlex.join([*words, *map(str, args)])


def run_cleanly(command: str, main: Callable[[], int | None]) -> int:
    """Run a command and return its exit code.

    An expected error is one line on stderr, and the code is 2. If TRACEBACK is set, the error is raised whole.

    Args:
        command: Name of the command, for the error.
        main: Function that runs the command and returns its exit code, or None for 0.
    """
    logging.getLogger(OBSERVER).setLevel(logging.INFO)
    try:
        with quiet_lightning(), quiet_writers(), plain_warnings(command):
            return main() or 0
    except KeyboardInterrupt:  # where there is nothing to be saved
        print("\nInterrupted.", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, DataError, OSError) as error:
        if os.environ.get(TRACEBACK):
            raise
        reason = first_line(error)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None:
            reason = f"a file cannot be written, is the disk full? ({reason})"  # of a log, for instance
        print(f"{program(command)}: error: {reason}", file=sys.stderr)
        return 2


@contextmanager
def plain_warnings(command: str) -> Iterator[None]:
    """Print a warning as one line above a progress bar, where Python would name a file and a line of code."""

    def show(message: Warning | str, *_: Any) -> None:
        line = first_line(message) if isinstance(message, Warning) else message
        say(f"{program(command)}: warning: {line}", sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def say(line: str, file: TextIO | None = None) -> None:
    """Print one line above a progress bar.

    Args:
        line: The line; its control characters are escaped, see `printable`.
        file: Stream that it is written to, such as `sys.stderr`; by default stdout.
    """
    from tqdm import tqdm

    tqdm.write(printable(line), file=file)


def short(path: Path) -> Path:
    """Return a path relative to the working directory if it lies below it."""
    return path.resolve().relative_to(Path.cwd()) if path.resolve().is_relative_to(Path.cwd()) else path
