import gzip
import hashlib
import socket
import struct
import threading
import time
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from zipfile import ZipFile

import pytest
import torch
from torch import Tensor
from torchvision import datasets

from vaebss import DataError
from vaebss.data.corpora import digits as digits_file
from vaebss.data.corpora import image_sets
from vaebss.data.corpora.digits import load_digits

NAMES = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "kmnist": "KMNIST", "emnist-digits": "EMNIST"}
TRAIN = "train-images-idx3-ubyte"
ARCHIVES = [f"{TRAIN}.gz", "t10k-images-idx3-ubyte.gz"]
NOBODY = "http://127.0.0.1:1/"


def idx(values: Tensor) -> bytes:
    header = struct.pack(f">I{values.ndim}I", 0x0800 | values.ndim, *values.shape)
    return header + bytes(values.flatten().tolist())


def write_set(root: Path, source: str = "mnist", train: int = 24, test: int = 6) -> tuple[Tensor, Tensor]:
    """A small set in torchvision's layout, extracted; its images."""
    folder = root / NAMES[source] / "raw"
    folder.mkdir(parents=True)
    splits = [torch.randint(256, (number, 28, 28), dtype=torch.uint8) for number in (train, test)]
    for name, images in zip(image_sets.IMAGE_SETS[source].names, splits, strict=True):
        (folder / name).write_bytes(idx(images))
    return splits[0], splits[1]


def pack(monkeypatch, root: Path, source: str = "mnist") -> Path:
    """Put a small set into archives, whose MD5 sums then count as official; the folder."""
    files, folder = image_sets.IMAGE_SETS[source], root / NAMES[source] / "raw"
    packed = {name: gzip.compress((folder / name).read_bytes()) for name in files.names}
    for name, content in packed.items():
        (folder / name).unlink()
        if source == "emnist-digits":
            with ZipFile(folder / "gzip.zip", "a") as archive:
                archive.writestr(f"gzip/{name}.gz", content)
        else:
            (folder / f"{name}.gz").write_bytes(content)
    archives = [folder / files.archive.format(name) for name in files.names]
    md5 = tuple(hashlib.md5(archive.read_bytes()).hexdigest() for archive in archives)
    monkeypatch.setitem(image_sets.IMAGE_SETS, source, replace(files, md5=md5))
    return folder


def set_mirrors(monkeypatch, *urls: str) -> None:
    monkeypatch.setitem(image_sets.IMAGE_SETS, "mnist", replace(image_sets.IMAGE_SETS["mnist"], mirrors=urls))


class Mirror(SimpleHTTPRequestHandler):
    """Calls an archive a packed page, as some mirrors do, which invites to unpack it."""

    def end_headers(self):
        self.send_header("Content-Encoding", "gzip")
        super().end_headers()

    def log_message(self, format: str, *args):
        pass


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """Root of a set, and the URL under which its MNIST is served."""
    monkeypatch.setenv("no_proxy", "*")
    root = tmp_path / "served"
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Mirror, directory=root / "MNIST" / "raw")) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield root, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def assert_holds(loaded: digits_file.DigitImages, train: Tensor, test: Tensor) -> None:
    assert torch.equal(torch.cat([loaded.train, loaded.val]), train.unsqueeze(1))
    assert len(loaded.val) == 2
    assert torch.equal(loaded.test, test.unsqueeze(1))


@pytest.mark.parametrize("packed", [False, True], ids=["extracted", "archives"])
@pytest.mark.parametrize("source", NAMES)
def test_sets_are_read_from_torchvisions_layout(source, packed, tmp_path, no_network, monkeypatch):
    train, test = write_set(tmp_path, source)
    if packed:
        pack(monkeypatch, tmp_path, source)
    loaded = load_digits(source, tmp_path)
    assert loaded.source == source
    assert_holds(loaded, *((train.mT, test.mT) if source == "emnist-digits" else (train, test)))


