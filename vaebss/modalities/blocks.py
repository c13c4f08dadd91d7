"""Long signals as streams of blocks, so that none of them has to be in memory as a whole."""

# T samples of a signal

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.nn.functional import pad

BLOCK = 2**18  # samples of a block: some six seconds of a recording


def segments(blocks: Iterable[Tensor], step: int, before: int = 0, after: int = 0) -> Iterator[Tensor]:
    """Cut a stream anew, into segments that overlap.

    Args:
        blocks: Parts of a signal (..., T) in their order, each (..., n) with n of 1 or more.
        step: Number of samples from the start of one segment to the start of the next.
        before: Number of samples that each segment repeats from before its start; zeros lie before the signal.
        after: Number of samples that each segment adds after its end; zeros lie after the signal.

    Yields:
        Segments (..., before + n + after), where n is `step`, or what is left in the last one.
    """
    held: list[Tensor] = []
    number = 0
    for block in blocks:
        held.append(block if held else pad(block, (before, 0)))
        number += held[-1].shape[-1]
        if number < before + step + after:
            continue
        rest = torch.cat(held, -1)
        while rest.shape[-1] >= before + step + after:
            yield rest[..., : before + step + after]
            rest = rest[..., step:]
        held, number = [rest], rest.shape[-1]
    rest = pad(torch.cat(held, -1), (0, after))
    while rest.shape[-1] > before + after:
        yield rest[..., : before + step + after]
        rest = rest[..., step:]


def until(blocks: Iterable[Tensor], samples: int) -> Iterator[Tensor]:
    """Yield the first samples of a stream of blocks, and read no further.

    Args:
        blocks: Blocks (..., n) of any lengths.
        samples: Number of samples.
    """
    for block in blocks:
        yield block[..., :samples]
        samples -= block.shape[-1]
        if samples <= 0:
            return


def whole(blocks: Iterable[Tensor]) -> Tensor:
    """Join all blocks (..., n) of a stream."""
    return torch.cat([*blocks], -1)
