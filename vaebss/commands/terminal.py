"""What all command lines share: options, errors in one line, and the program's name as it was typed."""

import logging
import os
import shlex
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from jsonargparse import ArgumentParser

from vaebss.errors import DataError, first_line

TRACEBACK = "VAEBSS_TRACEBACK"  # environment variable, for those who change the code
TERMINATED, INTERRUPTED = 128 + signal.SIGTERM, 128 + signal.SIGINT  # the exit codes that shells give
CONSOLE = "vaebss "  # how the program's name begins where it is the console command
LOGGERS = ("pytorch_lightning", "lightning_fabric")
OBSERVER = "lightning_fabric.strategies.launchers.subprocess_script"  # says when one of several processes has ended
FOREIGN = (  # warnings of Lightning that no user can act upon
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
    r"The number of training batches \(\d+\) is smaller than the logging interval",
    r"Checkpoint directory .+ exists and is not empty",  # of a resumed run
    r"You're resuming from a checkpoint that ended before the epoch ended",  # our loaders go on from there
)


class OneLineErrors(ArgumentParser):
    """An argument parser that says in one line what is wrong, where others print all their options first."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        reason = " ".join(message.split())
        print(f"{self.prog}: error: {reason} (--help lists the options)", file=sys.stderr)
        raise SystemExit(2)


def program(command: str) -> str:
    """The name of a command as it was typed: `vaebss test` or `test.py`."""
    return CONSOLE + command if sys.argv[0].startswith(CONSOLE) else f"{command}.py"


def call(command: str, *args: object) -> str:
    """How a command is called from where this one was: `vaebss test ...` or `python scripts/test.py ...`."""
    here = Path(sys.argv[0])
    folder = here.parent if (here.parent / f"{command}.py").is_file() else Path("scripts")
    words = program(command).split() if sys.argv[0].startswith(CONSOLE) else ["python", f"{folder / command}.py"]
    return shlex.join([*words, *map(str, args)])


def run_cleanly(command: str, main: Callable[[], int | None]) -> int:
    """The exit code that `main` answers, 0 if none; an expected error is one line on stderr and code 2, or whole where
    TRACEBACK is set."""
    for name in LOGGERS:  # warnings, not tips
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger(OBSERVER).setLevel(logging.INFO)
    for message in FOREIGN:
        warnings.filterwarnings("ignore", message)
    try:
        return main() or 0
    except KeyboardInterrupt:  # where there is nothing to be saved
        print("\nInterrupted.", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, DataError, OSError) as error:
        if os.environ.get(TRACEBACK):
            raise
        print(f"{program(command)}: error: {first_line(error)}", file=sys.stderr)
        return 2


def short(path: Path) -> Path:
    """Relative to the working directory where it lies below."""
    return path.resolve().relative_to(Path.cwd()) if path.resolve().is_relative_to(Path.cwd()) else path
