"""The table of distinctness in docs/own-data.md: whether sources of a mixture look like different classes at first.

python tests/classes_bench.py  # some three minutes of one core
"""

# N mixtures, M sources in each

from collections.abc import Iterator
from itertools import product

import torch
from torch import Tensor
from worlds import cells, clouds, glyphs, world

import vaebss
from vaebss.data.conditions import conditions_of
from vaebss.data.mixtures import MNISTMixtures
from vaebss.modalities.modality import separate_signals
from vaebss.modalities.source_classes import DISTINCT, distinctness
from vaebss.models.separator import Separator
from vaebss.training.adapting import corpus_of

NUMBER = 200  # mixtures of a draw
UNEQUAL = list(product(([0.4, 1.0], [0.1, 1.0]), (0.0, 0.02)))  # gains and noise
THREE = 2 / 3  # brightness of each of three sources, beside that of two


def shapes(number: int, size: int, seed: int) -> Tensor:
    """The sources of pairs of shapes, (N, 2, 1, size, size)."""
    return world(2 * number, size, seed)[:, 1].unflatten(0, (number, 2))


def digits(number: int, seed: int, each: int = 2) -> Tensor:
    """The sources of mixtures of digits, (N, each, 1, 28, 28)."""
    data = MNISTMixtures(source="bundled")
    data.setup()
    signals = data.corpus.splits.train
    chosen = torch.randperm(len(signals), generator=torch.Generator().manual_seed(seed))[: number * each]
    drawn = signals[chosen].float()
    return (0.5 * drawn / drawn.max()).view(number, each, 1, 28, 28)


def alike(size: int, share: float) -> Tensor:
    """Letters over shapes, of which a share is letters over letters or shapes over shapes."""
    sources, half = world(NUMBER, size, 0), int(share * NUMBER / 2)
    sources[:half], sources[half : 2 * half] = glyphs(half, size, 77), shapes(half, size, 78)
    return sources


def absent(sources: Tensor, share: float) -> Tensor:
    """The sources, of which the last is absent in a share of the mixtures."""
    gone = torch.rand(len(sources), generator=torch.Generator().manual_seed(0)) < share
    return sources.masked_fill((gone[:, None] & torch.eye(sources.shape[1])[-1].bool())[..., None, None, None], 0)


def pairs() -> Iterator[tuple[str, list[Tensor]]]:
    """Names of mixtures of two sources, and their sources (N, 2, C, H, W) in several draws."""
    draws, few = [*range(4), *range(20, 24)], [5, *range(20, 24)]
    yield "letters over shapes, 28 pixels", [world(NUMBER, 28, seed) for seed in draws]
    yield "100 of them", [world(100, 28, seed) for seed in few]
    yield "letters over shapes, 64 pixels", [world(NUMBER, 64, seed) for seed in (0, 1, *range(20, 24))]
    yield "letters over shapes, 48 pixels, colour", [world(NUMBER, 48, 0, 3)]
    yield "letters over shapes, 96 pixels", [world(NUMBER, 96, 0)]
    yield "letters over shapes, some shapes absent", [absent(world(NUMBER, 28, 0), 0.3)]
    for share in (0.1, 0.2):
        yield f"letters over shapes, {share:.0%} of one class", [alike(28, share), alike(64, share)]
    letters = [glyphs(NUMBER, 28, seed) for seed in (*range(5), *range(20, 24))]
    yield "letters over letters", letters + [glyphs(NUMBER, 64, seed) for seed in (0, 1, *range(20, 24))]
    both = product((28, 64), (0, *range(20, 24)))
    yield "shapes over shapes", [shapes(NUMBER, size, seed) for size, seed in both]
    yield "digits over digits", [digits(NUMBER, seed) for seed in draws]
    yield "clouds over clouds", [clouds(NUMBER, size, 0) for size in (28, 64)]
    yield "nuclei over filaments", [cells(NUMBER, 64, 0)]


def unequal() -> Iterator[tuple[str, list[Tensor]]]:
    """Names and sources of pairs that are mixed with unequal gains and noise."""
    yield "letters over shapes", [world(NUMBER, 28, 0)]
    yield "letters over letters", [glyphs(NUMBER, 28, 0)]
    yield "digits over digits", [digits(NUMBER, 0)]


def triples() -> Iterator[tuple[str, list[Tensor]]]:
    """Names and sources (N, 3, 1, 28, 28) of mixtures of three."""
    yield "three letters", [torch.cat([glyphs(NUMBER, 28, n), glyphs(NUMBER, 28, n + 50)[:, :1]], 1) for n in (0, 1)]
    yield "three digits", [digits(NUMBER, seed, 3) for seed in (0, 1)]
    yield (
        "two letters and a shape",
        [torch.cat([glyphs(NUMBER, 28, n), world(NUMBER, 28, n + 50)[:, 1:]], 1) for n in (0, 1)],
    )
    yield (
        "a letter, a shape and a digit",
        [torch.cat([world(NUMBER, 28, seed), digits(NUMBER, seed)[:, :1]], 1) for seed in (0, 1)],
    )


def tell(name: str, mixtures: list[Tensor], teacher: Separator) -> None:
    """Print a row: the distinctness of the teacher's estimates in each draw of mixtures (N, C, H, W)."""
    found = []
    for some in mixtures:
        corpus = corpus_of(some)
        answers = separate_signals(teacher.pseudo_label, corpus.seen_by(teacher), corpus.mixtures.float())
        found.append(distinctness(answers))
    values, taken = ", ".join(f"{value:.2f}" for value in sorted(found)), sum(value >= DISTINCT for value in found)
    print(f"| {name} | {values} | {taken} of {len(found)} |", flush=True)


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    pair, several = vaebss.load("remix-k2"), vaebss.load("remix-1to4")
    plan = torch.stack([torch.zeros(NUMBER, dtype=torch.long), torch.arange(NUMBER)], 1)
    print("| mixtures | distinctness | classes are found |\n|---|---|---|")
    for name, draws in pairs():
        tell(name, [sources.sum(1) for sources in draws], pair)
    for (name, draws), (gains, noise) in product(unequal(), UNEQUAL):
        mixed = [conditions_of(gains, noise).mixed(sources, plan)[1] for sources in draws]
        tell(f"{name}, gains of {gains[0]} to {gains[1]}, noise of {noise}", mixed, pair)
    for name, draws in triples():
        tell(name, [THREE * sources.sum(1) for sources in draws], several)


if __name__ == "__main__":
    main()
