"""Appearance of pictures: brightness, dark ink on white or not, brightness of a single source, noise, background."""

import math

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

INK, LEVELS = 0.25, 16  # a share of the brightest pixel; levels of brightness
COMMON = 0.3  # share of the ink at one level: 0.33 to 0.65 for sources of one brightness, 0.22 to 0.29 for others
EXAMINED = 200  # pictures
BLACK = 0.1  # share of pixels that are 0 where the background is black, even under noise that was cut off at 0
AROUND = 6  # side of a neighbourhood in pixels
DARK = 0.2  # share of the neighbourhoods, the darkest, that are taken as background
QUARTILE = 0.6745  # upper quartile of a normal distribution, and median of its absolute values
SURE = 3.0  # standard deviations of the noise by which a background exceeds 0
CLEAR, ALIKE = 0.02, 0.05  # least background, as a share of the brightest pixel; its relative spread over pictures
FAINT, STRONG = 0.004, 0.1  # least and most noise of an empty background, as shares of the brightest pixel
STEEP = 0.8  # share of dim neighbourhoods, up to twice the noise, that are below it: 0.84 to 0.99 under noise, else 0.5
SHOWN = 2**20  # pixels of a picture that are shown and looked at, and values of a file that are looked at


def are_on_white(images: Tensor) -> bool:
    """Return whether most of the images (N, C, H, W) are dark ink on white.

    One is on white if its border is mostly of one brightness, more than half of its brightest pixel, and so are more
    than half of its pixels but not all: a texture's border varies, and blank paper tells nothing.
    """
    grey = images.float().mean(1)
    border = torch.cat([grey[:, 0], grey[:, -1], grey[:, :, 0], grey[:, :, -1]], 1)
    brightest = grey.flatten(1).amax(1, keepdim=True)
    paper = border.median(1, keepdim=True).values
    flat = ((border - paper).abs() <= brightest / 10).float().mean(1) > 0.75
    bright = (grey.flatten(1) > brightest / 2).float().mean(1)
    on_white = flat & (paper > brightest / 2).squeeze(1) & (bright > 0.5) & (bright < 1)
    return bool(on_white.float().mean() > 0.5)


def thinned(images: Tensor) -> Tensor:
    """Return images (N, C, H, W) of at most `SHOWN` pixels each: of larger ones a copy of every n-th row and column."""
    step = 1
    while math.prod(images[0, 0, ::step, ::step].shape) > SHOWN:
        step *= 2
    return images if step == 1 else images[..., ::step, ::step].clone()


def sample(images: Tensor) -> Tensor:
    """Return values of images (N, C, H, W), (P,): all of them, or every n-th value, P being at most `SHOWN`."""
    values = images.flatten()
    return values[:: math.ceil(len(values) / SHOWN)].clone()


def single_brightness(values: Tensor) -> float:
    """Estimate the brightest value of a single source from all pixels of mixtures, (P,).

    Strokes are mostly of one brightness, and mostly not crossed: that which most of what is not background has. Where
    there is no such brightness, half of the brightest pixel.
    """
    brightest = float(values.max())
    ink = values[values > INK * brightest]
    counts = torch.histc(ink, LEVELS, 0.0, brightest or 1.0)
    level = int(counts.argmax())
    if counts[level] <= COMMON * len(ink):
        return brightest / 2
    return float(ink[(ink * LEVELS / brightest).long().clamp(max=LEVELS - 1) == level].median())


def unit_of(images: Tensor) -> float:
    """Return the number that lines (N, C, 1, W) of any unit, such as counts, are divided by to lie in [0, 1].

    It is their highest point where that is above 1. Pictures are never divided: their white is 1.
    """
    return max(1.0, float(images.max())) if images.shape[2] == 1 else 1.0


def estimated_scale(mixtures: Tensor) -> float:
    """Return how bright sources seem to be in mixtures (N, C, H, W), see `single_brightness`; above 0 and at most 1."""
    return min(1.0, float(f"{single_brightness(mixtures.float().flatten()):.3g}") or 1.0)


def examined(images: Tensor) -> Tensor:
    """Return the grey values (N', H, W) of at most `EXAMINED` of the pictures (N, C, H, W), evenly spread."""
    return images[:: math.ceil(len(images) / EXAMINED)].float().mean(1)


