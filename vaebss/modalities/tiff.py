"""The pages of TIFF files whose numbers have more than 8 bits, in colour or in grey, as tifffile reads them.

Pillow reads TIFF of 8 bits and fewer as it is, with every compression and palette. Of wider numbers it reads grey
alone, and planes of colour as noise.
"""

# H x W pixels, C channels

import logging
import math
from collections.abc import Callable
from pathlib import Path
from struct import unpack

import numpy as np
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC, PREDICTOR, TiffFile, TiffPage, imwrite

from vaebss.errors import FileError
from vaebss.modalities.arrays import MOST_CHANNELS

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the latter two are of BigTIFF
WIDE = (16, 32, 64)  # bits of a number; what has fewer is left to Pillow
PLAIN = (COMPRESSION.NONE, COMPRESSION.ADOBE_DEFLATE, COMPRESSION.DEFLATE, COMPRESSION.LZMA, COMPRESSION.PACKBITS)
PREDICTORS = (PREDICTOR.NONE, PREDICTOR.HORIZONTAL)
COLOURS = {PHOTOMETRIC.MINISBLACK: 1, PHOTOMETRIC.MINISWHITE: 1, PHOTOMETRIC.RGB: 3}

# What brings rows and columns into place, by the number of the tag "orientation".
ORIENTATIONS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
    8: np.rot90,
}

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what matters of a broken file is an error


def is_tiff(path: Path) -> bool:
    """Return whether a file begins as a TIFF does."""
    with path.open("rb") as file:
        return file.read(4) in MAGIC


def wide_pages(path: Path, most: int | None) -> tuple[list[int], dict[int, np.ndarray]]:
    """Read the pages that Pillow does not read as they are.

    Args:
        path: Path of a TIFF file.
        most: Largest number of pixels of a page; None for no limit.

    Returns:
        Numbers of all pages that are images of their own (masks and pages of reduced resolution are not); and the
        pixels (H, W, C) of pages with more than 8 bits, by the pages' numbers.

    Raises:
        FileError: A page is too large, or its numbers are ambiguous.
    """
    with TiffFile(path) as file:
        if not len(file.pages):
            raise FileError(f"{path} cannot be read: it breaks off before its first page")
        pages = {number: file.pages[number].aspage() for number in range(len(file.pages))}
        if not _ends(file, pages):
            raise FileError(f"{path} cannot be read: it breaks off after {len(pages)} pages")
        whole = [number for number, page in pages.items() if not (page.is_mask or page.is_reduced)]
        whole = whole or [0]  # a page alone is no copy of another
        if most and any(pages[number].imagewidth * pages[number].imagelength > most for number in whole):
            raise FileError(too_large(path, most))
        if packed := [pages[number] for number in whole if _is_packed(pages[number])]:
            how = COMPRESSION(packed[0].compression).name
            _refuse(path, f"{packed[0].dtype} compressed by {how}")
        return whole, {number: _pixels(path, pages[number]) for number in whole if _is_wide(pages[number])}


def _ends(file: TiffFile, pages: dict[int, TiffPage]) -> bool:
    """Return whether no page follows the last one. tifffile leaves out pages that are broken."""
    handle, sizes, offsets = file.filehandle, file.tiff, [page.offset for page in pages.values()]
    handle.seek(offsets[-1])
    (tags,) = unpack(sizes.tagnoformat, handle.read(sizes.tagnosize))
    handle.seek(tags * sizes.tagsize, 1)
    (following,) = unpack(sizes.offsetformat, handle.read(sizes.offsetsize))
    return following in (0, *offsets)  # some writers end with the first page again


def too_large(path: Path, most: int | None) -> str:
    """Return the error about a file with pictures of too many pixels.

    Args:
        path: Path of the file.
        most: Most pixels of a picture that are read.
    """
    return f"{path} holds a picture of more than {most:,} pixels, the most that are read: shrink it"


