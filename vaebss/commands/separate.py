"""The command line of separation: a user's own mixtures, files or folders, become files of their sources."""

import math
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebss.commands.component_table import ComponentTable
from vaebss.commands.input_files import find_inputs, source_names
from vaebss.commands.output_folder import LIST, OF_ALL, SHEET, OutputFolder, SourceWriter
from vaebss.commands.seen_mixtures import SeenMixtures
from vaebss.commands.terminal import TRACEBACK, OneLineErrors, program, run_cleanly
from vaebss.errors import FileError, counted, first_line
from vaebss.paths import expanded, printable
from vaebss.pretrained.catalogue import DEFAULT_MODELS

if TYPE_CHECKING:
    from torch import Tensor

    from vaebss.figures.contact_sheet import ContactSheet
    from vaebss.modalities.modality import Modality, Part
    from vaebss.models.separator import Separator
    from vaebss.separation import Separation

FORMATS = ("png", "tiff", "npy", "csv", "wav", "flac")
LOOKED_AT = 20  # files, or mixtures of a file, that are compared with a model's training mixtures
OF_PICTURES = ("source_max", "invert", "white", "axes", "tiles")


def parse(args: list[str]) -> Any:
    """Parse the options.

    Raises:
        ValueError: An option is out of its range.
    """
    description = "Separate mixtures into their sources: pictures, NumPy arrays, recordings, folders of them."
    parser = OneLineErrors(prog=program("separate"), description=description)
    inputs = "Files of pictures, NPY, NPZ or CSV; WAV, FLAC, OGG or MP3 files; folders of them; or - for stdin."
    parser.add_argument("inputs", nargs="+", type=str, help=inputs)
    models = "Checkpoint, or name of a shipped model; by default %s for pictures and %s for sounds."
    models %= DEFAULT_MODELS["images"], DEFAULT_MODELS["audio"]
    parser.add_argument("--ckpt", type=str | None, help=models)
    parser.add_argument("--out", type=str, default="separated", help="Folder for the sources.")
    kind = "Format of the sources' files; by default that of the input, and WAV for sound."
    parser.add_argument("--format", choices=FORMATS, help=kind)
    brightness = "Brightest value of a single source in the input, where 1 is white; by default as estimated."
    parser.add_argument("--source-max", "--source_max", type=float | None, help=brightness)
    invert = "Inversion of pictures that show dark sources on white; by default as detected."
    parser.add_argument("--invert", nargs="?", const=True, type=bool | None, help=invert)
    white = "Number that represents white in arrays; by default the largest integer of their type, or 1."
    parser.add_argument("--white", type=float | None, help=white)
    axes = "Axes of arrays, such as NCHW or HWN for pictures, NW or WN for lines; by default as shapes tell."
    parser.add_argument("--axes", type=str | None, help=axes)
    tiles = "Tiles into which larger pictures are cut; by default if the model was trained on tiles (--data.tile)."
    parser.add_argument("--tiles", nargs="?", const=True, type=bool | None, help=tiles)
    table = "Tables of the components, such as compounds, to which sources of spectra belong: component_spectra.csv "
    table += "and component_amounts.csv."
    parser.add_argument("--components", action="store_true", help=table)
    share = "Share of the files that this run separates: 3/16 takes the third file of sixteen. Shares may write into "
    share += "one folder at the same time."
    parser.add_argument("--shard", type=str | None, help=share)
    parser.add_refinement()
    parser.add_gpus()
    options = parser.parse_args(args)
    if options.source_max is not None and not 0 < options.source_max < math.inf:
        raise ValueError(f"--source-max must be above 0, not {options.source_max}")
    share_of(options.shard)
    if options.components and options.shard is not None:
        raise ValueError("--components is for all mixtures, and --shard separates a share: give one of them")
    return options


