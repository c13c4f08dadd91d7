"""The command line of separation: a user's own mixtures, files or folders, taken apart into files."""

import math
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebss.commands.terminal import OneLineErrors, program, run_cleanly
from vaebss.commands.written import SHEET, SourceFiles, Written
from vaebss.errors import FileError
from vaebss.pretrained.catalogue import DEFAULT_MODEL

if TYPE_CHECKING:
    from torch import Tensor

    from vaebss.modalities.modality import Modality, Part
    from vaebss.models.separator import Separator
    from vaebss.separation import Separation

FORMATS = ("png", "tiff", "npy", "wav", "flac")
MAGIC = {b"\x93NUMPY": ".npy", b"PK\x03\x04": ".npz"}  # how files begin; what else comes in may be an image


def parse(args: list[str]) -> Any:
    """Options."""
    description = "Take mixtures apart: pictures, NumPy arrays, recordings, folders of them."
    parser = OneLineErrors(prog=program("separate"), description=description)
    inputs = "Pictures, NPY or NPZ files, for a model of sound WAV, FLAC, OGG, MP3; folders, or - for stdin."
    parser.add_argument("inputs", nargs="+", type=str, help=inputs)
    parser.add_argument("--ckpt", type=str, default=DEFAULT_MODEL, help="Checkpoint, or a shipped model's name.")
    parser.add_argument("--out", type=str, default="separated", help="Folder for the sources.")
    kind = "Of the sources' files. By default as what came in: arrays as NPY, pictures as PNG, of 16 bits where they "
    kind += "were, pictures of floats as TIFF, sound as WAV of 32-bit floats."
    parser.add_argument("--format", choices=FORMATS, help=kind)
    brightness = "Brightest value of a single source in the input, white being 1; by default as the mixtures look."
    parser.add_argument("--source-max", "--source_max", type=float | None, help=brightness)
    invert = "For dark sources on a white background; by default as the mixtures look."
    parser.add_argument("--invert", nargs="?", const=True, type=bool | None, help=invert)
    white = "Number that stands for white in arrays of numbers; by default the largest of whole numbers, and 1."
    parser.add_argument("--white", type=float | None, help=white)
    parser.add_argument("--refine-steps", "--refine_steps", type=int, default=0, help="Refine latents, if it has any.")
    parser.add_argument("--restarts", type=int, default=0, help="Other starts to refine; the best objective wins.")
    parser.add_argument("--gpus", type=int | None, help="GPUs to use; 0 is the CPU. By default what there is.")
    options = parser.parse_args(args)
    if options.source_max is not None and not 0 < options.source_max < math.inf:
        raise ValueError(f"--source-max must be above 0, not {options.source_max}")
    return options


def separate(options: Any) -> int:
    """Separate all inputs, write their sources and a contact sheet; the exit code, 2 if one of them could not be."""
    # What takes time to import only now, so that options are refused at once.
    from tqdm import tqdm

    from vaebss.checkpoints import load
    from vaebss.figures.contact_sheet import ContactSheet
    from vaebss.hardware import one_device
    from vaebss.modalities.kinds import modality_of, modality_of_files

    model = load(options.ckpt).to(one_device(options.gpus))
    refinement = {"refine_steps": options.refine_steps, "restarts": options.restarts}
    model.check_options(**refinement)
    out = Path(options.out).expanduser()
    with tempfile.TemporaryDirectory() as piped:
        files, failed = files_of(options.inputs, modality_of(model).suffixes, Path(piped))
        look = {name: options[name] for name in ("source_max", "invert", "white")}
        modality = modality_of_files(model, files, look, say)
        taker = Taker(model, modality, refinement, suffix_of(options.format, modality))
        sheet = ContactSheet(modality.figure, modality.beside)
        with Written(out, files) as written:
            for path, name in tqdm([*zip(files, own_names(files), strict=True)], unit="file", disable=len(files) < 2):
                try:
                    for names, signals, found in taker.take_apart(path, name, written):
                        sheet.add(names, signals, found.sources, found.count)
                except FileError as error:
                    failed += 1
                    complain(error)
            sheet.save(written.place(SHEET))
    mixtures = "1 mixture" if len(written.rows) == 1 else f"{len(written.rows)} mixtures"
    print(f"{mixtures} taken apart into {out}")
    return 2 if failed else 0


