"""Pictures of any size, from a user's own files: images, NumPy arrays and folders of them."""

# B mixtures, K slots, N images of a file

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from vaebss.errors import FileError
from vaebss.modalities.modality import Modality
from vaebss.pictures import MODES, save_image
from vaebss.separation import Separation

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
ARRAYS = (".npy", ".npz")
WHITE = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65_535, np.dtype(np.bool_): 1}


class Images(Modality):
    """Pictures of any size and brightness: a separator sees them in its own, and its shares are resized back.

    Args:
        shape: (C, H, W) that the separator sees.
        gain: what a picture is multiplied by to be as bright as the separator's mixtures.
        invert: whether files show dark sources on white.
    """

    kind = "images"
    suffixes = IMAGES + ARRAYS
    several = ARRAYS  # suffixes of files that may hold many

    exponent = 1.0

    def __init__(self, shape: tuple[int, ...], gain: float = 1.0, invert: bool = False):
        self._shape, self.gain, self.invert = tuple(shape), gain, invert

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    def picture(self, signals: Tensor) -> Tensor:
        """(B, C, h, w) of any size -> (B, C, H, W)."""
        size = self.shape[1:]
        same = tuple(signals.shape[2:]) == size
        if same and self.gain == 1:
            return signals
        seen = signals if same else interpolate(signals, size, mode="bilinear", antialias=True)
        return (seen * self.gain).clamp(min=0)

    def heard(self, separation: Separation, mixture: Tensor, signals: Tensor) -> Tensor:
        """As any modality's; where mixtures are their own pictures, what was found is what is seen."""
        own = self.gain == 1 and mixture.shape == signals.shape
        return separation.sources if own else super().heard(separation, mixture, signals)

    def apply(self, shares: Tensor, signals: Tensor) -> Tensor:
        """Shares (B, K, C, H, W) of pictures (B, C, h, w) -> (B, K, C, h, w)."""
        if shares.shape[3:] != signals.shape[2:]:
            resized = interpolate(shares.flatten(0, 1), signals.shape[2:], mode="bilinear")
            shares = resized.unflatten(0, shares.shape[:2])
        return shares * signals.unsqueeze(1)

    def note(self, signals: Tensor) -> str:
        """What is done to pictures (N, C, h, w) before a separator sees them; empty if nothing."""
        size, shape = tuple(signals.shape[2:]), self.shape[1:]
        here, there = (" x ".join(map(str, sides)) for sides in (size, shape))
        return "" if size == shape else f"{here} pixels, resized to {there} for the model; its masks are resized back"

    def read(self, path: Path) -> Iterator[Tensor]:
        """The pictures of one file, in parts (N, C, h, w), see `read_images`."""
        for images in read_images(path, self.shape[0]):
            yield 1 - images if self.invert else images

    def write(self, signal: Tensor, path: Path) -> None:
        """(C, h, w), white being 1."""
        save_image(signal, path)


def as_images(signals: Any, channels: int) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Pictures as a user has them -> (B, C, H, W) float32, and what brings sources (B, K, C, H, W) into their shape."""
    images = torch.as_tensor(signals)
    batch = images[None, None] if images.ndim == 2 else images[:, None] if images.ndim == 3 else images

    def restore(sources: Tensor) -> Tensor:
        return sources[0, :, 0] if images.ndim == 2 else sources[:, :, 0] if images.ndim == 3 else sources

    return batch.float(), restore


def find(path: str | Path) -> list[Path]:
    """The file itself, or the files with images in a folder, by name.

    Raises:
        FileError: there is nothing there, or nothing that is known.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGES + ARRAYS)
        if not files:
            raise FileError(f"{path} holds no images; known are {', '.join(IMAGES + ARRAYS)}")
        return files
    if not path.is_file():
        raise FileError(f"{path} does not exist")
    if path.suffix.lower() not in IMAGES + ARRAYS:
        raise FileError(f"{path} is of an unknown kind; known are {', '.join(IMAGES + ARRAYS)}")
    return [path]


def read_images(path: Path, channels: int | None = None, at_once: int = 1_000) -> Iterator[Tensor]:
    """The images of one file, in parts (N, C, H, W) of float32.

    Integers are divided by their largest value, so that white is 1; floating-point arrays are taken as they are.

    Args:
        path: an image, or an array of shape (H, W), (N, H, W) or (N, C, H, W), C being 1 or 3.
        channels: 1 for grey or 3 for colour, into which images are converted; by default as they are.
        at_once: most images in a part; arrays are read part by part.

    Raises:
        FileError: broken, of another shape, or not finite.
    """
    arrays = _arrays(path) if path.suffix.lower() in ARRAYS else [_picture(path, channels)]
    for array in arrays:
        if array.dtype not in WHITE and not np.issubdtype(array.dtype, np.floating):
            raise FileError(f"{path} holds {array.dtype}, not 8-bit or 16-bit integers or floating-point numbers")
        images = array[None, None] if array.ndim == 2 else array[:, None] if array.ndim == 3 else array
        if images.ndim != 4 or images.shape[1] not in MODES or not images.size:
            raise FileError(f"{path} has shape {array.shape}, not (H, W), (N, H, W) or (N, C, H, W) with C of 1 or 3")
        for start in range(0, len(images), at_once):
            part = torch.from_numpy(images[start : start + at_once].astype(np.float32) / WHITE.get(array.dtype, 1))
            if not torch.isfinite(part).all():
                raise FileError(f"{path} holds NaN or infinity")
            if part.min() < 0:
                raise FileError(f"{path} holds numbers below 0")
            yield _with_channels(part, channels)


def _arrays(path: Path) -> list[np.ndarray]:
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        return [loaded] if isinstance(loaded, np.ndarray) else [loaded[name] for name in loaded.files]
    except (OSError, ValueError, EOFError, KeyError) as error:
        raise FileError(f"{path} cannot be read: {error}") from error
    except Exception as error:  # a broken archive fails in any way it likes
        raise FileError(f"{path} cannot be read: {type(error).__name__}") from error


def _picture(path: Path, channels: int | None) -> np.ndarray:
    """(H, W), or (1, C, H, W) of colour."""
    try:
        with Image.open(path) as image:
            if image.mode.startswith("I"):  # 16 bits of grey
                return np.asarray(image).astype(np.uint16)
            grey = image.mode in ("1", "L", "LA") if channels is None else channels == 1
            array = np.asarray(image.convert("L" if grey else "RGB"))
    except Image.DecompressionBombError as error:
        raise FileError(f"{path} is too large an image") from error
    except Exception as error:  # Pillow's readers raise whatever they like
        raise FileError(f"{path} cannot be read as an image: {error}") from error
    return array if array.ndim == 2 else array.transpose(2, 0, 1)[None]


def _with_channels(images: Tensor, channels: int | None) -> Tensor:
    if channels is None or images.shape[1] == channels:
        return images
    return images.mean(1, keepdim=True) if channels == 1 else images.expand(-1, channels, -1, -1)


def read_mixtures(path: str | Path) -> Tensor:
    """All mixtures of a file or folder, (N, C, H, W) float16, of one shape.

    Raises:
        FileError: a file is broken, or its images differ in shape from the others.
    """
    parts: list[Tensor] = []
    for file in find(path):
        for part in read_images(file):
            if parts and part.shape[1:] != parts[0].shape[1:]:
                shape, expected = tuple(part.shape[1:]), tuple(parts[0].shape[1:])
                raise FileError(f"{file} has images of shape {shape}, where those before have {expected}")
            parts.append(part.half())
    return torch.cat(parts)
