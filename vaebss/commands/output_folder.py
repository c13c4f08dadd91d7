"""The folder that separate.py writes to, with a list by which a later run knows which files it may replace."""

import math
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, nullcontext, suppress
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

from filelock import FileLock

from vaebss.atomic import atomic_write, make_folder
from vaebss.commands.separation_list import LIST, Row, is_listed, listed_files, number_of_files, read_list, write_list
from vaebss.errors import FileError, counted
from vaebss.paths import encodable

LOCK = ".separations.lock"  # an empty file, which runs that share a folder hold while they write the list
SHEET = "contact_sheet.png"
SPECTRA, AMOUNTS = "component_spectra.csv", "component_amounts.csv"
UNKNOWN: Mapping[str, Sequence[float]] = MappingProxyType({})
OF_ALL = (SHEET, SPECTRA, AMOUNTS)  # files of all mixtures


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
        make_folder(folder)
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
        self.earlier = read_list(self.list) if listed else []
        self.own = listed_files(self.earlier)
        self.all_is_own = bool(listed)

    def check_new(self, *names: str) -> None:
        """Raise a FileError if another input of this run has a mixture of one of these names."""
        for name in names:
            if encodable(name) in self.rows:
                raise FileError(f"a mixture of another input is called {name} already: rename one of the two files")

    def note(self, path: Path, name: str, count: int, confidence: float, written: str, picture: str = "") -> None:
        """Put a mixture, whose sources are written, on the list.

        Args:
            path: Path of the mixture's file.
            name: Name of the mixture.
            count: Number of its sources.
            confidence: Confidence of their masks, from 0 to 1.
            written: Names of the files of its sources, see `pattern_of`.
            picture: Name of the picture file of the mixture and its sources; empty if there is none.
        """
        self.check_new(name)
        files = encodable(picture), encodable(written)
        row = Row(encodable(str(path)), encodable(name), count, f"{confidence:.4f}", "", (), *files)
        self.rows[row.name] = row

    def add_scores(self, scores: Mapping[str, float], of_sources: Mapping[str, Sequence[float]] = UNKNOWN) -> None:
        """Put the estimated quality of mixtures in dB, by their names, on the list, if their sources are written.

        Args:
            scores: Estimated quality of mixtures.
            of_sources: Estimated quality of the source in each of their files, NaN for an absent class. It is left out
                where the number of files is another one.
        """
        for name, score in scores.items():
            if row := self.rows.get(encodable(name)):
                own = ["" if math.isnan(each) else f"{each:.2f}" for each in of_sources.get(name, ())]
                known = tuple(own) if len(own) == number_of_files(row) else ()
                self.rows[row.name] = row._replace(blind_score=f"{score:.2f}", source_scores=known)

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
        own = self.all_is_own if name in OF_ALL else is_listed(name, self.own)
        if mode and not (own and self._may_go(path, mode)):
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
        """Write one of the files about all mixtures, such as the contact sheet.

        Args:
            name: Name of the file, one of `OF_ALL`.
            save: Function that writes the file to the path that it is given.
        """
        with atomic_write(self.place(name)) as path:
            save(path)

    def __enter__(self) -> "OutputFolder":
        return self

    def __exit__(self, *_: object) -> None:
        with FileLock(self.folder / LOCK) if self.shared else nullcontext():
            self._read_list()
            self._write_list()

    def _write_list(self) -> None:
        """Write the list in the order of the inputs; rows of other files come first.

        Raises:
            FileError: The list cannot be written, for instance because the disk is full.
        """
        again = {row.written for row in self.rows.values()}
        kept = [row for row in self.earlier if row.name not in self.rows and row.written not in again]
        self._delete_others(listed_files(kept))
        order = {encodable(str(path)): number for number, path in enumerate(self.inputs)}
        try:
            write_list(self.list, sorted([*kept, *self.rows.values()], key=lambda row: order.get(row.file, -1)))
        except OSError as error:
            lost = f"sources of {counted(len(self.rows), 'mixture')} are written but not listed"
            raise FileError(f"{error}: {lost}, and a later run will not replace them: delete them first") from error

    def _delete_others(self, kept: dict[str, int]) -> None:
        """Delete what an earlier run found in the same mixtures and this one did not; `kept` files are of others."""
        for path in [*self.folder.iterdir()] if self.earlier else []:
            name = path.name
            if name in self.placed or is_listed(name, kept) or not is_listed(name, self.own):
                continue
            with suppress(FileNotFoundError):
                if self._may_go(path, _mode(path)):
                    path.unlink()

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
