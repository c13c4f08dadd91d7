import numpy as np
import pytest
import torch

from vaebss.modalities.appearance import are_on_white


def digits(count, background=0.0):
    """Strokes on black, `count` in each image."""
    numbers = np.random.default_rng(0)
    images = np.zeros((20, 1, 28, 28), np.float32)
    for image in images:
        for _ in range(count):
            row, column = numbers.integers(2, 14, 2)
            image[0, row : row + 12, column : column + 3] += 0.5
            image[0, row : row + 3, column : column + 10] += 0.5
    return images


NUMBERS = np.random.default_rng(0)
WAVES = 0.6 + 0.4 * np.sin(np.arange(28) / 3)
LOOKS = {
    "digits": (digits(1), False),
    "sums of digits": (digits(4), False),
    "colour": (digits(2).repeat(3, 1), False),
    "in numbers up to 255": (digits(2) * 255, False),
    "dark digits": (1 - digits(1), True),
    "dark sums": (1 - digits(4) / 4, True),
    "dark, in colour": (1 - digits(1).repeat(3, 1), True),
    "dark, up to 255": (255 - digits(1) * 255, True),
    "dark and noisy": ((1 - digits(1) + NUMBERS.normal(0, 0.03, (20, 1, 28, 28))).clip(0), True),
    "dark, some blank": (np.concatenate([1 - digits(1), np.ones((9, 1, 28, 28))]), True),
    "dark, under uneven light": ((1 - digits(1)) * np.linspace(0.85, 1, 28), True),
    "uniform noise": (NUMBERS.random((20, 1, 28, 28)), False),
    "bright noise": (0.6 + 0.4 * NUMBERS.random((20, 1, 28, 28)), False),
    "waves": (np.tile(WAVES, (20, 1, 28, 1)), False),
    "bright slope": (np.tile(np.linspace(0.3, 1, 28), (20, 1, 28, 1)), False),
    "black": (np.zeros((2, 1, 8, 8)), False),
    "blank": (np.ones((2, 1, 8, 8)), False),
}


@pytest.mark.parametrize("case", LOOKS)
def test_how_images_look_is_told(case):
    images, on_white = LOOKS[case]
    assert are_on_white(torch.from_numpy(np.asarray(images, np.float32))) == on_white