@pytest.mark.parametrize("source", NAMES)
def test_archives_are_those_that_torchvision_fetches(source):
    ours, theirs = image_sets.IMAGE_SETS[source], getattr(datasets, NAMES[source])
    assert ours.folder == theirs.__name__
    urls = [{mirror + ours.archive.format(name) for mirror in ours.mirrors} for name in ours.names]  # in any order
    if source == "emnist-digits":
        expected = [({theirs.url}, theirs.md5)] * 2
    else:
        images = [resource for resource in theirs.resources if "images" in resource[0]]
        expected = [({mirror + name for mirror in theirs.mirrors}, md5) for name, md5 in images]
    assert list(zip(urls, ours.md5, strict=True)) == expected


def test_bundled_digits_never_share_an_image_between_splits():
    loaded = load_digits("bundled", "nowhere")
    splits = [{image.numpy().tobytes() for image in split} for split in (loaded.train, loaded.val, loaded.test)]
    assert [len(split) for split in (loaded.train, loaded.val, loaded.test)] == [4000, 500, 500]
    assert not splits[0] & splits[1]
    assert not splits[0] & splits[2]
    assert not splits[1] & splits[2]


def test_auto_takes_mnist_that_is_there(tmp_path, no_network):
    write_set(tmp_path)
    assert load_digits("auto", tmp_path).source == "mnist"


def test_auto_falls_back_in_one_short_line_once_and_leaves_nothing_behind(tmp_path, no_network, capsys):
    digits_file._say_once.cache_clear()
    for _ in range(2):
        assert load_digits("auto", tmp_path).source == "bundled"
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("MNIST cannot be fetched: using 5,000 bundled digits")
    assert str(tmp_path) in lines[0]
    assert len(lines[0].replace(str(tmp_path), "data")) <= 80
    assert not printed.err
    assert not list(tmp_path.iterdir())


def test_what_is_missing_is_fetched_once_from_the_first_mirror_that_has_it(mirror, tmp_path, monkeypatch):
    served, url = mirror
    images = write_set(served)
    pack(monkeypatch, served)
    set_mirrors(monkeypatch, NOBODY, f"{url}nowhere/", url)
    root = tmp_path / "data"
    loaded = load_digits("auto", root)
    assert loaded.source == "mnist"
    assert_holds(loaded, *images)
    modes = {file.name: file.stat().st_mode & 0o777 for file in (root / "MNIST" / "raw").iterdir()}
    assert modes == dict.fromkeys(ARCHIVES, 0o644)
    set_mirrors(monkeypatch, NOBODY)
    assert_holds(load_digits("mnist", root), *images)


def test_a_damaged_archive_is_fetched_anew(mirror, tmp_path, monkeypatch):
    served, url = mirror
    images = write_set(served)
    whole = pack(monkeypatch, served) / ARCHIVES[0]
    write_set(tmp_path)  # extracted files of other images
    archive = tmp_path / "MNIST" / "raw" / ARCHIVES[0]
    archive.write_bytes(whole.read_bytes()[:-50])
    set_mirrors(monkeypatch, url)
    loaded = load_digits("mnist", tmp_path)
    assert torch.equal(torch.cat([loaded.train, loaded.val]), images[0].unsqueeze(1))
    assert archive.read_bytes() == whole.read_bytes()


def test_what_a_mirror_sends_is_verified(mirror, tmp_path, monkeypatch):
    served, url = mirror
    write_set(served)
    archive = pack(monkeypatch, served) / ARCHIVES[0]
    archive.write_bytes(gzip.compress(idx(torch.zeros(24, 28, 28, dtype=torch.uint8))))
    set_mirrors(monkeypatch, url)
    with pytest.raises(DataError, match=ARCHIVES[0]) as error:
        load_digits("mnist", tmp_path)
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "MNIST" / "raw").iterdir())


HANG = 8  # seconds
PATIENCE = 4


