"""Presets for user-supplied mixtures: which shipped model teaches, how large a student is, and how long it trains."""

import math
from typing import Any

from pytorch_lightning.callbacks import EarlyStopping

from vaebss.modalities.images import Images
from vaebss.modalities.modality import Modality
from vaebss.pretrained.catalogue import card

FEW = 50  # mixtures, from which a student learns little
MANY = 2_000  # mixtures; to separate so many digits anew takes a fifth of the time of an epoch on a CPU
KEEP = (0.6, 0.8, 0.9, 0.9, 0.95)  # share of the mixtures in the bank of each round
SIZES = ("image_shape", "widths", "bottleneck")  # options of a mask network that decide the shapes of its weights
PIXELS = 24 * 28 * 28  # in a batch
WIDTHS = {40: (24, 48, 96), 80: (16, 32, 64, 96), math.inf: (12, 24, 48, 96, 96)}  # up to a longer side
STEPS = {80: 900, math.inf: 600}  # in a round, up to a longer side
OF_LINES = {"view": "lines", "widths": (24, 48, 96, 96)}  # of a student of lines, such as spectra
VAE_EPOCHS_OF_LINES = 24  # of 30,000 mixtures; after 8, peaks that shift far are separated 13 dB worse
SOUND_SCHEDULE = {  # for windows of recordings, remixed at other levels and pitches
    "model": {"lr": 1e-3, "average_decay": 0.97},
    "data": {"num_mixtures": 1_000, "val_mixtures": 100, "keep": [0.5, 0.7], "epochs_per_round": 4}
    | {"batch_size": 48, "epoch_size": 48 * 100, "remix_gains": [0.25, 1.0], "remix_detune": 2.0},
}
ON_FROM_SHIPPED_SOUND = {  # in place, for a student that starts as the shipped model of recordings
    "model": {"lr": 3e-4},
    "data": {"epoch_size": 48 * 50, "remix_detune": 0.0, "voices": False},
}
NEW_STUDENT_OF_SOUND = {  # in addition, for a student that starts from random weights
    "model": {"view": "bands", "widths": [48, 72, 96, 96], "bottleneck": 256, "lr": 2e-3},
    "data": {"bands": 192},
}


def default_teacher(slots: int, modality: type[Modality] = Images) -> str | None:
    """Return the name of the first shipped teacher with enough slots, or None if there is none.

    Args:
        slots: Least number of slots.
        modality: Modality that the teacher separates.
    """
    return next((name for name in modality.teachers if card(name)["hyper_parameters"]["num_sources"] >= slots), None)


def fits_student(name: str, *sizes: Any) -> bool:
    """Return whether a shipped model has a student's SIZES: starting from its weights then gains 1.4 dB."""
    known = card(name)["hyper_parameters"]
    return [known[size] for size in SIZES] == [list(size) if isinstance(size, tuple | list) else size for size in sizes]


def schedule(image_shape: tuple[int, ...], number: int) -> dict[str, dict[str, Any]]:
    """Return options of RemixSeparator and Remixes for mixtures of one's own.

    | longer side | widths | steps of each of five rounds, of the best 60, 80, 90, 90, 95 % |
    |---|---|---|
    | up to 40 | 24, 48, 96 | 900 |
    | up to 80 | 16, 32, 64, 96 | 900 |
    | more | 12, 24, 48, 96, 96 | 600 |

    A batch has 24 remixes of 28 x 28 pixels, or as many larger ones as have that many pixels, but at least 8. A student
    of lines (C, 1, W) has convolutions along them, and its own widths. Up to `MANY` pictures are separated anew before
    every epoch. Lines are not, because a student of lines is at first much worse than its teacher.

    Args:
        image_shape: Shape of a mixture's picture, (C, H, W).
        number: Number of mixtures.

    Returns:
        Options by their names, under "model" and "data".
    """
    lines = image_shape[1] == 1
    longer = max(image_shape[1:])
    widths, steps = (next(of[side] for side in of if longer <= side) for of in (WIDTHS, STEPS))
    batch = max(8, PIXELS // math.prod(image_shape[1:]))
    data = {"keep": KEEP, "epochs_per_round": 4, "batch_size": batch, "epoch_size": batch * steps // 4}
    return {
        "model": {"widths": widths, "lr": 2e-3, "average_decay": 0.97} | (OF_LINES if lines else {}),
        "data": data | {"renew": not lines and number <= MANY},
    }


def early_stopping(epochs_per_round: int, monitor: str) -> EarlyStopping:
    """Return a callback that ends a run whose value of held-out mixtures has not grown for two rounds.

    It waits that long because the value lags behind PSNR. Where nothing is validated, it ends nothing.

    Args:
        epochs_per_round: Number of epochs in a round.
        monitor: Name of the logged value, which is better if it is higher.
    """
    return EarlyStopping(monitor, mode="max", patience=2 * epochs_per_round, strict=False)
