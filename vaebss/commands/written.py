"""What separate.py leaves in its folder, and a list of it by which a later run knows what is its own."""

import csv
from collections.abc import Iterable
from pathlib import Path

from vaebss.errors import FileError

LIST = "separations.csv"
SHEET = "contact_sheet.png"


class Written:
    """The folder of results, with a list of what was written there: what is not on it is somebody else's, and stays.

    Args:
        folder: made where there is none.
        inputs: files that are read in this run, and so stay too.
        suffix: of the sources' files.

    Raises:
        OSError: it cannot be.
    """

    def __init__(self, folder: Path, inputs: Iterable[Path], suffix: str):
        self.folder, self.list, self.suffix = folder, folder / LIST, suffix
        folder.mkdir(parents=True, exist_ok=True)
        rows = list(csv.DictReader(self.list.open(newline=""))) if self.list.is_file() else []
        self.rows = {row["name"]: row for row in rows}
        self.inputs = {path.resolve() for path in inputs}
        self.now: set[str] = set()

    def of(self, path: Path, name: str, found: int, confidence: float) -> list[Path]:
        """Where the sources of a mixture go; those that an earlier run found there are deleted.

        Raises:
            FileError: a file is there that is on no list, or another input of this run has that name.
        """
        if name in self.now:
            raise FileError(f"{path}: sources of another input are called {name} already: rename one of them")
        earlier = [self._source(name, number) for number in range(int(self.rows.get(name, {}).get("sources", 0)))]
        for source in earlier:
            if source.resolve() not in self.inputs:
                source.unlink(missing_ok=True)
        places = [self.place(self._source(name, number).name) for number in range(found)]
        self.now.add(name)
        self.rows[name] = {"name": name, "file": str(path), "sources": found, "confidence": f"{confidence:.4f}"}
        return places

    def place(self, name: str) -> Path:
        """Where a file of that name goes, if it is not somebody else's."""
        path = self.folder / name
        if path.exists() and not (name == SHEET and self.list.is_file()):
            raise FileError(f"{path} is there already, and no result of an earlier run: choose another --out")
        return path

    def __enter__(self) -> "Written":
        return self

    def __exit__(self, *_: object) -> None:
        with self.list.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["name", "file", "sources", "confidence"])
            writer.writeheader()
            writer.writerows(self.rows.values())

    def _source(self, name: str, number: int) -> Path:
        return self.folder / f"{name}_source{number + 1}{self.suffix}"
