"""Long signals: cut into windows that overlap by half, and the slots of their windows joined by what they share."""

# B signals, C channels or none, N windows of each, K slots, L samples of a window, T of a signal

import torch
from torch import Tensor
from torch.nn.functional import pad

from vaebss.matching import assignments


def split(signals: Tensor, length: int) -> Tensor:
    """Signals (B, *C, T) -> windows (B N, *C, L), `length` long; silence fills up the last."""
    hop, samples = length // 2, signals.shape[-1]
    missing = max(length - samples, -(samples - length) % hop)
    return pad(signals, (0, missing)).unfold(-1, length, hop).movedim(-2, 1).flatten(0, 1)


def join(parts: Tensor, active: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """Parts (B, N, K, *C, L) of windows, active slots (B, N, K) -> parts of signals (B, K, *C, T) and (B, K).

    A window's slots are reordered to be least unlike those of the window before where both overlap, and fade in there:
    parts that add up to their windows add up to the signals.
    """
    ordered = [_ordered(signal, slots) for signal, slots in zip(parts, active, strict=True)]
    whole = torch.stack([_faded(signal) for signal, _ in ordered])
    return whole[..., :samples], torch.stack([slots.any(0) for _, slots in ordered])


def _ordered(parts: Tensor, active: Tensor) -> tuple[Tensor, Tensor]:
    """Of one signal, (N, K, *C, L) and (N, K)."""
    windows, slots, half = [parts[0]], [active[0]], parts.shape[-1] // 2
    choices = assignments(parts.shape[1], parts.shape[1]).to(parts.device)  # (A, K)
    for window, here in zip(parts[1:], active[1:], strict=True):
        before, after = windows[-1][..., half:], window[..., : parts.shape[-1] - half]
        unlike = (before.unsqueeze(1) - after.unsqueeze(0)).square().flatten(2).sum(2)  # (K, K)
        order = choices[unlike[torch.arange(len(unlike), device=unlike.device), choices].sum(1).argmin()]
        windows.append(window[order])
        slots.append(here[order])
    return torch.stack(windows), torch.stack(slots)


def _faded(parts: Tensor) -> Tensor:
    """Windows (N, K, *C, L) in their order -> (K, *C, T)."""
    number, *channels, length = parts.shape
    half = length // 2
    rising = torch.linspace(0, 1, half, device=parts.device)
    weights = torch.ones(number, length, device=parts.device)
    weights[1:, :half], weights[:-1, length - half :] = rising, 1 - rising
    whole = parts.new_zeros(*channels, half * (number - 1) + length)
    for place, (part, weight) in enumerate(zip(parts, weights, strict=True)):
        whole[..., place * half : place * half + length] += part * weight
    return whole
