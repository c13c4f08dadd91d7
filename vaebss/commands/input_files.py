"""The files that separate.py reads: those of folders and archives, what comes through a pipe, and their names."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vaebss.errors import FileError
from vaebss.pretrained.catalogue import DEFAULT_MODELS

if TYPE_CHECKING:
    from vaebss.models.separator import Separator

MAGIC = {  # how files begin; what else comes in may be an image
    rb"\x93NUMPY": ".npy",
    rb"PK\x03\x04": ".npz",
    rb"RIFF....WAVE": ".wav",
    rb"fLaC": ".flac",
    rb"OggS": ".ogg",
    rb"ID3|\xff\xfb": ".mp3",
    rb"FORM....AIF": ".aiff",
}


def find_inputs(inputs: list[str], model: "Separator | None", piped: Path) -> tuple[list[Path], list[str]]:
    """List the files of all inputs. Archives of several arrays are as many files.

    Args:
        inputs: Files, folders, arrays of archives as `file.npz[name]`, or "-" for what comes through a pipe.
        model: A model, whose kinds of files are found; None finds all kinds.
        piped: Folder for what comes through a pipe.

    Returns:
        The files, and an error of one line for each input without any.
    """
    from vaebss.modalities.files import each_array, find
    from vaebss.modalities.registry import SUFFIXES, modality_of

    suffixes = modality_of(model).suffixes if model else SUFFIXES
    files: list[Path] = []
    errors: list[str] = []
    for name in inputs:
        try:
            found = [read_stdin(piped)] if name == "-" else find(name, suffixes=suffixes)
            files += [file for path in found for file in each_array(path)]
        except FileError as error:
            errors.append(f"{error}{_other_model(name) if model else ''}")
    return files, errors


def _other_model(name: str) -> str:
    """Return the end of an error about an input that the stated model cannot separate: the model that can, if any."""
    from vaebss.modalities.files import find, is_table
    from vaebss.modalities.registry import SUFFIXES, kind_of

    try:
        path = find(name, suffixes=SUFFIXES)[0]
    except FileError:
        return ""
    if is_table(path):
        return f"; for these lines train a model: fit.py --data.mixtures {name}"
    return f"; for these files leave out --ckpt, or name a model such as {DEFAULT_MODELS[kind_of(path)]}"


def read_stdin(folder: Path) -> Path:
    """Write what comes through a pipe into a folder, as a file of the kind that its first bytes say."""
    data = sys.stdin.buffer.read()
    suffix = next((kind for magic, kind in MAGIC.items() if re.match(magic, data, re.DOTALL)), ".png")
    path = folder / f"stdin{suffix}"
    path.write_bytes(data)
    return path


def source_names(files: list[Path]) -> tuple[list[str], list[str]]:
    """Return the name of each file's sources: its stem, numbered where an earlier file has it.

    Sources of one array of an archive, `file.npz[name]`, are called file_name.

    Returns:
        The names, and a line of text about each file that is not called by its stem.
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
    return names, renamed
