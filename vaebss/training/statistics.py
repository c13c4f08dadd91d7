"""Options that trainings take from the pixels of user-supplied mixtures; true sources are not read."""

import math
from typing import Any

from torch import Tensor

from vaebss.modalities.images import Images, within
from vaebss.separation import FAINTEST

PIXELS = 28 * 28  # of a digit; the most that a VAE sees of a picture
INK = 102.4  # sum of all pixels of a pair of digits, each up to 0.5, mean over MNIST
MEAN = INK / PIXELS / 0.5  # brightness of a pair's pixels, as a share of a digit's brightest
LIKELIHOOD_SCALE = math.sqrt(0.5)  # that of digits


def faintest(mixtures: Tensor, source_scale: float) -> float:
    """Return the brightness threshold of active sources: that of digits, scaled by the mixtures' mean brightness.

    Args:
        mixtures: Mixtures (N, C, H, W).
        source_scale: Brightest pixel of a source, in the unit of the mixtures.
    """
    return _rounded(FAINTEST * float(mixtures.float().mean()) / source_scale / MEAN)


def likelihood_scale(pictures: Tensor) -> float:
    """Return the scale b of a likelihood that balances mixtures (N, C, H, W) and their latents as for digits.

    The rate of a source is about the same whatever the size, brightness and colours of a picture, while its distortion,
    sum |x - x_hat| / b, grows with all of them. So b / (sum of a mixture's pixels) equals its value for MNIST.
    """
    return _rounded(LIKELIHOOD_SCALE * float(pictures.float().sum((1, 2, 3)).mean()) / INK)


def data_options(mixtures: Tensor, source_scale: float) -> dict[str, dict[str, Any]]:
    """Return options of any model and of its data, by the names of their parts, "model" and "data".

    Args:
        mixtures: Mixtures (N, C, H, W).
        source_scale: Brightest pixel of a source, in the unit of the mixtures.
    """
    return {"model": {"faintest": faintest(mixtures, source_scale)}, "data": {"source_scale": source_scale}}


def begin(pictures: Tensor, num_sources: int) -> float:
    """Return the decoder's bias with which the sum of all slots starts at the mean brightness of the mixtures.

    Mixtures of thin lines can drive a sigmoid that starts at 0.5 to black everywhere, where its gradient vanishes.

    Args:
        pictures: Mixtures as the VAE sees them, (N, C, H, W).
        num_sources: Number of slots K.
    """
    share = (float(pictures.float().mean()) / num_sources) or FAINTEST
    return float(f"{math.log(share / (1 - share)):.3g}")


def vae_options(mixtures: Tensor, source_scale: float, num_sources: int) -> dict[str, dict[str, Any]]:
    """Return options of a VAE and of its data, by the names of their parts, "model" and "data".

    The VAE sees mixtures at 28 x 28 pixels at most.

    Args:
        mixtures: Mixtures (N, C, H, W).
        source_scale: Brightest pixel of a source, in the unit of the mixtures.
        num_sources: Number of slots K.
    """
    options = data_options(mixtures, source_scale)
    seen = Images(within(mixtures.shape[1:], PIXELS)).picture(mixtures.float())
    balance = {"likelihood_scale": likelihood_scale(seen), "begin": begin(seen, num_sources)}
    return {"model": options["model"] | balance, "data": options["data"] | {"max_pixels": PIXELS}}


def _rounded(value: float) -> float:
    """Round to three digits; 0, the value of black mixtures, becomes 1."""
    return float(f"{value:.3g}") or 1.0
