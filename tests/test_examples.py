"""The notebook of examples/, run as Jupyter would."""

import os

import pytest
from conftest import REPOSITORY

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")


@pytest.mark.parametrize("notebook", [*(REPOSITORY / "examples").glob("*.ipynb")], ids=lambda path: path.stem)
def test_a_notebook_runs(notebook, tmp_path, monkeypatch):
    pytest.importorskip("pretty_midi")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
    book = nbformat.read(notebook, 4)
    nbclient.NotebookClient(book, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]
    pictures = [output for output in shown if "image/png" in output.get("data", {})]
    sounds = [output for output in shown if "<audio" in output.get("data", {}).get("text/html", "")]
    assert (len(pictures), len(sounds)) == (2, 3)


def test_outputs_that_are_kept_are_small():
    for notebook in (REPOSITORY / "examples").glob("*.ipynb"):
        assert notebook.stat().st_size < 400_000
