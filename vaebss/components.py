"""Components of many separated lines, such as the compounds of spectra, and their amounts in each mixture.

Sources of different mixtures are alike if their lines correlate, moved by a few points where that helps: peaks shift
from one measurement to the next. Average linkage joins those that are alike. The number of components is the least
whose silhouette (Rousseeuw 1987), which knows no truth, is about as high as that of any other number.
"""

# B mixtures, K slots, P sources, C components, L points

from dataclasses import dataclass

import numpy as np
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from torch import Tensor

from vaebss.errors import check_at_least, counted
from vaebss.separation import Separation

FEWEST = 20  # sources of which anything can be said
LINKED = 600  # sources that are linked at most; the others join what is nearest
MOST = 20  # components
RARE = 0.01  # share of the sources, below which they are no component but errors of the separation
AS_HIGH = 0.03  # by which a silhouette may be lower than the highest one: errors of the separation form small groups
CUTS = 3 * MOST  # groups that a tree is cut into at most, with those that are rare
REACH = 32  # an L-th of so much is how far lines are moved


@dataclass(frozen=True, repr=False)
class Components:
    """The components that sources of lines belong to.

    Attributes:
        spectra: (C, L), the mean line of each component, whose highest point is 1. The most frequent comes first.
        amounts: (B, C), how much of each a mixture holds: its sources are about amount x spectrum.
        labels: (B, K) int64, the component of each source, -1 for inactive slots.
        silhouette: How well the components are apart, from -1 to 1.

    Examples:
        >>> import torch
        >>> from vaebss import Components
        >>> Components(torch.rand(2, 50), torch.rand(9, 2), torch.tensor([[0, 1]]).expand(9, -1), 0.9)
        Components(2 components, at most 2 together in 9 mixtures, silhouette 0.90)
    """

    spectra: Tensor
    amounts: Tensor
    labels: Tensor
    silhouette: float

    @property
    def together(self) -> int:
        """The most components in one mixture."""
        return max(len(set(own) - {-1}) for own in self.labels.tolist())

    @property
    def summary(self) -> str:
        """The number of components and the most in one mixture, in words."""
        return f"{counted(len(self.spectra), 'component')}, at most {self.together} together"

    def __repr__(self) -> str:
        """Show one line: the summary, the number of mixtures and the silhouette."""
        mixtures = counted(len(self.amounts), "mixture")
        return f"Components({self.summary} in {mixtures}, silhouette {self.silhouette:.2f})"


def find_components(found: Separation, number: int | None = None) -> Components:
    """Find which sources of different mixtures are one component, from these alone.

    Args:
        found: Separation of lines, with sources (B, K, L) or (B, K, 1, 1, L).
        number: Number of components; by default one from 2 to 20 that follows from their silhouette.

    Raises:
        ValueError: The sources are no lines of several mixtures, or too few; or `number` is below 1.

    Examples:
        >>> import torch
        >>> from vaebss import Separation, find_components
        >>> compounds = torch.eye(6).repeat_interleave(8, 1)[:3]  # three, each of one broad peak
        >>> pairs = torch.tensor([[0, 1], [1, 2], [2, 0]]).repeat(10, 1)
        >>> found = Separation(compounds[pairs], torch.ones(30, 2, dtype=torch.bool), torch.ones(30))
        >>> find_components(found)
        Components(3 components, at most 2 together in 30 mixtures, silhouette 1.00)
    """
    if number is not None:
        check_at_least(1, number=number)
    shape = found.sources.shape
    if len(shape) < 3 or shape[2:].numel() != shape[-1]:
        raise ValueError(f"components need sources of lines (B, K, L), not of shape {tuple(shape)}")
    sources = found.sources.flatten(2).float().cpu()
    areas = sources.sum(2)
    there = found.active.cpu() & (areas > 0)
    lines = sources[there]
    if len(lines) < (fewest := max(FEWEST, number or 0)):
        raise ValueError(f"components need {fewest} sources or more, not {len(lines)}")
    reach = lines.shape[1] // REACH
    some = lines[torch.linspace(0, len(lines) - 1, min(LINKED, len(lines))).long()]
    groups, silhouette = _linked(1 - correlations(some, some, reach)[0].numpy(), number)
    spectra = torch.stack([_mean(some[groups == group], reach) for group in np.unique(groups)])
    nearest = correlations(lines, spectra, reach)[0].argmax(1)
    order = torch.bincount(nearest, minlength=len(spectra)).argsort(descending=True)
    spectra, nearest = spectra[order], order.argsort()[nearest]
    labels = torch.full(there.shape, -1).masked_scatter(there, nearest)
    shares = torch.where(there, areas, 0.0) / spectra.sum(1)[labels.clamp(min=0)]
    amounts = torch.zeros(len(labels), len(spectra)).scatter_add_(1, labels.clamp(min=0), shares)
    return Components(spectra, amounts, labels, silhouette)


