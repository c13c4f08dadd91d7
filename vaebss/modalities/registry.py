"""Modality of a separator, as its checkpoint states it, and how a user's mixtures of that kind look."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from vaebss.errors import FileError
from vaebss.modalities.audio import Audio
from vaebss.modalities.files import chosen
from vaebss.modalities.images import Images
from vaebss.modalities.modality import MODALITIES, Modality, parts_of
from vaebss.models.separator import Separator

SUFFIXES = Images.suffixes + Audio.suffixes  # of all files that the package itself can read
FIRST_FILES = 100  # whose first pictures tell how all look
ALIKE = 0.01  # relative difference of brightness that is none


@dataclass(frozen=True)
class PictureOptions:
    """The options of pictures, as a user has stated them; None stands for an option that is not stated.

    Attributes:
        source_max: Brightest value of a single source, with white as 1.
        invert: Whether sources are dark on a white background.
        white: Number that stands for white in arrays.
        axes: Axes of arrays, see `arrays.axes_of`.
        tiles: Whether pictures larger than the model's are cut into tiles.
    """

    source_max: float | None = None
    invert: bool | None = None
    white: float | None = None
    axes: str | None = None
    tiles: bool | None = None


def kind_of(path: Path) -> str:
    """Name the kind of signals that a file holds, by its suffix."""
    suffix = chosen(path)[0].suffix.lower()
    return next((kind for kind, modality in MODALITIES.items() if suffix in modality.suffixes), Images.kind)


def modality_of(separator: Separator, **options: Any) -> Modality:
    """Build the modality of a separator, with a user's own scale where signals have one.

    Args:
        separator: Separator that `vaebss.load` returned.
        options: Options of `Images.of`; those that are None, and an `invert` of False, are not stated.

    Raises:
        ValueError: An option for pictures is stated, but the separator is for other signals.
    """
    modality = MODALITIES[separator.modality["kind"]]
    options |= {"invert": options.get("invert") or None}
    stated = {name: value for name, value in options.items() if value is not None}
    if stated and not modality.has_white:
        what = f"{modality.plural}: leave it out"
        raise ValueError(f"{next(iter(stated))} is an option for pictures, and this model separates {what}")
    return modality.of(separator, **stated)


class Look(NamedTuple):
    """The assumptions about a user's mixtures.

    Attributes:
        modality: Modality that follows from the assumptions.
        assumed: One line that states them; empty if there are none.
        unusual: Whether the model would have assumed something else by itself.
        inverted: Whether mixtures are dark on white though the user has not said so, and have to be read again.
    """

    modality: Modality
    assumed: str = ""
    unusual: bool = False
    inverted: bool = False


def as_they_look(separator: Separator, options: PictureOptions, first: Callable[[Modality], Iterable[Tensor]]) -> Look:
    """Examine the appearance of a user's mixtures, and derive the options that the user has not stated.

    A separator that is not `bounded` was trained on a user's own mixtures, and takes others to be as bright as those.

    Args:
        separator: Separator that `vaebss.load` returned.
        options: Options that the user has stated.
        first: Function that reads some of the mixtures by a modality; it is only called if they have to be examined.
    """
    modality = modality_of(separator, **asdict(options))
    unknown = ["invert", "source_max"] if separator.bounded else ["invert"]
    unknown = [name for name in unknown if getattr(options, name) is None]
    if not (unknown and (looks := modality.look(first(modality), options.invert))):
        return Look(modality)
    seen = replace(options, **{name: looks[name] for name in unknown})
    ground = "dark on white" if seen.invert else "bright on black"
    scale = seen.source_max or separator.source_scale
    other = abs(scale / separator.source_scale - 1) > ALIKE
    line = f"Taken as {ground}, single sources as up to {scale:.2g}" if separator.bounded or seen.invert else ""
    unusual = any({"invert": seen.invert, "source_max": other}[name] for name in unknown)
    inverted = bool(seen.invert) and not options.invert
    return Look(modality_of(separator, **asdict(seen)), line, unusual, inverted)


def modality_of_files(separator: Separator, files: Sequence[Path], options: PictureOptions = PictureOptions()) -> Look:
    """Examine a user's files of one kind, see `as_they_look`.

    Args:
        separator: Model that separates the files.
        files: Paths of the files; the first ones are read, and broken ones among them are left out.
        options: What the user states about pictures.
    """

    def first(modality: Modality) -> Iterator[Tensor]:
        for path in files[:FIRST_FILES]:
            with suppress(FileError):  # which is told of when its turn comes
                yield next(parts_of(modality, path)).signals

    return as_they_look(separator, options, first)


def check_modality(separator: Separator) -> None:
    """Raise a ValueError unless a separator's modality is one that is known, with pictures of the separator's shape."""
    if (kind := separator.modality.get("kind")) not in MODALITIES:
        raise ValueError(f"the kind of its modality must be {' or '.join(MODALITIES)}, not {kind}")
    if (shape := modality_of(separator).shape) != separator.image_shape:
        raise ValueError(f"its pictures must be {shape} as its modality says, not {separator.image_shape}")
