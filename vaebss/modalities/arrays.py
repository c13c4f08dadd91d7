"""Arrays of pictures as users have them: which axes they have, by their shape if it leaves no doubt, else as stated."""

# N images, C channels, K slots

from typing import Any

import numpy as np
from torch import Tensor

from vaebss.errors import FileError
from vaebss.modalities.brightness import as_brightness, check_numbers, opaque, white_of
from vaebss.modalities.modality import UserSignals
from vaebss.pictures import MODES

FLAT = (64, 784)  # lengths of scikit-learn's digits and MNIST as rows
MOST_CHANNELS = 64
KNOWN = "(H, W), (N, H, W), (N, C, H, W), (H, W, C) or (N, H, W, C) with C of 1 or 3 and 5 pixels or more a side"
SEVERAL = "several grey images each (of array.reshape(-1, height, width))"
REMEDY = "name its axes by --axes (in Python axes=), such as NHW, HWN or NCHW"


def as_images(
    signals: Any,
    axes: str | None = None,
    lines: bool = False,
    white: float | None = None,
    background: float = 0.0,
    channels: int | None = None,
) -> UserSignals:
    """Read images that a user has, a tensor or an array, as (N, C, H, W), by the rules for files of arrays.

    Args:
        signals: Tensor or array of one picture or several.
        axes: Letters of the array's axes, see `axes_of`. Where they are stated, every channel is one of its own; where
            they are not, the last of 2 or 4 channels is alpha.
        lines: Whether a row of numbers is a picture of one line.
        white: Number that stands for white; by default the white of the array's type, see `white_of`.
        background: Brightness that shows through transparent pixels.
        channels: Number of channels that a separator of the pictures sees.

    Raises:
        FileError: The array is refused, as `read_held` refuses one in a file.
    """
    check_no_mask(signals)
    array, name = np.asarray(signals.detach().cpu() if isinstance(signals, Tensor) else signals), "the array"
    own = axes_of(name, array, axes, lines, channels)
    images = as_brightness(name, in_order(array, own), white_of(name, array.dtype, white))
    images = opaque(name, images, background) if has_alpha(images, own, axes) else images
    return UserSignals(images, lambda sources: of_sources(sources, own), "N" in own)


def check_no_mask(signals: Any) -> None:
    """Raise a FileError if a NumPy array, or one in a list, masks any of its numbers: what they are is unknown."""
    if isinstance(signals, list | tuple):
        for each in signals:
            check_no_mask(each)
    elif np.ma.is_masked(signals):
        raise FileError("the array masks some of its numbers: fill them, as array.filled(0) does, or leave them out")


def check_axes(axes: str | None) -> None:
    """Raise a ValueError unless axes are stated by distinct letters of NCHW, W among them, or not at all."""
    if axes is not None and not ("W" in axes and set(axes) <= set("NCHW") and len(set(axes)) == len(axes)):
        raise ValueError(f"axes must be distinct letters of N, C, H and W, with a W, such as NHW, not {axes!r}")


def axes_of(name: str, array: np.ndarray, stated: str | None, lines: bool, channels: int | None, hint: str = "") -> str:
    """Return a letter for each axis of an array: N, C, H or W.

    Args:
        name: Name of the array, for errors.
        array: The array.
        stated: Axes that the user states; by default they are derived from its shape, see `readings`.
        lines: Whether a row of numbers is a picture of one line.
        channels: Number of channels that a separator of the pictures sees.
        hint: End of error messages.

    Raises:
        FileError: The numbers are not a brightness, or the shape fits none or several of the possible axes.
    """
    check_numbers(name, array.dtype, hint)
    if stated:
        check_axes(stated)
        fits = len(stated) == array.ndim and dict(zip(stated, array.shape, strict=True)).get("C", 1) <= MOST_CHANNELS
        if not fits or not array.size:
            most = f"with C of {MOST_CHANNELS} at most"
            raise FileError(f"{name} has shape {array.shape}, not axes {stated} {most}{hint}")
        return stated
    found = readings(array.shape, lines, channels) if array.size else []
    if not found:
        raise FileError(f"{name} has shape {array.shape}, not {KNOWN}; {REMEDY}{hint}")
    if len(found) > 1:
        raise FileError(f"{name} has shape {array.shape}, which may be {' or '.join(found)}; {REMEDY}{hint}")
    return found[0]


def readings(shape: tuple[int, ...], lines: bool, channels: int | None = None) -> list[str]:
    """Return the axes that an array of some shape may have, as letters such as "NHW".

    Sides of fewer than 5 may be channels. If the answer has more than one entry, the shape is ambiguous, and some
    entries say in words what the array may hold.

    Args:
        shape: Shape of the array.
        lines: Whether the array may hold lines, (L,) or (N, L).
        channels: Number of channels that the separator sees. An axis C has 1 or 3 channels, or as many as these.
    """
    long = [length > 4 for length in shape]
    match shape:
        case (_,):
            fits = {"W": lines and long[0]}
        case (n, f):
            flat = {"flattened images (of array.reshape(-1, height, width))": f in FLAT and 4 < n != f}
            fits = {"NW" if lines else "HW": long[1] and (lines or long[0])} | flat
        case (n, h, w):
            fits = {"NHW": long[2] and (long[1] or h == 1), "HWC": long[0] and long[1] and not long[2]}
            fits |= {"CHW": n in (3, 4) and long[1] and long[2], "HWN": n == h != w and long[0] and long[2]}
        case (_, c, h, _):
            known = c in (*MODES, channels)
            several = not known and c <= MOST_CHANNELS and long[2] and long[3]
            fits = {"NCHW": several or (known and long[3] and (long[2] or h == 1)), SEVERAL: several}
            fits |= {"NHWC": long[1] and long[2] and not long[3]}
        case _:
            fits = {}
    return [axes for axes, fit in fits.items() if fit]


def has_alpha(images: Tensor, axes: str, stated: str | None) -> bool:
    """Return whether the last channel of images is alpha: of 2 or 4 channels, unless the axes were stated.

    Channels between images and rows are never alpha.

    Args:
        images: Images (N, C, H, W).
        axes: Letters of the axes of the user's array.
        stated: Letters that the user has stated; None if the axes were recognised.
    """
    return not stated and axes != "NCHW" and images.shape[1] not in MODES


def in_order(array: np.ndarray, axes: str) -> np.ndarray:
    """Permute an array to (N, C, H, W).

    Args:
        array: Array of pictures or lines.
        axes: Letters of its axes; those that are missing get a length of 1.
    """
    ordered = array.transpose([axes.index(axis) for axis in "NCHW" if axis in axes])
    return ordered[tuple(slice(None) if axis in axes else None for axis in "NCHW")]


def of_sources(sources: Tensor, axes: str) -> Tensor:
    """Bring sources into the layout of their mixtures.

    Args:
        sources: Sources (N, K, C, H, W).
        axes: Letters of the axes of the mixtures. In the answer, K comes after N, or first where there is no N.
    """
    return laid_out(sources, "NKCHW", ("NK" if "N" in axes else "K") + axes.replace("N", ""))


def laid_out(images: Tensor, axes: str, wanted: str) -> Tensor:
    """Return images with only some of their axes, in another order.

    Args:
        images: Images with a letter for each axis.
        axes: These letters.
        wanted: Letters of the axes of the answer. Of every other axis the first index is taken.
    """
    kept = images[tuple(slice(None) if axis in wanted else 0 for axis in axes)]
    order = [axis for axis in axes if axis in wanted]
    return kept.permute([order.index(axis) for axis in wanted])
