"""Linking of slots: which slot of a window continues which slot of the others.

Slots go on in each other that sound alike, however far apart their windows are, and that agree where windows overlap.
"""

# N windows, K slots, H bands, V voices, F coefficients, P ways to hand out slots to voices

import math
import warnings
from collections.abc import Iterable
from itertools import permutations
from typing import Any

import numpy as np
import torch
from scipy.fft import dct
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from vaebss.modalities.modality import Modality

COEFFICIENTS = 4  # of a spectrum's outline: more of them tell pitches apart, and not instruments
FAINT = 1e-4  # share of a spectrum's energy in a band, below which nothing is heard
ROUNDS = 10
TOGETHER = 0.75  # of windows have no more sources than there are voices
AGREEMENT = 3.0  # weight of what windows share to how slots sound; from 1.5 to 6 scores of duets hardly differ
MOST_WAYS = 120  # P; where slots are more than five, windows are linked by how they sound alone


def energies(parts: Tensor, modality: Modality) -> Tensor:
    """Measure energies (N, K, H) of the rows of pictures of parts of windows (N, K, *C, T), for `orders`."""
    powers = modality.picture(parts.flatten(0, 1).float()).pow(modality.exponent)
    return powers.mean((1, 3)).unflatten(0, parts.shape[:2])


def agreement(windows: Iterable[Tensor], shifts: Tensor | None = None) -> Tensor:
    """Measure how well the slots of neighbouring windows agree where both windows hold the same moments.

    Args:
        windows: Parts (K, *C, L) of each of N consecutive windows.
        shifts: (N - 1,), by how many samples each window begins later than the one before; by default half of L.

    Returns:
        Inner products (N - 1, K, K) of each slot of a window with each of the next one, in units of the mean energy
        of the mixture in what two windows share. They are 0 for windows that share nothing.
    """
    products, last = [], None
    for window in windows:
        length = window.shape[-1]
        if last is not None:
            shift = length // 2 if shifts is None else min(int(shifts[len(products)]), length)
            before, after = last[..., shift:], window[..., : length - shift]
            products.append(before.flatten(1).float() @ after.flatten(1).float().T)
        last = window
    slots = 0 if last is None else len(last)
    found = torch.stack(products) if products else torch.zeros(0, slots, slots)
    energies = found.sum((1, 2))
    return found / energies[energies > 0].mean().clamp(min=1e-12) if (energies > 0).any() else found


def orders(energies: Tensor, active: Tensor, agreement: Tensor | None = None) -> Tensor:
    """Return, for each window, the order of slots in which its sources match those of the other windows.

    Voices are as many as sources are together in a quarter of the windows. k-means finds how each sounds. Then every
    window hands its slots out to them, so that slots sound like their voice, the louder ones with more to say, and
    agree with those of the windows beside (the Viterbi algorithm finds the best sequence). Voices are then heard anew.

    Args:
        energies: Energies of the bands of each slot of each window, (N, K, H), 0 or more.
        active: Mask of the slots that hold a source, (N, K) bool.
        agreement: How well slots of consecutive windows agree, (N - 1, K, K), see `agreement`; None for windows that
            do not follow each other.

    Returns:
        (N, K) int64 on the CPU: the v-th slot of window n is to be its slot `orders[n, v]`.
    """
    energies, active = energies.cpu(), active.cpu()
    loudness, voices = energies.sum(2), voices_of(active)
    heard = (loudness > 0) & active
    if int(heard.sum()) <= voices:
        return torch.arange(energies.shape[1]).expand(len(energies), -1)
    sounds = _standardised(_outlines(energies), heard.numpy())
    weights = np.where(heard, loudness / loudness.sum(1, keepdim=True).clamp(min=1e-12), 0.0)
    return assigned(sounds, weights, voices, None if agreement is None else agreement.cpu().numpy())


def voices_of(active: Tensor) -> int:
    """Return as many voices as sources are together in a quarter of the windows, given the active slots (N, K)."""
    return max(1, int(active.sum(1).float().quantile(TOGETHER)))


