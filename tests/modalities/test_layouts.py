"""What the axes of a user's arrays are, where the user states them."""

from typing import Any

import numpy as np
import pytest

import vaebss
from vaebss.errors import FileError
from vaebss.modalities.arrays import as_images
from vaebss.modalities.image_files import read_images
from vaebss.modalities.images import Images

SIZES = {"N": 5, "C": 3, "H": 20, "W": 18}
ORDERS = ["W", "NW", "WN", "HW", "WH", "NHW", "HWN", "HNW", "CHW", "HWC", "NCHW", "NHWC", "CHWN", "HWCN", "WHCN"]


def of(axes, **sizes):
    return np.random.default_rng(0).random([(SIZES | sizes)[axis] for axis in axes], dtype=np.float32)


@pytest.mark.parametrize("axes", ORDERS)
def test_stated_axes_are_read_whatever_the_shape_looks_like(axes, tmp_path):
    """Axes are swapped one by one, which is another way than that of the program."""
    array, order = of(axes), list(axes)
    expected = array
    for missing in [axis for axis in "NCHW" if axis not in axes]:
        expected, order = expected[None], [missing, *order]
    for place, axis in enumerate("NCHW"):
        expected = np.swapaxes(expected, place, order.index(axis))
        other = order.index(axis)
        order[place], order[other] = order[other], order[place]
    np.save(tmp_path / "a.npy", array)
    (images,) = read_images(tmp_path / "a.npy", axes=axes)
    np.testing.assert_array_equal(images, expected)
    np.testing.assert_array_equal(as_images(array, axes).signals, expected)


@pytest.mark.parametrize("axes", ORDERS)
def test_sources_come_back_in_the_axes_that_are_stated(axes):
    array = of(axes)
    images, restore, several, _ = as_images(array, axes)
    sources = restore(images.unsqueeze(1).repeat(1, 2, 1, 1, 1))
    assert several == ("N" in axes)
    first = axes.replace("N", "")
    for k in range(2):
        source = sources[:, k] if several else sources[k]
        expected = np.moveaxis(array, axes.index("N"), 0) if several else array
        assert source.ndim == len(first) + several
        np.testing.assert_array_equal(source, expected)


AMBIGUOUS = {  # shape -> axes that it may have
    (3, 28, 28): ["NHW", "CHW"],
    (28, 28, 100): ["NHW", "HWN"],
    (500, 784): ["HW"],
    (9, 2, 28, 28): ["NCHW"],
    (9, 64, 28, 28): ["NCHW"],
    (4, 4): ["HW"],  # too small to be certain
}


@pytest.mark.parametrize("shape", AMBIGUOUS)
def test_what_is_refused_can_be_read_once_its_axes_are_stated(shape):
    array = np.ones(shape, np.float32)
    with pytest.raises(FileError, match="name its axes by --axes"):
        as_images(array)
    for axes in AMBIGUOUS[shape]:
        sizes = dict(zip(axes, shape, strict=True))
        expected = [sizes.get("N", 1), sizes.get("C", 1), sizes["H"], sizes["W"]]
        assert list(as_images(array, axes).signals.shape) == expected


def test_channels_beside_the_colours_are_alpha_unless_axes_are_stated():
    array = of("NHWC", C=2)
    np.testing.assert_allclose(as_images(array).signals[:, 0], array[..., 0] * array[..., 1], atol=1e-6)
    np.testing.assert_array_equal(as_images(array, "NHWC").signals, np.moveaxis(array, -1, 1))


@pytest.mark.parametrize("axes", ["", "H", "NHWW", "NKHW", "hw", "NHWCX"])
def test_axes_are_distinct_letters(axes):
    with pytest.raises(ValueError, match=r"^axes must be distinct letters of N, C, H and W, with a W, such as NHW"):
        Images((1, 28, 28), axes=axes)


def test_white_of_an_array_may_be_stated():
    images, *_ = as_images(np.full((20, 18), 500, np.int64), white=1_000)
    assert (images == 0.5).all()


@pytest.mark.parametrize("kind", ["pictures", "list of pictures", "sounds"])
def test_a_mask_over_numbers_is_refused_and_not_lost(kind):
    numbers = np.ma.masked_greater(np.random.default_rng(0).random((6, 28, 28)).astype(np.float32), 0.9)
    numbers = numbers.reshape(2, -1) if kind == "sounds" else numbers
    given: Any = list(numbers) if kind == "list of pictures" else numbers
    rate = 16_000 if kind == "sounds" else None
    with pytest.raises(FileError, match=r"the array masks some of its numbers: fill them"):
        vaebss.separate(given, sample_rate=rate)


def test_an_array_that_could_mask_and_does_not_is_read():
    numbers = np.ma.masked_array(np.random.default_rng(0).random((28, 28)), mask=False)
    np.testing.assert_array_equal(as_images(numbers).signals[0, 0], numbers.data.astype(np.float32))
