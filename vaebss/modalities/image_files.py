"""Pictures from a user's own files: images, NumPy arrays and folders of them.

Nothing is guessed: a file is read as what it certainly is, or refused in one line that says what would be certain.
"""

# N images of a file, C channels: 1 or 3, or 2 or 4 while there is alpha

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from vaebss.errors import FileError
from vaebss.pictures import MODES, save_image

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
ARRAYS = (".npy", ".npz")
KINDS = IMAGES + ARRAYS
PAGED = ("GIF", "PNG", "TIFF", "WEBP")  # whose frames are images of their own; a JPEG's further ones are previews
CHOSEN = re.compile(r"(.+\.npz)\[(.*)\]", re.IGNORECASE | re.DOTALL)  # one array of an archive: file.npz[name]

# What is white, by kind and bytes. Other integers (int64 above all) rarely mean their largest value by it.
WHITE = {"b1": 1, "u1": 255, "u2": 65_535, "f2": 1, "f4": 1, "f8": 1, "f16": 1}
LUMA = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)  # of red, green and blue in grey, as in Pillow

# What Pillow's other modes become, without a loss; and those in which one colour stands for transparency.
OPAQUE = {"P": "RGB", "CMYK": "RGB", "YCbCr": "RGB", "LAB": "RGB", "HSV": "RGB", "RGBX": "RGB"}
TRANSPARENT = {"1": "LA", "L": "LA", "La": "LA", "RGB": "RGBA", "RGBa": "RGBA", "P": "RGBA", "PA": "RGBA"}

# What Pillow opens without complaint, but reads otherwise than it is written; 258, 262 and 339 are TIFF's names for
# the number of bits, for what 0 means (0 if white) and for the type of numbers (2 if signed).
UNFAITHFUL: dict[str, Callable[[Any, dict], bool]] = {
    "colour in 16 bits, of which Pillow reads 8": lambda image, _: ";16" in str(image.tile) and image.mode[0] != "I",
    "16 bits with a transparent colour": lambda image, _: image.mode[0] == "I" and "transparency" in image.info,
    "12 bits": lambda _, tags: 12 in tags.get(258, ()),
    "more than 8 bits, 0 being white": lambda image, tags: image.mode[0] in "IF" and tags.get(262) == 0,
    "signed 8 bits": lambda image, tags: image.mode == "L" and 2 in tags.get(339, ()),
    "grey frames before others, whose colours Pillow loses": lambda image, _: (
        image.format == "GIF" and image.tell() > 0 and image.load() is not None and image.mode == "P"
    ),
}


class Held(NamedTuple):
    """How a file holds images: the axes of its array, the number that stands for white, the type of its numbers."""

    axes: str
    white: float
    dtype: np.dtype

    @property
    def fine(self) -> bool:
        """Whether its numbers are of more than 16 bits."""
        return self.dtype.itemsize > 2 or self.dtype.kind == "f"


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


INK, LEVELS, COMMON = 0.25, 16, 0.25  # of the brightest; of brightness; a share of the ink
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


@dataclass(frozen=True)
class Appearance:
    """How images look: the brightest of all values, and whether most images are dark ink on white."""

    brightest: float
    on_white: bool

    def __str__(self) -> str:
        ground = "dark on a white background" if self.on_white else "not on a white background"
        return f"brightest pixel {self.brightest:.3g}, {ground}"


def describe(images: Tensor) -> Appearance:
    """What images (N, C, H, W) look like.

    One is on white if its border is mostly of one brightness, more than half of its brightest pixel, and so are more
    than half of its pixels but not all: a texture's border varies, and blank paper tells nothing.
    """
    grey = images.float().mean(1)
    border = torch.cat([grey[:, 0], grey[:, -1], grey[:, :, 0], grey[:, :, -1]], 1)
    brightest = grey.flatten(1).amax(1, keepdim=True)
    paper = border.median(1, keepdim=True).values
    flat = ((border - paper).abs() <= brightest / 10).float().mean(1) > 0.75
    bright = (grey.flatten(1) > brightest / 2).float().mean(1)
    on_white = flat & (paper > brightest / 2).squeeze(1) & (bright > 0.5) & (bright < 1)
    return Appearance(images.max().item(), bool(on_white.float().mean() > 0.5))


