import errno
import re
import sys

import pytest

import vaebss
from vaebss.__main__ import COMMANDS, main
from vaebss.commands import terminal


def answer(monkeypatch, capsys, *args: str) -> tuple[int | str | None, str]:
    """Exit code and all that is printed."""
    monkeypatch.setattr(sys, "argv", ["vaebss", *args])
    try:
        code: int | str | None = main()
    except SystemExit as stop:
        code = stop.code
    printed = capsys.readouterr()
    return code, printed.out + printed.err


def test_help_lists_every_command(monkeypatch, capsys):
    code, printed = answer(monkeypatch, capsys, "--help")
    assert code == 0
    assert all(f"  {command} " in printed for command in COMMANDS)


def test_the_version_is_printed(monkeypatch, capsys):
    assert answer(monkeypatch, capsys, "--version") == (0, f"vaebss {vaebss.__version__}\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_each_of_its_options(command, monkeypatch, capsys):
    code, printed = answer(monkeypatch, capsys, command, "--help.all")
    assert code == 0
    assert printed.startswith(f"usage: vaebss {command} ")
    ours = printed.split("Customize every aspect of training")[0]  # Lightning's own come after, and explain themselves
    options = re.findall(r"^  (--(?!.*\.help)[\w.-]+)[^\n]*\n?((?: {10,}[^\n]*\n)*)", ours, flags=re.MULTILINE)
    assert options
    for option, explanation in options:
        line = re.search(rf"^  {re.escape(option)}[^\n]*  (\w.*)$", ours, flags=re.MULTILINE)
        assert explanation.strip() or line or option == "--print_config", option
    assert "._" not in printed


@pytest.mark.parametrize(("command", "own"), [("fit", "--init"), ("remix", "--teacher")])
def test_our_own_options_come_before_lightnings(command, own, monkeypatch, capsys):
    _, printed = answer(monkeypatch, capsys, command, "--help.all")
    options = re.findall(r"^  (--[\w.]+)", printed, flags=re.MULTILINE)
    assert {own, "--gpus", "--ckpt", "--model.num_sources", "--data.batch_size", "--trainer.max_epochs"} <= {*options}
    lightnings = [option.startswith("--trainer") for option in options]
    assert lightnings == sorted(lightnings)


def test_an_unknown_command_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["vaebss", "train"])
    assert main() == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "no command 'train'" in error


def test_a_full_disk_that_the_system_tells_without_a_file_is_a_question(capsys):
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    assert terminal.run_cleanly("fit", full) == 2
    told = "a file cannot be written, is the disk full? (No space left on device)"
    assert capsys.readouterr().err == f"fit.py: error: {told}\n"
