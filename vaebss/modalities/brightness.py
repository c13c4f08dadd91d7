"""Conversion of the numbers in pictures to brightness: white, alpha and numbers of channels."""

# N images, C channels: 1 or 3, or 2 or 4 while there is alpha

import numpy as np
import torch
from torch import Tensor

from vaebss.errors import FileError

# What is white, by kind and bytes. Other integers (int64 above all) rarely mean their largest value by it.
WHITE = {"b1": 1, "u1": 255, "u2": 65_535, "f2": 1, "f4": 1, "f8": 1, "f16": 1}
NUMBERS = "buif"  # kinds of dtype that can be a brightness
LUMA = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)  # of red, green and blue in grey, as in Pillow


def check_numbers(name: str, dtype: np.dtype, hint: str = "") -> None:
    """Raise a FileError unless a dtype is of real numbers.

    Args:
        name: Name of the file or array, for the error.
        dtype: The dtype.
        hint: End of the error.
    """
    if dtype.kind not in NUMBERS:
        raise FileError(f"{name} holds {dtype}, not numbers of brightness{hint}")


def white_of(name: str, dtype: np.dtype, stated: float | None = None) -> float:
    """Return the number that stands for white.

    Args:
        name: Name of the file or array, for the error.
        dtype: Dtype of the numbers, which determines white if it is not stated.
        stated: White as the user states it.

    Raises:
        FileError: The white of this dtype is unknown, or it is not of real numbers.
    """
    check_numbers(name, dtype)
    white = stated or WHITE.get(f"{dtype.kind}{dtype.itemsize}")
    if white is None:
        remedy = "save array / white, or state it (--white of separate.py, in Python white=)"
        raise FileError(f"{name} holds {dtype}, whose white is unknown: {remedy}")
    return white


def as_brightness(name: str, part: np.ndarray, white: float) -> Tensor:
    """Convert numbers to brightness, float32 of 0 or more, where 1 is white.

    Args:
        name: Name of the file or array, for errors.
        part: Numbers (N, C, H, W).
        white: Number that stands for white.

    Raises:
        FileError: A number is negative or not finite, or single precision would do more to it than round it.
    """
    with np.errstate(over="ignore"):
        light = np.divide(part, white, dtype=np.result_type(part.dtype, np.float32)).astype(np.float32, copy=False)
    lowest, highest = light.min(), light.max()  # NaN if there is any
    if not np.isfinite([lowest, highest]).all():
        raise FileError(f"{name} holds NaN, infinity or numbers too large for single precision")
    if lowest < 0:
        raise FileError(f"{name} holds numbers below 0: set them to 0, or add an offset first")
    if part[~light.any((1, 2, 3))].any():
        raise FileError(f"{name} holds images that are not black, but too dark for single precision")
    return torch.from_numpy(light)


def opaque(name: str, images: Tensor, background: float) -> Tensor:
    """Return images on a background of one brightness, without their alpha, (N, 1 or 3, H, W).

    Args:
        name: Name of the file or array, for the error.
        images: Images (N, 2 or 4, H, W), whose last channel is alpha from 0 to 1.
        background: Brightness of the background, where 1 is white.

    Raises:
        FileError: The last channel exceeds 1, so it cannot be alpha.
    """
    if images.max() > 1:
        raise FileError(f"{name} holds {images.shape[1]} channels; the last is above 1 somewhere and cannot be alpha")
    colour, alpha = images[:, :-1], images[:, -1:]
    return colour * alpha + background * (1 - alpha)


def with_channels(images: Tensor, channels: int) -> Tensor:
    """Return images with another number of channels.

    Grey is the luma of three channels and the mean of others.

    Args:
        images: Images (N, C, H, W).
        channels: Number of channels of the answer.

    Raises:
        ValueError: Neither the images nor the answer are grey, and their channels differ in number.
    """
    own = images.shape[1]
    if own == channels:
        return images
    if channels == 1:
        return (images * LUMA).sum(1, keepdim=True) if own == 3 else images.mean(1, keepdim=True)
    if own > 1:
        raise ValueError(f"the model separates pictures of {channels} channels, and these have {own}")
    return images.expand(-1, channels, -1, -1)
