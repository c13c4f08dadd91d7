"""The call that every user wants first: mixtures as one has them go in, their sources come out."""

# B mixtures, K slots, S the shape of a signal

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, overload

from torch import Tensor

from vaebss.checkpoints import load
from vaebss.errors import FileError
from vaebss.modalities.files import each_array, find
from vaebss.modalities.modality import Channels, Modality, UserSignals, separate_signals
from vaebss.modalities.registry import SUFFIXES, Look, as_they_look, kind_of, modality_of, modality_of_files
from vaebss.models.masker import Masker
from vaebss.models.separator import Separator
from vaebss.paths import expanded
from vaebss.pretrained.catalogue import DEFAULT_MODELS
from vaebss.separation import Separation, check_mixture

if TYPE_CHECKING:
    import numpy as np

LOOKED_AT = 1_000  # first pictures of an array, which tell how all look

log = logging.getLogger("vaebss")


@overload
def separate(
    signals: "Tensor | np.ndarray | str | Path",
    model: str | Path | Separator | None = None,
    *,
    source_max: float | None = None,
    invert: bool | None = None,
    white: float | None = None,
    axes: str | None = None,
    channels: Channels | None = None,
    refine_steps: int = 0,
    restarts: int = 0,
    sample_rate: float | None = None,
) -> Separation: ...


@overload
def separate(
    signals: Sequence[str | Path],
    model: str | Path | Separator | None = None,
    *,
    source_max: float | None = None,
    invert: bool | None = None,
    white: float | None = None,
    axes: str | None = None,
    channels: Channels | None = None,
    refine_steps: int = 0,
    restarts: int = 0,
    sample_rate: float | None = None,
) -> list[Separation]: ...


def separate(
    signals: Any,
    model: str | Path | Separator | None = None,
    *,
    source_max: float | None = None,
    invert: bool | None = None,
    white: float | None = None,
    axes: str | None = None,
    channels: Channels | None = None,
    refine_steps: int = 0,
    restarts: int = 0,
    sample_rate: float | None = None,
) -> Separation | list[Separation]:
    """Separate mixtures of any size: arrays, or files.

    What is not stated of pictures is taken from how they look, as `separate.py` does it. The logger "vaebss" says so in
    one line: as a warning, which Python shows by default, where the model would have assumed something else.

    Args:
        signals: a tensor or an array; the path of a file; or a list of paths. Pictures have shape (H, W), (B, H, W),
            (H, W, 3) or (B, C, H, W), or one that `axes` says. Whole numbers are divided by the largest of their type,
            so that white is 1.
            Sounds have shape (T,) or (B, T), or one axis more as `channels` says. Files are those that `separate.py`
            reads; in a list, a folder stands for its files.
        model: the name of a shipped model, the path of a checkpoint, or what `vaebss.load` returns. The default is
            remix-1to4 for pictures and vae-notes for sounds. An array is sound if `sample_rate` is given, or if the
            model is one of sound.
        source_max: brightest value of a single source, white being 1; by default as the mixtures look.
        invert: whether sources are dark on a white background; by default as the mixtures look.
        white: number that stands for white; by default the largest of a type of whole numbers, and 1.
        axes: axes of an array of pictures, or of such arrays in files: letters of N, C, H and W, such as "HWN", or "NW"
            for lines; by default as the shape tells. A shape that leaves a doubt is refused.
        channels: "first" or "last", the axis of a sound that holds its channels, as (C, T) or (T, C); by default none.
        refine_steps: number of gradient steps on each mixture's latents, for models that have any.
        restarts: number of other starting points to refine; the best objective wins.
        sample_rate: samples a second of an array of sound; by default the model's.

    Returns:
        A Separation with sources (B, K, *S), or (K, *S) of a single mixture, in the shape and at the rate of the
        signals, white being 1. Sources of inverted pictures are bright on black. A picture file has sources (K, H, W),
        or (K, H, W, 3) in colour; a recording (K, T), or (K, C, T). For a list of paths it is a list of Separations,
        one for each file.

    Raises:
        ValueError: the signals or the options are unsuitable; the message is one line. FileError, a ValueError, names
            the file.
    """
    if channels not in (None, *get_args(Channels)):
        raise ValueError(f"channels must be 'first' or 'last', not {channels!r}")
    stated = model if isinstance(model, Separator | None) else load(model)
    refinement = {"refine_steps": refine_steps, "restarts": restarts}
    look = {"source_max": source_max, "invert": invert, "white": white, "axes": axes}
    if isinstance(signals, str | Path) or _are_paths(signals):
        if sample_rate is not None or channels is not None:
            raise ValueError("sample_rate and channels are options for arrays: leave them out for files")
        if isinstance(signals, str | Path):
            return _of_files([_file(signals, stated)], stated, look, refinement)[0]
        return _of_files(_files(signals, stated), stated, look, refinement)
    separator = stated or _default("images" if sample_rate is None else "audio")

    def first(modality: Modality) -> Iterable[Tensor]:
        yield modality.from_user(signals, sample_rate, channels).signals[:LOOKED_AT]

    modality = _told(as_they_look(separator, look, first))
    return _separated(separator, modality, modality.from_user(signals, sample_rate, channels), refinement)


