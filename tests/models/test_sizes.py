"""Mask networks take images of any size."""

from typing import Any

import pytest
import torch
from torch import nn

from vaebss import Masker

SIZES = [(28, 28), (27, 31), (1, 40), (40, 1), (1, 1), (3, 5), (64, 48)]


def masker(channels: int = 1, **options) -> Masker:
    torch.manual_seed(0)
    defaults = {"widths": (4, 6, 8), "bottleneck": 16, "image_shape": (channels, 28, 28)}
    return Masker(**defaults | options).eval()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_sources_of_any_size_add_up(size, channels):
    mixture = torch.rand(2, channels, *size)
    sources = masker(channels, num_sources=3).separate(mixture).sources
    assert sources.shape == (2, 3, channels, *size)
    torch.testing.assert_close(sources.sum(1), mixture, atol=1e-5, rtol=0)


def test_padding_is_black():
    model, mixture = masker(), torch.rand(1, 1, 26, 27)
    wider = torch.nn.functional.pad(mixture, (0, 1, 0, 2))
    torch.testing.assert_close(model(mixture), model(wider)[..., :26, :27])


def test_every_pixel_sees_every_other():
    mixture = torch.rand(1, 1, 64, 64, requires_grad=True)
    masker()(mixture)[0, 0, 0, 0, 0].backward()
    assert mixture.grad is not None
    assert mixture.grad[0, 0, -1, -1] != 0


def test_channels_are_as_learned():
    with pytest.raises(ValueError, match=r"\(B, 1, any, any\)"):
        masker().separate(torch.rand(1, 3, 28, 28))


def test_images_without_pixels_are_refused():
    with pytest.raises(ValueError, match="no images"):
        masker().separate(torch.rand(2, 1, 0, 28))


def test_the_layers_that_see_all_work_on_one_grid():
    model = masker(image_shape=(1, 26, 31))
    bottleneck: Any = model.network.bottleneck
    assert bottleneck.grid == (7, 8)
    features = torch.rand(2, 8, 7, 8)
    torch.testing.assert_close(bottleneck(features), nn.Sequential(*bottleneck)(features))
