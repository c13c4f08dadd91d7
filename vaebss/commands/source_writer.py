"""The files of the sources of one input: their names and their contents."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from vaebss.commands.output_folder import OutputFolder
from vaebss.commands.separation_list import pattern_of
from vaebss.signals import held_back

if TYPE_CHECKING:
    from vaebss.modalities.images import Pictures
    from vaebss.modalities.part import Part
    from vaebss.separation import Separation


class SourceWriter:
    """The writer of the sources' files of one input.

    Each source of each mixture gets a file, and so does its residual if there is one. If slots are classes, each class
    gets a file, which is empty if the mixture lacks the class. If the input and the files are arrays, there is one file
    for the first sources of all mixtures, one for their second sources, and so on.

    Args:
        output: Folder that the files are written to.
        path: Path of the input.
        stem: Beginning of the files' names.
        suffix: Suffix of the files' names.
        several: Whether the input may hold several mixtures, which are then numbered.
        rows: Whether the mixtures are rows of an array.
        classes: Number of classes, each of which has a slot; 0 if slots are no classes.
    """

    def __init__(
        self, output: OutputFolder, path: Path, stem: str, suffix: str, several: bool, rows: bool, classes: int = 0
    ):
        self.output, self.path, self.stem, self.suffix = output, path, stem, suffix
        self.several, self.whole = several or rows, rows and suffix in (".npy", ".csv")
        self.classes = classes
        self.seen, self.most = 0, classes  # mixtures, files of the sources of one
        self.residual = False  # whether mixtures have one
        self.parts: list[tuple[list[str], Pictures, Separation]] = []  # of an array

    def add(self, part: "Part", found: "Separation") -> list[str]:
        """Write the sources of a part.

        Args:
            part: The part.
            found: Separation of its mixtures, active sources first unless slots are classes.

        Returns:
            The names of the part's mixtures.

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
            with held_back() as hold:
                self._note(name, mixture, name, self._write(part, found, number, name, hold))
        return names

    def _write(self, part: "Part", found: "Separation", number: int, name: str, hold: Callable[[], None]) -> str:
        """Write the sources of one mixture, its residual and its figure; return the figure's file name, or "".

        Before the files are moved to their places, `hold` is called: a signal has to wait until all are on the list.
        """
        count = max(self.classes, int(found.count[number]))
        figure = part.figure(found) if count else None
        picture = f"{name}_spectrogram.png" if figure else ""

        def save(paths: list[Path]) -> None:
            part.save(found, number, paths[:count])
            if self.residual:
                cast("Pictures", part).save_residual(number, paths[count])
            if figure:
                from vaebss.figures.files import as_png  # Matplotlib takes long to import

                paths[-1].write_bytes(as_png(figure))
            hold()

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
            hold()

        with held_back() as hold:
            self.output.write(self._files(self.stem, self.most), save)
            for names, _, found in self.parts:
                for name, mixture in zip(names, found, strict=True):
                    self._note(name, mixture, self.stem)

    def _note(self, name: str, mixture: "Separation", stem: str, picture: str = "") -> None:
        files = pattern_of(stem, self.suffix, self.classes, self.residual)
        self.output.note(self.path, name, int(mixture.count), float(mixture.confidence), files, picture)

    def _files(self, stem: str, count: int) -> list[str]:
        """Return the names of files of `count` sources or classes, and of the residual."""
        word = "class" if self.classes else "source"
        sources = [f"{stem}_{word}{k + 1}{self.suffix}" for k in range(count)]
        return [*sources, f"{stem}_residual{self.suffix}"] if self.residual else sources

    def _name(self, number: int) -> str:
        """Name a mixture; a row of the arrays that are written is called as in Python."""
        if self.whole:
            return f"{self.stem}[{number}]"
        return f"{self.stem}_{number:05d}" if self.several else self.stem
