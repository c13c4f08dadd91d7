"""The command line of separation: a user's own mixtures, files or folders, taken apart into files."""

import math
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebss.commands.output_folder import LIST, OutputFolder, SourceWriter
from vaebss.commands.terminal import TRACEBACK, OneLineErrors, program, run_cleanly
from vaebss.errors import FileError, first_line
from vaebss.paths import expanded, printable
from vaebss.pretrained.catalogue import DEFAULT_MODELS

if TYPE_CHECKING:
    from torch import Tensor

    from vaebss.figures.contact_sheet import ContactSheet
    from vaebss.modalities.modality import Modality, Part
    from vaebss.models.separator import Separator
    from vaebss.separation import Separation

FORMATS = ("png", "tiff", "npy", "wav", "flac")
OF_PICTURES = ("source_max", "invert", "white", "axes")
MAGIC = {  # how files begin; what else comes in may be an image
    rb"\x93NUMPY": ".npy",
    rb"PK\x03\x04": ".npz",
    rb"RIFF....WAVE": ".wav",
    rb"fLaC": ".flac",
    rb"OggS": ".ogg",
    rb"ID3|\xff\xfb": ".mp3",
    rb"FORM....AIF": ".aiff",
}


def parse(args: list[str]) -> Any:
    """Options."""
    description = "Take mixtures apart: pictures, NumPy arrays, recordings, folders of them."
    parser = OneLineErrors(prog=program("separate"), description=description)
    inputs = "Files of pictures, NPY or NPZ; WAV, FLAC, OGG or MP3 files; folders of them; or - for stdin."
    parser.add_argument("inputs", nargs="+", type=str, help=inputs)
    models = "Checkpoint, or name of a shipped model; by default %s for pictures and %s for sounds."
    models %= DEFAULT_MODELS["images"], DEFAULT_MODELS["audio"]
    parser.add_argument("--ckpt", type=str | None, help=models)
    parser.add_argument("--out", type=str, default="separated", help="Folder for the sources.")
    kind = "Format of the sources' files. By default that of the input: arrays as NPY, pictures as PNG, of 16 bits "
    kind += "where they were, pictures of floats as TIFF, sound as WAV of 32-bit floats."
    parser.add_argument("--format", choices=FORMATS, help=kind)
    brightness = "Brightest value of a single source in the input, white being 1; by default as the mixtures look."
    parser.add_argument("--source-max", "--source_max", type=float | None, help=brightness)
    invert = "Inversion of pictures that show dark sources on white; by default as the mixtures look."
    parser.add_argument("--invert", nargs="?", const=True, type=bool | None, help=invert)
    white = "Number that stands for white in arrays; by default the largest of their type for whole numbers, else 1."
    parser.add_argument("--white", type=float | None, help=white)
    axes = "Axes of arrays of pictures, of N, C, H and W, such as HWN, or NW for lines; by default as shapes tell."
    parser.add_argument("--axes", type=str | None, help=axes)
    steps = "Steps that refine the latents of a VAE; 60 are plenty."
    parser.add_argument("--refine-steps", "--refine_steps", type=int, default=0, help=steps)
    parser.add_argument("--restarts", type=int, default=0, help="Further starts of refinement; the best wins.")
    parser.add_argument("--gpus", type=int | None, help="Number of GPUs, 0 for the CPU. By default what there is.")
    options = parser.parse_args(args)
    if options.source_max is not None and not 0 < options.source_max < math.inf:
        raise ValueError(f"--source-max must be above 0, not {options.source_max}")
    return options


def separate(options: Any) -> int:
    """Separate all inputs, write their sources and a contact sheet; the exit code, 2 if one of them could not be."""
    # What takes time to import only now, so that options are refused at once.
    from tqdm import tqdm

    from vaebss.figures.contact_sheet import ContactSheet

    stated = opened(options.ckpt, options) if options.ckpt else None
    out, notes = expanded(options.out), Notes()
    with tempfile.TemporaryDirectory() as piped:
        files, failed = files_of(options.inputs, stated, Path(piped))
        jobs = [(taker, *each) for taker, group in takers(options, stated, files, notes) for each in group]
        sheet = ContactSheet()
        with OutputFolder(out, files) as output:
            for taker, path, name in tqdm(jobs, unit="file", disable=len(jobs) < 2):
                sheet.draw_with(taker.modality.figure, taker.modality.columns_per_page)
                failed += not taken_apart(taker, path, name, output, sheet)
            if sheet.seen:
                output.save_sheet(sheet.save)
    notes.tell()
    mixtures = "1 mixture" if len(output.rows) == 1 else f"{len(output.rows)} mixtures"
    say(f"{mixtures} taken apart into {out}")
    return 2 if failed else 0


