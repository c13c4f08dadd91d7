"""Classes of sources in pictures, such as letters and shapes, where each mixture holds one source of each class.

Sources of one mixture are then less alike than sources of different mixtures. Features of sources are whitened, to mean
0 and covariance I. The classes lie along the directions w in which the sources x and y of one mixture correlate the
least: E[(w x) (w y)] is 0 if sources are independent, and -1 if w tells two classes apart without error. For two
classes of equal covariance w is Fisher's linear discriminant, though no class is known. Everything here is computed
from estimated sources alone.
"""

# N mixtures, K slots, F features, V classes

import numpy as np
import torch
from torch.nn.functional import adaptive_avg_pool2d

from vaebss.modalities.slot_linking import assigned, clustered, voices_of
from vaebss.separation import Separation

GRID = 3  # parts of a picture in each direction, in which its edges are measured
COMPONENTS = 8  # principal components of the features; 6 to 12 tell letters from shapes about as well
FEWEST = 100  # mixtures of which anything is said
FOLDS = 5  # of mixtures; each is classified by a classifier that was fitted to the others
# Least `distinctness` of classes: estimates of remix-k2 have 0.78 to 1 in 200 mixtures of letters and shapes, and at
# most 0.66 in 200 pairs of digits, of letters, of shapes, or of clouds.
DISTINCT = 0.75


def orders(found: Separation) -> torch.Tensor:
    """Return, for each mixture, the order of slots in which the v-th holds a source of class v, (N, K) int64.

    Classes are as many as sources are together in a quarter of the mixtures. Each of a mixture's sources goes to
    another class.
    """
    own, classes = found.active.cpu().numpy(), voices_of(found.active.cpu())
    if own.sum() <= classes:
        return torch.arange(own.shape[1]).expand(len(own), -1)
    features = _features(found)
    return assigned(features @ _discriminants(features, own, classes), own.astype(float), classes)


def are_evident(found: Separation) -> bool | None:
    """Return whether the sources of a mixture are clearly of different classes, or None if too few mixtures tell.

    Args:
        found: Separation of mixtures (N, K, C, H, W), in any order of slots.
    """
    return distinctness(found) >= DISTINCT if len(found) >= FEWEST else None


def distinctness(found: Separation) -> float:
    """Measure how rarely two sources of a mixture are of one class, if each is classified alone.

    Each mixture is classified by a classifier that was fitted to other mixtures. It does not know which sources are of
    one mixture. Only the half of the mixtures whose sources are classified with the greatest margins is counted.

    Returns:
        One minus the share of the pairs of one mixture that are of one class, relative to all pairs: 1 if every mixture
        has one source of each class, about 0 if there are no classes or mixtures do not differ in them.
    """
    own, classes = found.active.cpu().numpy(), voices_of(found.active.cpu())
    fold, labels, margins = np.arange(len(own)) % FOLDS, np.full(own.shape, -1), np.full(own.shape, np.inf)
    if classes < 2 or len(own) < FOLDS * COMPONENTS:
        return 0.0
    features = _features(found)
    for number in range(FOLDS):
        known, asked = own & (fold != number)[:, None], own & (fold == number)[:, None]
        placed = features @ _discriminants(features, known, classes)
        if asked.any():
            means = clustered(placed[known], classes)
            away = means.transform(placed[asked]) ** 2
            nearest = np.sort(away, 1)
            labels[asked], margins[asked] = away.argmin(1), nearest[:, 1] - nearest[:, 0]
    several, margin = own.sum(1) > 1, margins.min(1)
    sure = labels[several & (margin >= np.median(margin[several]))]
    counts = (sure[..., None] == np.arange(classes)).sum(1)
    together, shares = counts.sum(1), counts.sum(0) / counts.sum()
    alike = (counts * (counts - 1)).sum() / max(1, (together * (together - 1)).sum())
    return float(1 - alike / (shares**2).sum())


def _features(found: Separation) -> np.ndarray:
    """Return whitened features (N, K, F) of the estimated sources: energies of edges in four directions, in parts."""
    from sklearn.decomposition import PCA

    pictures = found.sources.flatten(0, 1).float().mean(1, keepdim=True).cpu()
    here, across, down = pictures[..., :-1, :-1], pictures[..., :-1, 1:], pictures[..., 1:, :-1]
    right, below = across - here, down - here
    edges = torch.cat([right, below, right + below, right - below], 1).square()
    values = adaptive_avg_pool2d(edges, GRID).flatten(1).numpy()
    own = found.active.flatten().cpu().numpy()
    scaled = (values - values[own].mean(0)) / values[own].std(0).clip(1e-9)
    whitened = PCA(min(COMPONENTS, int(own.sum()) - 1), whiten=True, random_state=0).fit(scaled[own]).transform(scaled)
    return whitened.reshape(*found.active.shape, -1)


def _discriminants(features: np.ndarray, own: np.ndarray, classes: int) -> np.ndarray:
    """Return the V - 1 directions (F, V - 1) along which the sources of a mixture correlate the least.

    Args:
        features: Whitened features, (N, K, F).
        own: Mask of the slots that hold a source, (N, K) bool.
        classes: Number of classes, V.
    """
    there = features * own[..., None]
    sums = there.sum(1)
    pairs = sums.T @ sums - np.einsum("nkf,nkg->fg", there, there)  # sum over ordered pairs of one mixture
    return np.linalg.eigh(pairs)[1][:, : max(1, classes - 1)]
