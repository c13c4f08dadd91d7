"""Tables of lines: which cells are the axis, the names and the values, and that they come back as they were."""

import numpy as np
import pytest
import torch

import vaebss
from vaebss.errors import FileError
from vaebss.modalities.files import find
from vaebss.modalities.image_files import read_held, write_held
from vaebss.modalities.tables import read_table

VALUES = np.round(np.random.default_rng(0).random((3, 6)), 4)  # three lines of six points
AXIS = ["400", "410.5", "421", "430", "440", "1e3"]
NAMES = ["a", "b", "c"]
COUNT = ["0", "1", "2", "3", "4", "5"]


def text(cells, delimiter=",", comma=False):
    rows = [[str(cell).replace(".", ",") if comma else str(cell) for cell in row] for row in cells]
    return "\n".join(delimiter.join(row) for row in rows) + "\n"


def headed(axis, names, corner=""):
    """The cells of a table whose rows are lines."""
    body = [[*([name] if names else []), *line] for name, line in zip(names or NAMES, VALUES, strict=True)]
    top = [[*([corner] if names else []), *axis]] if axis else []
    return [*top, *body]


def turned(cells):
    return [list(column) for column in zip(*cells, strict=True)]


TABLES = {
    "rows": (text(headed(AXIS, [])), None, AXIS, []),
    "rows with names": (text(headed(AXIS, NAMES, "sample")), None, AXIS, NAMES),
    "rows with numbers": (text(headed(AXIS, COUNT[:3])), None, AXIS, COUNT[:3]),
    "columns": (text(turned(headed(AXIS, []))), None, AXIS, []),
    "columns with names": (text(turned(headed(AXIS, NAMES, "nm"))), None, AXIS, NAMES),
    "columns that are counted": (text(turned(headed(AXIS, COUNT[:3], "nm"))), None, AXIS, COUNT[:3]),
    "falling axis": (text(turned(headed(AXIS[::-1], NAMES, "nm"))), None, AXIS[::-1], NAMES),
    "decimal commas": (text(turned(headed(AXIS, NAMES, "nm")), ";", comma=True), None, AXIS, NAMES),
    "tabs": (text(headed(AXIS, NAMES, "nm"), "\t"), None, AXIS, NAMES),
    "white space": (text(turned(headed(AXIS, [])), "  "), None, AXIS, []),
    "comments": ("# of today\n\n" + text(headed(AXIS, [])), None, AXIS, []),
    "a delimiter at the end": (text(headed(AXIS, [])).replace("\n", ",\n"), None, AXIS, []),
    "nothing but lines in rows": (text(VALUES), "NW", [], []),
    "nothing but lines in columns": (text(VALUES.T), "WN", [], []),
    "names alone": (text(headed([], NAMES)), "NW", [], NAMES),
    "names of which one is text": (text(headed([], ["1", "b", "3"])), "NW", [], ["1", "b", "3"]),
    "names of columns alone": (text(turned(headed([], NAMES))), "WN", [], NAMES),
    "counted twice": (text(headed(COUNT, COUNT[:3])), "NW", COUNT, COUNT[:3]),
}


def written(folder, content, name="lines.csv"):
    path = folder / name
    path.write_text(content)
    return path


@pytest.mark.parametrize(("content", "axes", "axis", "names"), TABLES.values(), ids=TABLES.keys())
def test_axis_names_and_values_are_told_apart_and_come_back(content, axes, axis, names, tmp_path):
    path = written(tmp_path, content)
    values, table = read_table(path, axes)
    np.testing.assert_allclose(values, VALUES, atol=1e-9)
    points = [cell.replace(",", ".") for cell in table.axis] if table.comma else table.axis
    assert (points, table.names) == (axis, names)
    ((images, held),) = read_held(path, axes=axes)
    again = tmp_path / "again.csv"
    write_held(images, again, held)
    values, same = read_table(again, axes)
    np.testing.assert_allclose(values, VALUES, rtol=1e-6)
    assert same == table


WRONG = {
    "nothing tells what is a line": (text(VALUES), "NW where each row is a line, WN where each column is"),
    "both may be the axis": (text([["", *"13579"], *[[point, *range(5)] for point in AXIS]]), "both may be the axis"),
    "text among numbers": (text(headed(AXIS, NAMES)).replace(str(VALUES[1, 2]), "?"), "'?' in row 3, column 4"),
    "text among numbers of a column": (
        text(turned(headed(AXIS, NAMES))).replace(str(VALUES[1, 2]), "?"),
        "'?' in row 4, column 3",
    ),
    "a falling axis that halts": (
        text(headed(["5", "4", "4", "3", "2", "1"], [])),
        "neither its first row nor its first column rises",
    ),
    "short lines": ("1,2,3\n0,1,0\n", "may hold lines in rows or in columns"),
    "rows that differ in length": ("1,2,3\n0,1\n", "different numbers of cells"),
    "nothing": ("", "holds no table"),
    "an axis alone": ("1,2,3,4,5\n", "holds no lines: its only row is the axis"),
    "an axis alone in a column": ("1\n2\n3\n4\n5\n", "holds no lines: its only column is the axis"),
    "a number below 0": (
        text(headed(AXIS, [])).replace("\n0.", "\n-0."),
        "holds numbers below 0: set them to 0, or add an offset",
    ),
    "a number that is missing": (text(headed(AXIS, NAMES)).replace(str(VALUES[0, 0]), ""), "'' in row 2, column 2"),
}


@pytest.mark.parametrize(("content", "words"), WRONG.values(), ids=WRONG.keys())
def test_what_may_mean_something_else_is_refused_in_one_line(content, words, tmp_path):
    with pytest.raises(FileError) as caught:
        list(read_held(written(tmp_path, content)))
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_lines_have_five_points_or_more(tmp_path):
    values, _ = read_table(written(tmp_path, text(VALUES[:, :5])), "NW")
    np.testing.assert_allclose(values, VALUES[:, :5])
    with pytest.raises(FileError, match="holds lines of 4 points: lines need 5 or more"):
        read_table(written(tmp_path, text(VALUES[:, :4])), "NW")


def test_axes_of_a_table_are_those_of_lines(tmp_path):
    with pytest.raises(FileError, match="NW or WN, not HWN"):
        read_table(written(tmp_path, text(VALUES)), "HWN")


def test_a_table_beside_other_files_is_a_list_and_no_mixture(tmp_path):
    table = written(tmp_path, text(VALUES))
    assert find(tmp_path) == [table]
    np.save(tmp_path / "lines.npy", VALUES)
    assert find(tmp_path) == [tmp_path / "lines.npy"]


def test_a_model_of_pictures_refuses_lines(tmp_path):
    path = written(tmp_path, text(headed(AXIS, NAMES)))
    with pytest.raises(FileError, match="holds lines, and this model separates pictures"):
        vaebss.separate(path, "remix-k2")


def test_a_model_of_lines_answers_the_lines_of_a_table(tmp_path):
    model = vaebss.Masker(2, (4, 6), 8, view="lines", image_shape=(1, 1, 6), bounded=False).eval()
    found = vaebss.separate(written(tmp_path, text(turned(headed(AXIS, NAMES)))), model)
    assert found.sources.shape == (3, 2, 6)
    torch.testing.assert_close(found.sources.sum(1), torch.from_numpy(VALUES).float(), atol=1e-6, rtol=0)
