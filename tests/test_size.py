"""How large a checkout and a wheel are."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def tracked_bytes(folder: str) -> int:
    """Return the size of the files below a folder that git tracks."""
    listed = subprocess.run(["git", "ls-files", "-z", folder], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a checkout of git")
    return sum((ROOT / name).stat().st_size for name in listed.stdout.split("\0") if (ROOT / name).is_file())


@pytest.mark.parametrize(("folder", "limit"), [(".", 48e6), ("vaebss", 42e6)], ids=["checkout", "wheel"])
def test_it_stays_small(folder, limit):
    assert 1e6 < tracked_bytes(folder) < limit
