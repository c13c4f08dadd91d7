"""Weights on disk, as safetensors: in half precision, or matrices in 8 bits. Of a student the average alone is kept.

That average stands in for the network which it follows, so that both take the room of one.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from vaebss.models.separator import if_finite

AVERAGE, NETWORK = "average.module.", "network."  # prefixes of the names of a mask network's weights
SCALES = ".scales"  # after the name of a weight in 8 bits; no weight of a network is called so
LARGEST = 127  # of a row in 8 bits
SMALLEST_SCALE = torch.finfo(torch.float32).tiny  # that of a row of zeros


def write(state_dict: dict[str, Tensor], path: Path, bits: int = 16) -> None:
    """Write a model's weights, see `packed`, as a file that `read` opens."""
    path.write_bytes(save(packed(state_dict, bits)))  # not by save_file, whose files only their owner may read


def read(path: Path) -> dict[str, Tensor]:
    """Read the weights of a file to the CPU, in single precision; see `restored`."""
    return restored(load_file(path))


def packed(state_dict: dict[str, Tensor], bits: int = 16) -> dict[str, Tensor]:
    """Return weights as they are kept on disk.

    Args:
        state_dict: the weights of a model.
        bits: 16, or 8 for weights of two and more dimensions (matrices and kernels of convolutions), see `quantised`.

    Returns:
        float16, but for weights in 8 bits and their scales; whole numbers, and variances too large for float16, keep
        their type.
    """
    followed = {NETWORK + name.removeprefix(AVERAGE) for name in state_dict if name.startswith(AVERAGE)}
    kept: dict[str, Tensor] = {}
    for name, value in state_dict.items():
        if name in followed:
            continue
        if bits == 8 and value.is_floating_point() and value.dim() > 1:
            kept[name], kept[name + SCALES] = quantised(value)
        else:
            kept[name] = (if_finite(value.half(), value) if value.is_floating_point() else value).contiguous()
    return kept


def restored(kept: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return weights that `packed` returned in single precision, by all their names again."""
    single = {name: value.float() if value.is_floating_point() else value for name, value in kept.items()}
    for name in [name for name in kept if name + SCALES in kept]:
        single[name] = dequantised(kept[name], single.pop(name + SCALES))
    followed = {NETWORK + name.removeprefix(AVERAGE): single[name] for name in single if name.startswith(AVERAGE)}
    return followed | single


def quantised(value: Tensor) -> tuple[Tensor, Tensor]:
    """Return a weight (N, ...) as int8 numbers (N, ...), and the scale (N,) of each row, float32.

    A row is what has one index in the first dimension. Its largest number becomes 127 or -127, and each number is off
    by at most half of the scale. Scales have the 8 significant bits of bfloat16, so that a scale times a whole number
    is exact in float32. A restored weight therefore gives the same numbers and scales again.
    """
    rows = value.detach().float().flatten(1)
    scales = (rows.abs().amax(1) / LARGEST).bfloat16().float().clamp(min=SMALLEST_SCALE)
    return (rows / scales[:, None]).round().to(torch.int8).view(value.shape), scales


def dequantised(numbers: Tensor, scales: Tensor) -> Tensor:
    """Return the weight (N, ...), float32, of int8 numbers (N, ...) and the scale (N,) of each row."""
    return numbers * scales.view(-1, *[1] * (numbers.dim() - 1))
