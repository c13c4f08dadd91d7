"""The user's own arrays and files on their way to a separator and back, for `vaebss.separate`."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from vaebss.blind import evaluate
from vaebss.checkpoints import load
from vaebss.errors import FileError
from vaebss.likeness import unlike
from vaebss.modalities.files import each_array, find
from vaebss.modalities.modality import Modality, UserSignals, separate_signals
from vaebss.modalities.registry import (
    SUFFIXES,
    Look,
    PictureOptions,
    as_they_look,
    kind_of,
    modality_of,
    modality_of_files,
)
from vaebss.models.separator import Separator
from vaebss.paths import expanded
from vaebss.pretrained.catalogue import DEFAULT_MODELS
from vaebss.separation import Separation

FIRST_SIGNALS = 1_000  # signals of an array, from the first on, that tell how all look

log = logging.getLogger("vaebss")


def read(
    separator: Separator, options: PictureOptions, read_by: Callable[[Modality], UserSignals]
) -> tuple[Modality, UserSignals]:
    """Read a user's array by the modality that its appearance and the stated options lead to.

    Args:
        separator: Separator of the signals.
        options: Options that the user has stated.
        read_by: Function that reads the array by a modality.
    """
    given = read_by(modality_of(separator, **asdict(options)))
    look = as_they_look(separator, options, lambda _: [given.signals[:FIRST_SIGNALS]])
    modality = told(look)
    return modality, read_by(modality) if look.inverted else given


def are_paths(signals: Any) -> bool:
    """Return whether signals are a list of paths of files."""
    return isinstance(signals, list | tuple) and bool(signals) and all(isinstance(each, str | Path) for each in signals)


def files_of(paths: Sequence[str | Path], model: Separator | None) -> list[Path]:
    """Return the files of all paths that a model can read; each array of an archive counts as a file.

    Args:
        paths: Paths of files and folders.
        model: Model that reads them; None for files of any kind.

    Raises:
        FileError: A path has no such file.
    """
    suffixes = modality_of(model).suffixes if model else SUFFIXES
    return [array for path in paths for file in find(path, suffixes=suffixes) for array in each_array(file)]


def one_file(path: str | Path, model: Separator | None) -> Path:
    """Return the file at a path.

    Args:
        path: Path of one file, or of an archive of one array.
        model: Model that reads it; None for files of any kind.

    Raises:
        FileError: The path is a folder or an archive of several arrays, or does not exist.
    """
    files = files_of([path], model)
    if expanded(path).is_dir() or len(files) > 1:
        raise FileError(f"{path} may hold several files or arrays: give a list, [{str(path)!r}], to get a list")
    return files[0]


def separate_files(
    paths: list[Path],
    stated: Separator | None,
    options: PictureOptions,
    refinement: dict[str, int],
    blind_score: bool,
) -> list[Separation]:
    """Separate each file. Files of one kind share a model and the options that follow from their appearance.

    Args:
        paths: Files.
        stated: Model of all files; by default each kind has its default model.
        options: Options that the user has stated about pictures. Files of the first kind take them.
        refinement: Options of the model's `separate`.
        blind_score: Whether to estimate the quality of each mixture.

    Raises:
        FileError: A file cannot be read, or holds no mixtures for its model.
        ValueError: The options do not suit the model.
    """
    found: dict[Path, Separation] = {}
    kinds = sorted(set(map(kind_of, paths)), reverse=True)  # images first
    for kind in kinds:
        group = [path for path in paths if kind_of(path) == kind]
        separator = stated or default_model(kind)
        modality = told(modality_of_files(separator, group, options if kind == kinds[0] else PictureOptions()))
        for path in group:
            given = modality.opened(path)
            if path == group[0]:
                warn_if_unlike(separator, modality, given.signals)
            found[path] = separated(separator, modality, given, refinement, blind_score)
    return [found[path] for path in paths]


def default_model(kind: str) -> Separator:
    """Load the default model of a kind of signals, and log its name."""
    log.info("Model: %s", DEFAULT_MODELS[kind])
    return load(DEFAULT_MODELS[kind])


def told(look: Look) -> Modality:
    """Log what is assumed about the mixtures, and return the modality that follows from it."""
    if look.assumed:
        log.log(logging.WARNING if look.unusual else logging.INFO, "%s (invert, source_max)", look.assumed)
    return look.modality


def warn_if_unlike(separator: Separator, modality: Modality, signals: Tensor) -> None:
    """Log one line if mixtures look unlike those that a shipped model was trained on.

    Args:
        separator: The model.
        modality: Modality through which it sees the mixtures.
        signals: Mixtures (N, *S), of which the first are examined.
    """
    if line := unlike(separator, modality, signals[:FIRST_SIGNALS]):
        log.warning("%s", line)


def separated(
    separator: Separator, modality: Modality, given: UserSignals, refinement: dict[str, int], blind_score: bool
) -> Separation:
    """Separate signals and return the sources in the user's shape.

    Args:
        separator: Separator of the signals.
        modality: How it sees them.
        given: The signals, and the way back to the user's shape.
        refinement: Options of the separator's `separate`.
        blind_score: Whether to estimate the quality of each mixture, which needs twenty mixtures or windows.
    """
    score = evaluate(separator, modality, given.signals) if blind_score else None
    found = separate_signals(separator.separate, modality, given.signals, **refinement)
    sources, residual = given.restore(found.sources), given.residual
    if residual is not None:
        residual = given.restore(residual.unsqueeze(1))
        residual = residual[:, 0] if given.several else residual[0]
    scores = (score.each, score.each_source) if score else (None, None)
    if given.several:
        return Separation(sources, found.active, found.confidence, scores[0], residual, scores[1])
    first = (None if each is None else each[0] for each in scores)
    return Separation(sources, found.active[0], found.confidence[0], next(first), residual, next(first))
