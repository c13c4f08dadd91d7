"""Arrays of pictures as users have them: what their axes are, which is told by their shape or not at all."""

# N images, C channels: 1 or 3, or 2 or 4 while there is alpha; K slots

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from vaebss.errors import FileError
from vaebss.modalities.brightness import as_brightness, opaque, white_of
from vaebss.pictures import MODES


class Layout(NamedTuple):
    """A way to read an array: its axes, and the lengths that fit.

    Where several ways fit, what this one would mean, and how to save an array so that it alone fits.
    """

    axes: str
    fits: Callable[..., bool]
    meaning: str = ""
    certain: str = ""


def _sides(*lengths: int) -> bool:
    return min(lengths) > 4  # what is shorter may be channels


def _line(height: int, width: int) -> bool:
    return height == 1 and width > 4


FLAT = (64, 784)  # lengths of scikit-learn's digits and MNIST as rows
EACH = "array.reshape(-1, 1, height, width)"
LAYOUTS = (
    Layout("HW", _sides, "one image", "array[None]"),
    Layout("NF", lambda n, f: f in FLAT and 4 < n != f, "flattened images", EACH),
    Layout("NHW", lambda _, h, w: _sides(h, w) or _line(h, w), "grey images", "array[:, None]"),
    Layout("CHW", lambda c, h, w: c in (3, 4) and _sides(h, w), "one in colour", "np.moveaxis(array, 0, -1)"),
    Layout(
        "HWN",
        lambda h, w, n: h == w != n and _sides(h, n),
        "images along the last axis",
        "np.moveaxis(array, -1, 0)",
    ),
    Layout("HWC", lambda h, w, c: c <= 4 and _sides(h, w)),
    Layout("NHWC", lambda _, h, w, c: c <= 4 and _sides(h, w)),
    Layout("NCHW", lambda _, c, h, w: c in MODES and (_sides(h, w) or _line(h, w))),
    Layout("NAHW", lambda _, a, h, w: a in (2, 4) and _sides(h, w), "images with alpha", "np.moveaxis(array, 1, -1)"),
    Layout("NMHW", lambda _, m, h, w: m in (2, 4) and _sides(h, w), "several grey images each", EACH),
)
LINES = (
    Layout("W", lambda w: w > 4),
    Layout("NW", lambda _, w: w > 4, "lines", "array[:, None]"),
    *(layout for layout in LAYOUTS if layout.axes != "HW"),
)
KNOWN = "(H, W), (N, H, W), (N, C, H, W), (H, W, C) or (N, H, W, C) with C of 1 or 3 and 5 pixels or more a side"


def as_images(
    signals: Any,
    lines: bool = False,
    white: float | None = None,
    channels: str | None = None,
    background: float = 0.0,
) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Read images that a user has, a tensor or an array, as (N, C, H, W), by the rules for files of arrays.

    Args:
        signals: a tensor or an array.
        lines: whether a row of numbers is a picture of one line.
        white: number that stands for white; by default the type's own, see `white_of`.
        channels: "first" or "last", the axis of one image that holds its channels; None is whichever fits.
        background: brightness that shows through what is transparent.

    Returns:
        The images, and a function that brings sources (N, K, C, H, W) into the shape of what was given: K comes after
        N, or first where there is no N.

    Raises:
        FileError: as `read_images`.
    """
    array, name = np.asarray(signals.detach().cpu() if isinstance(signals, Tensor) else signals), "the array"
    axes = axes_of(name, array, lines, channels=channels)
    images = as_brightness(name, in_order(array, axes), white or white_of(name, array.dtype))
    target = ("NK" if "N" in axes else "K") + axes.replace("N", "")

    def restore(sources: Tensor) -> Tensor:
        return laid_out(sources, "NKCHW", target)

    return images if images.shape[1] in MODES else opaque(name, images, background), restore


def axes_of(name: str, array: np.ndarray, lines: bool, hint: str = "", channels: str | None = None) -> str:
    """Name each axis of an array: N, C, H or W.

    Raises:
        FileError: its numbers are no brightness; its shape fits no layout, or several.
    """
    if array.dtype.kind not in "buif":
        raise FileError(f"{name} holds {array.dtype}, not numbers of brightness{hint}")
    known = LINES if lines else LAYOUTS
    layouts = [layout for layout in known if len(layout.axes) == array.ndim and layout.fits(*array.shape)]
    if not layouts or not array.size:
        raise FileError(f"{name} has shape {array.shape}, not {KNOWN}{hint}")
    if channels:
        ends = "HWC" if channels == "last" else ("CHW", "AHW")
        layouts = [layout for layout in layouts if layout.axes.endswith(ends)]
        if not layouts:
            raise FileError(f"{name} has shape {array.shape}, no image with its channels {channels}{hint}")
    if len(layouts) > 1:
        readings = " or ".join(f"{layout.meaning} (then save {layout.certain})" for layout in layouts)
        raise FileError(f"{name} has shape {array.shape}, which may be {readings}{hint}")
    return layouts[0].axes.replace("A", "C")


def in_order(array: np.ndarray, axes: str) -> np.ndarray:
    """An array of such axes -> (N, C, H, W)."""
    ordered = array.transpose([axes.index(axis) for axis in "NCHW" if axis in axes])
    return ordered[tuple(slice(None) if axis in axes else None for axis in "NCHW")]


def laid_out(images: Tensor, axes: str, wanted: str) -> Tensor:
    """Some of the axes of images, in another order; of the others their first."""
    kept = images[tuple(slice(None) if axis in wanted else 0 for axis in axes)]
    order = [axis for axis in axes if axis in wanted]
    return kept.permute([order.index(axis) for axis in wanted])
