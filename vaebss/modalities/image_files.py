"""Pictures of a user's own files, images and NumPy arrays: read into tensors, and written as a file held them.

Nothing is guessed: a file is read as what it certainly is, or refused in one line that says what would be certain.
"""

# N images of a file, C channels

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vaebss.errors import FileError
from vaebss.modalities import tiff
from vaebss.modalities.arrays import axes_of, has_alpha, in_order, laid_out
from vaebss.modalities.brightness import as_brightness, opaque, white_of
from vaebss.modalities.files import arrays_in, chosen, is_array, is_table, reading
from vaebss.modalities.image_frames import frames_of
from vaebss.modalities.tables import Table, read_table, write_table
from vaebss.modalities.tiles import square_crops
from vaebss.pictures import MODES, save_image

LARGEST_PART = 2**26  # numbers


class Held(NamedTuple):
    """Layout of images in a file: the axes of its array, the number that stands for white, the type of its numbers.

    A table of lines also has a layout of its own, and a TIFF may hold each channel as a plane.
    """

    axes: str
    white: float
    dtype: np.dtype
    table: Table | None = None
    planes: bool = False

    @property
    def fine(self) -> bool:
        """True if the file's numbers have more than 16 bits."""
        return self.dtype.itemsize > 2 or self.dtype.kind == "f"

    def suffix(self, channels: int) -> str:
        """Return the kind of picture that holds as fine numbers and as many channels.

        It is TIFF for floats, for 16-bit colour and for channels that are neither grey nor colour, else PNG.
        """
        wide = self.fine or (self.dtype == np.uint16 and channels > 1)
        return ".tiff" if wide or self.planes or channels not in MODES else ".png"


def read_mixtures(files: Iterable[Path], tile: int | None = None, **options: Any) -> Tensor:
    """Read all mixtures of files, (N, C, H, W) of one shape.

    They are float16, or float32 if float16 would do more to a number than round it in its eleventh bit.

    Args:
        files: Paths of one file or more.
        tile: Side of the tiles that pictures of any size are cut into; by default they stay whole.
        options: Keyword arguments of `read_held`.

    Raises:
        FileError: A file is broken, or its images differ in shape from the others.
    """
    parts: list[Tensor] = []
    for file in files:
        for part in read_images(file, **options):
            part = square_crops(part, tile) if tile else part
            if parts and part.shape[1:] != parts[0].shape[1:]:
                shape, expected = tuple(part.shape[1:]), tuple(parts[0].shape[1:])
                raise FileError(f"{file} has images of shape {shape}, where those before have {expected}")
            half = part.half()
            parts.append(half if torch.allclose(half.float(), part, rtol=2**-11, atol=0) else part)
    return torch.cat(parts)  # in float32 if one part is


def read_images(path: str | Path, **options: Any) -> Iterator[Tensor]:
    """Read the images of one file as `read_held` does."""
    return (images for images, _ in read_held(path, **options))


