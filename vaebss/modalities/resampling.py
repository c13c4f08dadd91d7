"""Resampling from a recording's sample rate to a separator's, and back without loss."""

# C channels, K slots, T samples, N frames

import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vaebss.modalities.blocks import BLOCK, segments, until

STEEP = 4  # differences, whose energy is mostly that of the highs: a fourth at 1 kHz is 54 dB below one at 8 kHz
QUIETEST = 1e-6  # share of a part's mean energy below which highs tell nothing
INAUDIBLE = 1e-5  # offset as a share of the root mean square: 100 dB below it
REACH = 10  # samples of the lower rate that the low-pass of scipy's resample_poly reaches to either side


def number_of(samples: int, rate: int, wanted: int) -> int:
    """Return the number of samples after resampling, rounded up, so that the sound is never shorter.

    Args:
        samples: Number of samples at `rate`.
        rate: Sample rate in Hz.
        wanted: New sample rate in Hz.
    """
    return -(-samples * wanted // rate)


def resampled(blocks: Iterable[Tensor], rate: int, wanted: int) -> Iterator[Tensor]:
    """Resample a stream of blocks, with a low-pass filter.

    The result is the same however the signal (..., T) is cut into blocks, and has `number_of` samples.

    Args:
        blocks: Blocks (..., n) of any lengths.
        rate: Sample rate of the blocks in Hz.
        wanted: New sample rate in Hz.
    """
    if rate == wanted:
        yield from blocks
        return
    from scipy.signal import resample_poly

    up, down = wanted // math.gcd(rate, wanted), rate // math.gcd(rate, wanted)
    reach = REACH * max(up, down) // up + 1
    before = -(-reach // down) * down  # so that every segment starts at a sample of both rates
    for segment in segments(blocks, max(1, BLOCK // down) * down, before, reach):
        samples = number_of(segment.shape[-1] - before - reach, down, up)
        first = before // down * up
        yield torch.from_numpy(resample_poly(segment.numpy(), up, down, axis=-1))[..., first : first + samples]


def highs(parts: Iterable[Tensor], window: int, hop: int) -> Tensor:
    """Measure each part's share of the energy of the highs of all parts, moment by moment.

    Args:
        parts: Blocks (K, C, n) of parts (K, C, T).
        window: Number of samples that each moment covers.
        hop: Number of samples from one moment to the next.

    Returns:
        (K, N), N = 1 + T // hop; the shares of a moment add up to 1.
    """
    powers, samples = torch.zeros(1, 1, dtype=torch.float64), 0

    def steep() -> Iterator[Tensor]:
        nonlocal powers, samples
        for segment in segments(parts, BLOCK, STEEP):
            here = segment[..., STEEP:]
            powers = powers + here.double().square().mean(1).sum(1, keepdim=True)
            samples += here.shape[-1]
            yield segment.diff(n=STEEP).square().mean(1)
        yield torch.zeros(len(powers), 1)  # so that a moment whose middle is the signal's end counts too

    energies = [
        functional.avg_pool1d(segment, window, hop)[:, : -(-(segment.shape[1] - window) // hop)]
        for segment in segments(steep(), max(1, BLOCK // hop) * hop, window // 2, window - window // 2)
    ]
    energy = torch.cat(energies, 1) + (QUIETEST * powers / samples).float()
    return energy / energy.sum(0, keepdim=True).clamp(min=torch.finfo().tiny)


def restored(
    sound: Iterable[Tensor], parts: Iterable[Tensor], shares: Tensor, samples: int, rate: int, own: int
) -> Iterator[Tensor]:
    """Bring parts of a sound back to its sample rate, so that they add up to it.

    What the parts' own rate cannot carry is shared out among them.

    Args:
        sound: Blocks (C, n) of the sound (C, T).
        parts: Blocks (K, C, n) of its parts (K, C, T') at the rate `own`.
        shares: (K, N), each part's share of what is missing, at N moments evenly over the sound, see `highs`.
        samples: Number T of samples of the sound.
        rate: Sample rate of the sound in Hz.
        own: Sample rate of the parts in Hz.

    Yields:
        Blocks (K, C, n) of the parts (K, C, T).
    """
    at, moments = 0, np.arange(shares.shape[1])
    whole = until(resampled(parts, own, rate), samples)
    for here, found in zip(segments(sound, BLOCK), segments(whole, BLOCK), strict=True):
        places = (np.arange(at, at + here.shape[-1]) + 0.5) * (len(moments) / samples) - 0.5
        between = torch.stack([torch.from_numpy(np.interp(places, moments, share.numpy())) for share in shares])
        yield found + (here - found.sum(0)) * between.float().unsqueeze(1)
        at += here.shape[-1]


def moments(sound: Tensor) -> Tensor:
    """Sum the values and the squares of sounds (..., T): (2, ..., 1) float64."""
    exact = sound.double()
    return torch.stack([exact.sum(-1, keepdim=True), exact.square().sum(-1, keepdim=True)])


def offset_of(sums: Tensor, samples: int) -> Tensor:
    """Return the constant offset of each sound, the mean of all its samples, (..., 1) float32.

    An inaudible offset is set to 0, as it is a rounding error.

    Args:
        sums: The `moments` of the sounds, (2, ..., 1).
        samples: Number of samples of a sound.
    """
    mean, square = sums / samples
    return torch.where(mean.abs() > INAUDIBLE * square.sqrt(), mean, 0.0).float()