def pictures_of_channels(path: Path) -> list[list[int]]:
    """Return the numbers of the pages that make up each picture whose channels the file tells from frames.

    They are planes along an axis C of OME, ImageJ or tifffile's metadata, or one page with samples that are neither
    colour nor alpha. Each further axis, such as time or depth, is one of pictures. The answer is empty for other files.

    Raises:
        FileError: A picture has too many channels.
    """
    pictures: list[list[int]] = []
    with TiffFile(path) as file:
        for series in file.series:
            pages = [page for page in series if page is not None and page.parent is file]
            *lead, last, _ = series.axes.replace("S", "")
            if len(pages) < len(series) or last != "Y":
                return []
            numbers = np.array([page.index for page in pages])
            if len(pages) == math.prod(series.shape[: len(lead)]) and "C" in lead and "S" not in series.axes:
                numbers = np.moveaxis(numbers.reshape(series.shape[: len(lead)]), lead.index("C"), -1)
                pictures += numbers.reshape(-1, numbers.shape[-1]).tolist()
            elif has_channels(series.keyframe):
                pictures += numbers[:, None].tolist()
            else:
                return []
        most = max((len(own) * file.pages[own[0]].aspage().samplesperpixel for own in pictures), default=0)
    if most > MOST_CHANNELS:
        raise FileError(f"{path} holds pictures of {most} channels: at most {MOST_CHANNELS} can be read")
    return pictures


def has_channels(page: TiffPage) -> bool:
    """Return whether a page has samples that are said to be neither colour nor alpha."""
    return bool(page.extrasamples) and set(page.extrasamples) == {EXTRASAMPLE.UNSPECIFIED}


def _is_wide(page: TiffPage) -> bool:
    """Return whether Pillow may misread a page, and tifffile decodes it without a further package."""
    wide = page.bitspersample in WIDE or page.dtype == np.int8 or has_channels(page)
    return page.dtype is not None and _is_plain(page) and wide


def _is_packed(page: TiffPage) -> bool:
    """Return whether a page cannot be read: tifffile lacks its compression, and Pillow its type of numbers."""
    if page.dtype is None or page.bitspersample not in WIDE or _is_plain(page):
        return False
    return page.samplesperpixel > 1 or page.dtype.itemsize == 8 or page.dtype == np.float16


def _is_plain(page: TiffPage) -> bool:
    """Return whether tifffile decompresses a page without a further package."""
    return page.compression in PLAIN and page.predictor in PREDICTORS


def _pixels(path: Path, page: TiffPage) -> np.ndarray:
    """Return a page's numbers (H, W, C), black being 0, upright.

    Raises:
        FileError: The page holds something else than grey, colour, with or without alpha, or channels of no colour.
    """
    kind = COLOURS.get(PHOTOMETRIC(page.photometric))
    extra = page.extrasamples
    plain = has_channels(page) or extra in ((), (EXTRASAMPLE.UNASSALPHA,))
    if kind is None or page.samplesperpixel != kind + len(extra) or not plain:
        _refuse(path, f"{page.samplesperpixel} channels that are not plain grey or colour in {page.dtype}")
    if page.photometric == PHOTOMETRIC.MINISWHITE and page.dtype != np.uint16:
        _refuse(path, f"{page.dtype} with 0 being white")
    if page.is_volumetric:
        _refuse(path, "a volume")
    pixels = page.asarray()
    pixels = pixels.reshape(*pixels.shape[:2], -1) if page.axes != "SYX" else np.moveaxis(pixels, 0, -1)
    if page.photometric == PHOTOMETRIC.MINISWHITE:
        pixels = np.iinfo(pixels.dtype).max - pixels
    return ORIENTATIONS.get(page.tags.valueof("Orientation", 1), np.asarray)(pixels)


def _refuse(path: Path, what: str) -> None:
    raise FileError(f"{path} holds {what}: convert it to PNG of 8 bits or to a NumPy array")


def write(path: Path, image: np.ndarray, planes: bool = False) -> None:
    """Write a picture (C, H, W) of any type of numbers as grey, as colour or in planes that OME metadata call channels.

    Args:
        path: Path of the file.
        image: The picture.
        planes: Whether three channels are planes as well, instead of red, green and blue.
    """
    if len(image) == 1:
        imwrite(path, image[0], photometric="minisblack", metadata=None)
    elif len(image) == 3 and not planes:
        imwrite(path, np.moveaxis(image, 0, -1), photometric="rgb", metadata=None)
    else:
        imwrite(path, image, photometric="minisblack", ome=True, metadata={"axes": "CYX"})