def estimated_noise(images: Tensor) -> float:
    """Estimate the standard deviation of Gaussian noise in pictures (N, C, H, W) with a flat background.

    Where noise was cut off at 0, half of the background is 0, and so are the neighbours of a pixel of background more
    often than others: the upper quartile of pixels between two zeros is the noise's. Elsewhere it is the median of the
    diagonal differences of 2 x 2 pixels (Donoho and Johnstone 1994), in the darkest neighbourhoods alone.
    """
    grey = examined(images)
    black = grey == 0
    if black.float().mean() > BLACK:
        between = grey[..., 1:-1][black[..., :-2] & black[..., 2:]]
        return float(between.sort().values[len(between) * 3 // 4]) / QUARTILE if len(between) else 0.0
    if min(grey.shape[1:]) < AROUND:
        return 0.0
    differences = (grey[:, :-1, :-1] - grey[:, :-1, 1:] - grey[:, 1:, :-1] + grey[:, 1:, 1:]) / 2
    inner = differences[:, AROUND // 2 - 1 : 1 - AROUND // 2, AROUND // 2 - 1 : 1 - AROUND // 2].flatten(1)
    around = avg_pool2d(grey.unsqueeze(1), AROUND, 1).flatten(1)
    darkest = around.argsort(1)[:, : math.ceil(DARK * around.shape[1])]
    return float(inner.gather(1, darkest).abs().median()) / QUARTILE


def estimated_background(images: Tensor) -> float:
    """Estimate the brightness of the background of pictures (N, C, H, W), such as the offset of a camera.

    It is 0 unless it is clearly above 0: it exceeds the noise, is darker than half of the brightest pixel, and is the
    same in most pictures, which the darkest parts of pictures without a background are not.
    """
    grey = examined(images)
    if min(grey.shape[1:]) < AROUND or (grey == 0).float().mean() > BLACK:
        return 0.0
    around = avg_pool2d(grey.unsqueeze(1), AROUND, 1).flatten(1)
    lowest = around.sort(1).values[:, : math.ceil(DARK * around.shape[1])].median(1).values
    background, brightest = float(lowest.median()), float(grey.max())
    alike = float((lowest - background).abs().median()) < ALIKE * background
    least = max(CLEAR * brightest, SURE * estimated_noise(images))
    return float(f"{background:.3g}") if alike and least < background < brightest / 2 else 0.0


def estimated_background_noise(images: Tensor) -> float:
    """Estimate the standard deviation of the noise of pictures (N, C, H, W) whose background is 0 and clearly empty.

    It is 0 unless a fifth of the neighbourhoods are darker than the noise, and far fewer are up to twice as bright. A
    texture that fades to black has about as many of both. Each channel counts as a picture, and lines have none.
    """
    channels = images.flatten(0, 1).unsqueeze(1)
    noise, brightest = estimated_noise(channels), float(images.max())
    if min(images.shape[2:]) < AROUND or not FAINT * brightest < noise < STRONG * brightest:
        return 0.0
    means = local_means(examined(channels))
    empty, dim = (float((means <= times * noise).float().mean()) for times in (1, 2))
    return float(f"{noise:.3g}") if empty > max(DARK, STEEP * dim) else 0.0


def local_means(pictures: Tensor) -> Tensor:
    """Return the mean of the 3 x 3 pixels around each pixel of pictures (..., H, W), in float32."""
    return avg_pool2d(pictures.float(), 3, 1, 1, count_include_pad=False)


def above(pictures: Tensor, background: float, noise: float = 0.0) -> Tensor:
    """Return by how much pictures (N, C, H, W) are brighter than their background, 0 or more, in the same dtype.

    A pixel is 0 if it is at most three standard deviations of the noise, and the mean of the 3 x 3 pixels around it at
    most one. Where there is nothing but noise, cut off at 0, such means are 0.4 standard deviations, give or take 0.2.

    Args:
        pictures: Pictures; they may have any shape if `noise` is 0.
        background: Brightness of the background.
        noise: Standard deviation of its noise; 0 leaves all pixels above the background as they are.
    """
    if background:
        pictures = (pictures.float() - background).clamp(min=0).to(pictures.dtype)
    if noise:
        pictures = pictures.masked_fill((local_means(pictures) <= noise) & (pictures <= SURE * noise), 0)
    return pictures


def on_black(pictures: Tensor, background: float | None = None) -> tuple[Tensor, float, float]:
    """Return pictures (N, C, H, W) less their background, its brightness, and the standard deviation of its noise.

    Args:
        pictures: The pictures, 0 or above.
        background: The brightness; by default it is estimated, see `estimated_background`. If it is stated as 0, the
            pictures stay as they are and their noise is not estimated.

    Raises:
        ValueError: The brightness is not below that of the brightest pixel.
    """
    highest = float(pictures.max()) or 1.0
    stated, background = background, estimated_background(pictures) if background is None else background
    if not 0 <= background < highest:
        raise ValueError(f"data.background must be at least 0 and below {highest:.3g}, the brightest, not {background}")
    pictures = above(pictures, background)
    noise = 0.0 if stated == 0 else estimated_background_noise(pictures)
    return above(pictures, 0.0, noise), background, noise
