"""What separate.py leaves in its folder, and a list of it by which a later run knows what is its own."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from vaebss.errors import FileError

if TYPE_CHECKING:
    from vaebss.modalities.images import Pictures
    from vaebss.modalities.modality import Part
    from vaebss.separation import Separation

LIST = "separations.csv"
SHEET = "contact_sheet.png"
COLUMNS = ("file", "name", "count", "confidence", "written")  # the last as NAME_source*.png, * being 1 to count


class Written:
    """The folder of results, with a list of what was written there: what is not on it is somebody else's, and stays.

    Args:
        folder: made where there is none.
        inputs: files that are read in this run, and so stay too.

    Raises:
        FileError: another list lies there.
        OSError: it cannot be.
    """

    def __init__(self, folder: Path, inputs: Iterable[Path]):
        self.folder, self.list = folder, folder / LIST
        folder.mkdir(parents=True, exist_ok=True)
        self.earlier = self._earlier() if self.list.is_file() else []
        self.own = _names(self.earlier) | ({SHEET} if self.list.is_file() else set())
        self.inputs = {path.resolve() for path in inputs}
        self.rows: dict[str, dict[str, str]] = {}
        self.placed: set[str] = set()

    def note(self, path: Path, name: str, count: int, confidence: float, written: str) -> None:
        """Put a mixture on the list.

        Args:
            path: its file.
            name: its own.
            count: of its sources.
            confidence: of their masks.
            written: names of their files, a * standing for their numbers from 1.

        Raises:
            FileError: another input of this run has that name.
        """
        if name in self.rows:
            raise FileError(f"{path}: sources of another input are called {name} already: rename one of them")
        self.rows[name] = dict(zip(COLUMNS, (str(path), name, str(count), f"{confidence:.4f}", written), strict=True))

    def place(self, name: str) -> Path:
        """Where a file of that name goes, if it is not somebody else's."""
        path = self.folder / name
        if path.exists() and (name not in self.own or path.resolve() in self.inputs):
            raise FileError(f"{path} is there already, and no result of an earlier run: choose another --out")
        self.placed.add(name)
        return path

    def __enter__(self) -> "Written":
        return self

    def __exit__(self, *_: object) -> None:
        """Write the list, and delete what an earlier run found in the same mixtures and this one did not."""
        again = {row["written"] for row in self.rows.values()}
        kept = [row for row in self.earlier if row["name"] not in self.rows and row["written"] not in again]
        for name in _names(self.earlier) - _names(kept) - self.placed:
            if (self.folder / name).resolve() not in self.inputs:
                (self.folder / name).unlink(missing_ok=True)
        with self.list.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows(row.values() for row in [*kept, *self.rows.values()])

    def _earlier(self) -> list[dict[str, str]]:
        with self.list.open(newline="") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise FileError(f"{self.list} is there already, and not this version's: choose another --out")
            return list(reader)


def _names(rows: list[dict[str, str]]) -> set[str]:
    """Of all files on a list."""
    return {str(k + 1).join(row["written"].rsplit("*", 1)) for row in rows for k in range(int(row["count"]))}


class SourceFiles:
    """The files of what is found in one input: for each source of each mixture one, or one for all mixtures' first
    sources, one for their second ones and so on, where the input is an array and so are they.

    Args:
        written: where they go.
        path: of the input.
        stem: how their names begin.
        suffix: how they end.
        several: whether the input may hold several mixtures, which are numbered then.
        rows: whether they are rows of an array.
    """

    def __init__(self, written: Written, path: Path, stem: str, suffix: str, several: bool, rows: bool):
        self.written, self.path, self.stem, self.suffix = written, path, stem, suffix
        self.several, self.whole = several or rows, rows and suffix == ".npy"
        self.seen = self.most = 0  # mixtures, sources in one
        self.parts: list[tuple[list[str], Pictures, Separation]] = []  # of an array

    def add(self, part: "Part", found: "Separation") -> list[str]:
        """Write what was found in a part, sources first; the names of its mixtures.

        Raises:
            FileError: as `Written` and the modality do.
        """
        names = [self._name(self.seen + number) for number in range(len(found))]
        self.seen, self.most = self.seen + len(found), max(self.most, int(found.count.max()))
        if self.whole:
            self.parts.append((names, cast("Pictures", part), found))  # nothing else is of rows
            return names
        for number, (name, mixture) in enumerate(zip(names, found, strict=True)):
            self._note(name, mixture, name)
            part.save(found, number, self._places(name, int(mixture.count)))
        return names

    def close(self) -> None:
        """Write what all mixtures share."""
        import torch

        if not self.whole:
            return
        for names, _, found in self.parts:
            for name, mixture in zip(names, found, strict=True):
                self._note(name, mixture, self.stem)
        sources = torch.cat([part.restored(found)[:, : self.most] for _, part, found in self.parts])
        for source, path in zip(sources.unbind(1), self._places(self.stem, self.most), strict=True):
            self.parts[0][1].write(source, path)

    def _note(self, name: str, mixture: "Separation", stem: str) -> None:
        files = f"{stem}_source*{self.suffix}"
        self.written.note(self.path, name, int(mixture.count), float(mixture.confidence), files)

    def _places(self, stem: str, count: int) -> list[Path]:
        """The files of `count` sources."""
        return [self.written.place(f"{stem}_source{k + 1}{self.suffix}") for k in range(count)]

    def _name(self, number: int) -> str:
        """Of a mixture; as Python calls a row of the arrays that are written."""
        if self.whole:
            return f"{self.stem}[{number}]"
        return f"{self.stem}_{number:05d}" if self.several else self.stem
