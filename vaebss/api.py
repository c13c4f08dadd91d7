"""Separation of the user's own arrays and files, and adaptation of a model to them."""

# B mixtures, K slots, S the shape of a signal

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args, overload

import numpy as np
from torch import Tensor

from vaebss.blind import BlindScore, evaluate, summary_of
from vaebss.checkpoints import load
from vaebss.errors import check_at_least
from vaebss.modalities.appearance import above, unit_of
from vaebss.modalities.arrays import readings
from vaebss.modalities.images import BACKGROUND
from vaebss.modalities.modality import Channels
from vaebss.modalities.registry import PictureOptions, modality_of
from vaebss.modalities.tiles import MIN_TILE, not_blank, square_crops
from vaebss.models.separator import Separator
from vaebss.pretrained.catalogue import DEFAULT_MODELS
from vaebss.separating import (
    are_paths,
    default_model,
    files_of,
    one_file,
    read,
    separate_files,
    separated,
    warn_if_unlike,
)
from vaebss.separation import Separation, check_mixture

log = logging.getLogger("vaebss")


@overload
def separate(
    signals: Tensor | np.ndarray | str | Path,
    model: str | Path | Separator | None = None,
    *,
    source_max: float | None = None,
    invert: bool | None = None,
    white: float | None = None,
    axes: str | None = None,
    tiles: bool | None = None,
    channels: Channels | None = None,
    refine_steps: int = 0,
    restarts: int = 0,
    sample_rate: float | None = None,
    blind_score: bool = False,
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
    tiles: bool | None = None,
    channels: Channels | None = None,
    refine_steps: int = 0,
    restarts: int = 0,
    sample_rate: float | None = None,
    blind_score: bool = False,
) -> list[Separation]: ...


