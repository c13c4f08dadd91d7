"""Pitches of sounds, estimated from the harmonics in their spectra."""

# N windows, K slots, H bands, T frames, C pitches

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

PITCHES = np.arange(28, 100)  # MIDI pitches that are told apart, from 41 to 2,489 Hz
HARMONICS = 10  # of a pitch, its fundamental included
HARMONIC_DECAY = 0.8  # weight of a harmonic relative to the one below it


def harmonic_combs(hertz: Sequence[float]) -> Tensor:
    """Return the harmonics of each of `PITCHES` as weights of bands, (H, C) with columns of norm 1.

    Args:
        hertz: Frequencies of H bands in Hz, in ascending order.
    """
    fundamentals = 440 * 2 ** ((PITCHES - 69) / 12)
    harmonics = fundamentals[:, None] * np.arange(1, HARMONICS + 1)
    bands = np.stack([np.interp(harmonics, hertz, band, right=0) for band in np.eye(len(hertz))])
    weighted = torch.from_numpy((bands * HARMONIC_DECAY ** np.arange(HARMONICS)).sum(2))
    return functional.normalize(weighted.float(), dim=0)


def pitches(energies: Tensor, combs: Tensor) -> Tensor:
    """Estimate the pitch of each slot in semitones, (N, K): the mean over its frames, weighted by their energies.

    A frame's pitch is the one whose harmonics are most like the frame's compressed spectrum (subharmonic summation,
    Hermes 1988).

    Args:
        energies: Energies of the pixels of each slot, (N, K, H, T), 0 or more.
        combs: Harmonics of each pitch, (H, C), see `harmonic_combs`.
    """
    likeness = energies.pow(0.25).mT @ combs.to(energies)  # (N, K, T, C)
    frames, weights = torch.from_numpy(PITCHES).to(energies)[likeness.argmax(3)], energies.sum(2)
    return (frames * weights).sum(2) / weights.sum(2).clamp(min=1e-12)


def pitch_changes(energies: Tensor, combs: Tensor) -> Tensor:
    """Return by how many semitones the pitch of each slot changes from the first half of its frames to the second one.

    Args:
        energies: Energies of the pixels of each slot, (N, K, H, T), 0 or more.
        combs: Harmonics of each pitch, (H, C), see `harmonic_combs`.

    Returns:
        (N, K), 0 or more.
    """
    first, second = (pitches(half, combs) for half in energies.tensor_split(2, 3))
    return (first - second).abs()
