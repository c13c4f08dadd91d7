"""Pictures as files."""

from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

MODES = {1: "L", 3: "RGB"}  # channels -> Pillow's name


def channels_first(images: Tensor) -> Tensor:
    """Convert images (N, H, W), (N, H, W, C) or (N, C, H, W) to (N, C, H, W); lines (N, L) are left alone."""
    if images.ndim == 3:
        return images.unsqueeze(1)
    is_last = images.ndim == 4 and images.shape[1] not in MODES and images.shape[3] in MODES
    return images.movedim(3, 1) if is_last else images


def save_image(image: Tensor, path: Path, bits: int = 8) -> None:
    """Write a picture as a file.

    Args:
        image: Picture (C, H, W), (H, W) or (H, W, 3), where 1 is white. Other values are clipped to [0, 1].
        path: Path to write to; its suffix determines the format.
        bits: Bits of a channel: 8, or 16 for grey pictures.

    Raises:
        ValueError: The tensor is no picture.
    """
    image = channels_first(image[None])[0]
    if image.ndim != 3 or len(image) not in MODES:
        raise ValueError(f"only pictures can be saved as images, not {tuple(image.shape)}")
    kind = np.uint8 if bits == 8 else np.uint16
    levels = [channel.clamp(0, 1).mul_(2**bits - 1).round_().cpu().numpy().astype(kind) for channel in image]
    Image.fromarray(levels[0] if len(levels) == 1 else np.stack(levels, -1)).save(path)
