"""Laws of pictures in files: large ones are separated as small ones are, and shown with fewer pixels."""

import numpy as np
import pytest
import torch
from PIL import Image

from vaebss import load
from vaebss.modalities import appearance, image_files
from vaebss.modalities.appearance import sample, thinned
from vaebss.modalities.image_files import read_images
from vaebss.modalities.images import Images
from vaebss.modalities.modality import separate_signals


@pytest.fixture(scope="module")
def model():
    return load("remix-k2")


def strokes(channels):
    """Two bars of brightness 0.5 (C, 120, 90) that cross."""
    image = np.zeros((channels, 120, 90), np.float32)
    image[:, 20:100, 30:40] += 0.5
    image[:, 60:70, 10:80] += 0.5
    return image


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("invert", [False, True])
def test_sources_of_large_pictures_are_those_of_the_whole_picture(tmp_path, monkeypatch, model, channels, invert):
    monkeypatch.setattr(appearance, "SHOWN", 1_000)
    pixels = np.round(255 * (1 - strokes(channels) if invert else strokes(channels))).astype(np.uint8)
    Image.fromarray(pixels.transpose(1, 2, 0).squeeze()).save(tmp_path / "large.png")
    images = Images(model.image_shape, 2.0, invert=invert)
    (part,) = images.read(tmp_path / "large.png")
    found = part.separated(model.separate)
    paths = [tmp_path / f"{k}.tiff" for k in (1, 2)]
    part.save(found, 0, paths)

    (whole,) = read_images(tmp_path / "large.png")
    whole = 1 - whole if invert else whole
    expected = separate_signals(model.separate, images, whole).sources_first()
    assert part.signals.shape == (1, channels, 30, 23)
    torch.testing.assert_close(part.signals, whole[..., ::4, ::4])
    torch.testing.assert_close(found.sources, expected.sources[..., ::4, ::4])
    for path, source in zip(paths, expected.sources[0], strict=True):
        (written,) = read_images(path)
        source = 1 - source if invert else source
        torch.testing.assert_close(written[0], source, rtol=0, atol=0.6 / 255)


def test_parts_of_large_arrays_are_short_and_all_there(tmp_path, monkeypatch):
    monkeypatch.setattr(image_files, "LARGEST_PART", 100)
    array = np.arange(7 * 6 * 8, dtype=np.float32).reshape(7, 6, 8)
    np.save(tmp_path / "a.npy", array)
    parts = [*read_images(tmp_path / "a.npy")]
    assert [len(part) for part in parts] == [2, 2, 2, 1]
    assert torch.equal(torch.cat(parts).squeeze(1), torch.from_numpy(array))


def test_small_pictures_are_shown_whole_and_lines_are_thinned_along_their_length(monkeypatch):
    monkeypatch.setattr(appearance, "SHOWN", 50)
    small = torch.rand(3, 1, 5, 10)
    assert thinned(small) is small
    line = torch.arange(400.0).view(1, 1, 1, 400)
    assert torch.equal(thinned(line), line[..., ::8])
    assert torch.equal(thinned(thinned(line)), thinned(line))
    assert len(sample(line)) == 50
    assert torch.equal(sample(line[..., :50]), line[..., :50].flatten())


def test_the_brightness_of_sources_is_that_of_the_ink_also_on_white():
    bars = torch.from_numpy(strokes(1)).unsqueeze(0) * 0.6  # of 0.3, and 0.6 where they cross
    assert Images((1, 28, 28)).look([bars], None) == {"invert": False, "source_max": pytest.approx(0.3)}
    assert Images((1, 28, 28)).look([1 - bars], None) == {"invert": True, "source_max": pytest.approx(0.3)}
    assert not Images((1, 28, 28)).look([bars, 1 - bars], None)["invert"]  # most are not
    assert Images((1, 28, 28)).look([bars], True) == {"invert": True, "source_max": pytest.approx(0.3)}


def test_a_picture_is_written_as_it_is(tmp_path):
    picture = torch.from_numpy(strokes(3))
    Images((3, 120, 90)).write(picture, tmp_path / "a.png")
    (written,) = read_images(tmp_path / "a.png")
    torch.testing.assert_close(written[0], picture, rtol=0, atol=0.6 / 255)


def test_four_curves_fit_on_a_page_and_as_many_pictures_as_are_an_inch_high():
    images = Images((1, 28, 28))
    shapes = {(1, 1, 90): 4, (3, 1, 90): 1, (1, 28, 28): 12, (1, 30, 60): 6, (1, 90, 10): 12}
    assert {shape: images.columns_per_page(torch.zeros(shape)) for shape in shapes} == shapes
