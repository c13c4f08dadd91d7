"""Parts that all corpora of sound share: the options of their spectrograms, and how single sounds are mixed."""

import math
from functools import partial
from typing import Any, Literal

from vaebss.data.conditions import conditions_of
from vaebss.data.corpus import Singles
from vaebss.data.detuning import detuned
from vaebss.errors import check_above_zero, check_at_least
from vaebss.modalities.audio import Audio

OWN_BAND = 64  # bins of a spectrum with a band of their own, up to 1 kHz where the window has 1,024 samples


def audio_of(
    level: float = 0.25,
    window: int = 1_024,
    bands: int = 128,
    pooled: int = 4,
    compression: float = 0.5,
    add: Literal["energies", "magnitudes"] = "energies",
) -> Audio:
    """Return the modality of sounds that options of the data describe.

    Args:
        level: Root mean square of a sound in a pair; mixtures are made as loud as such pairs.
        window: Samples of a spectrum, a quarter of which lies between one and the next; half as many are its bins.
        bands: Frequency bands of a spectrogram; the lowest 64 of them are one bin wide.
        pooled: Frames of a spectrogram that are averaged into one.
        compression: Exponent of the magnitudes.
        add: Whether the energies or the magnitudes of sounds are assumed to add up in a mixture.

    Raises:
        ValueError: An option is out of its range.
    """
    check_above_zero(data__level=level)
    check_at_least(4, data__window=window)
    spectra: dict[str, Any] = {"window": window, "hop": window // 4, "bands": bands, "pooled": pooled}
    linear_hz = OWN_BAND * Audio.rate / window
    return Audio(**spectra, compression=compression, linear_hz=linear_hz, add=add, level=level * math.sqrt(2))


class SingleSounds(Singles):
    """Single sounds of root mean square 1, from which mixtures are drawn.

    Args:
        level: Root mean square of a sound in a pair.
        detune: Semitones by which training mixtures are played lower at most, each by its own share.
        gains: Least and most that a sound is multiplied by.
        spectrogram: Options of `audio_of`.
    """

    source_scale, distinct = math.inf, True

    def __init__(self, level: float = 0.25, detune: float = 0.0, gains: list[float] | None = None, **spectrogram: Any):
        check_at_least(0, data__detune=detune)
        self.scale, self.conditions, self.modality = level, conditions_of(gains), audio_of(level, **spectrogram)
        self.vary = partial(detuned, semitones=detune) if detune else None
