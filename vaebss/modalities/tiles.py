"""Large pictures at their own resolution: cut into tiles as large as a separator's mixtures, linked and blended."""

# C channels, H x W pixels, h x w pixels of a tile, N tiles, K slots, E pairs of neighbouring tiles

import math
from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree
from torch import Tensor
from torch.nn.functional import pad

from vaebss.modalities.modality import Modality
from vaebss.models.separator import CHUNK
from vaebss.separation import Separation

MIN_TILE = 8  # pixels, a side that networks can halve three times
BLANK = 0.01  # of the mean variance of tiles, below which there is nothing in one
Corner = tuple[int, int]  # row and column of a tile's first pixel


def separate_tiles(answer: Callable[[Tensor], Separation], images: Modality, signal: Tensor) -> Separation:
    """Separate one large picture (C, H, W) by its tiles; sources (1, K, C, H, W) add up to it.

    Neighbouring tiles overlap by half or more. Slots are linked by what neighbours share, unless they are voices, and
    the shares of tiles are blended by a Hann window. Beside the picture and its sources, memory holds the shares of all
    tiles, in half precision.

    Args:
        answer: Function that separates pictures (B, C, h, w), masked.
        images: Modality that pictures the tiles for a separator.
        signal: The picture.
    """
    (high, wide), (height, width) = images.shape[1:], signal.shape[1:]
    whole = padded(signal, (high, wide))
    rows, columns = (starts(side, tile) for side, tile in zip(whole.shape[1:], (high, wide), strict=True))
    corners, shares = list(product(rows, columns)), torch.empty(0)
    active: list[list[bool]] = []  # plain values, as small tensors between large ones would scatter the memory
    confidence: list[float] = []
    for some in torch.tensor(corners).split(max(1, CHUNK // math.prod(images.shape))):
        picture = images.picture(torch.stack([whole[:, y : y + high, x : x + wide] for y, x in some.tolist()]))
        found = answer(picture)
        if not active:
            shares = found.sources.new_empty(len(corners), *found.sources.shape[1:], dtype=torch.half)
        shares[len(active) :][: len(some)] = found.shares(picture)
        active += found.active.tolist()
        confidence += found.confidence.tolist()
    order = torch.arange(shares.shape[1]).expand(len(shares), -1)
    if not images.voices and 1 not in order.shape:
        pairs = neighbours(len(rows), len(columns))
        order = linked(pairs, overlaps(images, whole, shares, corners, pairs))
    blended = blend(shares, order, corners, whole.shape[1:])[..., :height, :width]
    sources = images.apply(blended.unsqueeze(0), signal.unsqueeze(0))
    seen = torch.tensor(active).gather(1, order).any(0, keepdim=True)
    return Separation(sources, seen, torch.tensor(confidence).mean(0, keepdim=True)).to(signal.device)


def padded(pictures: Tensor, size: Sequence[int]) -> Tensor:
    """Return pictures with black added below and at the right, up to a size.

    Args:
        pictures: Pictures (..., H, W). Larger ones stay as they are.
        size: Least height and width.
    """
    missing = [max(0, side - own) for side, own in zip(size, pictures.shape[-2:], strict=True)]
    return pad(pictures, (0, missing[1], 0, missing[0])) if any(missing) else pictures


def starts(length: int, tile: int) -> list[int]:
    """Return where tiles begin along a side of a picture, evenly spread and overlapping by half or more.

    Args:
        length: Length of the side in pixels.
        tile: Length of a tile's side in pixels.
    """
    room = max(0, length - tile)
    return np.linspace(0, room, 1 + -(-room // max(1, tile // 2))).round().astype(int).tolist()


def number_of_tiles(size: Sequence[int], tile: Sequence[int]) -> int:
    """Return into how many overlapping tiles a picture is cut.

    Args:
        size: Height and width of the picture, (H, W).
        tile: Height and width of a tile, (h, w).
    """
    return math.prod(len(starts(side, own)) for side, own in zip(size, tile, strict=True))


def neighbours(rows: int, columns: int) -> np.ndarray:
    """Return the pairs (E, 2) of tiles that lie beside or below each other.

    Args:
        rows: Number of rows of tiles.
        columns: Number of tiles in a row. Tiles are counted row by row from 0.
    """
    number = np.arange(rows * columns).reshape(rows, columns)
    beside, below = (number[:, :-1], number[:, 1:]), (number[:-1], number[1:])
    return np.concatenate([np.stack([one.ravel(), other.ravel()], 1) for one, other in (beside, below)])


def overlaps(
    images: Modality, whole: Tensor, shares: Tensor, corners: Sequence[Corner], pairs: np.ndarray
) -> np.ndarray:
    """Return inner products (E, K, K) of each slot of a tile with each of a neighbour, over the pixels of both.

    Args:
        images: Modality that turns shares into signals.
        whole: The picture, (C, H, W).
        shares: Shares of the tiles, (N, K, C, h, w).
        corners: Corner of each tile.
        pairs: Pairs of tiles, (E, 2), the second of each at the right of the first, or below.
    """
    high, wide = shares.shape[3:]
    products = torch.empty(len(pairs), *[shares.shape[1]] * 2, dtype=torch.double)
    for number, (one, other) in enumerate(pairs.tolist()):
        (y, x), (bottom, right) = corners[other], corners[one]
        down, across = y - bottom, x - right
        common = whole[:, y : y + high - down, x : x + wide - across].unsqueeze(0)
        first = images.apply(shares[one][None, ..., down:, across:].float(), common)
        second = images.apply(shares[other][None, ..., : high - down, : wide - across].float(), common)
        products[number] = first[0].flatten(1) @ second[0].flatten(1).T
    return products.numpy()


def linked(pairs: np.ndarray, products: np.ndarray) -> Tensor:
    """Return the order of each tile's slots, (N, K) int64: the k-th source is in slot `order[n, k]` of tile n.

    The pairs that leave the least doubt which slots belong together link all tiles, by a maximum spanning tree. Slots
    keep the numbers that they have in most tiles.

    Args:
        pairs: Pairs of neighbouring tiles, (E, 2).
        products: Inner products of their slots, (E, K, K).
    """
    ways = np.array([linear_sum_assignment(each, maximize=True)[1] for each in products])
    slots = ways.shape[1]
    surer = np.take_along_axis(products, ways[..., None], 2).sum((1, 2)) - products.sum((1, 2)) / slots
    number = int(pairs.max()) + 1
    places = tuple(pairs.astype(np.int32).T)  # SciPy 1.11 finds no tree of arrays with indices of 64 bits
    costs = coo_array((2 - surer / max(surer.max(), 1e-12), places), shape=(number, number))
    walk, before = breadth_first_order(minimum_spanning_tree(costs), 0, directed=False)
    way = {(one, other): own for (one, other), own in zip(pairs.tolist(), ways, strict=True)}
    way |= {(other, one): own.argsort() for (one, other), own in way.items()}
    order = np.tile(np.arange(slots), (number, 1))
    for tile in walk[1:].tolist():
        order[tile] = way[int(before[tile]), tile][order[before[tile]]]
    counts = (order[:, :, None] == np.arange(slots)).sum(0)
    return torch.from_numpy(order[:, linear_sum_assignment(counts.T, maximize=True)[1]])


def blend(shares: Tensor, order: Tensor, corners: Sequence[Corner], size: Sequence[int]) -> Tensor:
    """Blend the shares of overlapping tiles.

    Args:
        shares: Shares of N tiles, (N, K, C, h, w).
        order: Slot of each tile that comes first, second and so on, (N, K).
        corners: Row and column of the upper left pixel of each tile.
        size: Height and width of the picture.

    Returns:
        Shares of the picture, (K, C, H, W), which add up to 1.
    """
    high, wide = shares.shape[3:]
    down, across = (torch.hann_window(side + 2, periodic=False)[1:-1] for side in (high, wide))
    blended, window = shares.new_zeros(*shares.shape[1:3], *size, dtype=torch.float), torch.outer(down, across)
    for share, slots, (y, x) in zip(shares, order, corners, strict=True):
        blended[..., y : y + high, x : x + wide] += share[slots].float() * window.to(share.device)
    return blended.div_(blended.sum(0))


def crops(pictures: Tensor, size: Sequence[int]) -> Tensor:
    """Cut pictures into tiles that lie beside each other.

    Margins that are narrower than a tile are left out; smaller pictures are `padded`.

    Args:
        pictures: Pictures (N, C, H, W).
        size: Height and width of a tile, (h, w).

    Returns:
        (N n, C, h, w), where n is the number of tiles of a picture.
    """
    tiles = padded(pictures, size).unfold(2, size[0], size[0]).unfold(3, size[1], size[1])
    return tiles.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)


def square_crops(pictures: Tensor, side: int) -> Tensor:
    """Cut pictures into square tiles, see `crops`. Tiles are no higher than the pictures, which may be lines.

    Args:
        pictures: Pictures (N, C, H, W).
        side: Side of a tile in pixels.

    Returns:
        (N n, C, min(side, H), side), where n is the number of tiles of a picture.
    """
    return crops(pictures, (min(side, pictures.shape[2]), side))


def not_blank(tiles: Tensor) -> Tensor:
    """Return which tiles (N, C, h, w) show something, (N,): more than a hundredth of the mean variance."""
    variances = tiles.float().flatten(1).var(1)
    return variances > BLANK * variances.mean()
