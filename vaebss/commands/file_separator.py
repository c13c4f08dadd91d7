"""Separation of a user's files, one by one, into files of their sources."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebss.commands.input_files import source_names
from vaebss.commands.output_folder import OutputFolder
from vaebss.commands.separation_list import LIST
from vaebss.commands.source_writer import SourceWriter
from vaebss.commands.terminal import say
from vaebss.errors import FileError
from vaebss.pretrained.catalogue import DEFAULT_MODELS

if TYPE_CHECKING:
    from torch import Tensor

    from vaebss.modalities.modality import Modality
    from vaebss.modalities.part import Part
    from vaebss.modalities.registry import PictureOptions
    from vaebss.models.separator import Separator
    from vaebss.separation import Separation

COMPARED = 20  # files, or mixtures of a file, that are compared with a model's training mixtures


class Notes:
    """Notes about files, each printed once for all files that it concerns."""

    def __init__(self) -> None:
        self.paths: dict[str, list[Path]] = {}

    def add(self, path: Path, text: str) -> None:
        """Add a note about a file.

        Args:
            path: Path of the file.
            text: The note, a line without the path.
        """
        self.paths.setdefault(text, []).append(path)

    def tell(self) -> None:
        """Print a line for each note."""
        for text, paths in self.paths.items():
            others = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
            say(f"{paths[0]}{others}: {text}")


@dataclass(frozen=True, eq=False)
class FileSeparator:
    """A model that separates files and writes their sources.

    Args:
        model: The model.
        modality: Modality of the mixtures in the files.
        refinement: Options of the model's `separate`.
        suffix: Suffix of the files to write; None is that of the files that are read.
        notes: Notes for the user about files, to which it adds.
    """

    model: "Separator"
    modality: "Modality"
    refinement: dict[str, int]
    suffix: str | None
    notes: Notes

    @property
    def classes(self) -> int:
        """The number of classes of sources, each of which has a slot; 0 if slots are no classes."""
        return self.model.num_sources if self.modality.has_classes else 0

    def separate(self, path: Path, stem: str, output: OutputFolder) -> "Iterator[tuple[list[str], Part, Separation]]":
        """Write the sources of every mixture of a file.

        Args:
            path: Path of the file.
            stem: Beginning of the names of the sources' files.
            output: Folder that the sources are written to.

        Yields:
            The names of the mixtures of each part, the part, and their separation, see `separate_part`.

        Raises:
            FileError: The file cannot be read, or holds no mixtures for this model.
        """
        from vaebss.modalities.modality import parts_of

        parts = parts_of(self.modality, path)
        first, second = next(parts), next(parts, None)
        several = len(first.signals) > 1 or second is not None
        suffix = self.suffix or first.suffix
        sources = SourceWriter(output, path, stem, suffix, several, first.rows, self.classes)
        for note in filter(None, (first.note, self.modality.resize_note(first.signals))):
            self.notes.add(path, note)
        for part in chain([first], [] if second is None else [second], parts):
            with progress(part):
                found = self.separate_part(path, part)
                names = sources.add(part, found)
            yield names, part, found
        sources.close()
        if not sources.most:
            self.notes.add(path, "no source was found, so that none is written")

    def separate_part(self, path: Path, part: "Part") -> "Separation":
        """Return the separation of a part of a file, see `Part.separated`; sources add up to the mixtures.

        Args:
            path: Path of the file, for errors and notes.
            part: The part.

        Raises:
            FileError: The part cannot be read, or the model cannot separate it.
        """

        def answer(pictures: "Tensor") -> "Separation":
            options: dict[str, Any] = self.refinement
            return self.model.separate(pictures, **options).drop_inactive(pictures, self.modality.exponent)

        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", UserWarning)
                found = part.separated(answer)
        except FileError:
            raise
        except ValueError as error:
            hint = " (see --source-max and --invert)" if self.modality.has_white else ""
            raise FileError(f"{path}: {error}{hint}") from error
        for text in {str(warning.message) for warning in caught}:
            self.notes.add(path, text)
        return found


@contextmanager
def progress(part: "Part") -> Iterator[None]:
    """Show a bar for a part that takes longer than a second."""
    from tqdm import tqdm

    with tqdm(total=part.steps, unit=part.step, leave=False, delay=1, disable=not part.steps) as bar:
        part.progress = bar.update
        yield


def load_model(ckpt: str, options: Any) -> "Separator":
    """Load a model that can take the options.

    Args:
        ckpt: Checkpoint, folder or name of the model.
        options: Options of separate.py: the devices and the refinement.

    Returns:
        The model on its device.

    Raises:
        ValueError: The model cannot be loaded, or lacks an option.
    """
    from vaebss.checkpoints import load
    from vaebss.hardware import one_device

    model = load(ckpt).to(one_device(options.gpus))
    model.check_options(refine_steps=options.refine_steps, restarts=options.restarts)
    return model


def separators(
    options: Any, stated: "Separator | None", files: list[Path], notes: Notes
) -> Iterator[tuple[FileSeparator, Path, str]]:
    """Choose what separates each file: the model that is stated, else the default model of the file's kind.

    Args:
        options: Options of the command.
        stated: Model that the user has stated, if any.
        files: Files to separate.
        notes: Notes for the user about files, which the separators add to.

    Yields:
        Each file, kind by kind, with its separator before it, and the name that its sources are written under after it.
    """
    from vaebss.modalities.registry import PictureOptions, kind_of

    names, renamed = source_names(files)
    if renamed:
        say(renamed[0] + (f" (and so on with {len(renamed) - 1} more, see {LIST})" if len(renamed) > 1 else ""))
    kinds = [""] if stated else sorted(set(map(kind_of, files)), reverse=True)  # images first
    for kind in kinds:
        group = [each for each in zip(files, names, strict=True) if stated or kind_of(each[0]) == kind]
        if not stated:
            say(f"Model: {DEFAULT_MODELS[kind]} (--ckpt)")
        model = stated or load_model(DEFAULT_MODELS[kind], options)
        of_pictures = {field.name: options[field.name] for field in fields(PictureOptions) if kind == kinds[0]}
        separator = separator_of([path for path, _ in group], model, options, PictureOptions(**of_pictures), notes)
        yield from ((separator, *each) for each in group)


def separator_of(
    files: list[Path], model: "Separator", options: Any, of_pictures: "PictureOptions", notes: Notes
) -> FileSeparator:
    """Return the separator of files of one kind, and print what is assumed about them.

    Args:
        files: Paths of the files; the first ones are examined.
        model: Model that separates them.
        options: Options of separate.py.
        of_pictures: What the user states about pictures.
        notes: Notes about files, to which the separator adds its own.

    Raises:
        ValueError: The format that is asked for cannot hold such signals.
    """
    from vaebss.modalities.registry import modality_of_files

    look = modality_of_files(model, files, of_pictures)
    if look.assumed:
        say(f"{look.assumed} (--invert, --source-max)")
    if model.look and (line := unlike_training(model, look.modality, files)):
        say(line)
    refinement = {"refine_steps": options.refine_steps, "restarts": options.restarts}
    suffix = suffix_of(options.format, look.modality)
    separator = FileSeparator(model, look.modality, refinement, suffix, notes)
    if separator.classes:
        names = ", ".join(f"NAME_class{k + 1}" for k in range(separator.classes))
        say(f"Each class of sources has its slot: files {names}, empty where a class is absent")
    return separator


def unlike_training(model: "Separator", modality: "Modality", files: list[Path]) -> str:
    """Return one line if the mixtures in the first files look unlike a model's training mixtures, else an empty one.

    One file of sound is read, or several of pictures. Pictures of other sizes than the first one are left out, and so
    are broken files.

    Args:
        model: Model with a `look`.
        modality: Modality of the files.
        files: Paths of the files.
    """
    import torch

    from vaebss.likeness import unlike
    from vaebss.modalities.modality import parts_of

    found: list[Tensor] = []
    for path in files[: 1 if modality.audible else COMPARED]:
        with suppress(FileError, ImportError):
            for part in islice(parts_of(modality, path), 1):
                windows = modality.split(part.signals[:COMPARED])
                found += [windows] if not found or windows.shape[1:] == found[0].shape[1:] else []
    return unlike(model, modality, torch.cat(found)) if found else ""


def suffix_of(kind: str | None, modality: "Modality") -> str | None:
    """Return the suffix of the files that are asked for, or None where no format is stated.

    Args:
        kind: Format, such as "png"; None if it is not stated.
        modality: Modality of the signals.

    Raises:
        ValueError: Such files cannot hold such signals.
    """
    suffix = f".{kind}" if kind else None
    if suffix not in (None, *modality.formats):
        raise ValueError(f"--format {kind} is not for {modality.kind}, but {', '.join(modality.formats)} are")
    return suffix
