"""A user's own pictures: mixtures, clean single images to mix, true sources to score with."""

# N pictures, M sources in each mixture at most

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vaebss.data.conditions import conditions_of
from vaebss.data.corpus import TENTH, Given, Singles, Splits, first, tenth_apart
from vaebss.data.plans import FIXED_SEED, VAL
from vaebss.data.truth import check_sums, paired
from vaebss.errors import FileError, check_at_least, counted
from vaebss.modalities.appearance import are_on_white, estimated_scale
from vaebss.modalities.image_files import read_mixtures
from vaebss.modalities.images import Images, seen_by, within
from vaebss.modalities.modality import Modality
from vaebss.modalities.tiles import not_blank
from vaebss.models.separator import Separator
from vaebss.seeding import generator


class SinglePictures(Singles):
    """Clean single images, from which mixtures are drawn.

    Args:
        pictures: (N, C, H, W), values of 0 or above.
        name: Name for titles and errors, such as the path of their folder.
        source_scale: Brightest pixel of an image in a mixture, above 0 and at most 1.
        invert: Whether the pictures were inverted when they were read.
        max_pixels: Most pixels that a separator sees, see `images.within`; by default all.
        train_size: Number of training images that are used; by default all.
        gains: Least and most that an image is multiplied by.
        noise: Standard deviation of the noise of every pixel.
    """

    kind = "single pictures"

    def __init__(
        self,
        pictures: Tensor,
        name: str = "the array",
        source_scale: float = 0.5,
        invert: bool | None = None,
        max_pixels: int | None = None,
        train_size: int | None = None,
        gains: list[float] | None = None,
        noise: float = 0.0,
    ):
        self.pictures, self.invert, self.name, self.train_size = pictures, invert, name, train_size
        self.source_scale = self.scale = source_scale
        self.modality = viewed(self.pictures, max_pixels)
        self.conditions = conditions_of(gains, noise)

    @property
    def title(self) -> str:
        return f"images of {self.name}"

    @property
    def settled(self) -> dict[str, Any]:
        return super().settled | {"invert": self.invert}

    def signals(self) -> Splits:
        train, val, test = tenth_apart(self.pictures, self.name, "image")
        return Splits(first(train, self.train_size, self.name), val, test)

    def sample_mixtures(self, num_mixed: float) -> Tensor:
        return self.pictures * self.source_scale * num_mixed

    @property
    def contents(self) -> dict[str, Any]:
        return {"pictures": self.pictures, "name": self.name, "invert": self.invert}


