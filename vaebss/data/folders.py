"""Pictures of a user's own: mixtures, clean single images to mix, true sources to score with."""

# N pictures, M sources in each mixture at most

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from vaebss.data.collections import Collection
from vaebss.data.plans import FIXED_SEED, VAL
from vaebss.data.truth import check_sums, paired
from vaebss.errors import FileError
from vaebss.modalities.files import chosen, find
from vaebss.modalities.image_files import read_mixtures
from vaebss.modalities.looks import describe
from vaebss.seeding import generator

TENTH = 10  # one of so many single signals is validated on, and as many are tested on


def read_folder(path: str | Path, invert: bool | None = None) -> tuple[Tensor, bool]:
    """All pictures of a file, or of a folder and those below it, bright on black: (N, C, H, W) of one shape.

    Args:
        path: as `files.find` takes it; a file of one array (N, L) holds N lines.
        invert: whether the files show dark ink on white; by default as they look.

    Returns:
        The pictures, which are not to be written to, and whether they were inverted. Those read last are not read again
        while their files are what they were.

    Raises:
        FileError: a file is broken, differs in shape from the others, or cannot be inverted.
    """
    files = tuple(find(path, nested=True))
    return _last_read(path, files, tuple(map(_stamp, files)), invert)


@lru_cache(maxsize=1)
def _last_read(
    path: str | Path, files: tuple[Path, ...], stamps: tuple[tuple[int, int], ...], invert: bool | None
) -> tuple[Tensor, bool]:
    return _read(path, files, invert)


def _read(path: str | Path, files: Iterable[Path], invert: bool | None) -> tuple[Tensor, bool]:
    pictures = read_mixtures(files, invert=bool(invert), lines=Path(path).is_file())
    on_white = describe(pictures).on_white if invert is None else invert
    if on_white and pictures.max() > 1:
        raise FileError(f"{path} holds numbers above 1, white, and so cannot be inverted")
    return 1 - pictures if on_white else pictures, on_white


def _stamp(file: Path) -> tuple[int, int]:
    """What changes when a file does."""
    found = chosen(file)[0].stat()
    return found.st_mtime_ns, found.st_size


def single_signals(signals: Tensor, source: str, kind: str) -> Collection:
    """Clean signals (N, *S) of a kind, a tenth of them to validate and a tenth to test on; which, is drawn."""
    held_out = len(signals) // TENTH
    if not held_out:
        raise ValueError(f"{source} holds {len(signals)} {kind}; {TENTH} are the least to mix")
    shuffled = signals[torch.randperm(len(signals), generator=generator(FIXED_SEED, VAL))]
    val, test, train = shuffled.split([held_out, held_out, len(signals) - 2 * held_out])
    return Collection(train, val, test, source)


def read_sources(paths: list[str], mixtures: Tensor, invert: bool, path: str | Path) -> Tensor:
    """Read the true sources of given mixtures (N, C, H, W), the first of each first: (N, M, C, H, W).

    Args:
        paths: M files or folders; a picture of each is a source of a mixture, see `truth.paired`, or black where there
            is none. As bright as in the mixture.
        mixtures: the mixtures that they belong to.
        invert: whether the files show dark ink on white.
        path: the file or folder of the mixtures.

    Raises:
        FileError: they are not as many, or not as large, as the mixtures, or do not add up to them.
    """
    sources, every = [], [paired(part, path) for part in (path, *paths)]
    for part, own in zip(paths, every[1:], strict=True):
        pictures, _ = _read(part, own, invert)
        if pictures.shape != mixtures.shape:
            shape, expected = tuple(pictures.shape), tuple(mixtures.shape)
            raise FileError(f"{part} has sources of shape {shape}, where the mixtures have {expected}")
        sources.append(pictures)
    known = torch.stack(sources, 1)
    check_sums((path, *paths), every, list(zip(mixtures, known, strict=True)))
    return known