def suffix_of(kind: str | None, modality: "Modality") -> str | None:
    """Of the files asked for, None where nothing is.

    Raises:
        ValueError: they cannot hold such signals.
    """
    suffix = f".{kind}" if kind else None
    if suffix not in (None, *modality.formats):
        raise ValueError(f"--format {kind} is not for {modality.kind}, but {', '.join(modality.formats)} are")
    return suffix


@dataclass(frozen=True)
class Taker:
    """Takes files apart into files.

    Args:
        model: that separates.
        modality: what its mixtures are in files.
        refinement: options of `separate`.
        suffix: of the files to write; None is as those that are read.
    """

    model: "Separator"
    modality: "Modality"
    refinement: dict[str, int]
    suffix: str | None

    def take_apart(self, path: Path, stem: str, written: Written) -> "Iterator[tuple[list[str], Tensor, Separation]]":
        """Write the sources of every mixture of a file.

        Yields, part by part, the names of mixtures, their signals and what was found in them, see `found`.

        Raises:
            FileError: it cannot be read, or holds no mixtures for this model.
        """
        parts = self.modality.read(path)
        first, second = next(parts), next(parts, None)
        several = len(first.signals) > 1 or second is not None
        sources = SourceFiles(written, path, stem, self.suffix or first.suffix, several, first.rows)
        if note := self.modality.note(first.signals):
            say(f"{path}: {note}")
        for part in chain([first], [] if second is None else [second], parts):
            with progress(part):
                found = self.found(path, part)
                names = sources.add(part, found)
            yield names, part.signals, found
        sources.close()
        if not sources.most:
            say(f"{path}: no source was found, so that none is written")

    def found(self, path: Path, part: "Part") -> "Separation":
        """What is found in a part of a file; sources come first and add up to the mixtures."""

        def answer(pictures: "Tensor") -> "Separation":
            options: dict[str, Any] = self.refinement
            return self.model.separate(pictures, **options).settled(pictures, self.modality.exponent)

        try:
            return part.separated(answer)
        except FileError:
            raise
        except ValueError as error:
            raise FileError(f"{path}: {error} (see --source-max and --invert)") from error


@contextmanager
def progress(part: "Part") -> Iterator[None]:
    """Show a bar for a part that takes longer than a second."""
    from tqdm import tqdm

    with tqdm(total=part.steps, unit="window", leave=False, delay=1, disable=not part.steps) as bar:
        part.progress = bar.update
        yield


def own_names(files: list[Path]) -> list[str]:
    """For each file the name that its sources are written under: its stem, numbered where an earlier file has it.

    Of one array of an archive, `file.npz[name]`, it is file_name.
    """
    from vaebss.modalities.files import chosen

    names: list[str] = []
    for path in files:
        file, array = chosen(path)
        stem = f"{file.stem}_{array.replace('/', '_')}" if array else file.stem
        numbered = (f"{stem}_{number}" for number in count(2))
        name = next(name for name in chain([stem], numbered) if name not in names)
        if name != stem:
            say(f"{path}: its sources are written as {name}, for another file is called {stem}")
        names.append(name)
    return names


def files_of(inputs: list[str], suffixes: tuple[str, ...], piped: Path) -> tuple[list[Path], int]:
    """The files of all inputs, and how many inputs have none; what comes through a pipe is put into a folder.

    Archives of several arrays are as many files.
    """
    from vaebss.modalities.files import each_array, find

    files: list[Path] = []
    failed = 0
    for name in inputs:
        try:
            found = [_stdin(piped)] if name == "-" else find(name, suffixes=suffixes)
            files += [file for path in found for file in each_array(path)]
        except FileError as error:
            failed += 1
            complain(error)
    return files, failed


def _stdin(folder: Path) -> Path:
    data = sys.stdin.buffer.read()
    suffix = next((kind for magic, kind in MAGIC.items() if data.startswith(magic)), ".png")
    path = folder / f"stdin{suffix}"
    path.write_bytes(data)
    return path


def say(line: str) -> None:
    """Print above a progress bar."""
    from tqdm import tqdm

    tqdm.write(line)


def complain(error: Exception) -> None:
    """One line on stderr, above a progress bar."""
    from tqdm import tqdm

    tqdm.write(f"{program('separate')}: error: {error}", file=sys.stderr)


def main(args: list[str] | None = None) -> int:
    """Entry point of scripts/separate.py: 2 if an input, or all of them, cannot be taken apart."""
    return run_cleanly("separate", lambda: separate(parse(sys.argv[1:] if args is None else args)))