def separate(
    signals: Any,
    model: str | Path | Separator | None = None,
    *,
    source_max: float | None = None,
    invert: bool | None = None,
    white: float | None = None,
    axes: str | None = None,
    tiles: bool | None = None,
    channels: Channels | None = None,
    refine_steps: int = 0,
    restarts: int = 0,
    sample_rate: float | None = None,
    blind_score: bool = False,
) -> Separation | list[Separation]:
    """Separate mixtures of any size, from arrays or from files.

    Options of pictures that are not stated follow from their appearance, as in `separate.py`. The logger "vaebss"
    reports them in one line. That line is a warning, which Python shows by default, if the model would have assumed
    something else.

    Args:
        signals: Tensor or array, path of a file, or list of paths. Pictures have shape (H, W), (B, H, W), (H, W, 3) or
            (B, C, H, W), or the axes that `axes` states. Integers are divided by the largest number of their type, so
            that white is 1. Sounds have shape (T,) or (B, T), or one axis more, see `channels`. Files are those that
            `separate.py` reads; a folder in a list stands for its files.
        model: Name of a shipped model, path of a checkpoint, or model that `vaebss.load` returned. The default is
            remix-1to4 for pictures and remix-lines for sounds. An array is a sound if `sample_rate` is given, or if the
            model separates sounds.
        source_max: Brightest value of a single source, with white as 1; by default estimated from the mixtures.
        invert: Whether sources are dark on a white background; by default decided by the mixtures' appearance.
        white: Number that stands for white; by default the largest number of an integer type, and 1 for floats.
        axes: Axes of an array of pictures, or of such arrays in files: letters of N, C, H and W, such as "HWN", or "NW"
            for lines; by default derived from the shape. An ambiguous shape is refused. C may be up to 64, and none of
            the channels is then alpha.
        tiles: Whether pictures larger than the model's are cut into overlapping tiles of its size, and separated at
            their own resolution, instead of being resized. By default only for a model that was trained on tiles.
        channels: Position of the channel axis of a sound, "first" for (C, T) or "last" for (T, C); by default there
            is none.
        refine_steps: Number of gradient steps on each mixture's latents, for models that have latents.
        restarts: Number of further starts to refine; the one with the best objective is kept.
        sample_rate: Samples per second of an array of sound; by default the model's.
        blind_score: Whether to estimate the quality of each mixture in dB, as `evaluate_blind` does, before any
            refinement. It takes four times as long as the separation. The array, or each file, must hold twenty
            mixtures or a recording of as many windows.

    Returns:
        A Separation with sources (B, K, *S), or (K, *S) for a single mixture, in the shape and at the rate of the
        signals, with white as 1. Sources of inverted pictures are bright on black. A picture file has sources
        (K, H, W), or (K, H, W, 3) in colour; a recording has (K, T) or (K, C, T). A list of paths returns a list of
        Separations, one for each file.

    Raises:
        ValueError: The signals or the options are unsuitable; the message is one line. FileError, a ValueError, names
            the file.

    Examples:
        >>> import torch, vaebss
        >>> mixtures = torch.rand(8, 1, 28, 28, generator=torch.Generator().manual_seed(0))
        >>> found = vaebss.separate(mixtures, "remix-k2", source_max=1.0, invert=False)
        >>> found.sources.shape, found.active.shape, found.confidence.shape
        (torch.Size([8, 2, 1, 28, 28]), torch.Size([8, 2]), torch.Size([8]))
    """
    if channels not in (None, *get_args(Channels)):
        raise ValueError(f"channels must be 'first' or 'last', not {channels!r}")
    stated = model if isinstance(model, Separator | None) else load(model)
    refinement = {"refine_steps": refine_steps, "restarts": restarts}
    options = PictureOptions(source_max, invert, white, axes, tiles)
    if isinstance(signals, str | Path) or are_paths(signals):
        if sample_rate is not None or channels is not None:
            raise ValueError("sample_rate and channels are options for arrays: leave them out for files")
        if isinstance(signals, str | Path):
            return separate_files([one_file(signals, stated)], stated, options, refinement, blind_score)[0]
        return separate_files(files_of(signals, stated), stated, options, refinement, blind_score)
    separator = stated or default_model("images" if sample_rate is None else "audio")
    modality, given = read(separator, options, lambda modality: modality.from_user(signals, sample_rate, channels))
    warn_if_unlike(separator, modality, given.signals)
    return separated(separator, modality, given, refinement, blind_score)


def evaluate_blind(
    mixtures: Tensor | np.ndarray,
    model: str | Path | Separator,
    *,
    axes: str | None = None,
    sample_rate: float | None = None,
) -> BlindScore:
    """Estimate how well a model separates mixtures, from the mixtures alone: no true source is needed.

    It adds up estimates of different mixtures, separates the sums, and scores the answers against their known parts.
    That takes four times as long as separating the mixtures. See docs/blind-score.md for how far it can be trusted.

    Args:
        mixtures: Twenty pictures or sounds or more, a tensor or an array as `separate` takes it; or sounds that are at
            least twenty windows of the model long.
        model: Name of a shipped model, path of a checkpoint, or a model that `vaebss.load` returned.
        axes: Axes of an array of pictures, see `separate`.
        sample_rate: Sample rate of sounds in Hz; by default the model's.

    Returns:
        A BlindScore with the estimated mean quality in dB (`decibels`) and a range about it (`interval`), the gain over
        an equal share of each mixture (`gain`), an estimate for each mixture (`each`, (N,)), and a `verdict`.

    Raises:
        ValueError: The mixtures are unsuitable, or too few; the message is one line.

    Examples:
        >>> import torch, vaebss
        >>> mixtures = torch.rand(20, 1, 28, 28, generator=torch.Generator().manual_seed(0))
        >>> score = vaebss.evaluate_blind(mixtures, "vae-k2")
        >>> score.verdict, score.each.shape
        ('fails', torch.Size([20]))
    """
    separator = model if isinstance(model, Separator) else load(model)
    options = PictureOptions(axes=axes)
    modality, given = read(separator, options, lambda modality: modality.from_user(mixtures, sample_rate))
    return evaluate(separator, modality, given.signals)


