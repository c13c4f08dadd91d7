"""Linking of slots: which slot of a window continues which slot of the others.

Slots go on in each other that sound alike, however far apart their windows are, and that agree where windows overlap
and are near in pitch there.
"""

# N windows, K slots, M moments, H bands, T frames, V voices, F features, P ways to hand out slots to voices, S starts

import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, permutations
from typing import Any

import numpy as np
import torch
from scipy.fft import dct
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from vaebss.modalities.modality import Modality
from vaebss.modalities.pitch import harmonic_combs, pitches

COEFFICIENTS = 4  # of a spectrum's outline: more of them tell pitches apart, and not instruments
FINER = 8  # coefficients, where differences within slots tell which of them are due to pitch
MOMENTS = 3  # M, of a window
SOUNDING = 0.4  # of an even share of a slot's energy, from which on it sounds in a moment
ENOUGH = 10  # differences for each coefficient
SHRINKAGE = 0.02  # share of its mean that is added to each variance within slots
FAINT = 1e-4  # share of a spectrum's energy in a band, below which nothing is heard
FAINT_FRAME = 1e-3  # share of a slot's energy in a frame, below which nothing is heard
ROUNDS = 10
AT_ONCE = 256  # sounds, or windows of sounds, of which outlines are computed together
STARTS = 12  # windows of which the slots are taken as first estimates of the voices
TOGETHER = 0.75  # of windows have no more sources than there are voices
SEMITONE = 0.07  # agreement lost with each semitone between slots; 0.1 has the same scores, 0.035 a third of the gain
AGREEMENT = 3.0  # weight of what windows share to how slots sound; from 1.5 to 6 scores of duets hardly differ
MOST_WAYS = 120  # P; where slots are more than five, windows are linked by how they sound alone


def band_energies(parts: Tensor, modality: Modality) -> Tensor:
    """Measure the energy of each band and frame of the parts of windows.

    Args:
        parts: Parts of windows, (N, K, *C, L).
        modality: Modality that pictures them.

    Returns:
        (N, K, H, T), mean over the channels of the pictures.
    """
    return modality.picture(parts.flatten(0, 1).float()).pow(modality.exponent).mean(1).unflatten(0, parts.shape[:2])


def moments(energies: Tensor) -> Tensor:
    """Average energies (N, K, H, T) over the frames of each of M successive stretches, moments: (N, K, M, H).

    M is `MOMENTS`, or fewer in pictures of few frames.
    """
    stretches = energies.tensor_split(min(MOMENTS, energies.shape[3]), 3)
    return torch.stack([stretch.mean(3) for stretch in stretches], 2)


def fading(energies: Tensor) -> Tensor:
    """Measure how fast the sound in each slot fades: the median change of its log energy from frame to frame, (N, K).

    Notes of plucked and struck instruments fade, and those of bowed and blown instruments are sustained. The median
    hardly depends on when notes begin.

    Args:
        energies: Energies of the pixels of each slot, (N, K, H, T), 0 or more.
    """
    frames = energies.sum(2)
    shares = frames / frames.sum(2, keepdim=True).clamp(min=1e-12)
    changes = (shares + FAINT_FRAME).log().diff(dim=2)
    return changes.median(2).values if changes.shape[2] else frames.new_zeros(frames.shape[:2])


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


def orders_of(
    groups: Iterable[Tensor], active: Tensor, modality: Modality, hertz: Sequence[float], shifts: Tensor | None = None
) -> Tensor:
    """Return, for each window, the order of slots in which they go on with what sounds alike, see `orders`.

    Slots of windows that overlap agree less, the farther apart their pitches are: melodies move in small steps.

    Args:
        groups: Parts (n, K, *C, L) of consecutive windows, a group of them at a time.
        active: Mask of the slots that hold a source, (N, K) bool.
        modality: Modality that pictures the parts.
        hertz: Frequencies of the bands of its pictures in Hz, in ascending order.
        shifts: See `agreement`.
    """
    bands, frames = modality.shape[-2:]
    # Memory is taken first, as small tensors between large ones would scatter it.
    spectra = torch.zeros(*active.shape, min(MOMENTS, frames), bands)
    faded, pitch = torch.zeros(active.shape), torch.zeros(active.shape)
    combs = harmonic_combs(hertz)

    def parts() -> Iterator[Tensor]:
        at = 0
        for group in groups:
            pixels, here = band_energies(group, modality), slice(at, at + len(group))
            spectra[here], faded[here], pitch[here] = moments(pixels), fading(pixels), pitches(pixels, combs)
            at += len(group)
            yield from group

    agreed = agreement(parts(), shifts)
    return orders(spectra, active, agreed - SEMITONE * steps(pitch, agreed), faded)


