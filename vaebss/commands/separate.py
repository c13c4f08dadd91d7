"""The command line of separation: a user's own mixtures, files or folders, become files of their sources."""

import math
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebss.commands.file_separator import FileSeparator, Notes, load_model, separators
from vaebss.commands.input_files import find_inputs
from vaebss.commands.output_folder import OF_ALL, SHEET, OutputFolder
from vaebss.commands.terminal import TRACEBACK, OneLineErrors, program, run_cleanly, say
from vaebss.errors import FileError, counted, first_line
from vaebss.paths import expanded
from vaebss.pretrained.catalogue import DEFAULT_MODELS
from vaebss.signals import ending_at_once

if TYPE_CHECKING:
    from vaebss.commands.all_mixtures import AllMixtures

FORMATS = ("png", "tiff", "npy", "csv", "wav", "flac")


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

    Returns:
        The exit code, 2 if one of them could not be separated.
    """
    # What takes time to import only now, so that options are refused at once.
    from tqdm import tqdm

    from vaebss.commands.all_mixtures import AllMixtures

    stated = None if options.ckpt is None else load_model(options.ckpt, options)
    out, notes, shared = expanded(options.out), Notes(), options.shard is not None
    with tempfile.TemporaryDirectory() as piped:
        files, errors = find_inputs(options.inputs, stated, Path(piped))
        for error in errors:
            complain(error)
        jobs = list(separators(options, stated, files, notes))
        share, mixtures = jobs[share_of(options.shard)], AllMixtures(not shared, options.components)
        of_all = OF_ALL if options.components else (SHEET,)
        with OutputFolder(out, [path for _, path, _ in jobs], shared, of_all) as output:
            with tqdm(share, unit="file", disable=len(share) < 2) as bar:
                separated = [separate_file(separator, path, name, output, mixtures) for separator, path, name in bar]
            mixtures.save(output)
    notes.tell()
    if shared:
        say(f"{len(share)} of {len(jobs)} files are in share {options.shard}; a share has no contact sheet")
    say(f"{counted(len(output.rows), 'mixture')} separated into {out}")
    for line in mixtures.seen.lines:
        say(line)
    return 2 if errors or not all(separated) else 0


def separate_file(
    separator: FileSeparator, path: Path, name: str, output: OutputFolder, mixtures: "AllMixtures"
) -> bool:
    """Separate one file. An error is printed in one line, and the other files go on.

    Args:
        separator: Separator of the file.
        path: Path of the file.
        name: Beginning of the names of the sources' files.
        output: Folder that the sources are written to.
        mixtures: Collection of all mixtures, to which those of the file are added.

    Returns:
        Whether the file was separated without an error.
    """
    try:
        for names, part, found in separator.separate(path, name, output):
            mixtures.add(separator, names, part, found)
    except FileError as error:
        complain(error)
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        complain(f"{path} cannot be separated: {first_line(error)} ({type(error).__name__})")
    else:
        return True
    return False


def complain(error: Exception | str) -> None:
    """Print one line on stderr, above a progress bar."""
    say(f"{program('separate')}: error: {error}", sys.stderr)


def main(args: list[str] | None = None) -> int:
    """Entry point of scripts/separate.py; return 2 if an input, or all of them, cannot be separated.

    Examples:
        >>> import numpy as np
        >>> np.save("mixtures.npy", np.random.rand(3, 28, 28).astype("float32") / 2)
        >>> main(["mixtures.npy", "--axes", "NHW", "--ckpt", "vae-k2", "--source-max", "0.5", "--gpus", "0"])
        Taken as bright on black, single sources as up to 0.5 ...
        3 mixtures separated into separated
        0
    """
    with ending_at_once():  # by a scheduler; what is written so far is put on the list
        return run_cleanly("separate", lambda: separate(parse(sys.argv[1:] if args is None else args)))
