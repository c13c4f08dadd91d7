"""Known sources of a user's own mixtures: which belong to which mixture, and whether they add up to it."""

# M sources in each mixture at most, S the shape of a signal

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vaebss.errors import FileError
from vaebss.modalities.files import KINDS, find
from vaebss.paths import expanded

EXACT = 0.01  # of a mixture's energy: rounding, lossy compression
MOST = 0.5  # of a mixture's energy: noise
UNLIKE = 0.3  # share of a source that may be lacking, or too much, in what is left over
NEAR_WHITE = 0.9  # where a mixture may have been clipped
TINY = 1e-12  # energy
FACTOR = 0.1  # of brightness, by which all sources may be off together
ERRORS = 3  # standard errors of that share
PAIRED = "Sources are paired by equal names, else by the numbers in their names, else by the order of names."


def paired(path: str | Path, mixtures: str | Path, suffixes: tuple[str, ...] = KINDS) -> list[Path]:
    """Return the files of true sources in the order of the files of their mixtures.

    Names pair them where both sides have the same, each once: names without suffix first, then the numbers in names
    (`01.png` belongs to `mixture_1.png`). Otherwise they stay in the order of their names.

    Args:
        path: File or folder of true sources.
        mixtures: File or folder of the mixtures.
        suffixes: Suffixes of files that are looked for.

    Raises:
        FileError: The path holds no such files.
    """
    files, others = find(path, True, suffixes), find(mixtures, True, suffixes)
    for key in (str, _numbers):
        known, wanted = _keys(path, files, key), _keys(mixtures, others, key)
        if len(set(known)) == len(known) == len(wanted) and set(known) == set(wanted):
            by_key = dict(zip(known, files, strict=True))
            return [by_key[name] for name in wanted]
    return files


def _keys(path: str | Path, files: Sequence[Path], key: Callable[[str], Any]) -> list[Any]:
    root = expanded(path)
    return [key(str(file.relative_to(root if root.is_dir() else root.parent).with_suffix(""))) for file in files]


def _numbers(name: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", name)))


def check_sums(
    paths: Sequence[str | Path],
    files: Sequence[Sequence[Path]],
    known: Sequence[tuple[Tensor, Tensor]],
    any_gain: bool = False,
) -> None:
    """Raise unless sources add up to their mixtures, but for rounding and noise.

    What sources leave over of a mixture is either small, or it is noise: less than half of the mixture's energy, and
    without a likeness to any of the sources. Of a source that belongs to another mixture it holds the negative.

    Args:
        paths: Paths that the user named: the mixtures, then the sources.
        files: Paths of the files of each.
        known: Pairs of a mixture (*S) and its sources (M, *S). Pictures may have been clipped at white.
        any_gain: Whether a mixture may be louder or softer than the sum, as recordings may.

    Raises:
        FileError: A mixture is not the sum of its sources; the message names the first.
    """
    for number, (mixture, sources) in enumerate(known):
        parts = mixture.flatten().float(), sources.flatten(1).float()
        difference, factor = _misfit(*parts, any_gain), 1.0 if any_gain else _factor(*parts)
        if difference or factor != 1:
            named = [
                str(own[number]) if len(own) == len(known) else f"number {number + 1} of {path}"
                for path, own in zip(paths, files, strict=True)
            ]
            of = f"{named[0]} is not the sum of {' and '.join(named[1:])}"
            if factor != 1:
                off = f"they differ by {100 * min((1 - 1 / factor) ** 2, 10):.0f} % of its energy"
                raise FileError(f"{of}: {off}, as it is {factor:.2f} times the sum: rescale the sources. {PAIRED}")
            raise FileError(f"{of}: they differ by {100 * min(difference, 10):.0f} % of its energy. {PAIRED}")


def _factor(mixture: Tensor, sources: Tensor) -> float:
    """Return by which factor a mixture (P,) is brighter than its sources (M, P), 1 unless that is what they lack."""
    total = sources.sum(0)
    factor = float((mixture @ total) / total.square().sum().clamp(min=TINY))
    rest = (mixture - factor * total).square().sum() / mixture.square().sum().clamp(min=TINY)
    return factor if factor > 0 and abs(factor - 1) > FACTOR and rest < EXACT else 1.0  # 0 of black mixtures


def _misfit(mixture: Tensor, sources: Tensor, any_gain: bool) -> float:
    """Return which share of the energy of a mixture (P,) its sources (M, P) do not explain, 0 if that may be noise."""
    total = sources.sum(0)
    if any_gain:
        gain = (mixture @ total) / total.square().sum().clamp(min=TINY)
        total, sources = gain * total, gain * sources
    elif mixture.max() <= 1:
        total = torch.where(mixture > NEAR_WHITE, total.clamp(max=1), total)
    rest = mixture - total
    share = float(rest.square().sum() / mixture.square().sum().clamp(min=TINY))
    return share if share > MOST or (share > EXACT and _is_like(rest, sources)) else 0.0


def _is_like(rest: Tensor, sources: Tensor) -> bool:
    """Return whether what is left over (P,) holds a share of any of the sources (M, P)."""
    centred = sources - sources.mean(1, keepdim=True)
    norms = centred.square().sum(1)
    there = norms > 0
    shares = (centred @ rest)[there] / norms[there]
    errors = rest.std(correction=0) / norms[there].sqrt()
    return bool((shares.abs() > UNLIKE + ERRORS * errors).any())