def single_brightness(values: Tensor) -> float:
    """The brightest value that a single source seems to have, from all pixels of mixtures, (P,).

    Strokes are mostly of one brightness, and mostly not crossed: that which most of what is not background has. Where
    there is no such brightness, half of the brightest pixel.
    """
    brightest = float(values.max())
    ink = values[values > INK * brightest]
    counts = torch.histc(ink, LEVELS, 0.0, brightest or 1.0)
    level = int(counts.argmax())
    if counts[level] <= COMMON * len(ink):
        return brightest / 2
    return float(ink[(ink * LEVELS / brightest).long().clamp(max=LEVELS - 1) == level].median())


def find(path: str | Path, nested: bool = False, suffixes: tuple[str, ...] = KINDS) -> list[Path]:
    """The file itself, or the files with images in a folder, by name; those whose name begins with a dot are hidden.

    Args:
        path: a file, a folder, or one array of an archive as `file.npz[name]`; `~` is the user's home.
        nested: also those in folders below, by path.
        suffixes: that are known.

    Raises:
        FileError: there is nothing there, or nothing that is known.
    """
    with _reading(path):
        path = Path(path).expanduser()
        if path.is_dir():
            return _in_folder(path, nested, suffixes)
        file, _ = chosen(path)
        if not file.is_file():
            raise FileError(f"{path} does not exist")
        if file.suffix.lower() not in suffixes:
            raise FileError(f"{path} is of an unknown kind; known are {', '.join(suffixes)}")
    return [path]


def _in_folder(folder: Path, nested: bool, suffixes: tuple[str, ...]) -> list[Path]:
    if files := sorted(_visible(folder, "**/*" if nested else "*", suffixes)):
        return files
    below = next(_visible(folder, "**/*", suffixes), None)
    hint = f"; folders below do, such as {below.parent}" if below else ""
    raise FileError(f"{folder} holds no such files; known are {', '.join(suffixes)}{hint}")


def _visible(folder: Path, pattern: str, suffixes: tuple[str, ...]) -> Iterator[Path]:
    for file in folder.glob(pattern):
        hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
        if file.suffix.lower() in suffixes and not hidden and not file.is_dir():
            yield file


def chosen(path: Path) -> tuple[Path, str | None]:
    """The file, and which of its arrays is asked for."""
    match = CHOSEN.fullmatch(str(path))
    return (Path(match[1]), match[2]) if match else (path, None)


@contextmanager
def _reading(path: str | Path) -> Iterator[None]:
    try:
        yield
    except FileError:
        raise
    except Exception as error:  # readers of broken files raise whatever they like
        raise FileError(f"{path} cannot be read: {error or type(error).__name__}") from error


def read_images(
    path: str | Path,
    channels: int | None = None,
    at_once: int = 1_000,
    *,
    invert: bool = False,
    white: float | None = None,
    lines: bool = False,
) -> Iterator[Tensor]:
    """The images of one file, in parts (N, C, H, W) of float32, 0 or above; of one size in each part.

    Integers of 8 and 16 bits are divided by their largest value, so that white is 1; floating-point numbers are taken
    as they are. Other integers are refused unless `white` is stated.

    Args:
        path: an image, of which every frame is one; an array of shape (H, W), (N, H, W) or (N, C, H, W), C being 1 or
            3, or with channels last, 2 and 4 then being with alpha; an archive of arrays, or one as `file.npz[name]`.
        channels: 1 for grey or 3 for colour, into which images are converted; by default as they are.
        at_once: most images in a part; arrays are read part by part.
        invert: what is transparent is on white, for dark ink, not on black. The images are not inverted themselves.
        white: the number that stands for white, by which all are divided.
        lines: an array of shape (N, L) holds N signals that are one line each, (N, 1, 1, L), and (L,) holds one.

    Raises:
        FileError: broken; or of a shape, type or numbers that might mean something else than what would be read.
    """
    for images, _ in read_held(path, at_once, invert=invert, white=white, lines=lines):
        yield with_channels(images, channels)


def read_held(
    path: str | Path, at_once: int = 1_000, *, invert: bool = False, white: float | None = None, lines: bool = False
) -> Iterator[tuple[Tensor, Held]]:
    """As `read_images`, and with every part how the file holds it."""
    if white is not None and not 0 < white < np.inf:
        raise ValueError(f"white must be a number above 0, not {white}")
    path = Path(path)
    for name, images, axes in _arrays(path, lines) if is_array(path) else _pictures(path):
        held = Held(axes, white or _white(name, images.dtype), images.dtype)
        for start in range(0, len(images), at_once):
            part = _light(name, images[start : start + at_once], held.white)
            yield part if part.shape[1] in MODES else _opaque(name, part, float(invert)), held


