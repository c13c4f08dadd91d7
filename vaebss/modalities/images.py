"""Pictures of any size, colour and brightness."""

# B mixtures, K slots

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from vaebss.errors import FileError, check_above_zero
from vaebss.metrics.images import METRICS, qualities
from vaebss.metrics.metric import Quality
from vaebss.modalities import source_classes
from vaebss.modalities.appearance import above, are_on_white, sample, single_brightness, thinned
from vaebss.modalities.arrays import as_images, check_axes, of_sources
from vaebss.modalities.brightness import with_channels
from vaebss.modalities.files import KINDS, is_array, is_table, reading
from vaebss.modalities.image_files import Held, read_held, write_held
from vaebss.modalities.modality import Channels, Modality, UserSignals
from vaebss.modalities.part import Part
from vaebss.modalities.tiles import crops, number_of_tiles, separate_tiles
from vaebss.models.separator import Separator
from vaebss.pictures import save_image
from vaebss.separation import Separation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vaebss.figures.rows import Rows

DARK = 1e-6  # brightness of mixtures in which there is nothing
BACKGROUND = ("background", "background_noise")  # options of what is subtracted from pictures


class Pictures(Part):
    """Some or all pictures of a file.

    Their sources are computed one by one as they are written, for large pictures take much memory.

    Args:
        images: Modality that pictures the images for a separator.
        whole: Pictures of the file, (N, C, h, w).
        write: Function that writes pictures (N, C, h, w), as they look in the file, to a path; N is 1 except for
            arrays.
        suffix: Suffix of files that hold as much as the pictures' file does.
        rows: Whether the pictures are rows of one array.

    Attributes:
        signals: (N, C, h', w'), the pictures, large ones `thinned`.
    """

    step = "tile"

    def __init__(self, images: "Images", whole: Tensor, write: Callable[[Tensor, Path], None], suffix: str, rows: bool):
        self.images, self.whole, self.write, self.suffix, self.rows = images, whole, write, suffix, rows
        self.signals = thinned(whole)
        self.steps = len(whole) * number_of_tiles(whole.shape[2:], images.shape[1:]) if images.cuts(whole) else 0

    def separated(self, answer: Callable[[Tensor], Separation]) -> Separation:
        """Separate the pictures, see `Part`."""

        def watched(pictures: Tensor) -> Separation:
            found = answer(pictures)
            self.progress(len(pictures))
            return found

        found, self._own = self.images.asked(watched, self.whole)
        found = found if self.images.has_classes else found.sources_first()
        self._parts = found.sources
        sources = torch.stack([thinned(self._source(k)) for k in range(found.active.shape[1])], 1)
        return Separation(sources, found.active, found.confidence)

    @property
    def scored(self) -> Tensor:
        return self.whole if self.images.cuts(self.whole) else self.signals

    def _source(self, k: int, rows: slice = slice(None)) -> Tensor:
        """Return the k-th sources (N, C, h, w) of some or all pictures."""
        parts = self._parts[rows, k : k + 1]
        return (parts if self._own else self.images.apply(parts, self.whole[rows])).squeeze(1)

    def source(self, k: int, rows: slice = slice(None)) -> Tensor:
        """Return one source of some or all pictures, as it looks in the file.

        Args:
            k: Number of the source, from 0.
            rows: Pictures whose sources are returned.

        Returns:
            (N, C, h, w).
        """
        return self.images.as_they_looked(self._source(k, rows))

    def save(self, found: Separation, number: int, paths: Sequence[Path]) -> None:
        """Write the sources of one picture, see `Part`."""
        for k, path in enumerate(paths):
            self.write(self.source(k, slice(number, number + 1)), path)

    def save_residual(self, number: int, path: Path) -> None:
        """Write what was subtracted from one picture, such as its background.

        Args:
            number: Index of the picture, from 0 to N - 1.
            path: Path of the file; its suffix names its kind.

        Raises:
            OSError: The file cannot be written.
        """
        assert self.residual is not None
        self.write(self.residual[number : number + 1], path)