def adapt(
    mixtures: Tensor | np.ndarray,
    model: str | Separator | None = None,
    *,
    num_sources: int = 2,
    invert: bool = False,
    axes: str | None = None,
    tile: int | None = None,
    seed: int = 0,
    steps: int | None = None,
    minutes: float | None = None,
    source_classes: bool | None = None,
) -> Separator:
    """Train a separator for your own mixtures, without any true source.

    It is trained at the size of the mixtures, on remixes of the sources that `model` estimates in them. Two hundred
    mixtures are enough, and training takes some minutes.

    Args:
        mixtures: Ten pictures (or tiles) or lines (spectra) or more, as a tensor or an array, see `separate`. An array
            of two axes holds lines, (N, L), whose numbers may be of any unit.
        model: Teacher, a model for other mixtures: its name, its path, or a model that `vaebss.load` returned. The new
            separator has as many slots. By default it is remix-k2 or remix-1to4 for pictures. For lines, a VAE is
            trained instead, which takes a thousand of them.
        num_sources: Most sources of a mixture, unless `model` states them by its slots.
        invert: Whether sources are dark on a white background.
        axes: Axes of the mixtures, see `separate`.
        tile: Side in pixels of the tiles that large pictures are cut into for training, such as 64. `separate` then
            cuts pictures into such tiles by itself.
        seed: Random seed.
        steps: Number of training steps; by default it depends on the size of the mixtures.
        minutes: Time limit that replaces `steps`. A trial of some seconds chooses the number of steps, which is
            printed. The same `steps` give the same separator again.
        source_classes: Whether mixtures hold sources of different classes, one of each, such as letters over shapes.
            Each class of pictures then has a slot of its own in every mixture. By default this is so where the first
            estimates show it clearly; the logger "vaebss" then says so in one line.

    Returns:
        A model for `vaebss.separate`. Its source_scale is estimated from the brightness of the mixtures. The logger
        "vaebss" says in one line how well it separates the mixtures, see `evaluate_blind`.

    Raises:
        ValueError: The mixtures or the options are unsuitable; the message is one line.

    Examples:
        >>> import torch, vaebss
        >>> mixtures = torch.rand(10, 1, 16, 16, generator=torch.Generator().manual_seed(0))
        >>> model = vaebss.adapt(mixtures, steps=20)
        Training ... loss=...
        >>> model.separate(mixtures).sources.shape
        torch.Size([10, 2, 1, 16, 16])
    """
    from vaebss.training.adapting import adapt as train
    from vaebss.training.presets import default_teacher

    check_at_least(1, num_sources=num_sources)
    teacher = model if isinstance(model, Separator | None) else load(model)
    if axes is None and readings(np.shape(mixtures), lines=True) == ["NW"]:
        axes = "NW"
    reader = modality_of(teacher or load(DEFAULT_MODELS["images"]), invert=invert, axes=axes, background=0.0)
    images = reader.from_user(mixtures, None).signals
    if tile is not None:
        check_at_least(MIN_TILE, tile=tile)
        images = square_crops(images, tile)
        images = images[not_blank(images)]
    if teacher is None and images.shape[2] > 1:
        if (name := default_teacher(num_sources)) is None:
            raise ValueError(f"no shipped model has {num_sources} slots: pass a model with as many")
        teacher = load(name)
    check_mixture(images / unit_of(images), (None, None, None), teacher.num_sources if teacher else num_sources)
    slots: Any = {"num_sources": num_sources, "source_classes": source_classes}
    adapted = train(images, teacher, seed, steps, minutes=minutes, tiles=tile is not None, **slots)
    signals = above(images, *(adapted.modality.get(name, 0.0) for name in BACKGROUND))
    log.info(summary_of(adapted, modality_of(adapted), signals))
    return adapted
