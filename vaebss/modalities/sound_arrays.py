"""Sounds that a user has as arrays, and the way back to their layout."""

# B sounds, C channels, K slots, T samples

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaebss.modalities.arrays import check_no_mask
from vaebss.modalities.modality import Channels, UserSignals

RATES = (100, 1_000_000)  # samples a second that can be resampled
SCALES = {"int8": 2.0**7, "int16": 2.0**15, "int32": 2.0**31}  # of whole numbers, as readers of WAV files divide them
ARRAYS = (*SCALES, "uint8", "float16", "float32", "float64")
KNOWN = 'shape (T,) or (B, T), with channels="first" (C, T) or (B, C, T), with channels="last" (T, C) or (B, T, C)'
SHORT = 64  # samples: fewer of them are rather channels
LOUDEST = 1e15  # sample whose energy, summed over hours, is still finite in single precision


def as_sounds(signals: Any, channels: Channels | None = None) -> UserSignals:
    """Read sounds that a user has, a tensor or an array of one sound or many, as (B, C, T) float32 on the CPU.

    Args:
        signals: Floats, or whole numbers of 8, 16 or 32 bits, which are scaled to [-1, 1) as soundfile scales those of
            files.
        channels: Place of the axis of one sound that holds its channels; None if there is no such axis.

    Raises:
        ValueError: The signals are no sounds; the message is one line.
    """
    sounds = _floats(signals)
    single = sounds.ndim == (1 if channels is None else 2)
    batch = sounds.unsqueeze(0) if single else sounds
    if batch.ndim != (2 if channels is None else 3) or not batch.numel():
        raise ValueError(f"sounds must have {KNOWN}, not {tuple(sounds.shape)}")
    batch = batch.unsqueeze(1) if channels is None else batch.mT if channels == "last" else batch
    _check_layout(tuple(sounds.shape), batch, channels)
    check_samples(batch)

    def arranged(parts: Tensor) -> Tensor:
        laid_out = parts.squeeze(2) if channels is None else parts.mT if channels == "last" else parts
        return laid_out[0] if single else laid_out

    return UserSignals(batch.contiguous(), arranged, not single)


def check_samples(sound: Tensor) -> None:
    """Raise a ValueError if a sample of a sound is NaN, infinite, or so large that its energy would be infinite."""
    if not (largest := float(sound.abs().max())) <= LOUDEST:
        raise ValueError(f"samples should be up to 1, and must be finite and up to {LOUDEST:g}, not {largest:g}")


def whole_rate(rate: Any) -> int:
    """Return a number of samples a second as an int.

    Raises:
        ValueError: The rate is no whole number, or sounds of that rate cannot be resampled; the message is one line.
    """
    try:
        known = RATES[0] <= rate <= RATES[1] and rate == math.floor(rate)
    except (TypeError, ValueError, OverflowError):
        known = False
    if not known:
        raise ValueError(f"sample_rate must be a whole number from {RATES[0]} to {RATES[1]:,}, not {rate!r}")
    return int(rate)


def _floats(signals: Any) -> Tensor:
    """Return numbers of any layout in memory as float32."""
    if isinstance(signals, Tensor):
        numbers, kind = signals.detach().cpu(), str(signals.dtype).removeprefix("torch.")
    else:
        check_no_mask(signals)
        try:
            array = np.asarray(signals)
        except ValueError as error:
            raise ValueError(f"sounds must have {KNOWN}, and all be equally long") from error
        kind = array.dtype.newbyteorder("=").name
        numbers = torch.from_numpy(np.array(array, kind, order="C")) if kind in ARRAYS else torch.empty(0)
    if kind in SCALES:
        return numbers.float() / SCALES[kind]
    if kind == "uint8":
        return numbers.float() / 128 - 1
    if not numbers.is_floating_point() or kind not in (*ARRAYS, "bfloat16"):
        raise ValueError(f"sounds must be floats or whole numbers of 8, 16 or 32 bits, not {kind}")
    return numbers.float()


def _check_layout(shape: tuple[int, ...], batch: Tensor, channels: Channels | None) -> None:
    """Refuse channels that were taken for sounds, and samples that were taken for channels."""
    number, axis, samples = batch.shape
    if channels is None and samples < SHORT and number > samples:
        raise ValueError(f'{number} sounds of {samples} samples: pass channels="last" if {shape} is (T, C)')
    if axis > samples:
        other = "first" if channels == "last" else "last"
        raise ValueError(f'{shape} has more channels than samples with channels="{channels}": pass channels="{other}"')