def steps(pitch: Tensor, agreed: Tensor) -> Tensor:
    """Return the semitones between slots of consecutive windows, (N - 1, K, K); 0 for windows that share nothing.

    Args:
        pitch: Pitch of each slot in semitones, (N, K).
        agreed: How well slots of consecutive windows agree, (N - 1, K, K), all 0 if they share nothing.
    """
    apart = (pitch[:-1, :, None] - pitch[1:, None, :]).abs()
    return torch.where((agreed != 0).any(2, keepdim=True).any(1, keepdim=True), apart, 0.0)


def orders(spectra: Tensor, active: Tensor, agreed: Tensor | None = None, faded: Tensor | None = None) -> Tensor:
    """Return, for each window, the order of slots in which its sources match those of the other windows.

    There are as many voices as sources are together in a quarter of the windows. Each has a timbre, the mean of the
    features of its slots. The slots of each window are assigned to the voices, see `assigned`. An assignment gains by
    slots that are like their voice, louder ones counting for more, and by slots that agree with those of the
    neighbouring windows.

    Args:
        spectra: Energies of the bands of each slot in each moment of each window, (N, K, M, H), 0 or more.
        active: Mask of the slots that hold a source, (N, K) bool.
        agreed: How well slots of consecutive windows agree, (N - 1, K, K), see `agreement`; None for windows that
            do not follow each other.
        faded: How fast the sound in each slot fades, (N, K), see `fading`; None if it is unknown.

    Returns:
        (N, K) int64 on the CPU: the v-th slot of window n is to be its slot `orders[n, v]`.
    """
    spectra, active = spectra.cpu(), active.cpu()
    loudness, voices = spectra.sum((2, 3)), voices_of(active)
    heard = (loudness > 0) & active
    if int(heard.sum()) <= voices:
        return torch.arange(spectra.shape[1]).expand(len(spectra), -1)
    sounds = _timbres_of_slots(spectra, heard)
    if faded is not None:
        fades = _standardised(faded.cpu().numpy()[..., None], heard.numpy())
        sounds = _scaled(np.concatenate([sounds, fades], 2), heard.numpy())
    weights = np.where(heard, loudness / loudness.sum(1, keepdim=True).clamp(min=1e-12), 0.0)
    return assigned(sounds, weights, voices, None if agreed is None else agreed.cpu().numpy())


def voices_of(active: Tensor) -> int:
    """Return as many voices as sources are together in a quarter of the windows, given the active slots (N, K)."""
    return max(1, int(active.sum(1).float().quantile(TOGETHER)))


def assigned(sounds: np.ndarray, weights: np.ndarray, voices: int, agreed: np.ndarray | None = None) -> Tensor:
    """Cluster sources into voices, and hand out the slots of each window to them, see `orders`.

    Voices are estimated from the slots that are handed out to them, and slots are handed out by these voices, in turn.
    What comes out depends on the start. It is begun with voices found by k-means, with the slots of single windows as
    voices, and with what windows share alone; the assignment that gains most is returned.

    Args:
        sounds: Features of each slot of each window, (N, K, F).
        weights: Weight of each slot, (N, K), 0 where it holds no source.
        voices: Number of voices, V.
        agreed: How well slots of consecutive windows agree, (N - 1, K, K), or None.

    Returns:
        (N, K) int64, see `orders`.
    """
    own = weights > 0
    starts = [clustered(sounds[own], voices, weights[own]).cluster_centers_]
    starts += _voices_of_windows(sounds, weights, voices)
    if agreed is not None:
        starts.append(np.zeros((voices, sounds.shape[2])))  # all voices are alike: only what windows share counts
    chosen, gains = _settled(sounds, weights, np.stack(starts), agreed)
    best = 0
    for start, gain in enumerate(gains):
        if gain > gains[best] and not math.isclose(gain, gains[best], rel_tol=1e-6):  # of equals the first
            best = start
    slots = range(weights.shape[1])
    return torch.tensor([[*own, *(slot for slot in slots if slot not in own)] for own in chosen[best].tolist()])


