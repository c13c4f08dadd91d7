"""A check of whether mixtures look like those that a model was trained on, by four plain features of their pictures.

Photographs, noise, speech to a model of notes, and pictures at a brightness that the model does not know look unlike
them, and are not separated well. No source takes part. See docs/blind-score.md for what this finds and what it misses.
"""

# N pictures of mixtures

import math
from typing import Any

import torch
from torch import Tensor

from vaebss.modalities.modality import Modality
from vaebss.models.separator import Separator

DARK = 0.05  # share of a picture's brightest pixel below which a pixel is dark
FLOOR, TINY = 1e-4, 1e-12  # added before logarithms; least divisor
FAR, SURER = 4.0, 2.0  # distance from which on mixtures are unlike, and what is added to it for a single one

UNLIKE = (
    "These mixtures look unlike those that the model was trained on, so that it may not separate them: look at the "
    "first results, or adapt a model (remix.py --data.mixtures, vaebss.adapt)"
)


def features(pictures: Tensor) -> Tensor:
    """Return features (N, 4) of pictures (N, C, H, W), 0 or more.

    They are the share of dark pixels, and the logarithms of the mean brightness and of the energies of differences of
    vertical and of horizontal neighbours, as a share of the picture's own energy.
    """
    peaks = pictures.flatten(1).amax(1).view(-1, 1, 1, 1)
    dark = (pictures <= DARK * peaks).flatten(1).float().mean(1)
    energy = pictures.square().flatten(1).sum(1).clamp(min=TINY)
    down, across = (pictures.diff(dim=dim).square().flatten(1).sum(1) / (2 * energy) for dim in (2, 3))
    bright = pictures.flatten(1).mean(1)
    return torch.stack([dark, *((value + FLOOR).log() for value in (bright, down, across))], 1).cpu()


def look_of(pictures: Tensor) -> dict[str, Any]:
    """Return the means and standard deviations of the features of training mixtures (N, C, H, W), as plain values."""
    found = features(pictures)
    statistics = {"means": found.mean(0), "deviations": found.std(0)}
    return {name: [round(value, 4) for value in values.tolist()] for name, values in statistics.items()}


def distance(pictures: Tensor, look: dict[str, Any]) -> float:
    """Return the distance of pictures from those of a training, in standard deviations of the features.

    Args:
        pictures: Pictures (N, C, H, W), whose features are averaged.
        look: Means and standard deviations of the features of the training's pictures.
    """
    means, deviations = (torch.tensor(look[name]) for name in ("means", "deviations"))
    return float(((features(pictures).mean(0) - means) / deviations).norm())


def unlike(separator: Separator, modality: Modality, signals: Tensor) -> str:
    """Return one line if mixtures look unlike the training mixtures of a separator, else an empty one.

    It is empty for a separator whose training mixtures are unknown. The fewer windows there are, the farther away they
    have to be; silent ones do not count.

    Args:
        separator: Separator with the `look` of its training mixtures.
        modality: Modality through which it sees the mixtures.
        signals: Mixtures (N, *S).
    """
    if separator.look is None:
        return ""
    windows = modality.split(signals * modality.levelling(signals))
    windows = windows[windows.flatten(1).any(1)]
    if not len(windows):
        return ""
    far = distance(modality.picture(windows), separator.look) > FAR + SURER / math.sqrt(len(windows))
    return UNLIKE if far else ""
