"""Weights on disk, as safetensors: in half precision, or matrices in 8 bits.

Only the average of a student is kept. It stands in for the network that it follows, so that both take the room of one.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from vaebss.models.separator import if_finite

AVERAGE, NETWORK = "average.module.", "network."  # prefixes of the names of a mask network's weights
SCALES = ".scales"  # after the name of a weight in 8 bits; no weight of a network is called so
LARGEST = 127  # of a row in 8 bits
SMALLEST_SCALE = torch.finfo(torch.float32).tiny  # that of a row of zeros


def write(checkpoint: dict[str, Any], path: Path, bits: int = 16) -> None:
    """Write a model's weights as a file that `read` opens.

    Args:
        checkpoint: Contents of a checkpoint, see `packed`.
        path: Path to write to.
        bits: Bits of the weights, 16 or 8, see `packed`.
    """
    path.write_bytes(save(packed(checkpoint, bits)))  # not by save_file, whose files only their owner may read


def read(path: Path) -> dict[str, Tensor]:
    """Read the weights of a file to the CPU, in single precision; see `restored`."""
    return restored(load_file(path))


def packed(checkpoint: dict[str, Any], bits: int = 16) -> dict[str, Tensor]:
    """Return weights as they are kept on disk.

    Args:
        checkpoint: Contents of a checkpoint, with the weights (`state_dict`) and the options of a model.
        bits: Number of bits: 16, or 8 for weights of two and more dimensions (matrices and kernels of convolutions),
            see `quantised`; one of them can need 16, see `output_layer`.

    Returns:
        Weights by name: float16, or 8 bits with their scales. Whole numbers, and variances too large for float16, keep
        their type.
    """
    state_dict, in_16_bits = checkpoint["state_dict"], output_layer(checkpoint["hyper_parameters"])
    followed = {NETWORK + name.removeprefix(AVERAGE) for name in state_dict if name.startswith(AVERAGE)}
    kept: dict[str, Tensor] = {}
    for name, value in state_dict.items():
        if name in followed:
            continue
        if bits == 8 and value.is_floating_point() and value.dim() > 1 and name != in_16_bits:
            kept[name], kept[name + SCALES] = quantised(value)
        else:
            kept[name] = (if_finite(value.half(), value) if value.is_floating_point() else value).contiguous()
    return kept


def output_layer(options: dict[str, Any]) -> str | None:
    """Return the name of the weight of a VAE's output layer if refined estimates need it in 16 bits, else None.

    In 8 bits it costs refined estimates of pictures 0.03 to 0.08 dB, and those of spectra (softplus) 0.004 dB.

    Args:
        options: Options of a model.
    """
    if not options.get("variational") or options.get("output", "sigmoid") != "sigmoid":
        return None
    return f"decoder.layers.{3 * len(options['hidden_dims'])}.weight"  # each hidden layer has a batch norm and a ReLU


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
    """Return a weight in float32, (N, ...).

    Args:
        numbers: int8 numbers (N, ...).
        scales: Scale of each row, (N,), by which its numbers are multiplied.
    """
    return numbers * scales.view(-1, *[1] * (numbers.dim() - 1))
