"""Which slot of a window goes on in which of the others: slots that sound alike, however far apart the windows are."""

# N windows, K slots, H bands, V voices, F coefficients

import warnings
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


def energies(parts: Tensor, modality: Modality) -> Tensor:
    """Measure energies (N, K, H) of the rows of pictures of parts of windows (N, K, *C, T), for `orders`."""
    powers = modality.picture(parts.flatten(0, 1).float()).pow(modality.exponent)
    return powers.mean((1, 3)).unflatten(0, parts.shape[:2])


def orders(energies: Tensor, active: Tensor) -> Tensor:
    """Return, for each window, the order of slots in which its sources match those of the other windows.

    Voices are as many as sources are together in a quarter of the windows. k-means finds how each sounds, then every
    window hands its slots out to them, the louder ones with more to say, and voices are heard anew.

    Args:
        energies: of the bands of what each slot of each window holds, (N, K, H), 0 or more.
        active: which hold a source, (N, K).

    Returns:
        (N, K) int64 on the CPU: the v-th slot of window n is to be its slot `orders[n, v]`.
    """
    energies, active = energies.cpu(), active.cpu()
    loudness, voices = energies.sum(2), max(1, int(active.sum(1).float().quantile(TOGETHER)))
    heard = (loudness > 0) & active
    if int(heard.sum()) <= voices:
        return torch.arange(energies.shape[1]).expand(len(energies), -1)
    own = heard.numpy()
    sounds = _standardised(_outlines(energies), own)
    weights = np.where(heard, loudness / loudness.sum(1, keepdim=True).clamp(min=1e-12), 0.0)
    order = _handed_out(sounds, weights, _clustered(sounds[own], voices, weights[own]).cluster_centers_)
    for _ in range(ROUNDS):
        first = np.arange(len(order))[:, None], order[:, :voices]
        weighed = weights[first][..., None]
        centres = (sounds[first] * weighed).sum(0) / weighed.sum(0).clip(1e-12)
        order = _handed_out(sounds, weights, centres)
    return torch.from_numpy(order)


def timbres(energies: Tensor, number: int) -> Tensor:
    """Cluster sounds by the outlines of their spectra, whatever their pitch: k-means.

    Args:
        energies: of the bands of each sound, (N, H), 0 or more.
        number: how many clusters there are, or as many as sounds if these are fewer.

    Returns:
        (N,) int64, the cluster of each sound.
    """
    sounds = _standardised(_outlines(energies.cpu()), np.ones(len(energies), bool))
    return torch.from_numpy(_clustered(sounds, min(number, len(sounds))).labels_).long()


def _outlines(energies: Tensor) -> np.ndarray:
    """The coarse outline of spectra (..., H), whatever their loudness: cosines of log energies, (..., F)."""
    shares = energies / energies.sum(-1, keepdim=True).clamp(min=1e-12)
    cosines: Any = dct((shares + FAINT).log().numpy(), axis=-1, norm="ortho")
    return cosines[..., 1 : COEFFICIENTS + 1]


def _standardised(sounds: np.ndarray, heard: np.ndarray) -> np.ndarray:
    """So that each coefficient of those heard tells as much; what is not heard tells nothing, 0."""
    known = sounds[heard]
    return np.where(heard[..., None], (sounds - known.mean(0)) / known.std(0).clip(1e-3), 0.0)


def _clustered(sounds: np.ndarray, number: int, weights: np.ndarray | None = None) -> Any:
    """Fit k-means to sounds (N, F), from all slots without regard to their windows."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # where fewer sounds differ
        means: Any = KMeans(number, n_init=10, random_state=0)  # type: ignore[arg-type]
        return means.fit(sounds, sample_weight=weights)


def _handed_out(sounds: np.ndarray, weights: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """The order of each window's slots, (N, K): one slot for each voice, then those that are left."""
    unlike = ((sounds[:, :, None] - centres) ** 2).sum(3)
    orders = []
    for gain in weights[:, :, None] * (1 + unlike.max() - unlike):
        slots, voices = linear_sum_assignment(gain, maximize=True)
        left = [slot for slot in range(len(gain)) if slot not in slots]
        orders.append([*slots[np.argsort(voices)], *left])
    return np.array(orders)
