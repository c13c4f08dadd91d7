"""Long signals: cut into windows that overlap by half, levelled, and joined again."""

# B signals, C channels or none, N windows of each, K slots, L samples of a window, T of a signal

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from vaebss.modalities.blocks import segments, whole

FAINT = 1e-30  # energy that counts as none


def number_of(samples: int, length: int) -> int:
    """Return the number of windows that a signal is cut into, N.

    Args:
        samples: Number of samples of the signal.
        length: Number of samples of a window; the next window begins after half of it.
    """
    return 1 + -(-max(0, samples - length) // (length // 2))


def split(signals: Tensor, length: int) -> Tensor:
    """Cut signals into windows that overlap by half. Silence fills up the last one.

    Args:
        signals: Signals (B, *C, T).
        length: Number of samples of a window, L.

    Returns:
        (B N, *C, L), where N is the number of windows of a signal, see `number_of`.
    """
    hop, samples = length // 2, signals.shape[-1]
    missing = hop * (number_of(samples, length) - 1) + length - samples
    return pad(signals, (0, missing)).unfold(-1, length, hop).movedim(-2, 1).flatten(0, 1)


def gains(energies: Tensor, level: float) -> Tensor:
    """Return gains (B,) that bring the loud windows of signals to a level; 1 for silence.

    Args:
        energies: Mean energies (B, N) of the signals' windows, which are averaged with themselves as weights.
        level: Root mean square to reach.
    """
    loudness = (normalize(energies, p=1, dim=1, eps=FAINT) * energies).sum(1).sqrt()
    return torch.where(loudness > 0, level / loudness, 1.0)


def cut(blocks: Iterable[Tensor], samples: int, length: int, at_once: int) -> Iterator[Tensor]:
    """Cut a stream of blocks (*C, n) of a signal (*C, T) into the windows of `split`, yielding (n, *C, L).

    Args:
        blocks: Blocks (*C, n) of the signal.
        samples: Number T of samples of the signal.
        length: Length L of a window in samples.
        at_once: Largest number n of windows that are yielded together; the last group may have fewer.
    """
    hop, left = length // 2, number_of(samples, length)
    for segment in segments(blocks, at_once * hop, 0, length - hop):
        windows = pad(segment, (0, -(segment.shape[-1] - length) % hop)).unfold(-1, length, hop).movedim(-2, 0)
        if left > 0:
            yield windows[:left]
        left -= len(windows)


def join(parts: Tensor, samples: int) -> Tensor:
    """Join parts of windows to parts of signals, see `joined`.

    Args:
        parts: Parts of windows (B, N, K, *C, L), slots in the same order.
        samples: Number of samples of a signal, T.

    Returns:
        (B, K, *C, T).
    """
    return torch.stack([whole(joined([signal])) for signal in parts])[..., :samples]


def joined(groups: Iterable[Tensor]) -> Iterator[Tensor]:
    """Join parts of windows, given in groups (n, K, *C, L), to a stream of blocks (K, *C, n), T or more in all.

    Each window fades in where it overlaps the one before: parts that add up to their windows add up to the signal.
    """
    before: Tensor | None = None
    for parts in groups:
        half = parts.shape[-1] // 2
        rising = torch.linspace(0, 1, half, device=parts.device)
        for part in parts:
            start = part[..., :half]
            yield start if before is None else before[..., half : 2 * half] * (1 - rising) + start * rising
            before = part
    if before is not None:
        yield before[..., before.shape[-1] // 2 :]
