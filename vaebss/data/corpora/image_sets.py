"""Files of image sets in torchvision's layout: fetched once, verified and read."""

# N images, H x W pixels

import gzip
import hashlib
import json
import shutil
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.request import Request, urlopen
from zipfile import ZipFile

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from vaebss.atomic import atomic_write
from vaebss.errors import DataError

NETWORK_TIMEOUT = 5.0  # seconds until a mirror that does not answer counts as out of reach
IDX_IMAGES = 0x0803  # how an IDX file of bytes in three dimensions starts


@dataclass(frozen=True)
class ImageSet:
    """Files of a set as torchvision names them; pairs are of training and test images."""

    folder: str  # <root>/<folder>/raw
    mirrors: Sequence[str]
    md5: Sequence[str]  # of the archives
    names: Sequence[str] = ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte")  # of the extracted files
    archive: str = "{}.gz"  # of an extracted file; a zip archive has it as gzip/<name>.gz
    transposed: bool = False  # stored with rows and columns exchanged


IMAGE_SETS = {
    name: ImageSet(**options) for name, options in json.loads(Path(__file__).with_suffix(".json").read_text()).items()
}


class MissingError(DataError):
    """An error for images that are missing and cannot be downloaded."""


def read_set(source: str, root: Path) -> tuple[Tensor, Tensor]:
    """Return the training and the test images of a set, each (N, H, W) uint8.

    Args:
        source: Name of the set, a key of `IMAGE_SETS`.
        root: Folder of data sets. A set that it lacks is downloaded into it.

    Raises:
        MissingError: The set is neither in `root` nor can it be downloaded.
        DataError: Files are damaged or cannot be read.
    """
    files = IMAGE_SETS[source]
    folder = root / files.folder / "raw"
    try:
        train, test = (_read(files, folder, *pair) for pair in zip(files.names, files.md5, strict=True))
    except OSError as error:
        raise DataError(f"cannot read {source}: {error}") from error
    return (train.mT, test.mT) if files.transposed else (train, test)


def _read(files: ImageSet, folder: Path, name: str, md5: str) -> Tensor:
    """Read images (N, H, W) from the archive, which can be verified, or else from the extracted file."""
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
    """Return the content of the extracted file `name`, which `path` is or holds."""
    match path.suffix:
        case ".gz":
            return gzip.decompress(path.read_bytes())
        case ".zip":
            with ZipFile(path) as archive:
                return gzip.decompress(archive.read(f"gzip/{name}.gz"))
    return path.read_bytes()


def _parse(content: bytes) -> Tensor:
    """Parse the images (N, H, W) of an IDX file: four big-endian numbers, of which the last three are N, H, W; pixels.

    Raises:
        ValueError: The content is no IDX file of images, or is cut short.
    """
    magic, *shape = np.frombuffer(content, ">u4", 4).tolist()
    if magic != IDX_IMAGES:
        raise ValueError("no images in IDX format")
    return torch.from_numpy(np.frombuffer(content, np.uint8)[16:].reshape(shape).copy())


def _fetch(archive: Path, md5: str, mirrors: Sequence[str]) -> None:
    """Put an archive in place, from the first mirror that has it; a damaged one that lies there stays until then.

    Raises:
        DataError: No mirror has the archive.
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
    raise MissingError(f"{archive} is missing and {failed}")


def _download(url: str, archive: Path, md5: str) -> None:
    with _answer(url) as answer:
        archive.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(archive) as part:
            with part.open("wb") as file, tqdm.wrapattr(answer, "read", answer.length, desc=archive.name) as content:
                shutil.copyfileobj(content, file)
            if not _is_whole(part, md5):
                raise ValueError("the file that it sends has another MD5 sum")


def _answer(url: str) -> HTTPResponse:
    """Return the answer of a server within a time limit. A thread is used, as name look-ups have no time limit.

    Raises:
        OSError: The server cannot be reached, does not answer in time or does not have the file.
        HTTPException: The server does not speak HTTP.
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
