"""How large a checkout and a wheel are."""

import io
import subprocess
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def tracked(folder: str) -> list[Path]:
    """Return the files below a folder that git tracks."""
    listed = subprocess.run(["git", "ls-files", "-z", folder], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a checkout of git")
    return [path for name in listed.stdout.split("\0") if (path := ROOT / name).is_file()]


def test_a_checkout_stays_small():
    assert 1e6 < sum(path.stat().st_size for path in tracked(".")) < 48e6


def test_a_wheel_stays_small():
    """A wheel is a zip archive of the package, compressed by deflate."""
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in tracked("vaebss"):
            archive.write(path, path.relative_to(ROOT))
    assert 1e6 < wheel.tell() < 42e6