def share_of(shard: str | None) -> slice:
    """Return which of all files a share such as "3/16" takes; None takes all.

    Raises:
        ValueError: The text is no share.
    """
    number, _, shares = ("1/1" if shard is None else shard).partition("/")
    if not (number.isdecimal() and shares.isdecimal() and 1 <= int(number) <= int(shares)):
        raise ValueError(f"--shard must be I/N with I from 1 to N, such as 3/16, not {shard!r}")
    return slice(int(number) - 1, None, int(shares))


def separate(options: Any) -> int:
    """Separate all inputs, or a share of them, and write their sources.

    A contact sheet is drawn unless it would be of a share.

    Returns:
        The exit code, 2 if one of them could not be separated.
    """
    # What takes time to import only now, so that options are refused at once.
    from tqdm import tqdm

    from vaebss.figures.contact_sheet import ContactSheet

    stated = load_model(options.ckpt, options) if options.ckpt else None
    out, notes = expanded(options.out), Notes()
    with tempfile.TemporaryDirectory() as piped:
        files, errors = find_inputs(options.inputs, stated, Path(piped))
        for error in errors:
            complain(error)
        failed = len(errors)
        jobs = [(separator, *each) for separator, group in separators(options, stated, files, notes) for each in group]
        sheet, seen, share = ContactSheet(), SeenMixtures(), jobs[share_of(options.shard)]
        table = ComponentTable() if options.components else None
        paths, of_all = [path for _, path, _ in jobs], OF_ALL if table else (SHEET,)
        with OutputFolder(out, paths, options.shard is not None, of_all) as output:
            for separator, path, name in tqdm(share, unit="file", disable=len(share) < 2):
                sheet.draw_with(separator.modality.figure, separator.modality.columns_per_page)
                failed += not separate_file(separator, path, name, output, sheet, seen, table)
            seen.evaluate()
            output.add_scores(seen.scores)
            if sheet.seen and options.shard is None:
                output.save_of_all(SHEET, partial(sheet.save, scores=seen.scores))
            if table:
                say(table.save(output))
    notes.tell()
    if options.shard is not None:
        say(f"{len(share)} of {len(jobs)} files are in share {options.shard}; a share has no contact sheet")
    say(f"{counted(len(output.rows), 'mixture')} separated into {out}")
    for line in seen.lines:
        say(line)
    return 2 if failed else 0


def separate_file(
    separator: "FileSeparator",
    path: Path,
    name: str,
    output: OutputFolder,
    sheet: "ContactSheet",
    seen: SeenMixtures,
    table: "ComponentTable | None" = None,
) -> bool:
    """Separate one file and return whether that went well; an error is one line, and the other files go on."""
    try:
        for names, part, found in separator.separate(path, name, output):
            sheet.add(names, part.signals, found.sources, found.count)
            seen.add(separator.model, separator.modality, names, part.scored)
            if table:
                table.add(names, part, found)
    except FileError as error:
        complain(error)
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        complain(f"{path} cannot be separated: {first_line(error)} ({type(error).__name__})")
    else:
        return True
    return False


def load_model(ckpt: str, options: Any) -> "Separator":
    """Load a model that can take the options.

    Raises:
        ValueError: The model cannot be loaded, or lacks an option.
    """
    from vaebss.checkpoints import load
    from vaebss.hardware import one_device

    model = load(ckpt).to(one_device(options.gpus))
    model.check_options(refine_steps=options.refine_steps, restarts=options.restarts)
    return model


