"""Streams of blocks, as recordings are read."""

from collections.abc import Iterator

from torch import Tensor


def pieces(signal: Tensor, *lengths: int) -> Iterator[Tensor]:
    """Cut a signal (..., T) into a stream of blocks of these lengths in turn."""
    at, number = 0, 0
    while at < signal.shape[-1]:
        yield signal[..., at : at + lengths[number % len(lengths)]]
        at, number = at + lengths[number % len(lengths)], number + 1
