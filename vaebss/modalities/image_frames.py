"""The frames of one image file, as Pillow reads them. Files that Pillow would misread are refused."""

# N frames, C channels

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np
from PIL import Image, ImageOps

from vaebss.errors import FileError
from vaebss.modalities import tiff
from vaebss.modalities.files import reading

PAGED = ("GIF", "PNG", "TIFF", "WEBP")  # whose frames are images of their own; a JPEG's further ones are previews

# What Pillow's other modes become, without a loss; and those in which one colour stands for transparency.
OPAQUE = {"P": "RGB", "CMYK": "RGB", "YCbCr": "RGB", "LAB": "RGB", "HSV": "RGB", "RGBX": "RGB"}
TRANSPARENT = {"1": "LA", "L": "LA", "La": "LA", "RGB": "RGBA", "RGBa": "RGBA", "P": "RGBA", "PA": "RGBA"}

# What Pillow opens without complaint, but reads otherwise than it is written; 258, 262 and 339 are TIFF's names for
# the number of bits, for what 0 means (0 if white) and for the type of numbers (2 if signed).
UNFAITHFUL: dict[str, Callable[[Any, dict], bool]] = {
    "colour in 16 bits, of which Pillow reads 8": lambda image, tags: (
        image.mode[0] not in "IF" and (";16" in str(image.tile) or max(tags.get(258, (8,))) > 8)
    ),
    "16 bits with a transparent colour": lambda image, _: image.mode[0] == "I" and "transparency" in image.info,
    "12 bits": lambda _, tags: 12 in tags.get(258, ()),
    "more than 8 bits, 0 being white": lambda image, tags: image.mode[0] in "IF" and tags.get(262) == 0,
    "signed 8 bits": lambda image, tags: image.mode == "L" and 2 in tags.get(339, ()),
    "grey frames before others, whose colours Pillow loses": lambda image, _: (
        image.format == "GIF" and image.tell() > 0 and image.load() is not None and image.mode == "P"
    ),
}


def frames_of(path: Path) -> list[tuple[str, np.ndarray, str]]:
    """Return a name, arrays (N, C, H, W) of the frames, those of one size together, and the axes of one frame.

    Raises:
        FileError: The file is broken or too large, or its contents would be misread.
    """
    with reading(path), _bounded(path):
        numbers, wide = tiff.wide_pages(path, Image.MAX_IMAGE_PIXELS) if tiff.is_tiff(path) else (None, {})
        of_channels = tiff.pictures_of_channels(path) if numbers else []
        if numbers is not None and numbers == list(wide):
            return _stacked(path, _joined(list(wide.values()), numbers, of_channels), of_channels=bool(of_channels))
        with Image.open(path) as image:
            palette = image.mode in ("P", "PA")  # of the first frame: a GIF's others come as RGB
            shown = range(_length(image)) if numbers is None else numbers
            frames = [wide[number] if number in wide else _pixels(path, image, number, palette) for number in shown]
    return _stacked(path, _joined(frames, shown, of_channels), palette, bool(of_channels))


@contextmanager
def _bounded(path: Path) -> Iterator[None]:
    """Refuse what Pillow warns of as too large, and keep its other warnings from the screen."""
    try:
        with catch_warnings():
            simplefilter("ignore")
            simplefilter("error", Image.DecompressionBombWarning)
            yield
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise FileError(tiff.too_large(path, Image.MAX_IMAGE_PIXELS)) from error


def _joined(frames: list[np.ndarray], numbers: Iterable[int], pictures: list[list[int]]) -> list[np.ndarray]:
    """Join frames (H, W, C) to pictures of more channels, given the frames of each; without any, frames stay."""
    of_number = dict(zip(numbers, frames, strict=True))
    return [np.concatenate([of_number[number] for number in picture], -1) for picture in pictures] or frames


def _stacked(
    path: Path, frames: list[np.ndarray], palette: bool = False, of_channels: bool = False
) -> list[tuple[str, np.ndarray, str]]:
    alike = groupby(frames, lambda frame: (frame.shape, frame.dtype))
    stacks = [_stack(list(group)) for _, group in alike]
    stacks = [np.moveaxis(_greyed(stack) if palette else stack, -1, 1) for stack in stacks]
    return [(str(path), stack, "CHW" if of_channels else "HW" if stack.shape[1] < 3 else "HWC") for stack in stacks]


def _stack(frames: list[np.ndarray]) -> np.ndarray:
    return np.stack(frames) if len(frames) > 1 else frames[0][None]  # without a copy


def _length(image: Any) -> int:
    return image.n_frames if image.format in PAGED else 1


def _pixels(path: Path, image: Any, frame: int, palette: bool) -> np.ndarray:
    """Return the pixels (H, W, C) of a frame, upright."""
    image.seek(frame)
    if image.mode not in ("P", "PA"):
        image.palette = None  # Pillow would give a page in grey the palette of a page before
    for what, applies in UNFAITHFUL.items():
        if applies(image, getattr(image, "tag_v2", {})):
            raise FileError(f"{path} holds {what}: convert it to PNG of 8 bits or to a NumPy array")
    wide = image.mode == "I" and image.format in ("PNG", "PPM")  # 16 bits, to some versions of Pillow
    upright = ImageOps.exif_transpose(image)
    table = TRANSPARENT if palette or upright.has_transparency_data else OPAQUE
    pixels = np.asarray(upright.convert("RGBA" if palette else table.get(upright.mode, upright.mode)))
    pixels = pixels.astype(np.uint16) if wide else pixels
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _greyed(images: np.ndarray) -> np.ndarray:
    """Return images (N, H, W, 4) that had a palette; with 2 channels, grey and alpha, if all visible pixels are
    grey."""
    seen = images[images[..., 3] > 0]
    return images[..., 2:] if (seen[:, :3] == seen[:, :1]).all() else images