def separators(
    options: Any, stated: "Separator | None", files: list[Path], notes: "Notes"
) -> "Iterator[tuple[FileSeparator, list[tuple[Path, str]]]]":
    """Choose what separates which files: the model that is stated, else the default model of each kind of files.

    Yields:
        Each separator and its files, with the names that their sources are written under.
    """
    from vaebss.modalities.registry import kind_of, modality_of_files

    names, renamed = source_names(files)
    if renamed:
        say(renamed[0] + (f" (and so on with {len(renamed) - 1} more, see {LIST})" if len(renamed) > 1 else ""))
    named = list(zip(files, names, strict=True))
    kinds = [""] if stated else sorted(set(map(kind_of, files)), reverse=True)  # images first
    for kind in kinds:
        group = [each for each in named if stated or kind_of(each[0]) == kind]
        if not stated:
            say(f"Model: {DEFAULT_MODELS[kind]} (--ckpt)")
        model = stated or load_model(DEFAULT_MODELS[kind], options)
        of_pictures = {name: options[name] for name in OF_PICTURES if kind == kinds[0]}
        look = modality_of_files(model, [path for path, _ in group], **of_pictures)
        if look.assumed:
            say(f"{look.assumed} (--invert, --source-max)")
        if model.look and (line := unlike_training(model, look.modality, [path for path, _ in group])):
            say(line)
        refinement = {"refine_steps": options.refine_steps, "restarts": options.restarts}
        yield FileSeparator(model, look.modality, refinement, suffix_of(options.format, look.modality), notes), group


def unlike_training(model: "Separator", modality: "Modality", files: list[Path]) -> str:
    """Return one line if the mixtures in the first files look unlike a model's training mixtures, else an empty one.

    One file of sound is read, or several of pictures; those of other sizes than the first, and broken ones, are left
    out.
    """
    import torch

    from vaebss.likeness import unlike
    from vaebss.modalities.modality import parts_of

    found: list[Tensor] = []
    for path in files[: 1 if modality.audible else LOOKED_AT]:
        with suppress(FileError, ImportError):
            for part in islice(parts_of(modality, path), 1):
                windows = modality.split(part.signals[:LOOKED_AT])
                found += [windows] if not found or windows.shape[1:] == found[0].shape[1:] else []
    return unlike(model, modality, torch.cat(found)) if found else ""


def suffix_of(kind: str | None, modality: "Modality") -> str | None:
    """Return the suffix of the files that are asked for, or None where no format is stated.

    Raises:
        ValueError: Such files cannot hold such signals.
    """
    suffix = f".{kind}" if kind else None
    if suffix not in (None, *modality.formats):
        raise ValueError(f"--format {kind} is not for {modality.kind}, but {', '.join(modality.formats)} are")
    return suffix


class Notes:
    """Notes about files, each printed once for all files that it concerns."""

    def __init__(self) -> None:
        self.paths: dict[str, list[Path]] = {}

    def add(self, path: Path, text: str) -> None:
        """Add a note about a file."""
        self.paths.setdefault(text, []).append(path)

    def tell(self) -> None:
        """Print a line for each note."""
        for text, paths in self.paths.items():
            others = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
            say(f"{paths[0]}{others}: {text}")


@dataclass(frozen=True, eq=False)
class FileSeparator:
    """A model that separates files into files.

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

    def separate(self, path: Path, stem: str, output: OutputFolder) -> "Iterator[tuple[list[str], Part, Separation]]":
        """Write the sources of every mixture of a file.

        Yields:
            The names of the mixtures of each part, the part, and their separation, see `separate_part`.

        Raises:
            FileError: The file cannot be read, or holds no mixtures for this model.
        """
        from vaebss.modalities.modality import parts_of

        parts = parts_of(self.modality, path)
        first, second = next(parts), next(parts, None)
        several = len(first.signals) > 1 or second is not None
        sources = SourceWriter(output, path, stem, self.suffix or first.suffix, several, first.rows)
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
        """Return the separation of a part of a file; sources come first and add up to the mixtures."""

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


def say(line: str) -> None:
    """Print above a progress bar."""
    from tqdm import tqdm

    tqdm.write(printable(line))


def complain(error: Exception | str) -> None:
    """Print one line on stderr, above a progress bar."""
    from tqdm import tqdm

    tqdm.write(printable(f"{program('separate')}: error: {error}"), file=sys.stderr)


def main(args: list[str] | None = None) -> int:
    """Entry point of scripts/separate.py; return 2 if an input, or all of them, cannot be separated."""
    return run_cleanly("separate", lambda: separate(parse(sys.argv[1:] if args is None else args)))
