"""Which modality a separator was trained on, as its checkpoint says."""

from typing import Any

from vaebss.modalities.audio import Audio
from vaebss.modalities.images import Images
from vaebss.modalities.modality import Modality
from vaebss.models.separator import Separator


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
