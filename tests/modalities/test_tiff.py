"""TIFF files come back as tifffile wrote them, or are refused: types of numbers, planes, compressions, pages."""

from contextlib import suppress

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from vaebss.errors import FileError
from vaebss.modalities.image_files import read_images, read_mixtures

HEIGHT, WIDTH = 20, 18
TYPES = {"u1": 255, "u2": 65_535, "u4": 2**32 - 1, "u8": 2.0**63, "i1": 127, "i2": 32_767, "i4": 2**31 - 1, "i8": 2**62}
TYPES |= {"f2": 1, "f4": 1, "f8": 1}  # and what white is
LAYOUTS = {
    "grey": ((), {"photometric": "minisblack"}),
    "colour": ((3,), {"photometric": "rgb", "planarconfig": "contig"}),
    "planes": ((3,), {"photometric": "rgb", "planarconfig": "separate"}),
}
WAYS = {
    "plain": {},
    "zlib": {"compression": "zlib"},
    "zlib, differences": {"compression": "zlib", "predictor": 2},
    "lzma": {"compression": "lzma"},
    "tiles": {"tile": (16, 16)},
    "strips": {"rowsperstrip": 7},
    "big-endian": {"byteorder": ">"},
    "BigTIFF": {"bigtiff": True},
}


def numbers(dtype: str, channels: tuple[int, ...], pages: int, seed: int = 0) -> np.ndarray:
    """Random numbers (pages, H, W, *channels) from 0 to white."""
    shares = np.random.default_rng(seed).random((pages, HEIGHT, WIDTH, *channels))
    return (shares * TYPES[dtype]).astype(dtype)


def written(path, images: np.ndarray, layout: str = "grey", **options):
    """Write each of images (N, H, W, *C) as a page."""
    with tifffile.TiffWriter(path, byteorder=options.pop("byteorder", "<"), bigtiff=options.pop("bigtiff", False)) as f:
        for image in images:
            separate = LAYOUTS[layout][1].get("planarconfig") == "separate"
            f.write(np.moveaxis(image, -1, 0) if separate else image, **LAYOUTS[layout][1] | options)
    return path


