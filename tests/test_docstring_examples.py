"""Every public name and command has an example in its docstring, and each example gives what it shows."""

import doctest
from importlib import import_module
from typing import Any

import pytest

import vaebss

COMMANDS = ("fit", "remix", "test", "separate", "export", "demo", "ship", "compare", "benchmark")


def failures(documented: Any, name: str, **known: Any) -> str:
    """Run the examples of a docstring, of which there must be some; return what they give instead of what they show."""
    (found,) = doctest.DocTestFinder(recurse=False).find(documented, name, globs=known)
    assert found.examples
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    report: list[str] = []
    runner.run(found, out=report.append)
    return "".join(report) if runner.failures else ""


@pytest.mark.parametrize("name", vaebss.__all__)
def test_example_gives_what_it_shows(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert failures(getattr(vaebss, name), name) == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_example_of_a_command_gives_what_it_shows(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main = import_module(f"vaebss.commands.{command}").main
    assert failures(main, command, main=main) == ""
