"""Scripts in processes of their own that need not wait for imports: a server has done these, and nothing else."""

import multiprocessing
import os
import signal
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path

from vaebss.commands import terminal

SCRIPTS = Path(__file__).parents[1] / "scripts"
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["vaebss.commands.fit", "vaebss.commands.remix"])


def start(name: str, *args: object, cwd: Path, **environment: str) -> BaseProcess:
    """Start a script in a folder, where the files `output` and `errors` get what it prints."""
    child = SERVER.Process(target=_run, args=(name, [*map(str, args)], cwd, environment), daemon=True)
    child.start()
    return child


def _run(name: str, args: list[str], cwd: Path, environment: dict[str, str]) -> None:
    os.chdir(cwd)
    os.environ.update(environment)
    for file, stream in (("output", 1), ("errors", 2)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells ignore it for background jobs
    sys.argv = [str(SCRIPTS / f"{name}.py"), *args]
    sys.exit(terminal.start(name))