def read(path, **options) -> np.ndarray:
    """All images (N, H, W) or (N, H, W, C) of a file."""
    images = np.moveaxis(torch.cat(list(read_images(path, **options))).numpy(), 1, -1)
    return images[..., 0] if images.shape[-1] == 1 else images


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", TYPES)
def test_numbers_come_back_as_they_were_written(tmp_path, dtype, layout, way):
    if dtype[0] == "f" and "differences" in way:
        pytest.skip("differences are of integers")
    images = numbers(dtype, LAYOUTS[layout][0], 3)
    path = written(tmp_path / "a.tif", images, layout, **WAYS[way])
    white = TYPES[dtype] if dtype[0] in "iu" and dtype not in ("u1", "u2") else None
    np.testing.assert_allclose(read(path, white=white), images.astype("f8") / TYPES[dtype], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_pages_are_upright(tmp_path, dtype, orientation):
    """Numbers of 8 bits are turned by Pillow, which the others have to agree with."""
    turned = numbers("u1", (3,), 1)[0]
    path = written(tmp_path / "a.tif", turned[None], "colour", extratags=[(274, 3, 1, orientation, True)])
    other = written(
        tmp_path / "b.tif",
        turned[None].astype(dtype) * (257 if dtype == "u2" else 1),
        "colour",
        extratags=[(274, 3, 1, orientation, True)],
    )
    np.testing.assert_allclose(read(other, white=255 if dtype == "f4" else None), read(path), atol=1e-6)


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@pytest.mark.parametrize("kind", [1, 4, 5], ids=["reduced", "mask", "reduced mask"])
def test_copies_of_reduced_resolution_and_masks_are_no_images(tmp_path, dtype, kind):
    images = numbers(dtype, (), 2)
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for image in images:
            file.write(image, photometric="minisblack")
            copy = image[::2, ::2] if kind == 1 else image > 0
            file.write(copy, photometric="minisblack" if kind == 1 else "mask", subfiletype=kind)
    np.testing.assert_allclose(read(path), images / TYPES[dtype], rtol=1e-6)


def test_a_page_alone_is_an_image_even_where_it_says_reduced(tmp_path):
    images = numbers("u2", (), 1)
    np.testing.assert_allclose(read(written(tmp_path / "a.tif", images, subfiletype=1)), images / 65_535, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_transparent_ink_is_on_black_or_on_white(tmp_path, dtype):
    alpha = numbers(dtype, (), 1)
    path = tmp_path / "a.tif"
    images = np.stack([np.zeros_like(alpha)] * 3 + [alpha], -1)
    tifffile.imwrite(path, images, photometric="rgb", extrasamples=["unassalpha"])
    assert read(path).max() == 0
    np.testing.assert_allclose(read(path, invert=True)[..., 0], 1 - alpha / TYPES[dtype], atol=1e-6)


def test_0_may_be_white(tmp_path):
    images = numbers("u2", (), 2)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, images, photometric="miniswhite")
    np.testing.assert_allclose(read(path), 1 - images / 65_535, atol=1e-6)


def test_pages_of_8_and_of_16_bits_share_a_file(tmp_path):
    """Each comes from the reader that is right about it, in the order of the file."""
    fine, coarse = numbers("u2", (), 1)[0], numbers("u1", (), 1)[0]
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for image in (fine, coarse, fine):
            file.write(image, photometric="minisblack")
    np.testing.assert_allclose(read(path), [fine / 65_535, coarse / 255, fine / 65_535], rtol=1e-6)


@pytest.mark.parametrize("dtype", ["u2", "f4"])
@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_deflate", "tiff_adobe_deflate"])
def test_what_pillow_writes_is_read_whoever_unpacks_it(tmp_path, dtype, compression):
    images = numbers(dtype, (), 1)
    path = tmp_path / "a.tif"
    Image.fromarray(images[0]).save(path, compression=compression)
    np.testing.assert_allclose(read(path), images / TYPES[dtype], rtol=1e-6)


ODD = {
    "alpha that colours are multiplied by": (
        lambda path: tifffile.imwrite(path, numbers("u2", (4,), 1), photometric="rgb", extrasamples=["assocalpha"]),
        "4 channels",
    ),
    "too many channels": (
        lambda path: tifffile.imwrite(path, numbers("u2", (65,), 1), photometric="minisblack", planarconfig="contig"),
        "65 channels: at most 64 can be read",
    ),
    "CMYK": (lambda path: tifffile.imwrite(path, numbers("u2", (4,), 1), photometric="separated"), "4 channels"),
    "complex": (lambda path: tifffile.imwrite(path, numbers("f4", (), 1).astype("c8")), "complex64"),
    "floats, 0 being white": (
        lambda path: tifffile.imwrite(path, numbers("f4", (), 1), photometric="miniswhite"),
        "0 being white",
    ),
    "a volume": (
        lambda path: tifffile.imwrite(path, numbers("u2", (), 4), photometric="minisblack", volumetric=True),
        "volume",
    ),
    "white unknown": (lambda path: tifffile.imwrite(path, numbers("i8", (), 1)), "int64, whose white is unknown"),
    "NaN": (lambda path: tifffile.imwrite(path, numbers("f8", (3,), 1) * np.nan, photometric="rgb"), "NaN"),
    "colour of 16 bits with LZW": (lambda path: lzw(path, "u2", (3,)), "uint16 compressed by LZW: convert"),
    "colour of floats with LZW": (lambda path: lzw(path, "f4", (3,)), "float32 compressed by LZW: convert"),
    "doubles with LZW": (lambda path: lzw(path, "f8", ()), "float64 compressed by LZW: convert"),
}


def lzw(path, dtype, channels) -> None:
    """Write a page of what Pillow cannot read as it is, then claim LZW, which tifffile cannot read."""
    tifffile.imwrite(path, numbers(dtype, channels, 1)[0], photometric="rgb" if channels else "minisblack")
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags["Compression"].overwrite(5)


@pytest.mark.parametrize("case", ODD)
def test_what_might_mean_something_else_is_refused(tmp_path, case):
    write, words = ODD[case]
    write(tmp_path / "a.tif")
    with pytest.raises(FileError, match=words) as caught:
        read(tmp_path / "a.tif")
    assert str(caught.value).startswith(f"{tmp_path / 'a.tif'} ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@pytest.mark.parametrize("way", ["plain", "zlib", "tiles", "strips"])
def test_a_file_that_is_cut_short_is_refused_wherever_it_is_cut(tmp_path, dtype, way):
    images = numbers(dtype, (3,), 2)
    path = written(tmp_path / "a.tif", images, "colour", **WAYS[way])
    content, whole = path.read_bytes(), read(path)
    for end in np.linspace(1, len(content) - 1, 40).astype(int):
        path.write_bytes(content[:end])
        with suppress(FileError):  # or what is missing was no part of the pixels
            np.testing.assert_array_equal(read(path), whole)


def test_a_page_of_too_many_pixels_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", HEIGHT * WIDTH - 1)
    path = written(tmp_path / "a.tif", numbers("u2", (), 1))
    with pytest.raises(FileError, match=r"more than 359 pixels"):
        read(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert read(path).shape == (1, HEIGHT, WIDTH)


def test_a_pyramid_is_a_mixture_once(tmp_path):
    images = numbers("u1", (), 3)
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for image in images:
            file.write(image, photometric="minisblack")
            file.write(image[::2, ::2], photometric="minisblack", subfiletype=1)
    assert read_mixtures([path]).shape == (3, 1, HEIGHT, WIDTH)


@pytest.mark.parametrize("size", [8, 16])
def test_a_header_alone_is_told_as_a_file_that_breaks_off(tmp_path, size):
    header = b"II*\0" + bytes(4) if size == 8 else b"II+\0\x08\0\0\0" + bytes(8)
    (tmp_path / "header.tif").write_bytes(header)
    with pytest.raises(FileError, match=r"header\.tif cannot be read: it breaks off before its first page"):
        list(read_images(tmp_path / "header.tif"))


def test_complex_numbers_are_refused_also_where_white_is_stated(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.full((8, 8), 0.2 + 0.3j, "c8"))
    for white in (None, 1.0):
        with pytest.raises(FileError, match=r"a\.tif holds complex64, not numbers of brightness"):
            list(read_images(tmp_path / "a.tif", white=white))