def write_held(images: Tensor, path: Path, held: Held) -> None:
    """Images (N, C, H, W), white being 1, as a file held others: all in an array, or one as a picture.

    Pictures have 16 bits where those of the file had, floats in a TIFF; colour has 8, as Pillow writes no more.
    """
    if path.suffix == ".npy":
        np.save(path, _laid_out(images * held.white, "NCHW", held.axes).numpy())
    elif held.fine and path.suffix == ".tiff" and images.shape[1] == 1:
        Image.fromarray((images[0, 0] * held.white).numpy()).save(path)
    else:
        save_image(images[0], path, bits=16 if held.dtype == np.uint16 and images.shape[1] == 1 else 8)


def _white(name: str, dtype: np.dtype) -> int:
    white = WHITE.get(f"{dtype.kind}{dtype.itemsize}")
    if white is None:
        raise FileError(f"{name} holds {dtype}, of which nobody knows the white: state it, or save array / white")
    return white


def _light(name: str, part: np.ndarray, white: float) -> Tensor:
    """Float32, refused where something else than rounding would come of that."""
    with np.errstate(over="ignore"):
        light = np.divide(part, white, dtype=np.result_type(part.dtype, np.float32)).astype(np.float32)
    if not np.isfinite(light).all():
        raise FileError(f"{name} holds NaN, infinity or numbers too large for single precision")
    if light.min() < 0:
        raise FileError(f"{name} holds numbers below 0")
    if part[~light.any((1, 2, 3))].any():
        raise FileError(f"{name} holds images that are not black, but too dark for single precision")
    return torch.from_numpy(light)


def _opaque(name: str, images: Tensor, background: float) -> Tensor:
    if images.max() > 1:
        raise FileError(f"{name} holds {images.shape[1]} channels, with numbers above 1, so that the last is no alpha")
    colour, alpha = images[:, :-1], images[:, -1:]
    return colour * alpha + background * (1 - alpha)


def with_channels(images: Tensor, channels: int | None) -> Tensor:
    """Images (N, C, H, W) with so many channels, 1 or 3; as they are where none are asked for."""
    if channels is None or images.shape[1] == channels:
        return images
    return (images * LUMA).sum(1, keepdim=True) if channels == 1 else images.expand(-1, channels, -1, -1)


def is_array(path: Path) -> bool:
    """Whether a file holds arrays, as its name says."""
    return chosen(path)[0].suffix.lower() in ARRAYS


def each_array(path: Path) -> list[Path]:
    """Each array of an archive of several as a path of its own; any other path as it is, broken ones too."""
    names: list[str] = []
    with suppress(FileError):  # which is told of where it is read
        names = list(_archive(path)) if path.suffix.lower() == ".npz" else []
    return [Path(f"{path}[{name}]") for name in names] if len(names) > 1 else [path]


def _archive(file: Path) -> Any:
    with _reading(file):
        loaded: Any = np.load(file, mmap_mode="r", allow_pickle=False)
    return {"": loaded} if isinstance(loaded, np.ndarray) else loaded


def _arrays(path: Path, lines: bool) -> list[tuple[str, np.ndarray, str]]:
    """Names, arrays (N, C, H, W) and the axes that they have in the file."""
    file, asked = chosen(path)
    archive = _archive(file)
    names = [name for name in dict.fromkeys(archive) if asked in (None, name)]
    if not names:
        raise FileError(f"{path} names no array; {file} holds {', '.join(archive) or 'none'}")
    return [_member(f"{file}[{name}]" if name else str(file), archive, name, lines) for name in names]


def _member(full: str, archive: Any, name: str, lines: bool) -> tuple[str, np.ndarray, str]:
    hint = f"; to read another alone, name it as here: {', '.join(archive)}" if len(archive) > 1 else ""
    with _reading(full):
        array = np.asarray(archive[name])
    axes = _axes(full, array, lines, hint)
    return full, _images(array, axes), axes


def _images(array: np.ndarray, axes: str) -> np.ndarray:
    """(N, C, H, W)."""
    ordered = array.transpose([axes.index(axis) for axis in "NCHW" if axis in axes])
    return ordered[tuple(slice(None) if axis in axes else None for axis in "NCHW")]


