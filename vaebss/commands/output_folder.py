"""The folder that separate.py writes to, with a list by which a later run knows which files it may replace."""

import csv
import re
import stat
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, nullcontext, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from filelock import FileLock

from vaebss.atomic import atomic_write
from vaebss.errors import FileError
from vaebss.paths import encodable

if TYPE_CHECKING:
    from vaebss.modalities.images import Pictures
    from vaebss.modalities.modality import Part
    from vaebss.separation import Separation

LIST = "separations.csv"
LOCK = ".separations.lock"  # an empty file, which runs that share a folder hold while they write the list
SHEET = "contact_sheet.png"
SPECTRA, AMOUNTS = "component_spectra.csv", "component_amounts.csv"
OF_ALL = (SHEET, SPECTRA, AMOUNTS)  # files of all mixtures
COLUMNS = ("file", "name", "count", "confidence", "blind_score", "picture", "written")
NEWER = ("blind_score", "picture")  # columns that lists of earlier versions lack
SUFFIXES = r"\.(?:png|tiff|npy|csv|wav|flac)"
AND_RESIDUAL = "{source*,residual}"
# In the column `written`: NAME_source*.png, * from 1, or NAME_{source*,residual}.png where there is a residual as well
PATTERN = re.compile(rf"([^/\0]+_)(?:source\*|({re.escape(AND_RESIDUAL)}))({SUFFIXES})", re.DOTALL)
RESIDUAL = re.compile(rf"[^/\0]+_residual{SUFFIXES}", re.DOTALL)  # the name of a file
SOURCE = re.compile(rf"([^/\0]+_source)([1-9][0-9]{{0,3}})({SUFFIXES})", re.DOTALL)  # the name of a file
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
        picture: Name of the picture file of the mixture and its sources; empty where there is none.
        written: Names of their files, with * for their numbers from 1.
    """

    file: str
    name: str
    number: int
    confidence: str
    blind_score: str
    picture: str
    written: str


class OutputFolder:
    """A folder of results, and the list of them. A file that is not on the list, or is a link, is never touched.

    Args:
        folder: Path of the folder; it is created if it does not exist.
        inputs: Files that are never touched either, in the order of the list.
        shared: Whether other runs, of other inputs, may write into the folder at the same time.
        of_all: Names of the files, among `OF_ALL`, that are to be written.

    Raises:
        FileError: The list, or one of the files `of_all`, was not written by this program.
        OSError: The folder cannot be made or read.
    """

    def __init__(self, folder: Path, inputs: Iterable[Path], shared: bool = False, of_all: Iterable[str] = (SHEET,)):
        self.folder, self.list, self.inputs = folder, folder / LIST, list(inputs)
        self.shared = shared
        folder.mkdir(parents=True, exist_ok=True)
        self._read_list()
        self.rows: dict[str, Row] = {}
        self.placed: set[str] = set()
        for name in of_all:
            self.place(name)

    def _read_list(self) -> None:
        """Read what earlier runs have written, and runs that share the folder."""
        listed = _mode(self.list)
        if listed and not stat.S_ISREG(listed):
            raise FileError(f"{self.list} exists and is not a regular file: choose another --out")
        self.earlier = _read(self.list) if listed else []
        self.own = _most(self.earlier)
        self.all_is_own = bool(listed)

    def check_new(self, *names: str) -> None:
        """Raise a FileError if another input of this run has a mixture of one of these names."""
        for name in names:
            if encodable(name) in self.rows:
                raise FileError(f"a mixture of another input is called {name} already: rename one of the two files")

    def note(self, path: Path, name: str, count: int, confidence: float, written: str, picture: str = "") -> None:
        """Put a mixture, whose sources are written, on the list; arguments are those of `Row`."""
        self.check_new(name)
        files = encodable(picture), encodable(written)
        row = Row(encodable(str(path)), encodable(name), count, f"{confidence:.4f}", "", *files)
        self.rows[row.name] = row

    def add_scores(self, scores: Mapping[str, float]) -> None:
        """Put the estimated quality of mixtures in dB, by their names, on the list, if their sources are written."""
        for name, score in scores.items():
            if row := self.rows.get(encodable(name)):
                self.rows[row.name] = row._replace(blind_score=f"{score:.2f}")

    def place(self, name: str) -> Path:
        """Give the path of a file of that name, which is free, or held by an earlier result.

        Raises:
            FileError: Another program's file, a link or an input lies there, or the name is too long.
        """
        path = self.folder / name
        try:
            mode = _mode(path)
        except OSError as error:
            raise FileError(f"{path} cannot be written: {error.strerror}") from error
        if mode and not (self._is_own(name, self.own) and self._may_go(path, mode)):
            whose = "no result of an earlier run, though perhaps of one that still runs"
            raise FileError(f"{path} is there already, and {whose}: choose another --out")
        return path

    def write(self, names: list[str], save: Callable[[list[Path]], None]) -> None:
        """Write files of these names with `save`: all of them, or none.

        Args:
            names: Names of files, as `SOURCE`, `RESIDUAL` and `PICTURE` match them.
            save: Function that writes one file to each of the paths that it is given.

        Raises:
            FileError: A path is refused by `place`, another input of this run has written such a name, or a file cannot
                be written.
        """
        if taken := self.placed.intersection(names):
            raise FileError(f"{self.folder / min(taken)} holds a source of another input: rename one of them")
        places = [self.place(name) for name in names]
        parts: dict[str, Path] = {}
        try:
            with ExitStack() as stack:
                parts |= {str(stack.enter_context(atomic_write(place))): place for place in places}
                save([*map(Path, parts)])
        except (OSError, FileError) as error:
            reason = getattr(error, "strerror", None)
            text = f"{self.folder / names[0]} cannot be written: {reason}" if reason else str(error)
            for part, place in parts.items():
                text = text.replace(part, str(place))
            raise FileError(text) from error
        self.placed |= set(names)

    def save_of_all(self, name: str, save: Callable[[Path], None]) -> None:
        """Write one of the files `OF_ALL`, such as the contact sheet, to a path with `save`."""
        with atomic_write(self.place(name)) as path:
            save(path)

    def __enter__(self) -> "OutputFolder":
        return self

    def __exit__(self, *_: object) -> None:
        with FileLock(self.folder / LOCK) if self.shared else nullcontext():
            self._read_list()
            self._write_list()

    def _write_list(self) -> None:
        """Write the list, and delete what an earlier run found in the same mixtures and this one did not."""
        again = {row.written for row in self.rows.values()}
        kept = [row for row in self.earlier if row.name not in self.rows and row.written not in again]
        left = _most(kept)
        for path in [*self.folder.iterdir()] if self.earlier else []:
            name = path.name
            if name in self.placed or name in OF_ALL or self._is_own(name, left) or not self._is_own(name, self.own):
                continue
            with suppress(FileNotFoundError):
                if self._may_go(path, _mode(path)):
                    path.unlink()
        with atomic_write(self.list) as place, place.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows(sorted([*kept, *self.rows.values()], key=self._place_on_list))

    def _place_on_list(self, row: Row) -> int:
        """Return the number of a row's file among the inputs, or -1: rows of other files come first."""
        return self._order.get(row.file, -1)

    @cached_property
    def _order(self) -> dict[str, int]:
        return {encodable(str(path)): number for number, path in enumerate(self.inputs)}

    def _is_own(self, name: str, most: dict[str, int]) -> bool:
        """Return whether a list, of which `most` is known, names a file."""
        if name in OF_ALL:
            return self.all_is_own
        if PICTURE.fullmatch(name) or RESIDUAL.fullmatch(name):
            return encodable(name) in most
        parts = SOURCE.fullmatch(name)
        return bool(parts) and int(parts[2]) <= most.get(encodable(f"{parts[1]}*{parts[3]}"), 0)

    def _may_go(self, path: Path, mode: int) -> bool:
        """Return whether a file may be deleted: it is regular, not a link, and none of the inputs."""
        return stat.S_ISREG(mode) and _identity(path) not in self._protected

    @cached_property
    def _protected(self) -> set[tuple[int, int]]:
        """The inputs, by device and number, whatever their paths and links to them are called."""
        found = set()
        for path in self.inputs:
            with suppress(OSError, ValueError):
                found.add(_identity(path))
        return found


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _mode(path: Path) -> int:
    """Return the file mode of a path, of a link itself and not its target; 0 if nothing is there."""
    try:
        return path.lstat().st_mode
    except FileNotFoundError:
        return 0