def _voices_of_windows(sounds: np.ndarray, weights: np.ndarray, voices: int) -> Iterator[np.ndarray]:
    """Yield the features (V, F) of the V loudest slots of a few windows in which so many are heard."""
    full = ((weights > 0).sum(1) >= voices).nonzero()[0]
    for window in full[np.linspace(0, len(full) - 1, min(STARTS, len(full))).astype(int)]:
        yield sounds[window, (-weights[window]).argsort(kind="stable")[:voices]]


def _settled(
    sounds: np.ndarray, weights: np.ndarray, centres: np.ndarray, agreed: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Hand out slots and estimate the features of the voices in turn, from S starts at once.

    Args:
        sounds: Features of each slot of each window, (N, K, F).
        weights: Weight of each slot, (N, K).
        centres: Features of the voices of each start, (S, V, F).
        agreed: How well slots of consecutive windows agree, (N - 1, K, K), or None.

    Returns:
        The last slot of each voice in each window, (S, N, V), and its gain, (S,).
    """
    chosen, gains = _handed_out(sounds, weights, centres, agreed)
    unsettled, places = np.arange(len(centres)), np.arange(len(sounds))[:, None]
    for _ in range(ROUNDS):
        own, weighed = sounds[places, chosen[unsettled]], weights[places, chosen[unsettled]][..., None]
        means = (own * weighed).sum(1) / weighed.sum(1).clip(1e-12)
        before = gains[unsettled]
        chosen[unsettled], gains[unsettled] = _handed_out(sounds, weights, means, agreed)
        unsettled = unsettled[~np.isclose(gains[unsettled], before, rtol=1e-9, atol=0)]
        if not len(unsettled):
            break
    return chosen, gains


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


def _timbres_of_slots(energies: Tensor, heard: Tensor) -> np.ndarray:
    """Describe the timbre of each slot of each window, (N, K, F), by coordinates that differ little within a slot.

    From one moment to another a slot plays other notes of the same voice. The covariance of these differences, W, says
    what of an outline is due to the note, and outlines are multiplied by W^(-1/2), as in linear discriminant analysis.
    Where too few slots sound in several moments, each coefficient is divided by its standard deviation instead.

    Args:
        energies: Energies of bands, (N, K, M, H).
        heard: Mask of the slots that hold a source, (N, K) bool.
    """
    shares = energies.sum(3) / energies.sum((2, 3)).unsqueeze(2).clamp(min=1e-12)
    sounding = ((shares > SOUNDING / energies.shape[2]) & heard.unsqueeze(2)).numpy()
    outlines, by_moment = _outlines(energies.mean(2), FINER), _outlines(energies, FINER)
    pairs = combinations(range(energies.shape[2]), 2)
    differences = [(by_moment[:, :, a] - by_moment[:, :, b])[sounding[:, :, a] & sounding[:, :, b]] for a, b in pairs]
    within = np.concatenate([np.zeros((0, FINER)), *differences])
    if len(within) < ENOUGH * FINER or not within.any(0).all():
        return _standardised(outlines[..., :COEFFICIENTS], heard.numpy())
    values, directions = np.linalg.eigh(within.T @ within / len(within))
    sounds = (outlines - outlines[heard.numpy()].mean(0)) @ directions / np.sqrt(values + SHRINKAGE * values.mean())
    return _scaled(sounds, heard.numpy())


def _scaled(sounds: np.ndarray, heard: np.ndarray) -> np.ndarray:
    """Scale features to a mean square sum of `COEFFICIENTS` over the sounds that are heard; all others become 0."""
    own = sounds * heard[..., None]
    return own * math.sqrt(COEFFICIENTS * heard.sum() / max((own**2).sum(), 1e-12))


def _outlines(energies: Tensor, number: int = COEFFICIENTS) -> np.ndarray:
    """Return the coarse outlines of spectra (..., H), independent of loudness: cosine coefficients of log energies,
    (..., F)."""
    found = []
    for some in energies.split(AT_ONCE):  # all cosines of an hour of sound would take hundreds of megabytes
        shares = some / some.sum(-1, keepdim=True).clamp(min=1e-12)
        cosines: Any = dct((shares + FAINT).log().numpy(), axis=-1, norm="ortho")
        found.append(cosines[..., 1 : number + 1].copy())
    return np.concatenate(found)


def _standardised(sounds: np.ndarray, heard: np.ndarray) -> np.ndarray:
    """Scale each coefficient to mean 0 and standard deviation 1 over the sounds that are heard; all others become 0."""
    known = sounds[heard]
    return np.where(heard[..., None], (sounds - known.mean(0)) / known.std(0).clip(1e-3), 0.0)


def clustered(sounds: np.ndarray, number: int, weights: np.ndarray | None = None) -> Any:
    """Fit k-means to sounds of all slots, without regard to their windows.

    Args:
        sounds: Features of the sounds, (N, F).
        number: Number of clusters.
        weights: Weight of each sound, (N,); None for equal weights.

    Returns:
        The fitted `KMeans` of scikit-learn.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # where fewer sounds differ
        means: Any = KMeans(number, n_init=10, random_state=0)  # type: ignore[arg-type]
        return means.fit(sounds, sample_weight=weights)


def _handed_out(
    sounds: np.ndarray, weights: np.ndarray, centres: np.ndarray, agreed: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the slot of each voice in each window, (S, N, V), and its gain, (S,), given voices (S, V, F)."""
    slots, voices = weights.shape[1], centres.shape[1]
    unlike = np.stack([((sounds[:, :, None] - own) ** 2).sum(3) for own in centres])
    gains = weights[:, :, None] * (1 + 4 * (sounds**2).sum(2).max() - unlike)  # no voice is farther from any slot
    if agreed is None or math.perm(slots, voices) > MOST_WAYS:
        agreed = np.zeros((len(sounds) - 1, slots, slots))
        chosen = np.array([[linear_sum_assignment(gain.T, maximize=True)[1] for gain in own] for own in gains])
    else:
        chosen = best_sequences(gains, AGREEMENT * agreed)
    places = np.arange(len(sounds))[:, None]
    own = np.take_along_axis(gains, chosen[:, :, None], 2).sum((1, 2, 3))
    shared = agreed[places[:-1], chosen[:, :-1], chosen[:, 1:]].sum((1, 2))
    return chosen, own + AGREEMENT * shared


def best_sequences(gains: np.ndarray, agreed: np.ndarray) -> np.ndarray:
    """Return the slot of each voice in each window, (S, N, V), with the greatest sum of gains and agreement (Viterbi).

    Args:
        gains: Gain of each slot for each voice, of S problems, (S, N, K, V).
        agreed: Agreement of each slot with each slot of the next window, the same for all problems, (N - 1, K, K).
    """
    slots, voices = gains.shape[2:]
    ways = np.array(list(permutations(range(slots), voices)))  # (P, V)
    own = gains[:, :, ways, np.arange(voices)].sum(3).swapaxes(0, 1)  # (N, S, P)
    best, came_from = own[0], []
    for gain, shared in zip(own[1:], agreed, strict=True):
        reached = best[:, :, None] + shared[ways[:, None], ways].sum(2)  # (S, P, P), to the way of the next window
        came_from.append(reached.argmax(1).astype(np.uint8))  # P is at most MOST_WAYS
        best = reached.max(1) + gain
    path = [best.argmax(1)]
    for earlier in reversed(came_from):
        path.append(earlier[np.arange(len(best)), path[-1]])
    return ways[np.stack(path[::-1], 1)]
