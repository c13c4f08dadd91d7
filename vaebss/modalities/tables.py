"""Tables of lines such as spectra: text files (CSV) that hold the axis of their lines in the first row or column."""

# N lines of L points each

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vaebss.errors import FileError
from vaebss.modalities.files import reading

DELIMITERS = "\t;,"  # in the order in which they are looked for: a comma may be a decimal one
SHORTEST = 5  # points of a line
REMEDY = "name its axes by --axes (in Python axes=): NW where each row is a line, WN where each column is"


class Table(NamedTuple):
    """Layout of lines in a file.

    Attributes:
        columns: Whether each line is a column; otherwise it is a row.
        axis: Cells of the axis, L of them, or none.
        names: Cells that name the lines, N of them, or none.
        corner: The cell that the axis and the names share.
        delimiter: Character that separates cells; empty for white space.
        comma: Whether numbers have decimal commas.
    """

    columns: bool
    axis: list[str]
    names: list[str]
    corner: str
    delimiter: str
    comma: bool

    def __str__(self) -> str:
        axis = f"axis {self.corner} from {self.axis[0]} to {self.axis[-1]}" if self.axis else "no axis"
        return f"each {'column' if self.columns else 'row'} is a line, {' '.join(axis.split())}"


def read_table(path: Path, axes: str | None = None) -> tuple[np.ndarray, Table]:
    """Read the lines of a table, (N, L) float64, and how the file holds them.

    The first column is the axis if its numbers rise or fall throughout, and each column is then a line. The first row
    is the axis if its numbers do, and each row is then a line. If both do, the one that only counts is not the axis.

    Args:
        path: Text of cells that are separated by commas, semicolons, tabs or white space. Rows that begin with # are
            left out. Where commas do not separate, they are decimal points.
        axes: "NW" if each row is a line, "WN" if each column is; by default as the axis tells.

    Raises:
        FileError: A cell is no number, the rows differ in length, nothing tells what is a line, or there is none.
    """
    if axes not in (None, "NW", "WN"):
        raise FileError(f"{path} is a table, whose axes are NW or WN, not {axes}")
    with reading(path):
        rows = [row for row in path.read_text(encoding="utf-8-sig").splitlines() if row.strip() and row[0] != "#"]
        delimiter = next((mark for mark in DELIMITERS if rows and all(mark in row for row in rows)), "")
        cells = [*csv.reader(rows, delimiter=delimiter)] if delimiter else [row.split() for row in rows]
    if all(row[-1] == "" for row in cells):
        cells = [row[:-1] for row in cells]  # a delimiter ends each row
    if len({len(row) for row in cells}) != 1 or not cells[0]:
        raise FileError(f"{path} holds no table: its rows have different numbers of cells")
    numbers = np.array([[_number(cell, delimiter != ",") for cell in row] for row in cells])
    columns = _are_columns(path, numbers) if axes is None else axes == "WN"
    if columns:
        numbers, cells = numbers.T, [list(column) for column in zip(*cells, strict=True)]
    top, left = _headed(numbers)
    values = numbers[top:, left:]
    if not len(values):
        raise FileError(f"{path} holds no lines: its only {'column' if columns else 'row'} is the axis")
    if values.shape[1] < SHORTEST:
        raise FileError(f"{path} holds lines of {values.shape[1]} points: lines need {SHORTEST} or more")
    for wrong in np.argwhere(np.isnan(values))[:1]:
        row, column = (wrong[0] + top, wrong[1] + left)
        place = (column, row) if columns else (row, column)
        text = f"{cells[row][column]!r} in row {place[0] + 1}, column {place[1] + 1} of the table"
        raise FileError(f"{path} holds {text}, where there must be a number")
    axis, names = cells[0][left:] if top else [], [row[0] for row in cells[top:]] if left else []
    comma = delimiter != "," and any("," in cell for row in cells[top:] for cell in row[left:])
    return values, Table(columns, axis, names, cells[0][0] if top and left else "", delimiter, comma)


def write_table(path: Path, table: Table, values: np.ndarray) -> None:
    """Write lines as a table that has the layout of another one.

    Args:
        path: Path to write to.
        table: Table whose axis, names and layout are kept.
        values: Lines (N, L).
    """
    point = "," if table.comma else "."
    cells = [[f"{value:.7g}".replace(".", point) for value in line] for line in values]
    if table.names:
        cells = [[name, *line] for name, line in zip(table.names, cells, strict=True)]
    if table.axis:
        cells = [[table.corner, *table.axis] if table.names else table.axis, *cells]
    if table.columns:
        cells = [list(column) for column in zip(*cells, strict=True)]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=table.delimiter or " ", lineterminator="\n").writerows(cells)


def _number(cell: str, comma: bool) -> float:
    """Return the number in a cell, NaN if there is none."""
    try:
        return float(cell.replace(",", ".") if comma else cell)
    except ValueError:
        return np.nan


def _are_columns(path: Path, numbers: np.ndarray) -> bool:
    """Return whether each column of a table is a line, NaN standing for text."""
    across, down = _axis(numbers), _axis(numbers.T)
    if across is not None and down is not None and _counts(across) != _counts(down):
        return _counts(across)
    if (across is None) == (down is None):
        what = "neither its first row nor its first column rises" if across is None else "both may be the axis"
        raise FileError(f"{path} may hold lines in rows or in columns, as {what}; {REMEDY}")
    return across is None


def _axis(numbers: np.ndarray) -> np.ndarray | None:
    """Return the numbers of the first row if they rise or fall throughout, without the corner if that is none."""
    headed = np.isnan(numbers[0, 0]) or np.isnan(numbers[1:, 0]).any()
    steps = np.diff(axis := numbers[0, int(headed) :])
    return axis if len(axis) >= SHORTEST and ((steps > 0).all() or (steps < 0).all()) else None


def _counts(axis: np.ndarray) -> bool:
    """Return whether numbers count from 0 or 1."""
    return axis[0] in (0, 1) and bool((np.diff(axis) == 1).all())


def _headed(numbers: np.ndarray) -> tuple[int, int]:
    """Return whether a table whose rows are lines begins with a row for the axis, and with a column for names."""
    worded = bool(np.isnan(numbers[0, 1:]).any())
    left = bool(np.isnan(numbers[1:, 0]).any()) or bool(np.isnan(numbers[0, 0]) and not worded)
    return int(worded or _axis(numbers) is not None), int(left)
