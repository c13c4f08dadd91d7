"""What all command lines share: errors in one line, options from YAML files, and ends that leave nothing waiting."""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import yaml
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.cli import LightningArgumentParser

from vaebss.checkpoints import first_line
from vaebss.data.digits import DataError

MAX_VALUES = 10_000  # in a configuration file
OBSERVER = "lightning_fabric.strategies.launchers.subprocess_script"  # says when one of several processes has ended
TRACEBACK = "VAEBSS_TRACEBACK"  # environment variable, for those who change the code
TERMINATED = 128 + signal.SIGTERM  # the exit code that shells give


def quieten() -> None:
    """Leave Lightning its warnings, not its tips."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger(OBSERVER).setLevel(logging.INFO)


def run_cleanly(program: str, main: Callable[[], None]) -> int:
    """Exit code of `main`; an expected error is one line on stderr and code 2, or whole where TRACEBACK is set."""
    try:
        main()
    except (ValueError, DataError, MisconfigurationException, OSError) as error:
        if os.environ.get(TRACEBACK):
            raise
        print(f"{program}: error: {first_line(error)}", file=sys.stderr)
        return 2
    return 0


def end_with_main_process() -> None:
    """In a process that Lightning started beside the main one: end when that does, and not wait for it for ever."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        return
    main = os.getppid()

    def watch() -> None:
        while os.getppid() == main:
            time.sleep(1)
        print(f"the main process {main} has ended, and so do the others", file=sys.stderr, flush=True)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class OneLineErrors(LightningArgumentParser):
    """An argument parser that says in one line what is wrong, where others print all their options first."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        reason = " ".join(message.split())
        print(f"{self.prog}: error: {reason} (--help lists the options)", file=sys.stderr)
        raise SystemExit(2)


def configurations(args: list[str]) -> list[Path]:
    """The files that `--config` names."""
    named = [second for first, second in pairwise(args) if first == "--config"]
    named += [arg.removeprefix("--config=") for arg in args if arg.startswith("--config=")]
    return [Path(name) for name in named if Path(name).is_file()]


def refuse_explosive(path: Path) -> None:
    """Raise a ValueError if the anchors of a YAML file would unfold into more values than anyone writes."""
    sizes: dict[int, int] = {}

    def size(node: Any) -> int:
        if id(node) not in sizes:
            sizes[id(node)] = MAX_VALUES  # for one that holds itself
            children = node.value if isinstance(node, yaml.CollectionNode) else []
            parts = [part for child in children for part in (child if isinstance(child, tuple) else (child,))]
            sizes[id(node)] = 1 + sum(map(size, parts))
        return sizes[id(node)]

    try:
        root = yaml.compose(path.read_text(), yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError):
        return  # the parser says what is wrong
    if root is not None and size(root) > MAX_VALUES:
        raise ValueError(f"{path} unfolds into more than {MAX_VALUES} values")


def flatten(options: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for name, value in options.items():
        key = f"{prefix}.{name}" if prefix else name
        flat |= flatten(value, key) if isinstance(value, dict) else {key: value}
    return flat


def short(path: Path) -> Path:
    """Relative to the working directory where it lies below."""
    return path.resolve().relative_to(Path.cwd()) if path.resolve().is_relative_to(Path.cwd()) else path
