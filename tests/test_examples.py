"""The notebooks of examples/, run as Jupyter would."""

import os

import pytest
from conftest import REPOSITORY

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")

SHOWN = {"first_hour_digits": (4, 0), "first_hour_own_mixtures": (1, 3)}  # pictures and sounds
SHORT = {"VAEBSS_MINUTES": "0.1", "VAEBSS_STEPS": "20"}
SMALL = "from vaebss.training import presets; presets.WIDTHS, presets.PIXELS = {1_000: (4, 6, 8)}, 0"  # of students


@pytest.mark.parametrize("name", SHOWN)
def test_a_notebook_runs(name, tmp_path, monkeypatch):
    pytest.importorskip("pretty_midi")
    for key, value in SHORT.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
    book = nbformat.read(REPOSITORY / "examples" / f"{name}.ipynb", 4)
    book.cells.insert(0, nbformat.v4.new_code_cell(SMALL))
    nbclient.NotebookClient(book, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]
    pictures = [output for output in shown if "image/png" in output.get("data", {})]
    sounds = [output for output in shown if "<audio" in output.get("data", {}).get("text/html", "")]
    assert (len(pictures), len(sounds)) == SHOWN[name]


def test_all_notebooks_are_run_and_small():
    books = [*(REPOSITORY / "examples").glob("*.ipynb")]
    assert {book.stem for book in books} == {*SHOWN}
    assert all(book.stat().st_size < 400_000 for book in books)
