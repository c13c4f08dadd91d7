"""The command line of separation: a user's own mixtures, files or folders, taken apart into files."""

import math
import sys
import tempfile
from collections.abc import Iterator
from itertools import chain, count, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebss.commands.terminal import OneLineErrors, program, run_cleanly
from vaebss.commands.written import SHEET, Written
from vaebss.errors import FileError
from vaebss.pretrained.shelf import DEFAULT_MODEL

if TYPE_CHECKING:
    from torch import Tensor

    from vaebss.modalities.modality import Modality
    from vaebss.models.separator import Separator
    from vaebss.separation import Separation

ARRAYS = (".npy", ".npz")  # files of arrays, whose mixtures are numbered even where there is one
LOOKED_AT = 100  # files
MAGIC = {b"\x93NUMPY": ".npy", b"PK\x03\x04": ".npz"}  # how files begin; what else comes in may be an image


def parse(args: list[str]) -> Any:
    """Options."""
    parser = OneLineErrors(prog=program("separate"), description="Take mixtures apart: images, NumPy arrays, folders.")
    parser.add_argument("inputs", nargs="+", type=str, help="PNG, JPEG, NPY or NPZ files, folders, or - for stdin.")
    parser.add_argument("--ckpt", type=str, default=DEFAULT_MODEL, help="Checkpoint, or a shipped model's name.")
    parser.add_argument("--out", type=str, default="separated", help="Folder for the sources.")
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


def separate(
    inputs: list[str], ckpt: str, out: Path, gpus: int | None, looks: dict[str, Any], refinement: dict[str, int]
) -> int:
    """Separate all inputs, write their sources and a contact sheet; the exit code, 2 if one of them could not be."""
    # What takes time to import only now, so that options are refused at once.
    from tqdm import tqdm

    from vaebss.checkpoints import load
    from vaebss.hardware import one_device
    from vaebss.modalities.kinds import modality_of
    from vaebss.pictures import ContactSheet

    model = load(ckpt).to(one_device(gpus))
    model.check_options(**refinement)
    mixtures = 0
    with tempfile.TemporaryDirectory() as piped:
        files, failed = files_of(inputs, modality_of(model).suffixes, Path(piped))
        modality = as_they_look(model, files, looks)
        sheet = ContactSheet(modality.figure)
        with Written(out, files, modality.suffix) as written:
            for path, name in tqdm([*zip(files, own_names(files), strict=True)], unit="file", disable=len(files) < 2):
                try:
                    for signals, found in separate_file(model, modality, path, name, written, refinement):
                        sheet.add(signals, found.sources)
                        mixtures += len(found)
                except FileError as error:
                    failed += 1
                    complain(error)
            sheet.save(written.place(SHEET))
    print(f"{mixtures} mixtures taken apart into {out}")
    return 2 if failed else 0


def separate_file(
    model: "Separator", modality: "Modality", path: Path, stem: str, written: Written, refinement: dict[str, int]
) -> "Iterator[tuple[Tensor, Separation]]":
    """Write the sources of every mixture of a file; yields what was read and what was found, part by part.

    Raises:
        FileError: it cannot be read, or holds no mixtures for this model.
    """
    from vaebss.modalities.modality import through

    parts = modality.read(path)
    first, second = next(parts), next(parts, None)
    several = len(first) > 1 or second is not None or path.suffix.lower().startswith(ARRAYS)
    names = (f"{stem}_{number:05d}" for number in count()) if several else repeat(stem)
    if note := modality.note(first):
        say(f"{path}: {note}")
    for signals in chain([first], [] if second is None else [second], parts):
        try:
            found = through(model.separate, modality, signals, **refinement)
        except ValueError as error:
            raise FileError(f"{path}: {error} (see --source-max and --invert)") from error
        for mixture, name in zip(found, names):  # noqa: B905  # as many names as it takes
            places = written.of(path, name, int(mixture.count), float(mixture.confidence))
            for source, place in zip(mixture.sources[mixture.active], places, strict=True):
                modality.write(source, place)
        yield signals, found


def as_they_look(model: "Separator", files: list[Path], options: dict[str, Any]) -> "Modality":
    """The modality of files; what is not said of pictures is taken from how the first of them look, and told.

    But for a model that was taught on given mixtures: it takes them to be as bright as those.
    """
    from vaebss.modalities.images import Images
    from vaebss.modalities.kinds import modality_of

    modality = modality_of(model, **options)
    asked = [name for name in ("invert", "source_max") if options[name] is None and (model.bounded or name == "invert")]
    if not (isinstance(modality, Images) and asked and (looks := modality.look(files[:LOOKED_AT]))):
        return modality
    options |= {name: looks[name] for name in asked}
    ground = "dark on white" if options["invert"] else "bright on black"
    scale = options["source_max"] or model.source_scale
    if model.bounded or options["invert"]:
        say(f"Taken as {ground}, single sources as up to {scale:.2g} (--invert, --source-max)")
    return modality_of(model, **options)


def own_names(files: list[Path]) -> list[str]:
    """For each file the name that its sources are written under: its stem, numbered where an earlier file has it."""
    names: list[str] = []
    for path in files:
        numbered = (f"{path.stem}_{number}" for number in count(2))
        name = next(name for name in chain([path.stem], numbered) if name not in names)
        if name != path.stem:
            say(f"{path}: its sources are written as {name}, for another file is called {path.stem}")
        names.append(name)
    return names


def files_of(inputs: list[str], suffixes: tuple[str, ...], piped: Path) -> tuple[list[Path], int]:
    """The files of all inputs, and how many inputs have none; what comes through a pipe is put into a folder."""
    from vaebss.modalities.image_files import find

    files: list[Path] = []
    failed = 0
    for name in inputs:
        try:
            files += [_stdin(piped)] if name == "-" else find(name, suffixes=suffixes)
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


def run(args: list[str]) -> int:
    """Separate as the options say."""
    options = parse(args)
    refinement = {"refine_steps": options.refine_steps, "restarts": options.restarts}
    looks = {"source_max": options.source_max, "invert": options.invert, "white": options.white}
    return separate(options.inputs, options.ckpt, Path(options.out).expanduser(), options.gpus, looks, refinement)


def main(args: list[str] | None = None) -> int:
    """Entry point of scripts/separate.py: 2 if an input, or all of them, cannot be taken apart."""
    return run_cleanly("separate", lambda: run(sys.argv[1:] if args is None else args))
