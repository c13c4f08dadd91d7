"""Which modality a separator was trained on, as its checkpoint says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from vaebss.modalities.audio import Audio
from vaebss.modalities.images import Images
from vaebss.modalities.modality import Modality
from vaebss.models.separator import Separator

LOOKED_AT = 100  # files that show how pictures look


def modality_of(
    separator: Separator, source_max: float | None = None, invert: bool | None = None, white: float | None = None
) -> Modality:
    """What a separator takes apart, with a user's own scale where that matters.

    Args:
        separator: as `vaebss.load` opens it.
        source_max: brightest value of a single source, of pictures; by default the separator's own.
        invert: whether pictures show dark sources on white.
        white: number that stands for white in files of numbers.
    """
    options: dict[str, Any] = dict(separator.modality)
    if options.pop("kind") == Audio.kind:
        return Audio(**options)
    gain = separator.source_scale / (source_max or separator.source_scale)
    return Images(separator.image_shape, gain, bool(invert), white)


def modality_of_files(
    separator: Separator, files: list[Path], look: dict[str, Any], say: Callable[[str], None] = print
) -> Modality:
    """The modality of a user's own files: pictures are taken as the first of them look.

    A model that was trained on given mixtures takes all pictures to be as bright as those.

    Args:
        separator: as `vaebss.load` opens it.
        files: of one kind.
        look: "source_max", "invert" and "white", as `modality_of` takes them; what is None is decided here.
        say: is called with one line that tells how pictures are taken.
    """
    modality = modality_of(separator, **look)
    open_ones = ["invert", "source_max"] if separator.bounded else ["invert"]
    asked = [name for name in open_ones if look[name] is None]
    if not (isinstance(modality, Images) and asked and (found := modality.look(files[:LOOKED_AT]))):
        return modality
    look = look | {name: found[name] for name in asked}
    ground = "dark on white" if look["invert"] else "bright on black"
    scale = look["source_max"] or separator.source_scale
    if separator.bounded or look["invert"]:
        say(f"Taken as {ground}, single sources as up to {scale:.2g} (--invert, --source-max)")
    return modality_of(separator, **look)
