"""What trainings take from given mixtures, whose sources nobody knows, where digits have numbers of their own."""

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
    """Of sources in mixtures (N, C, H, W): to the mean of these as the faintest digit's to a pair's."""
    return _rounded(FAINTEST * float(mixtures.float().mean()) / source_scale / MEAN)


def likelihood_scale(pictures: Tensor) -> float:
    """The scale b of a likelihood with which mixtures (N, C, H, W) are weighed against their latents as digits are.

    An explanation costs about as many nats whatever the size, the brightness and the colours of a picture; what it
    explains, sum |x - x_hat| / b, grows with all of them. So b is to the sum of a mixture's pixels as it is for digits.
    """
    return _rounded(LIKELIHOOD_SCALE * float(pictures.float().sum((1, 2, 3)).mean()) / INK)


def of_mixtures(mixtures: Tensor, source_scale: float) -> dict[str, dict[str, Any]]:
    """Options of any model, and of its data, for mixtures (N, C, H, W) of sources up to `source_scale`."""
    return {"model": {"faintest": faintest(mixtures, source_scale)}, "data": {"source_scale": source_scale}}


def begin(pictures: Tensor, num_sources: int) -> float:
    """The bias with which so many slots together begin as bright as mixtures (N, C, H, W) are on average.

    A sigmoid that begins at 0.5 can be driven to black all over by mixtures of thin lines, from where no way leads on.
    """
    share = (float(pictures.float().mean()) / num_sources) or FAINTEST
    return float(f"{math.log(share / (1 - share)):.3g}")


def of_vae(mixtures: Tensor, source_scale: float, num_sources: int) -> dict[str, dict[str, Any]]:
    """Those of a VAE with so many slots, which sees few pixels and weighs what it sees."""
    options = of_mixtures(mixtures, source_scale)
    seen = Images(within(mixtures.shape[1:], PIXELS)).picture(mixtures.float())
    balance = {"likelihood_scale": likelihood_scale(seen), "begin": begin(seen, num_sources)}
    return {"model": options["model"] | balance, "data": options["data"] | {"max_pixels": PIXELS}}


def _rounded(value: float) -> float:
    """To three digits, as people read it; what nothing can be seen in gets any number."""
    return float(f"{value:.3g}") or 1.0