def assigned(sounds: np.ndarray, weights: np.ndarray, voices: int, agreed: np.ndarray | None = None) -> Tensor:
    """Cluster sources into voices, and hand out the slots of each window to them, see `orders`.

    Args:
        sounds: Features of each slot of each window, (N, K, F).
        weights: Weight of each slot, (N, K), 0 where it holds no source.
        voices: Number of voices, V.
        agreed: How well slots of consecutive windows agree, (N - 1, K, K), or None.

    Returns:
        (N, K) int64, see `orders`.
    """
    own = weights > 0
    order = _handed_out(sounds, weights, clustered(sounds[own], voices, weights[own]).cluster_centers_, agreed)
    for _ in range(ROUNDS):
        first = np.arange(len(order))[:, None], order[:, :voices]
        weighed = weights[first][..., None]
        centres = (sounds[first] * weighed).sum(0) / weighed.sum(0).clip(1e-12)
        order = _handed_out(sounds, weights, centres, agreed)
    return torch.from_numpy(order)


def timbres(energies: Tensor, number: int) -> Tensor:
    """Cluster sounds by the outlines of their spectra, whatever their pitch: k-means.

    Args:
        energies: Energies of the bands of each sound, (N, H), 0 or more.
        number: Number of clusters; at most one for each sound.

    Returns:
        (N,) int64, the cluster of each sound.
    """
    sounds = _standardised(_outlines(energies.cpu()), np.ones(len(energies), bool))
    return torch.from_numpy(clustered(sounds, min(number, len(sounds))).labels_).long()


def _outlines(energies: Tensor) -> np.ndarray:
    """Return the coarse outlines of spectra (..., H), independent of loudness: cosine coefficients of log energies,
    (..., F)."""
    shares = energies / energies.sum(-1, keepdim=True).clamp(min=1e-12)
    cosines: Any = dct((shares + FAINT).log().numpy(), axis=-1, norm="ortho")
    return cosines[..., 1 : COEFFICIENTS + 1]


def _standardised(sounds: np.ndarray, heard: np.ndarray) -> np.ndarray:
    """Scale each coefficient to mean 0 and standard deviation 1 over the sounds that are heard; all others become 0."""
    known = sounds[heard]
    return np.where(heard[..., None], (sounds - known.mean(0)) / known.std(0).clip(1e-3), 0.0)


def clustered(sounds: np.ndarray, number: int, weights: np.ndarray | None = None) -> Any:
    """Fit k-means to sounds (N, F), from all slots without regard to their windows."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # where fewer sounds differ
        means: Any = KMeans(number, n_init=10, random_state=0)  # type: ignore[arg-type]
        return means.fit(sounds, sample_weight=weights)


def _handed_out(
    sounds: np.ndarray, weights: np.ndarray, centres: np.ndarray, agreement: np.ndarray | None
) -> np.ndarray:
    """Return the order of each window's slots, (N, K): first one slot for each voice, then the slots that are left."""
    slots, voices = weights.shape[1], len(centres)
    unlike = ((sounds[:, :, None] - centres) ** 2).sum(3)
    gains = weights[:, :, None] * (1 + unlike.max() - unlike)
    if agreement is None or math.perm(slots, voices) > MOST_WAYS:
        chosen = [linear_sum_assignment(gain.T, maximize=True)[1] for gain in gains]
    else:
        chosen = best_sequence(gains, AGREEMENT * agreement)
    return np.array([[*own, *(slot for slot in range(slots) if slot not in own)] for own in chosen])


def best_sequence(gains: np.ndarray, agreement: np.ndarray) -> np.ndarray:
    """Return the slot of each voice in each window, (N, V), with the greatest sum of gains and agreement (Viterbi).

    Args:
        gains: Gain of each slot for each voice, (N, K, V).
        agreement: Agreement of each slot with each slot of the next window, (N - 1, K, K).
    """
    slots, voices = gains.shape[1:]
    ways = np.array(list(permutations(range(slots), voices)))  # (P, V)
    own = gains[:, ways, np.arange(voices)].sum(2)  # (N, P)
    best, came_from = own[0], []
    for gain, agreed in zip(own[1:], agreement, strict=True):
        reached = best[:, None] + agreed[ways[:, None], ways[None]].sum(2)  # (P, P), to the way of the next window
        came_from.append(reached.argmax(0))
        best = reached.max(0) + gain
    path = [int(best.argmax())]
    for steps in reversed(came_from):
        path.append(int(steps[path[-1]]))
    return ways[path[::-1]]