def _are_paths(signals: Any) -> bool:
    return isinstance(signals, list | tuple) and bool(signals) and all(isinstance(each, str | Path) for each in signals)


def _files(paths: Sequence[str | Path], model: Separator | None) -> list[Path]:
    """List the files of all paths, of the kinds that a model knows; each array of an archive is as a file.

    Raises:
        FileError: a path has none.
    """
    suffixes = modality_of(model).suffixes if model else SUFFIXES
    return [array for path in paths for file in find(path, suffixes=suffixes) for array in each_array(file)]


def _file(path: str | Path, model: Separator | None) -> Path:
    """The file at a path.

    Raises:
        FileError: it is a folder, or an archive of several arrays, or not there.
    """
    files = _files([path], model)
    if expanded(path).is_dir() or len(files) > 1:
        raise FileError(f"{path} may hold several files or arrays: give a list, [{str(path)!r}], to get a list")
    return files[0]


def _of_files(
    paths: list[Path], stated: Separator | None, look: dict[str, Any], refinement: dict[str, int]
) -> list[Separation]:
    """Separate each file, those of one kind by one model and as all of them look."""
    found: dict[Path, Separation] = {}
    kinds = sorted(set(map(kind_of, paths)), reverse=True)  # images first
    for kind in kinds:
        group = [path for path in paths if kind_of(path) == kind]
        separator = stated or _default(kind)
        modality = _told(modality_of_files(separator, group, **(look if kind == kinds[0] else {})))
        for path in group:
            found[path] = _separated(separator, modality, modality.opened(path), refinement)
    return [found[path] for path in paths]


def _default(kind: str) -> Separator:
    """Load the default model of a kind of signals, and say so."""
    log.info("Model: %s", DEFAULT_MODELS[kind])
    return load(DEFAULT_MODELS[kind])


def _told(look: Look) -> Modality:
    """Tell the user what is assumed; the modality that follows from it."""
    if look.assumed:
        log.log(logging.WARNING if look.unusual else logging.INFO, "%s (invert, source_max)", look.assumed)
    return look.modality


def _separated(separator: Separator, modality: Modality, given: UserSignals, refinement: dict[str, int]) -> Separation:
    """Separate signals; the sources are in the user's shape."""
    found = separate_signals(separator.separate, modality, given.signals, **refinement)
    sources = given.restore(found.sources)
    if given.several:
        return Separation(sources, found.active, found.confidence)
    return Separation(sources, found.active[0], found.confidence[0])


def adapt(
    mixtures: "Tensor | np.ndarray",
    model: str | Separator = "remix-k2",
    *,
    invert: bool = False,
    axes: str | None = None,
    seed: int = 0,
    steps: int | None = None,
    minutes: float | None = None,
) -> Masker:
    """A separator for mixtures such as these, taught from them alone: no source is ever seen.

    It learns at the mixtures' own size from remixes of what `model` finds in them; two hundred are enough, and take
    some minutes.

    Args:
        mixtures: pictures, ten at least, a tensor or an array as `separate` takes it.
        model: that separates already, though other things: its name, path, or what `vaebss.load` gave. The answer
            has as many slots.
        invert: for dark sources on a white background.
        axes: axes of the mixtures, as `separate` takes them.
        seed: of all that is random.
        steps: of training, in all; by default what suits their size.
        minutes: that all may take, instead of steps. A trial of some seconds chooses the number of steps, which is
            printed; the same `steps` give the same separator again.

    Returns:
        A model for `vaebss.separate`, whose source_scale is an estimate from the mixtures' brightness.

    Raises:
        ValueError: of one line, if the mixtures cannot be.
    """
    from vaebss.training.adapting import adapt as train_student

    teacher = model if isinstance(model, Separator) else load(model)
    images = modality_of(teacher, invert=invert, axes=axes).from_user(mixtures, None).signals
    check_mixture(images, (None, None, None), teacher.num_sources)
    return train_student(images, teacher, seed, steps, minutes=minutes)
