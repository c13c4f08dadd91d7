"""The list of an output folder: which mixtures are separated, into which files, as names or patterns of names."""

import csv
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from vaebss.atomic import atomic_write
from vaebss.errors import FileError
from vaebss.paths import encodable

LIST = "separations.csv"
COLUMNS = ("file", "name", "count", "confidence", "blind_score", "picture", "written")
SCORE = "blind_score_source{}"  # columns after blind_score, as many as the most scores of sources of a mixture
NEWER = ("blind_score", "picture")  # columns that lists of earlier versions lack
PLACE = COLUMNS.index("blind_score") + 1  # of the columns SCORE
SUFFIXES = r"\.(?:png|tiff|npy|csv|wav|flac)"
NUMBER = "[1-9][0-9]{0,3}"
# In the column `written`, see `pattern_of`. Its groups: NAME_, { before a residual, the number of classes, the suffix
PATTERN = re.compile(
    rf"([^/\0]+_)(\{{)?(?:source\*|class\{{1\.\.({NUMBER})\}})(?(2),residual\}})({SUFFIXES})", re.DOTALL
)
RESIDUAL = re.compile(rf"[^/\0]+_residual{SUFFIXES}", re.DOTALL)  # the name of a file
SOURCE = re.compile(rf"([^/\0]+_(?:source|class))({NUMBER})({SUFFIXES})", re.DOTALL)  # the name of a file
PICTURE = re.compile(r"[^/\0]+_spectrogram\.png", re.DOTALL)  # in the column `picture`, and the name of a file
COUNT = re.compile("[0-9]{1,4}")


class Row(NamedTuple):
    """The row of one mixture in the list.

    Attributes:
        file: Path of the mixture's file.
        name: Name of the mixture.
        number: Number of its sources.
        confidence: Confidence of their masks.
        blind_score: Estimated quality in dB; empty where it is unknown.
        source_scores: Estimated quality of the source in each file in dB, empty for an absent class; none where it is
            unknown.
        picture: Name of the picture file of the mixture and its sources; empty where there is none.
        written: Names of their files, see `pattern_of`.
    """

    file: str
    name: str
    number: int
    confidence: str
    blind_score: str
    source_scores: tuple[str, ...]
    picture: str
    written: str


def read_list(path: Path) -> list[Row]:
    """Read the rows of a list.

    Raises:
        FileError: The file was not written by this program.
    """
    foreign = f"{path} is there already, and not a list that this version has written: choose another --out"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            columns, *rows = csv.reader(file, strict=True)
    except (ValueError, csv.Error) as error:
        raise FileError(foreign) from error
    number = sum(name.startswith(SCORE.format("")) for name in columns)
    scored = slice(PLACE, PLACE + number) if score_columns(number) == columns[PLACE : PLACE + number] else slice(0)
    scores = [_without_last_blanks(row[scored]) for row in rows]
    for row in (columns, *rows):
        del row[scored]
    for place, name in enumerate(COLUMNS):
        if name in NEWER and name not in columns:
            columns.insert(place, name)
            for row in rows:
                row.insert(place, "")
    if tuple(columns) != COLUMNS:
        raise FileError(foreign)
    for number, row in enumerate(rows, 1):
        well = len(row) == len(COLUMNS) and COUNT.fullmatch(row[2]) and PATTERN.fullmatch(row[-1])
        well = well and (not row[-2] or PICTURE.fullmatch(row[-2]))
        if not well or any(Path(name).name != name for name in row[-2:] if name):
            raise FileError(f"{foreign} (row {number} is malformed)")
    return [
        Row(file, name, int(count), confidence, score, own, picture, written)
        for (file, name, count, confidence, score, picture, written), own in zip(rows, scores, strict=True)
    ]


def _without_last_blanks(cells: list[str]) -> tuple[str, ...]:
    return tuple(cells[: max((number for number, cell in enumerate(cells, 1) if cell), default=0)])


def score_columns(number: int) -> list[str]:
    """Return the names of the columns for the scores of so many sources."""
    return [SCORE.format(k + 1) for k in range(number)]


def pattern_of(stem: str, suffix: str, classes: int = 0, residual: bool = False) -> str:
    """Return the pattern of the files of a mixture's sources, as a shell expands it.

    Args:
        stem: Beginning of the files' names.
        suffix: Suffix of the files' names.
        classes: Number of classes, each of which has a file: NAME_class{1..2}.png. If it is 0, there is a file for each
            source of the mixture: NAME_source*.png, where * counts from 1.
        residual: Whether there is a file of the residual as well: NAME_{source*,residual}.png.
    """
    files = f"class{{1..{classes}}}" if classes else "source*"
    return f"{stem}_{{{files},residual}}{suffix}" if residual else f"{stem}_{files}{suffix}"


def number_of_files(row: Row) -> int:
    """Return the number of files of a mixture's sources: one for each class if they are named by class."""
    return int(PATTERN.fullmatch(row.written)[3] or row.number)  # type: ignore[index]


def listed_files(rows: Iterable[Row]) -> dict[str, int]:
    """Return the largest number of files for each name of files on a list, with * for their numbers."""
    most: dict[str, int] = {}
    for row in rows:
        stem, residual, classes, suffix = PATTERN.fullmatch(row.written).groups()  # type: ignore[union-attr]
        name = f"{stem}{'class' if classes else 'source'}*{suffix}"
        most[name] = max(number_of_files(row), most.get(name, 0))
        most |= {f"{stem}residual{suffix}": 1} if residual else {}
        most |= {row.picture: 1} if row.picture else {}
    return most


def is_listed(name: str, listed: dict[str, int]) -> bool:
    """Return whether a list names a file.

    Args:
        name: Name of the file.
        listed: Files of the list, see `listed_files`.
    """
    if PICTURE.fullmatch(name) or RESIDUAL.fullmatch(name):
        return encodable(name) in listed
    parts = SOURCE.fullmatch(name)
    return bool(parts) and int(parts[2]) <= listed.get(encodable(f"{parts[1]}*{parts[3]}"), 0)


def write_list(path: Path, rows: Iterable[Row]) -> None:
    """Write a list of rows, which replaces an earlier one once it is complete.

    Args:
        path: Path of the list.
        rows: Its rows, in their order.

    Raises:
        OSError: The list cannot be written; the earlier one is kept.
    """
    with atomic_write(path) as place, place.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        rows = list(rows)
        most = max((len(row.source_scores) for row in rows), default=0)
        writer.writerow([*COLUMNS[:PLACE], *score_columns(most), *COLUMNS[PLACE:]])
        for row in rows:
            scores = [*row.source_scores, *[""] * (most - len(row.source_scores))]
            writer.writerow([*row[:PLACE], *scores, *row[PLACE + 1 :]])