def _read(path: Path) -> list[Row]:
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
    return [Row(file, name, int(count), *rest) for file, name, count, *rest in rows]


def _most(rows: Iterable[Row]) -> dict[str, int]:
    """Return the largest number of files for each name or pattern of names on a list."""
    most: dict[str, int] = {}
    for row in rows:
        stem, residual, suffix = PATTERN.fullmatch(row.written).groups()  # type: ignore[union-attr]
        pattern = f"{stem}source*{suffix}"
        most[row.picture] = 1
        most[pattern] = max(row.number, most.get(pattern, 0))
        most |= {f"{stem}residual{suffix}": 1} if residual else {}
    return most


class SourceWriter:
    """The writer of the sources' files of one input.

    Each source of each mixture gets a file, and so does its residual if there is one. If the input and the files are
    arrays, there is one file for the first sources of all mixtures, one for their second sources, and so on.

    Args:
        output: Folder that the files are written to.
        path: Path of the input.
        stem: Beginning of the files' names.
        suffix: Suffix of the files' names.
        several: Whether the input may hold several mixtures, which are then numbered.
        rows: Whether the mixtures are rows of an array.
    """

    def __init__(self, output: OutputFolder, path: Path, stem: str, suffix: str, several: bool, rows: bool):
        self.output, self.path, self.stem, self.suffix = output, path, stem, suffix
        self.several, self.whole = several or rows, rows and suffix in (".npy", ".csv")
        self.seen = self.most = 0  # mixtures, sources in one
        self.residual = False  # whether mixtures have one
        self.parts: list[tuple[list[str], Pictures, Separation]] = []  # of an array

    def add(self, part: "Part", found: "Separation") -> list[str]:
        """Write what was found in a part, sources first, and return the names of its mixtures.

        Raises:
            FileError: A file cannot be written, see `OutputFolder.write` and the modality.
        """
        names = [self._name(self.seen + number) for number in range(len(found))]
        self.seen, self.most = self.seen + len(found), max(self.most, int(found.count.max()))
        self.residual = part.residual is not None
        if self.whole:
            self.parts.append((names, cast("Pictures", part), found))  # nothing else is of rows
            return names
        for number, (name, mixture) in enumerate(zip(names, found, strict=True)):
            self.output.check_new(name)
            self._note(name, mixture, name, self._write(part, found, number, name))
        return names

    def _write(self, part: "Part", found: "Separation", number: int, name: str) -> str:
        """Write the sources of one mixture, its residual and its figure; return the figure's file name, or ""."""
        count = int(found.count[number])
        figure = part.figure(found) if count else None
        picture = f"{name}_spectrogram.png" if figure else ""

        def save(paths: list[Path]) -> None:
            part.save(found, number, paths[:count])
            if self.residual:
                cast("Pictures", part).save_residual(number, paths[count])
            if figure:
                from vaebss.figures.files import as_png  # Matplotlib takes long to import

                paths[-1].write_bytes(as_png(figure))

        self.output.write([*self._files(name, count), *filter(None, [picture])], save)
        return picture

    def close(self) -> None:
        """Write what all mixtures share."""
        import torch

        if not self.whole:
            return
        self.output.check_new(*(name for names, _, _ in self.parts for name in names))

        def save(paths: list[Path]) -> None:
            parts: list[Any] = [part for _, part, _ in self.parts]
            for k, path in enumerate(paths):
                whole = torch.cat([part.source(k) if k < self.most else part.residual for part in parts])
                parts[0].write(whole, path)

        self.output.write(self._files(self.stem, self.most), save)
        for names, _, found in self.parts:
            for name, mixture in zip(names, found, strict=True):
                self._note(name, mixture, self.stem)

    def _note(self, name: str, mixture: "Separation", stem: str, picture: str = "") -> None:
        files = f"{stem}_{AND_RESIDUAL if self.residual else 'source*'}{self.suffix}"
        self.output.note(self.path, name, int(mixture.count), float(mixture.confidence), files, picture)

    def _files(self, stem: str, count: int) -> list[str]:
        """Return the names of files of `count` sources, and of the residual."""
        sources = [f"{stem}_source{k + 1}{self.suffix}" for k in range(count)]
        return [*sources, f"{stem}_residual{self.suffix}"] if self.residual else sources

    def _name(self, number: int) -> str:
        """Name a mixture; a row of the arrays that are written is called as in Python."""
        if self.whole:
            return f"{self.stem}[{number}]"
        return f"{self.stem}_{number:05d}" if self.several else self.stem