def taken_apart(taker: "Taker", path: Path, name: str, output: OutputFolder, sheet: "ContactSheet") -> bool:
    """Separate one file; whether that went well. Whatever goes wrong is told in one line, and the others go on."""
    try:
        for names, signals, found in taker.take_apart(path, name, output):
            sheet.add(names, signals, found.sources, found.count)
    except FileError as error:
        complain(error)
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        complain(f"{path} cannot be separated: {first_line(error)} ({type(error).__name__})")
    else:
        return True
    return False


def opened(ckpt: str, options: Any) -> "Separator":
    """Load a model that can take the options.

    Raises:
        ValueError: it cannot be loaded, or lacks an option.
    """
    from vaebss.checkpoints import load
    from vaebss.hardware import one_device

    model = load(ckpt).to(one_device(options.gpus))
    model.check_options(refine_steps=options.refine_steps, restarts=options.restarts)
    return model


def takers(
    options: Any, stated: "Separator | None", files: list[Path], notes: "Notes"
) -> "Iterator[tuple[Taker, list[tuple[Path, str]]]]":
    """Choose who separates which files: the model that is stated, else for each kind of files its default model.

    Yields:
        Each taker and its files, with the names that their sources are written under.
    """
    from vaebss.modalities.registry import kind_of, modality_of_files

    named = list(zip(files, own_names(files), strict=True))
    kinds = [""] if stated else sorted(set(map(kind_of, files)), reverse=True)  # images first
    for kind in kinds:
        group = [each for each in named if stated or kind_of(each[0]) == kind]
        if not stated:
            say(f"Model: {DEFAULT_MODELS[kind]} (--ckpt)")
        model = stated or opened(DEFAULT_MODELS[kind], options)
        of_pictures = {name: options[name] for name in OF_PICTURES if kind == kinds[0]}
        look = modality_of_files(model, [path for path, _ in group], **of_pictures)
        if look.assumed:
            say(f"{look.assumed} (--invert, --source-max)")
        refinement = {"refine_steps": options.refine_steps, "restarts": options.restarts}
        yield Taker(model, look.modality, refinement, suffix_of(options.format, look.modality), notes), group


def suffix_of(kind: str | None, modality: "Modality") -> str | None:
    """The suffix of the files asked for; None where no kind is.

    Raises:
        ValueError: they cannot hold such signals.
    """
    suffix = f".{kind}" if kind else None
    if suffix not in (None, *modality.formats):
        raise ValueError(f"--format {kind} is not for {modality.kind}, but {', '.join(modality.formats)} are")
    return suffix


class Notes:
    """What is to be said of files, once for all files of which the same is to be said."""

    def __init__(self) -> None:
        self.paths: dict[str, list[Path]] = {}

    def add(self, path: Path, text: str) -> None:
        """Take note of something about a file."""
        self.paths.setdefault(text, []).append(path)

    def tell(self) -> None:
        """Print a line for each note."""
        for text, paths in self.paths.items():
            others = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
            say(f"{paths[0]}{others}: {text}")