def read_held(
    path: str | Path,
    at_once: int = 1_000,
    *,
    invert: bool = False,
    white: float | None = None,
    lines: bool = False,
    axes: str | None = None,
    channels: int | None = None,
) -> Iterator[tuple[Tensor, Held]]:
    """Read the images of one file, in parts (N, C, H, W) of float32, 0 or above, of one size in each part.

    Integers of 8 and 16 bits are divided by their largest value, so that white is 1; floating-point numbers are taken
    as they are. Other integers are refused unless `white` is stated.

    Args:
        path: Path of an image, of which every frame is read, where planes of a TIFF that its metadata call channels
            are one frame; of an array of shape (H, W), (N, H, W) or (N, C, H, W) with 1, 3 or `channels` channels, or
            with channels last, where 2 or 4 include alpha; of an archive of arrays; or of one array of an archive as
            `file.npz[name]`.
        at_once: Largest number of images in a part, fewer of large ones; arrays are read part by part.
        invert: Whether the images show dark ink, so that transparent pixels lie on white and not on black. The images
            are not inverted themselves.
        white: Number that stands for white; all numbers are divided by it.
        lines: Whether an array of shape (N, L) holds N signals that are one line each, (N, 1, 1, L), and (L,) holds
            one. A table always holds lines, see `tables.read_table`.
        axes: Letters of an array's axes, such as HWN; by default its shape tells, see `arrays.axes_of`. None of the
            channels is then alpha.
        channels: Number of channels that a separator of the images sees.

    Yields:
        A part, and how the file holds it.

    Raises:
        FileError: The file is broken, or its shape, type or numbers are ambiguous.
    """
    if white is not None and not 0 < white < np.inf:
        raise ValueError(f"white must be a number above 0, not {white}")
    path = Path(path)
    layout: Table | None = None
    if is_table(path):
        values, layout = read_table(path, axes)
        found = [(str(path), values[:, None, None], "NW")]
    else:
        found = _arrays(path, axes, lines, channels) if is_array(path) else frames_of(path)
    for name, images, own in found:
        planes = own == "CHW" and not is_array(path)
        held = Held(own, white_of(name, images.dtype, white), images.dtype, layout, planes)
        stated = axes if is_array(path) else None
        number = min(at_once, max(1, LARGEST_PART // max(1, images[0].size)))
        for start in range(0, len(images), number):
            part = as_brightness(name, images[start : start + number], held.white)
            yield opaque(name, part, float(invert)) if not planes and has_alpha(part, own, stated) else part, held


def _arrays(path: Path, *layout: Any) -> list[tuple[str, np.ndarray, str]]:
    """Return names, arrays (N, C, H, W) and the axes that they have in the file, see `axes_of` for the `layout`."""
    file, asked = chosen(path)
    archive = arrays_in(file)
    names = [name for name in dict.fromkeys(archive) if asked in (None, name)]
    if not names:
        raise FileError(f"{path} names no array; {file} holds {', '.join(archive) or 'none'}")
    return [_member(f"{file}[{name}]" if name else str(file), archive, name, *layout) for name in names]


def _member(full: str, archive: Any, name: str, *layout: Any) -> tuple[str, np.ndarray, str]:
    hint = f"; to read another alone, name it as here: {', '.join(archive)}" if len(archive) > 1 else ""
    with reading(full):
        array = np.asarray(archive[name])
    own = axes_of(full, array, *layout, hint=hint)
    return full, in_order(array, own), own


def write_held(images: Tensor, path: Path, held: Held) -> None:
    """Write images as a file held others: all in an array, or one as a picture.

    Pictures have 16 bits where those of the file had, floats in a TIFF; colour in a PNG has 8 bits. Channels that are
    neither grey nor colour are planes of a TIFF.

    Args:
        images: Images (N, C, H, W), where 1 is white. Only the first one is written as a picture.
        path: Path to write to; its suffix determines the format.
        held: How the file of the mixtures held them.

    Raises:
        FileError: A file of this format cannot hold the images.
    """
    channels = images.shape[1]
    if path.suffix == ".csv":
        if images.shape[1:3] != (1, 1):
            raise FileError(f"{path} cannot hold pictures: a table holds lines")
        lines = (images * held.white)[:, 0, 0].cpu().numpy()
        write_table(path, held.table or Table(False, [], [], "", ",", False), lines)
    elif path.suffix == ".npy":
        np.save(path, laid_out(images * held.white, "NCHW", held.axes).numpy())
    elif path.suffix == ".tiff" and held.suffix(channels) == ".tiff":
        numbers = (images[0] * held.white).cpu().numpy()
        kind = np.uint16 if held.dtype == np.uint16 else np.uint8
        tiff.write(
            path, numbers if held.fine else numbers.clip(0, np.iinfo(kind).max).round().astype(kind), held.planes
        )
    elif channels not in MODES:
        raise FileError(f"{path} cannot hold {channels} channels: choose tiff or npy")
    else:
        save_image(images[0], path, bits=16 if held.dtype == np.uint16 and channels == 1 else 8)
