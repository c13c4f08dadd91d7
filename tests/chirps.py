"""A user's own corpus in few lines: falling and rising tones as lines of 64 values."""

import math

import torch

from vaebss.data.corpus import Singles, Splits, tenth_apart
from vaebss.modalities.images import Images


class Chirps(Singles):
    """Half-waves whose frequency changes along the line.

    Args:
        number: Number of chirps.
    """

    name = "chirps"
    modality = Images((1, 1, 64))
    source_scale = scale = 0.5

    def __init__(self, number: int = 200):
        self.number = number

    def signals(self) -> Splits:
        time, start = torch.linspace(0, 1, 64), 1 + 5 * torch.rand(self.number, 2, 1, generator=torch.manual_seed(0))
        waves = torch.sin(2 * math.pi * (start[:, 0] + start[:, 1] * time) * time).clamp(min=0)
        return tenth_apart(waves.view(-1, 1, 1, 64), self.name, "chirps")
