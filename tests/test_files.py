import numpy as np
import pytest
import torch
from PIL import Image

from vaebss.modalities.images import FileError, find, read_images, read_mixtures


def picture(path, mode="L", size=(28, 28), value=128):
    Image.new(mode, size, value if mode in ("L", "I;16") else (value,) * len(mode)).save(path)
    return path


@pytest.mark.parametrize(
    ("mode", "channels", "expected"), [("L", None, 1), ("RGB", None, 3), ("RGB", 1, 1), ("L", 3, 3), ("RGBA", 1, 1)]
)
def test_pictures_are_grey_or_colour_and_white_is_one(tmp_path, mode, channels, expected):
    (images,) = read_images(picture(tmp_path / "a.png", mode, (20, 30)), channels)
    assert images.shape == (1, expected, 30, 20)
    torch.testing.assert_close(images, torch.full_like(images, 128 / 255))


def test_sixteen_bits(tmp_path):
    (images,) = read_images(picture(tmp_path / "a.png", "I;16", value=65_535))
    assert images.max() == 1


@pytest.mark.parametrize("shape", [(28, 28), (5, 28, 28), (5, 1, 28, 28), (5, 3, 8, 9)])
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_arrays_come_in_parts(tmp_path, shape, suffix):
    array = np.random.default_rng(0).random(shape, dtype=np.float32)
    path = tmp_path / f"a{suffix}"
    np.save(path, array) if suffix == ".npy" else np.savez(path, array)
    images = torch.cat(list(read_images(path, at_once=2)))
    np.testing.assert_array_equal(images.numpy().reshape(shape), array)


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path):
    for number in (2, 0, 1):
        picture(tmp_path / f"{number}.png", value=number)
    (tmp_path / "notes.txt").write_text("no image")
    assert [path.name for path in find(tmp_path)] == ["0.png", "1.png", "2.png"]
    mixtures = read_mixtures(tmp_path)
    torch.testing.assert_close(mixtures[:, 0, 0, 0].float() * 255, torch.arange(3.0), atol=1e-2, rtol=0)


def broken(name):
    def write(folder):
        (folder / name).write_bytes(b"\x89PNG no picture")
        return folder / name

    return write


def saved(array, name="a.npy"):
    def write(folder):
        np.save(folder / name, array, allow_pickle=True)
        return folder / name

    return write


BAD = {
    "missing": lambda folder: folder / "none.png",
    "unknown kind": lambda folder: (folder / "a.txt").write_text("x") and folder / "a.txt",
    "empty folder": lambda folder: folder,
    "broken picture": broken("a.png"),
    "broken array": broken("a.npy"),
    "broken archive": broken("a.npz"),
    "pickled objects": saved(np.array([{"a": 1}], dtype=object)),
    "text": saved(np.array(["a"])),
    "wrong dimensions": saved(np.zeros(4, np.float32)),
    "two channels": saved(np.zeros((1, 2, 8, 8), np.float32)),
    "no images": saved(np.zeros((0, 8, 8), np.float32)),
    "NaN": saved(np.full((8, 8), np.nan, np.float32)),
    "infinite": saved(np.full((8, 8), np.inf, np.float32)),
    "negative": saved(np.full((8, 8), -1, np.float32)),
    "complex": saved(np.zeros((8, 8), np.complex64)),
    "wide integers": saved(np.zeros((8, 8), np.int64)),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_named_in_one_line(tmp_path, kind):
    path = BAD[kind](tmp_path)
    with pytest.raises(FileError) as caught:
        read_mixtures(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_mixtures_of_different_sizes_are_refused(tmp_path):
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png", size=(32, 32))
    with pytest.raises(FileError, match=r"b\.png"):
        read_mixtures(tmp_path)