class Images(Modality):
    """Pictures of any size and brightness, which a separator sees at its own size and brightness.

    Its shares are resized back. A separator of grey pictures sees the mean of the channels, and its shares apply to all
    of them.

    Args:
        shape: (C, H, W) that the separator sees.
        gain: Factor that makes a picture as bright as the separator's mixtures.
        invert: Whether files show dark sources on white.
        white: Number that stands for white in files of numbers.
        axes: Letters of the axes of arrays, see `arrays.axes_of`.
        unit: Number that stood for 1 in the mixtures that the separator was trained on, see `appearance.unit_of`.
        voices: Whether each slot holds one class of sources, see `source_classes`.
        background: Brightness that is subtracted from pictures as they are read, such as the offset of a camera.
        background_noise: Standard deviation of the noise that is then removed, see `appearance.above`.
        tiles: Whether larger pictures are cut into tiles of the separator's size instead of being resized, see
            `tiles.separate_tiles`.
    """

    kind = "images"
    plural = "pictures"
    suffixes = KINDS
    formats = (".png", ".tiff", ".npy", ".csv")
    dims = 3
    has_white = True
    metrics = METRICS
    teachers = ("remix-k2", "remix-1to4")
    exponent = 1.0

    def __init__(
        self,
        shape: tuple[int, ...],
        gain: float = 1.0,
        invert: bool = False,
        white: float | None = None,
        axes: str | None = None,
        unit: float = 1.0,
        voices: bool = False,
        background: float = 0.0,
        tiles: bool = False,
        background_noise: float = 0.0,
    ):
        check_axes(axes)
        self._shape, self.gain, self.invert, self.white, self.axes = tuple(shape), gain, invert, white, axes
        self.unit, self.voices, self.tiles = unit, voices, tiles
        self.background, self.background_noise = background, background_noise

    @classmethod
    def of(
        cls,
        separator: Separator,
        source_max: float | None = None,
        invert: bool | None = None,
        white: float | None = None,
        axes: str | None = None,
        tiles: bool | None = None,
        background: float | None = None,
    ) -> "Images":
        """Build the pictures that a separator sees of a user's own.

        Args:
            separator: Separator that `vaebss.load` returned.
            source_max: Brightest value of a single source in pictures; by default the separator's own.
            invert: Whether pictures show dark sources on white.
            white: Number that stands for white in pictures.
            axes: Axes of arrays of pictures, see `arrays.axes_of`.
            tiles: Whether pictures larger than the separator's are cut into tiles; by default if it was trained on
                tiles.
            background: Brightness that is subtracted from pictures, whose noise is then left in them; by default the
                separator's own brightness is subtracted, and its noise removed.

        Raises:
            ValueError: A number is not above 0.
        """
        check_above_zero(**{n: x for n, x in {"source_max": source_max, "white": white}.items() if x is not None})
        unit = 1.0 if white else separator.modality.get("unit", 1.0)
        gain = separator.source_scale / (source_max or unit * separator.source_scale)
        names = ("voices", *BACKGROUND) if background is None else ("voices",)
        own = {name: separator.modality[name] for name in names if name in separator.modality}
        own["tiles"] = separator.modality.get("tiles", False) if tiles is None else tiles
        own |= {} if background is None else {"background": background}
        return cls(separator.image_shape, gain, bool(invert), white, axes, **own)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def of_lines(self) -> bool:
        """True if each picture is a single line, such as a spectrum."""
        return self.shape[1] == 1

    @property
    def options(self) -> dict[str, Any]:
        """Plain values that say in a checkpoint what its mixtures are; the pictures' size is the separator's."""
        own = {"unit": self.unit} if self.unit != 1 else {}
        own |= {name: True for name in ("voices", "tiles") if getattr(self, name)}
        own |= {name: value for name in BACKGROUND if (value := getattr(self, name))}
        return {"kind": self.kind} | own

    def from_user(self, signals: Any, sample_rate: float | None, channels: Channels | None = None) -> UserSignals:
        """Read pictures as `as_images` does.

        Raises:
            ValueError: They are no pictures, or a sample rate or an axis of channels is stated, which sounds have.
        """
        if sample_rate is not None:
            raise ValueError("sample_rate is an option for sounds, and this model separates pictures")
        if channels is not None:
            raise ValueError("channels is an option for sounds: name the axes of pictures by axes, such as NCHW")
        return self._above(as_images(signals, white=self.white, background=float(self.invert), **self._layout))

    def picture(self, signals: Tensor) -> Tensor:
        """Return pictures (B, C, H, W) of signals (B, c, h, w) of any size, grey or colour."""
        if tuple(signals.shape[1:]) == self.shape and self.gain == 1:
            return signals
        size = self.shape[1:]
        if tuple(signals.shape[2:]) != size:
            signals = interpolate(signals, size, mode="bilinear", antialias=True)
        return (with_channels(signals, self.shape[0]) * self.gain).clamp(min=0)

    def cuts(self, signals: Tensor) -> bool:
        """Return whether pictures (B, c, h, w) are cut into tiles before they are separated."""
        return self.tiles and any(side > own for side, own in zip(signals.shape[2:], self.shape[1:], strict=True))

    def split(self, signals: Tensor) -> Tensor:
        """Cut pictures (B, c, h, w) into tiles (B N, c, H, W) beside each other, if they are separated by tiles."""
        return crops(signals, self.shape[1:]) if self.cuts(signals) else signals

    def separate(self, answer: Callable[[Tensor], Separation], signals: Tensor) -> Separation:
        """Separate pictures, large ones by overlapping tiles if `tiles`.

        Args:
            answer: Function that separates pictures (B, C, H, W).
            signals: Pictures (B, c, h, w).

        Returns:
            The separation, with sources (B, K, c, h, w).
        """
        found, own = self.asked(answer, signals)
        return found if own else replace(found, sources=self.apply(found.sources, signals))

    def asked(self, answer: Callable[[Tensor], Separation], signals: Tensor) -> tuple[Separation, bool]:
        """Separate pictures but for the last step, which takes much memory.

        Args:
            answer: Function that separates pictures (B, C, H, W).
            signals: Pictures (B, c, h, w).

        Returns:
            The separation, and whether its sources are those of the pictures; otherwise they are shares (B, K, C, H, W)
            for `apply`.
        """
        if self.cuts(signals):
            return Separation.cat([separate_tiles(answer, self, signal) for signal in signals]), True
        picture = self.picture(signals)
        found, own = answer(picture), self.is_own(picture, signals)
        return found if own else replace(found, sources=found.shares(picture)), own

    def to_signals(self, separation: Separation, mixture: Tensor, signals: Tensor) -> Tensor:
        """Return the signals of separated pictures; signals that are their own pictures are as separated.

        Args:
            separation: Separation of the pictures.
            mixture: The pictures, (B, C, H, W).
            signals: Signals of the pictures, (B, c, h, w).

        Returns:
            (B, K, c, h, w).
        """
        own = self.is_own(mixture, signals)
        return separation.sources if own else super().to_signals(separation, mixture, signals)

    def is_own(self, mixture: Tensor, signals: Tensor) -> bool:
        """Return whether signals are their own pictures: they have the separator's size, channels and brightness.

        Args:
            mixture: Pictures (B, C, H, W) of the signals.
            signals: Signals (B, c, h, w).
        """
        return self.gain == 1 and mixture.shape == signals.shape

    def apply(self, shares: Tensor, signals: Tensor) -> Tensor:
        """Turn shares of pictures into parts of signals. A grey share serves all colours.

        Args:
            shares: Share of each slot in the pictures, (B, K, C, H, W).
            signals: User's pictures (B, c, h, w).

        Returns:
            (B, K, c, h, w).
        """
        if shares.shape[2] > signals.shape[1]:
            shares = shares.mean(2, keepdim=True)
        if shares.shape[3:] != signals.shape[2:]:
            resized = interpolate(shares.flatten(0, 1), signals.shape[2:], mode="bilinear")
            shares = resized.unflatten(0, shares.shape[:2])
        return shares * signals.unsqueeze(1)

    def qualities(self, source_scale: float) -> dict[str, Quality]:
        return qualities(source_scale)

    def linked(self, found: Separation) -> Separation:
        """Order the slots of pictures (N, K, *S) so that each holds one class of sources, unless they do so already."""
        return found if self.voices else found.in_order(source_classes.orders(found))

    def figure(self, rows: "Rows") -> "Figure":
        """Draw labelled rows of pictures, in the polarity of the user's files."""
        return self.plot_pictures({label: self.as_they_looked(images) for label, images in rows.items()})

    def as_they_looked(self, images: Tensor) -> Tensor:
        """Return images of any shape, white as 1, in the polarity of the user's files: dark on white if these were."""
        return 1 - images if self.invert else images

    def columns_per_page(self, signal: Tensor) -> int:
        """Return 4 for curves, else the number of pictures that are an inch high in twelve inches."""
        height, width = signal.shape[1:]
        return 4 if height == 1 and len(signal) != 3 else max(1, min(12, 12 * height // width))

    def resize_note(self, signals: Tensor) -> str:
        """Return what is done to pictures (N, C, h, w) before they are separated; empty if nothing."""
        size, shape = tuple(signals.shape[2:]), self.shape[1:]
        there = " x ".join(map(str, shape))
        if self.cuts(signals):
            return f"separated in tiles of {there} pixels that overlap"
        return "" if size == shape else f"resized to {there} pixels for the model; its masks are resized back"

    def read(self, path: Path) -> Iterator[Part]:
        """Read the pictures of one file in parts (N, C, h, w), see `read_images`."""
        for images, held in self._held(path):
            suffix = ".npy" if is_array(path) else ".csv" if held.table else held.suffix(images.shape[1])
            whole = self.as_they_looked(images)
            signals = self._bright(whole)
            part = Pictures(self, signals, partial(write_held, held=held), suffix, "N" in held.axes)
            part.table, part.note = held.table, str(held.table or "")
            part.residual = self.as_they_looked(whole - signals) if self._has_residual else None
            yield part

    def _held(self, path: Path) -> Iterator[tuple[Tensor, Held]]:
        if is_table(path) and not self.of_lines:
            raise FileError(f"{path} holds lines, and this model separates pictures: train one by remix.py or fit.py")
        return read_held(path, invert=self.invert, white=self.white, **self._layout)

    @property
    def _layout(self) -> dict[str, Any]:
        """What is known of the axes of arrays."""
        return {"axes": self.axes, "lines": self.of_lines, "channels": self.shape[0]}

    def opened(self, path: Path) -> UserSignals:
        """Read the pictures of a file of one size, (N, C, h, w); sources are laid out as the file has its pictures.

        Raises:
            FileError: The file cannot be read, or holds pictures of different sizes.
        """
        with reading(path):
            parts = list(self._held(path))
        if len({images.shape[1:] for images, _ in parts}) > 1:
            raise FileError(f"{path} holds pictures of different sizes; separate.py takes such files")
        images, axes = torch.cat([images for images, _ in parts]) if parts[1:] else parts[0][0], parts[0][1].axes
        axes = axes if len(images) == 1 or "N" in axes else f"N{axes}"
        return self._above(UserSignals(images, lambda sources: of_sources(sources, axes), "N" in axes))

    def _above(self, read: UserSignals) -> UserSignals:
        """Return pictures as a separator takes them: bright on a background of 0."""
        whole = self.as_they_looked(read.signals)
        signals = self._bright(whole)
        return read._replace(signals=signals, residual=whole - signals if self._has_residual else None)

    def _bright(self, whole: Tensor) -> Tensor:
        """Return bright pictures (N, C, h, w) without their background and its noise."""
        return above(whole, self.background, self.background_noise)

    @property
    def _has_residual(self) -> bool:
        return bool(self.background or self.background_noise)

    def look(self, signals: Iterable[Tensor], invert: bool | None) -> dict[str, Any]:
        """Return how pictures look: whether most are dark on white, and how bright single sources are.

        Args:
            signals: Some of the user's pictures, (N, C, h, w) each.
            invert: Whether the user has said that they are dark on white, and they are inverted already; None if the
                user has said nothing.

        Returns:
            `invert` and `source_max`, which is None if single sources are of no known brightness; nothing without
            pictures.
        """
        greys = (with_channels(thinned(images), 1) for images in signals)
        looks = [(are_on_white(images), len(images), sample(images)) for images in greys]
        if not looks:
            return {}
        on_white = sum(number for dark, number, _ in looks if dark) > sum(number for _, number, _ in looks) / 2
        values = torch.cat([values for _, _, values in looks])
        brightest = single_brightness(1 - values if invert is None and on_white else values)
        return {"invert": on_white if invert is None else invert, "source_max": brightest or None}

    def write(self, signal: Tensor, path: Path) -> None:
        """Write a picture.

        Args:
            signal: Picture (C, h, w), with black as 0 and white as 1.
            path: Path of the file; its suffix names its kind.

        Raises:
            OSError: The file cannot be written.
        """
        save_image(signal, path)


def within(shape: Sequence[int], pixels: int) -> tuple[int, ...]:
    """Return the largest shape of a number of pixels with the aspect ratio of another.

    Args:
        shape: Shape (C, H, W), which is returned if it is small enough.
        pixels: Most pixels H x W.
    """
    channels, height, width = shape
    if height * width <= pixels:
        return tuple(shape)
    high = min(pixels, max(1, round(math.sqrt(pixels * height / width))))
    return channels, high, min(width, pixels // high)


def brightest(mixtures: Tensor) -> float:
    """Return the brightest pixel of the median mixture of (N, C, H, W)."""
    return float(mixtures.flatten(1).amax(1).median())


def seen_by(separator: Separator, mixtures: Tensor, source_scale: float) -> Images:
    """Return the modality through which a separator sees mixtures.

    It resizes them to the separator's size. If the separator knows how bright its training sources were, it also undoes
    the darkening that averaging causes.

    Args:
        separator: Model that separates the mixtures.
        mixtures: Mixtures (N, C, h, w).
        source_scale: Brightest pixel of a source, in the unit of the mixtures.
    """
    plain = Images(separator.image_shape)
    darker = brightest(mixtures) / max(brightest(plain.picture(mixtures)), DARK) if separator.bounded else 1.0
    gain, voices = separator.source_scale / source_scale * darker, separator.modality.get("voices", False)
    return Images(separator.image_shape, gain, voices=voices)