class GivenPictures(Given):
    """Mixtures of pictures whose sources are unknown, or are known for scores alone.

    Args:
        mixtures: (N, C, H, W), values of 0 or above.
        name: Name for titles and errors, such as the path of their folder.
        sources: The true sources (N, M, C, H, W), black where a mixture has fewer than M.
        source_scale: Brightest pixel of a source; by default it is estimated from the mixtures.
        invert: Whether the pictures were inverted when they were read.
        max_pixels: Most pixels that a separator sees, see `images.within`; by default all.
        unit: Number that the mixtures and their sources were divided by when they were read.
        background: Brightness that was subtracted from the mixtures when they were read.
        background_noise: Standard deviation of the noise that was removed then, see `appearance.above`.
        held_out: Most mixtures to validate on, of which there is one in ten.
        tile: Side of the tiles that the mixtures were cut into when they were read; None if they are whole pictures.
    """

    kind = "mixtures of your own"

    def __init__(
        self,
        mixtures: Tensor,
        name: str = "the array",
        sources: Tensor | None = None,
        source_scale: float | None = None,
        invert: bool | None = None,
        max_pixels: int | None = None,
        unit: float = 1.0,
        background: float = 0.0,
        background_noise: float = 0.0,
        held_out: int = 1_000,
        tile: int | None = None,
    ):
        self.mixtures, self.invert, self.name = mixtures, invert, name
        self.sources, self.unit, self.held_out, self.tile = sources, unit, held_out, tile
        self.source_scale = source_scale or estimated_scale(self.mixtures)
        self.background, self.background_noise = background, background_noise
        self.modality = viewed(self.mixtures, max_pixels, unit, background, background_noise, tile is not None)

    @property
    def note(self) -> str:
        removed = [f"a background of {self.background:.3g} is subtracted"] if self.background else []
        noise = f"noise of {self.background_noise:.3g} is removed where nothing else is"
        removed += [noise] if self.background_noise else []
        together = "both are" if len(removed) > 1 else "is"
        return f"{', '.join(removed)}, and {together} the residual (--data.background)".capitalize() if removed else ""

    @property
    def settled(self) -> dict[str, Any]:
        return super().settled | {"invert": self.invert}

    def signals(self) -> Splits:
        """Hold out a tenth of the mixtures to validate on, train on the others, and test on all of them.

        Raises:
            ValueError: There are fewer than ten.
        """
        number = len(self.mixtures)
        held_out = min(self.held_out, number // TENTH)
        if not held_out:
            raise ValueError(f"{self.name} holds {counted(number, 'mixture')}: training needs {TENTH} or more")
        order = torch.randperm(number, generator=generator(FIXED_SEED, VAL))
        train, val = self.mixtures[order[held_out:]], self.mixtures[order[:held_out]]
        if self.sources is not None:
            self.truth = {"val": self.sources[order[:held_out]], "test": self.sources}
        return Splits(train, val, self.mixtures)

    @property
    def has_truth(self) -> bool:  # type: ignore[override]
        return self.sources is not None

    def sample_mixtures(self, num_mixed: float) -> Tensor:
        return self.mixtures

    def seen_by(self, separator: Separator) -> Modality:
        """Return how a separator sees the mixtures: at its own size, and as bright as those it was trained on."""
        return seen_by(separator, self.mixtures.float(), self.source_scale)

    @property
    def contents(self) -> dict[str, Any]:
        read = {"mixtures": self.mixtures, "name": self.name, "sources": self.sources, "invert": self.invert}
        read |= {"unit": self.unit, "background": self.background, "background_noise": self.background_noise}
        return read | {"held_out": self.held_out, "tile": self.tile}


def viewed(
    pictures: Tensor,
    max_pixels: int | None,
    unit: float = 1.0,
    background: float = 0.0,
    background_noise: float = 0.0,
    tiles: bool = False,
) -> Images:
    """Return the modality through which a separator of their own size sees pictures.

    Args:
        pictures: Pictures (N, C, H, W).
        max_pixels: Most pixels H x W that the separator sees; None for the size of the pictures.
        unit: Number that the pictures were divided by when they were read.
        background: Brightness that was subtracted when they were read.
        tiles: Whether the pictures are tiles of larger ones. If they are not shrunk, the modality then cuts larger
            pictures into such tiles.

    Raises:
        ValueError: `max_pixels` is less than 1.
    """
    if max_pixels is not None:
        check_at_least(1, data__max_pixels=max_pixels)
    own = tuple(pictures.shape[1:])
    shape = within(own, max_pixels) if max_pixels else own
    black: Any = {"background": background, "background_noise": background_noise}
    return Images(shape, unit=unit, tiles=tiles and shape == own, **black)


def read_pictures(
    path: str | Path,
    files: Iterable[Path],
    invert: bool | None = None,
    axes: str | None = None,
    tile: int | None = None,
) -> tuple[Tensor, bool]:
    """Read all pictures of files, bright on black: (N, C, H, W) of one shape.

    Args:
        path: File or folder that they were found in; a single file of one array (N, L) holds N lines.
        files: The files, see `files.find`.
        invert: Whether the files show dark ink on white; by default as they look.
        axes: Axes of arrays, see `arrays.axes_of`.
        tile: Side of the tiles that the pictures are cut into.

    Returns:
        The pictures, and whether they were inverted.

    Raises:
        FileError: A file is broken, differs in shape from the others, or cannot be inverted.
    """
    pictures = read_mixtures(files, tile=tile, invert=bool(invert), lines=Path(path).is_file(), axes=axes)
    on_white = are_on_white(pictures[not_blank(pictures)] if tile else pictures) if invert is None else invert
    if on_white and pictures.max() > 1:
        raise FileError(f"{path} holds numbers above 1 (white) and cannot be inverted")
    return 1 - pictures if on_white else pictures, on_white


def read_sources(
    paths: list[str],
    mixtures: Tensor,
    invert: bool,
    path: str | Path,
    axes: str | None = None,
    tile: int | None = None,
) -> Tensor:
    """Read the true sources of given mixtures (N, C, H, W), the first of each first: (N, M, C, H, W).

    Args:
        paths: M files or folders; a picture of each is a source of a mixture, see `truth.paired`, or black where there
            is none. As bright as in the mixture.
        mixtures: The mixtures that they belong to.
        invert: Whether the files show dark ink on white.
        path: Path of the file or folder of the mixtures.
        axes: Letters of the axes of arrays, the same as for the mixtures' arrays.
        tile: Side of the tiles that the pictures are cut into, as the mixtures were.

    Raises:
        FileError: The sources are not as many, or not as large, as the mixtures, or do not add up to them.
    """
    sources, every = [], [paired(part, path) for part in (path, *paths)]
    for part, own in zip(paths, every[1:], strict=True):
        pictures, _ = read_pictures(part, own, invert, axes, tile)
        if pictures.shape != mixtures.shape:
            shape, expected = tuple(pictures.shape), tuple(mixtures.shape)
            raise FileError(f"{part} has sources of shape {shape}, where the mixtures have {expected}")
        sources.append(pictures)
    known = torch.stack(sources, 1)
    check_sums((path, *paths), every, list(zip(mixtures, known, strict=True)))
    return known