def test_a_name_that_is_looked_up_for_long_costs_no_time(tmp_path, monkeypatch):
    monkeypatch.setattr(image_sets, "NETWORK_TIMEOUT", 0.1)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(HANG))
    started, before = time.monotonic(), {*threading.enumerate()}
    with pytest.raises(DataError, match=r"is missing and cannot be fetched .*no answer within 0\.1 s"):
        load_digits("mnist", tmp_path)
    assert time.monotonic() - started < PATIENCE
    waiting = {*threading.enumerate()} - before
    assert waiting
    assert all(thread.daemon for thread in waiting)  # so that the program ends without them


REPLIES = {
    "silence": b"",
    "half a file": b"HTTP/1.0 200 OK\r\nContent-Length: 999\r\n\r\nno more",
    "something else": b"220 localhost ESMTP\r\n",
}


@pytest.mark.parametrize("reply", REPLIES)
def test_a_mirror_that_does_not_deliver_costs_no_time(reply, tmp_path, monkeypatch):
    def answer():
        connection, _ = server.accept()
        connection.sendall(REPLIES[reply])
        time.sleep(HANG)
        connection.close()

    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(image_sets, "NETWORK_TIMEOUT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=answer, daemon=True).start()
        set_mirrors(monkeypatch, f"http://127.0.0.1:{server.getsockname()[1]}/")
        started = time.monotonic()
        with pytest.raises(DataError, match="is missing and cannot be fetched"):
            load_digits("mnist", tmp_path)
        assert time.monotonic() - started < PATIENCE
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("source", ["mnist", "auto"])
@pytest.mark.parametrize("damage", ["truncated", "magic", "empty", "garbage"])
def test_damaged_files_are_refused_in_one_line(source, damage, tmp_path, no_network):
    write_set(tmp_path)
    path = tmp_path / "MNIST" / "raw" / TRAIN
    whole = path.read_bytes()
    path.write_bytes(
        {"truncated": whole[:-784], "magic": b"PK\x03\x04" + whole[4:], "empty": b"", "garbage": b"x" * 999}[damage]
    )
    with pytest.raises(DataError, match="delete it") as error:
        load_digits(source, tmp_path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_a_file_that_cannot_be_read_is_not_called_damaged(tmp_path, no_network, monkeypatch):
    write_set(tmp_path)

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match=f"Permission denied.*{TRAIN}") as error:
        load_digits("mnist", tmp_path)
    assert "delete" not in str(error.value)


def test_an_extracted_file_that_differs_from_its_archive_is_not_used(tmp_path, no_network, monkeypatch):
    images = write_set(tmp_path)
    extracted = tmp_path / "MNIST" / "raw" / TRAIN
    whole = extracted.read_bytes()
    pack(monkeypatch, tmp_path)
    extracted.write_bytes(whole[:-100] + bytes(100))
    assert_holds(load_digits("mnist", tmp_path), *images)


@pytest.mark.parametrize("source", ["mnist", "auto"])
def test_a_damaged_archive_is_never_trained_on(source, tmp_path, no_network, monkeypatch):
    write_set(tmp_path)
    extracted = tmp_path / "MNIST" / "raw" / TRAIN
    whole = extracted.read_bytes()
    archive = pack(monkeypatch, tmp_path) / ARCHIVES[0]
    extracted.write_bytes(whole)
    damaged = archive.read_bytes()[:-50]
    archive.write_bytes(damaged)
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz is damaged.*delete it") as error:
        load_digits(source, tmp_path)
    assert "\n" not in str(error.value)
    assert archive.read_bytes() == damaged


def test_a_set_that_is_missing_says_what_is_missing(tmp_path, no_network):
    with pytest.raises(DataError, match=r"KMNIST/raw/train-images-idx3-ubyte\.gz is missing"):
        load_digits("kmnist", tmp_path)


def test_a_set_of_too_few_images_is_refused(tmp_path, no_network):
    write_set(tmp_path, train=1)
    with pytest.raises(DataError, match="1 training and 6 test images"):
        load_digits("mnist", tmp_path)


def test_unknown_sets_are_refused(tmp_path):
    with pytest.raises(ValueError, match="cifar"):
        load_digits("cifar", tmp_path)
