import subprocess
import sys

import pytest

from vaebss.__main__ import COMMANDS, main


def test_help_lists_every_command():
    result = subprocess.run([sys.executable, "-m", "vaebss", "--help"], capture_output=True, text=True, check=False)
    assert result.returncode == 0
    assert all(command in result.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["vaebss", command, "--help"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 0
    assert "--help" in capsys.readouterr().out


def test_an_unknown_command_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["vaebss", "train"])
    assert main() == 2
    assert capsys.readouterr().err.count("\n") == 1