def _axes(name: str, array: np.ndarray, lines: bool, hint: str = "") -> str:
    """What each axis of an array is: N, C, H or W."""
    if array.dtype.kind not in "buif":
        raise FileError(f"{name} holds {array.dtype}, not numbers of brightness{hint}")
    known = LINES if lines else LAYOUTS
    layouts = [layout for layout in known if len(layout.axes) == array.ndim and layout.fits(*array.shape)]
    if not layouts or not array.size:
        raise FileError(f"{name} has shape {array.shape}, not {KNOWN}{hint}")
    if len(layouts) > 1:
        readings = " or ".join(f"{layout.meaning} (then save {layout.certain})" for layout in layouts)
        raise FileError(f"{name} has shape {array.shape}, which may be {readings}{hint}")
    return layouts[0].axes


def as_images(signals: Any, lines: bool = False) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Images as a user has them, a tensor or an array -> (N, C, H, W), read as those of a file are.

    And what brings sources (N, K, C, H, W) into their shape, K coming after N, or first where there is none.

    Raises:
        FileError: as `read_images`.
    """
    array, name = np.asarray(signals.detach().cpu() if isinstance(signals, Tensor) else signals), "the array"
    axes = _axes(name, array, lines)
    images = _light(name, _images(array, axes), _white(name, array.dtype))
    target = ("NK" if "N" in axes else "K") + axes.replace("N", "")

    def restore(sources: Tensor) -> Tensor:
        return _laid_out(sources, "NKCHW", target)

    return images if images.shape[1] in MODES else _opaque(name, images, 0.0), restore


def _laid_out(images: Tensor, axes: str, wanted: str) -> Tensor:
    """Some of the axes of images, in another order; of the others their first."""
    kept = images[tuple(slice(None) if axis in wanted else 0 for axis in axes)]
    order = [axis for axis in axes if axis in wanted]
    return kept.permute([order.index(axis) for axis in wanted])


def _pictures(path: Path) -> list[tuple[str, np.ndarray, str]]:
    """A name, arrays (N, C, H, W) of the frames, those of one size together, and the axes of one alone."""
    with _reading(path), Image.open(path) as image:
        palette = image.mode in ("P", "PA")  # of the first frame: a GIF's others come as RGB
        frames = [_pixels(path, image, number, palette) for number in range(_length(image))]
    alike = groupby(frames, lambda frame: (frame.shape, frame.dtype))
    stacks = [np.stack(list(group)) for _, group in alike]
    stacks = [np.moveaxis(_greyed(stack) if palette else stack, -1, 1) for stack in stacks]
    return [(str(path), stack, "HW" if stack.shape[1] < 3 else "HWC") for stack in stacks]


def _length(image: Any) -> int:
    return image.n_frames if image.format in PAGED else 1


def _pixels(path: Path, image: Any, frame: int, palette: bool) -> np.ndarray:
    """(H, W, C) of a frame, upright."""
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
    """(N, H, W, 4) from a palette, with 2 channels if all that is not transparent is grey."""
    seen = images[images[..., 3] > 0]
    return images[..., 2:] if (seen[:, :3] == seen[:, :1]).all() else images


def read_mixtures(
    path: str | Path, nested: bool = False, *, invert: bool = False, white: float | None = None, lines: bool = False
) -> Tensor:
    """All mixtures of a file or folder, (N, C, H, W) of one shape.

    They are float16, or float32 if float16 would do more to a number than round it in its eleventh bit.

    Args:
        path: as `find` takes it, and so is `nested`.
        invert: as `read_images` takes it, and so are `white` and `lines`.

    Raises:
        FileError: a file is broken, or its images differ in shape from the others.
    """
    parts: list[Tensor] = []
    for file in find(path, nested):
        for part in read_images(file, invert=invert, white=white, lines=lines):
            if parts and part.shape[1:] != parts[0].shape[1:]:
                shape, expected = tuple(part.shape[1:]), tuple(parts[0].shape[1:])
                raise FileError(f"{file} has images of shape {shape}, where those before have {expected}")
            half = part.half()
            parts.append(half if torch.allclose(half.float(), part, rtol=2**-11, atol=0) else part)
    return torch.cat(parts)  # in float32 if one part is
