"""Long signals: cut into windows that overlap by half, and joined again."""

# B signals, C channels or none, N windows of each, K slots, L samples of a window, T of a signal

import torch
from torch import Tensor
from torch.nn.functional import pad


def split(signals: Tensor, length: int) -> Tensor:
    """Signals (B, *C, T) -> windows (B N, *C, L), `length` long; silence fills up the last."""
    hop, samples = length // 2, signals.shape[-1]
    missing = max(length - samples, -(samples - length) % hop)
    return pad(signals, (0, missing)).unfold(-1, length, hop).movedim(-2, 1).flatten(0, 1)


def join(parts: Tensor, samples: int) -> Tensor:
    """Parts (B, N, K, *C, L) of windows -> parts of signals (B, K, *C, T).

    Each fades in where it overlaps the one before: parts that add up to their windows add up to the signals.
    """
    return torch.stack([_faded(signal) for signal in parts])[..., :samples]


def _faded(parts: Tensor) -> Tensor:
    """Windows (N, K, *C, L) -> (K, *C, T)."""
    number, *channels, length = parts.shape
    half = length // 2
    rising = torch.linspace(0, 1, half, device=parts.device)
    weights = torch.ones(number, length, device=parts.device)
    weights[1:, :half], weights[:-1, length - half :] = rising, 1 - rising
    whole = parts.new_zeros(*channels, half * (number - 1) + length)
    for place, (part, weight) in enumerate(zip(parts, weights, strict=True)):
        whole[..., place * half : place * half + length] += part * weight
    return whole
