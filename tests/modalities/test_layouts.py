"""What the axes of a user's arrays are, where the user says where the channels lie."""

import numpy as np
import pytest

from vaebss.errors import FileError
from vaebss.modalities.arrays import as_images

COLOUR = [((3, 20, 18), "first"), ((20, 18, 3), "last"), ((5, 3, 20, 18), "first"), ((5, 20, 18, 3), "last")]


@pytest.mark.parametrize(("shape", "channels"), COLOUR)
def test_channels_may_be_named(shape, channels):
    array = np.random.default_rng(0).random(shape)
    images, restore = as_images(array, channels=channels)
    assert images.shape[1:] == (3, 20, 18)
    np.testing.assert_allclose(restore(images.unsqueeze(1)).sum(len(shape) - 3), array, atol=1e-6)


def test_alpha_before_the_sides_is_read_once_it_is_said_where_channels_are():
    array = np.random.default_rng(0).random((5, 2, 20, 18))
    with pytest.raises(FileError, match="may be images with alpha"):
        as_images(array)
    images, _ = as_images(array, channels="first")
    np.testing.assert_allclose(images[:, 0], array[:, 0] * array[:, 1], atol=1e-6)


@pytest.mark.parametrize(("shape", "channels"), [((20, 18), "first"), ((5, 20, 18), "last"), ((20, 18, 3), "first")])
def test_channels_that_a_shape_has_not_are_refused(shape, channels):
    with pytest.raises(FileError, match=f"channels {channels}"):
        as_images(np.zeros(shape), channels=channels)


def test_white_of_an_array_may_be_stated():
    images, _ = as_images(np.full((20, 18), 500, np.int64), white=1_000)
    assert (images == 0.5).all()