@dataclass(frozen=True)
class Taker:
    """Takes files apart into files.

    Args:
        model: that separates.
        modality: what its mixtures are in files.
        refinement: options of `separate`.
        suffix: of the files to write; None is as those that are read.
        notes: where it puts what the user should know about files.
    """

    model: "Separator"
    modality: "Modality"
    refinement: dict[str, int]
    suffix: str | None
    notes: Notes

    def take_apart(
        self, path: Path, stem: str, output: OutputFolder
    ) -> "Iterator[tuple[list[str], Tensor, Separation]]":
        """Write the sources of every mixture of a file.

        Yields, part by part, the names of mixtures, their signals and what was found in them, see `found`.

        Raises:
            FileError: it cannot be read, or holds no mixtures for this model.
        """
        from vaebss.modalities.modality import parts_of

        parts = parts_of(self.modality, path)
        first, second = next(parts), next(parts, None)
        several = len(first.signals) > 1 or second is not None
        sources = SourceWriter(output, path, stem, self.suffix or first.suffix, several, first.rows)
        if note := self.modality.resize_note(first.signals):
            self.notes.add(path, note)
        for part in chain([first], [] if second is None else [second], parts):
            with progress(part):
                found = self.found(path, part)
                names = sources.add(part, found)
            yield names, part.signals, found
        sources.close()
        if not sources.most:
            self.notes.add(path, "no source was found, so that none is written")

    def found(self, path: Path, part: "Part") -> "Separation":
        """What is found in a part of a file; sources come first and add up to the mixtures."""

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

    with tqdm(total=part.steps, unit="window", leave=False, delay=1, disable=not part.steps) as bar:
        part.progress = bar.update
        yield


def own_names(files: list[Path]) -> list[str]:
    """Name the sources of each file: by its stem, numbered where an earlier file has it.

    Those of one array of an archive, `file.npz[name]`, are called file_name.
    """
    from vaebss.modalities.files import chosen

    used: dict[str, int] = {}  # name -> the number that was tried last with it
    names: list[str] = []
    renamed: list[str] = []
    for path in files:
        file, array = chosen(path)
        name = stem = f"{file.stem}_{array.replace('/', '_')}" if array else file.stem
        while name in used:
            used[stem] += 1
            name = f"{stem}_{used[stem]}"
        used[name] = 1
        names.append(name)
        if name != stem:
            renamed.append(f"{path}: its sources are written as {name}, for another file is called {stem}")
    if renamed:
        say(renamed[0] + (f" (and so on with {len(renamed) - 1} more, see {LIST})" if len(renamed) > 1 else ""))
    return names


def files_of(inputs: list[str], model: "Separator | None", piped: Path) -> tuple[list[Path], int]:
    """List the files of all inputs, of the kinds that a model knows, or of all kinds; and count the inputs without any.

    What comes through a pipe is put into a folder. Archives of several arrays are as many files.
    """
    from vaebss.modalities.files import each_array, find
    from vaebss.modalities.registry import SUFFIXES, modality_of

    suffixes = modality_of(model).suffixes if model else SUFFIXES
    files: list[Path] = []
    failed = 0
    for name in inputs:
        try:
            found = [_stdin(piped)] if name == "-" else find(name, suffixes=suffixes)
            files += [file for path in found for file in each_array(path)]
        except FileError as error:
            failed += 1
            complain(f"{error}{_other_kind(name) if model else ''}")
    return files, failed


def _other_kind(name: str) -> str:
    """The end of an error about an input that the stated model cannot separate, where a model of another kind can."""
    from vaebss.modalities.files import find
    from vaebss.modalities.registry import SUFFIXES, kind_of

    try:
        kind = kind_of(find(name, suffixes=SUFFIXES)[0])
    except FileError:
        return ""
    return f"; for these files leave out --ckpt, or name a model such as {DEFAULT_MODELS[kind]}"


def _stdin(folder: Path) -> Path:
    data = sys.stdin.buffer.read()
    suffix = next((kind for magic, kind in MAGIC.items() if re.match(magic, data, re.DOTALL)), ".png")
    path = folder / f"stdin{suffix}"
    path.write_bytes(data)
    return path


def say(line: str) -> None:
    """Print above a progress bar."""
    from tqdm import tqdm

    tqdm.write(printable(line))


def complain(error: Exception | str) -> None:
    """Print one line on stderr, above a progress bar."""
    from tqdm import tqdm

    tqdm.write(printable(f"{program('separate')}: error: {error}"), file=sys.stderr)


def main(args: list[str] | None = None) -> int:
    """Entry point of scripts/separate.py: 2 if an input, or all of them, cannot be taken apart."""
    return run_cleanly("separate", lambda: separate(parse(sys.argv[1:] if args is None else args)))
