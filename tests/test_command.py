import subprocess
import sys

import pytest

from vaebss.__main__ import COMMANDS


def vaebss(*args) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "vaebss", *args], capture_output=True, text=True, check=False)


def test_help_lists_every_command():
    result = vaebss("--help")
    assert result.returncode == 0
    assert all(command in result.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command):
    result = vaebss(command, "--help")
    assert result.returncode == 0, result.stderr
    assert "--help" in result.stdout


def test_an_unknown_command_is_one_line():
    result = vaebss("train")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
