"""What is changed at random is noticed where a test looks, and reported where none does; the tree stays as it is."""

import subprocess
import sys
from pathlib import Path

import mutants
import pytest

CODE = """
LEAST = 3


def clamp(value: int, least: int = LEAST) -> int:
    if value < least:
        raise ValueError(value)
    return value


def unseen(value):
    return value + 7
"""
TEST = """
import pytest
from vaebss.tiny import clamp

def test_clamp():
    assert clamp(3) == 3
    with pytest.raises(ValueError):
        clamp(2)
"""


@pytest.fixture
def repository(tmp_path) -> Path:
    for name, text in {"vaebss/tiny.py": CODE, "vaebss/__init__.py": "", "tests/test_tiny.py": TEST}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    return tmp_path


def test_what_tests_look_at_is_killed_and_what_none_runs_survives(repository, monkeypatch):
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)  # options that only the tests here may know
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # each mutant would load them all
    monkeypatch.setenv("PYTEST_PLUGINS", "xdist.plugin,pytest_cov.plugin")
    asked = ["--root", repository, "--tests", "tests/test_tiny.py", "--number", "100", "vaebss"]
    command = [sys.executable, Path(mutants.__file__), *map(str, asked)]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)
    said = {line.split(": ", 1)[1]: line.split()[1] for line in done.stdout.splitlines()[:-1]}
    assert said == {
        "3 -> (4)": "killed",
        "value < least -> (value <= least)": "killed",
        "value < least -> (not value < least)": "killed",
        "raise ValueError(value) -> pass": "killed",
        "value + 7 -> (value - 7)": "SURVIVES",
        "7 -> (8)": "SURVIVES",
    }
    assert done.stdout.splitlines()[-1] == "2 of 6 mutants survive (of 6, seed 0)"
    assert (repository / "vaebss/tiny.py").read_text() == CODE


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("f(a, b, c=1)", ["f(b, a, c=1)", "f(a, b)", "2", "pass"]),
        ("x = a if b else c", ["c if b else a"]),
        ("x = a and not b", ["a or not b", "b"]),
        ("x += 0.0", ["pass", "1.0"]),
        ("print(True)", ["pass", "False"]),
        ("x: Literal[3] = y  # as is", []),
        ("é = 'ü' + y", ["'ü' - y"]),
    ],
)
def test_mutants_of_each_kind(code, expected, tmp_path):
    (tmp_path / "code.py").write_text(code)
    found = mutants.mutants_of("code.py", tmp_path)
    assert sorted(mutant.text for mutant in found) == sorted(
        text if text == "pass" else f"({text})" for text in expected
    )
    for mutant in found:
        compile(mutant.source(tmp_path)[1], "code.py", "exec")
