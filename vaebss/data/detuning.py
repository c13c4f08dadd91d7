"""Mixtures played lower: pitches between those of the notes, so that a separator does not learn its notes by heart."""

# B mixtures, M sources in each at most, T samples

import torch
from torch import Tensor

GOLDEN = (0.618034, 0.754878, 0.819173, 0.856675)  # multiples of these spread evenly over the unit interval


def detuned(signals: Tensor, plan: Tensor, semitones: float) -> Tensor:
    """Detune signals downwards by playing them more slowly, with linear interpolation.

    Args:
        signals: Signals (B, T).
        plan: Integers (B, M) of -1 or more, such as the numbers of the sources. The amount of detuning follows from
            them, so that the same mixture always sounds the same.
        semitones: Largest amount, in semitones. Amounts are spread evenly between 0 and this number.

    Returns:
        Signals of the same shape; their ends are cut off.
    """
    spread = torch.tensor(GOLDEN[: plan.shape[1]], dtype=torch.float64)
    shares = (((plan + 1) * spread).sum(1, keepdim=True) % 1).to(signals.device)
    # (B, T), the place of each new sample
    places = torch.arange(signals.shape[1], device=signals.device) * 2 ** (-semitones / 12 * shares)
    before = places.long()
    after = (before + 1).clamp(max=signals.shape[1] - 1)
    return torch.lerp(signals.gather(1, before), signals.gather(1, after), (places - before).float())