def correlations(lines: Tensor, others: Tensor, reach: int) -> tuple[Tensor, Tensor]:
    """Return the largest correlation of each line with each other line, which is moved, and the move.

    Correlations are those of the lines' directions, from 0 to 1 for lines of 0 or more.

    Args:
        lines: Lines (P, L).
        others: Other lines (Q, L).
        reach: Number of points by which the other lines are moved at most.

    Returns:
        Correlations (P, Q), and the number of points by which the other line is moved to the right, (P, Q).
    """
    ours, theirs = (torch.nn.functional.normalize(each, dim=1) for each in (lines, others))
    moves = range(-reach, reach + 1)
    largest = torch.stack([ours @ moved(theirs, move).T for move in moves]).max(0)
    return largest.values, largest.indices - reach


def moved(lines: Tensor, points: int) -> Tensor:
    """Move lines to the right. The points that become free are 0.

    Args:
        lines: Lines (..., L).
        points: Number of points; below 0 to the left.
    """
    length = lines.shape[-1]
    filled = torch.nn.functional.pad(lines, (max(points, 0), max(-points, 0)))
    return filled[..., :length] if points > 0 else filled[..., -length:]


def _linked(distances: np.ndarray, number: int | None) -> tuple[np.ndarray, float]:
    """Group P sources by their distances (P, P); return the group of each and the silhouette."""
    from sklearn.metrics import silhouette_score  # takes long to import

    np.fill_diagonal(distances := np.clip((distances + distances.T) / 2, 0, None), 0)
    tree = linkage(squareform(distances, checks=False), "average")
    if number:
        tried = [fcluster(tree, number, "maxclust")]
    else:
        tried = [_without_rare(fcluster(tree, cut, "maxclust"), distances) for cut in range(2, CUTS)]
    by_size = {len(np.unique(groups)): groups for groups in reversed(tried)}  # the first of each number
    scores = {
        size: float(silhouette_score(distances, groups, metric="precomputed"))
        for size, groups in sorted(by_size.items())
        if 1 < size <= max(MOST, number or 0) and size < len(distances)
    }
    if not scores:
        return np.zeros(len(distances), int), 0.0
    size = next(size for size, score in scores.items() if score >= max(scores.values()) - AS_HIGH)
    return by_size[size], scores[size]


def _without_rare(groups: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Move members of rare groups to the groups that they are nearest to on average."""
    names, sizes = np.unique(groups, return_counts=True)
    kept = names[sizes >= max(2, RARE * len(groups))]
    if len(kept) in (0, len(names)):
        return groups
    nearest = np.stack([distances[:, groups == name].mean(1) for name in kept]).argmin(0)
    return np.where(np.isin(groups, kept), groups, kept[nearest])


def _mean(lines: Tensor, reach: int) -> Tensor:
    """Return the mean (L,) of lines (P, L) of one component, moved so that they lie on each other; its peak is 1."""
    alike = correlations(lines, lines, reach)[0]
    middle = lines[alike.sum(1).argmax()].unsqueeze(0)
    moves = correlations(middle, lines, reach)[1].squeeze(0).tolist()
    mean = torch.stack([moved(line, move) for line, move in zip(lines, moves, strict=True)]).mean(0)
    return mean / mean.max()
