import struct
import zlib
from pathlib import Path

import numpy as np
import PIL
import pytest
import torch
from PIL import Image, ImageFile

from vaebss.errors import FileError
from vaebss.modalities.brightness import with_channels
from vaebss.modalities.files import find
from vaebss.modalities.image_files import Held, read_images, read_mixtures, write_held

RAMP = np.arange(42, dtype=np.uint8).reshape(6, 7) * 6  # what pictures below hold, 0 to 246
GREY = RAMP / 255.0
SOLID = np.full_like(RAMP, 255)
BIT_DEPTH = 24  # byte of a PNG file
RED = np.stack([RAMP, 0 * RAMP, 0 * RAMP], -1)


def whole(path, nested=False, **options):
    """All images of a file or folder."""
    return read_mixtures(find(path, nested), **options)


def alpha(*colour, mode):
    """A picture of one colour whose ink is in its alpha."""
    layers = [np.full_like(RAMP, value) for value in colour]
    return Image.fromarray(np.stack([*layers, RAMP], -1), mode)


def palette(colours, mode="P", image=None):
    """A picture of indices."""
    picture = Image.fromarray(RAMP // 6 if image is None else image).convert("L")
    picture = Image.frombytes("P", picture.size, picture.tobytes())
    picture.putpalette(colours)
    return picture if mode == "P" else picture.convert(mode)


def saved(thing, name="a.png", **options):
    """Writes a Pillow image, a NumPy array, a dict of them or bytes into a folder."""

    def write(folder):
        path = folder / name
        if isinstance(thing, Image.Image):
            thing.save(path, **options)
        elif isinstance(thing, bytes):
            path.write_bytes(thing)
        elif isinstance(thing, dict):
            np.savez(path, **thing)
        else:
            np.save(path, thing, allow_pickle=True)
        return path

    return write


def array(thing):
    return saved(thing, "a.npy")


def zeros(*shape, dtype=np.float32):
    return array(np.zeros(shape, dtype))


def png(bits, colour_type, pixels, *chunks):
    """A PNG of a kind that Pillow does not write; pixels are bytes of one row."""
    header = struct.pack(">IIBBBBB", 6, 1, bits, colour_type, 0, 0, 0)
    whole = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(b"\0" + pixels)), (b"IEND", b"")]
    packed = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in whole
    ]
    return saved(b"\x89PNG\r\n\x1a\n" + b"".join(packed))


def tiff(bits, pixels, white_is_zero=False, kind=1):
    """A little-endian TIFF of one grey row of six pixels."""
    tags = [(256, 6), (257, 1), (258, bits), (259, 1), (262, 1 - white_is_zero), (273, 200), (277, 1), (278, 1)]
    tags += [(279, len(pixels)), (339, kind)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    return saved(head.ljust(200, b"\0") + pixels, "a.tif")


def pages(name, first, *others, **options):
    return saved(first, name, save_all=True, append_images=others, **options)


def frames(name, mode="L", last=RAMP, **options):
    """Pages each brighter than the one before."""
    last = Image.fromarray(last) if last.ndim == 3 else Image.fromarray(last).convert(mode)
    first, second = [Image.fromarray(image).convert(mode) for image in (RAMP // 3, RAMP // 3 * 2)]
    return pages(name, first, second, last, **options)


FRAMES = np.stack([RAMP // 3 * factor for factor in (1, 2, 3)])[:, None] / 255
GREYS = [value for value in range(256) for _ in "RGB"]
REDS = [value * (channel == 0) for value in range(256) for channel in range(3)]
WORDS = np.arange(6, dtype=np.uint16) * 13_000
MANY = np.random.default_rng(0).random((5, 3, 7, 8), dtype=np.float32)
LAST = np.moveaxis(MANY, 1, -1)
INK = np.where(RAMP > 99, 255, 0).astype(np.uint8)
LABELLED = {"x": MANY, "y": np.arange(5)}
WIDE = Image.fromarray(RAMP.astype("i4"))
ALL_GREYS = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))  # which Pillow keeps in mode L
ALL_REDS = palette(REDS, image=np.asarray(ALL_GREYS))
REDS_AND_GREYS = [np.asarray(image.convert("RGB")).transpose(2, 0, 1) / 255 for image in (ALL_REDS, ALL_GREYS)]
ONE_RED = [*[0] * 9, 255, *[0] * 758]
BLACK = [0 * GREY] * 2
TURNED = Image.Exif()
TURNED[274] = 6
BIG = RAMP.astype(np.float32)  # 0 to 246, floating point

# What lies on disk, the options with which it is read, and the values that come of it
RIGHT = {
    # pictures, by mode
    "1-bit": (saved(Image.fromarray(INK).convert("1")), {}, INK / 255),
    "2-bit PNG": (png(2, 0, bytes([0b00011011, 0b11100000])), {}, np.array([[0, 1, 2, 3, 3, 2]]) / 3),
    "8-bit": (saved(Image.fromarray(RAMP)), {}, GREY),
    "upper-case suffix": (saved(Image.fromarray(RAMP), "A.PNG"), {}, GREY),
    "8-bit TIFF, 0 being white": (tiff(8, bytes(range(6)), True), {}, 1 - np.arange(6)[None] / 255),
    "16-bit PNG": (saved(Image.fromarray(WORDS[None])), {}, WORDS[None] / 65_535),
    "16-bit TIFF, 0 being white": (tiff(16, WORDS.tobytes(), True), {}, 1 - WORDS[None] / 65_535),
    "16-bit TIFF": (saved(Image.fromarray(WORDS[None]), "a.tif"), {}, WORDS[None] / 65_535),
    "big-endian 16-bit TIFF": (saved(Image.fromarray(WORDS[None].astype(">u2")), "a.tif"), {}, WORDS[None] / 65_535),
    "32-bit TIFF, white stated": (saved(WIDE, "a.tif"), {"white": 246}, RAMP / 246),
    "float TIFF": (saved(Image.fromarray(GREY.astype("f4")), "a.tif"), {}, GREY),
    "float TIFF above 1": (saved(Image.fromarray(BIG), "a.tif"), {}, BIG),
    "colour": (saved(Image.fromarray(RED)), {}, RED.transpose(2, 0, 1) / 255),
    "colour as grey": (saved(Image.fromarray(RED)), {"channels": 1}, GREY * 0.299),
    "grey as colour": (saved(Image.fromarray(RAMP)), {"channels": 3}, np.stack([GREY] * 3)),
    "CMYK": (saved(Image.fromarray(RED).convert("CMYK"), "a.tif"), {}, RED.transpose(2, 0, 1) / 255),
    "YCbCr in a JPEG": (saved(Image.fromarray(RAMP).convert("YCbCr"), "a.jpg", quality=100), {}, [GREY] * 3),
    "Lab": (saved(Image.new("LAB", (7, 6), (255, 128, 128)), "a.tif"), {}, [[[1]]] * 3),
    "turned by EXIF": (saved(Image.fromarray(RAMP), exif=TURNED), {}, np.rot90(GREY, -1)),
    "turned by EXIF in a TIFF": (saved(Image.fromarray(RAMP), "a.tif", tiffinfo={274: 3}), {}, GREY[::-1, ::-1]),
    # pictures, by transparency
    "white ink in alpha": (saved(alpha(255, 255, 255, mode="RGBA")), {}, np.stack([GREY] * 3)),
    "black ink in alpha, on black": (saved(alpha(0, 0, 0, mode="RGBA")), {}, [0 * GREY] * 3),
    "black ink in alpha, on white": (saved(alpha(0, 0, 0, mode="RGBA")), {"invert": True}, [1 - GREY] * 3),
    "white ink in alpha, as grey": (saved(alpha(255, 255, 255, mode="RGBA")), {"channels": 1}, GREY),
    "LA": (saved(alpha(255, mode="LA")), {}, GREY),
    "LA, on white": (saved(alpha(51, mode="LA")), {"invert": True}, 1 - 0.8 * GREY),
    "alpha in WebP": (saved(alpha(255, 255, 255, mode="RGBA"), "a.webp", lossless=True), {}, [GREY] * 3),
    "alpha in TIFF": (saved(alpha(255, 255, 255, mode="RGBA"), "a.tif"), {}, [GREY] * 3),
    "palette with transparency": (saved(palette([255] * 768), transparency=bytes(range(42))), {}, RAMP / 6 / 255),
    "one transparent red, on white": (saved(palette(ONE_RED), transparency=3), {"invert": True}, RAMP == 18),
    "palette with alpha": (saved(palette(GREYS, "PA"), "a.tif"), {}, RAMP / 6 / 255),
    "grey palette": (saved(palette(GREYS, image=RAMP)), {}, GREY),
    "red palette": (saved(palette(REDS, image=RAMP)), {}, RED.transpose(2, 0, 1) / 255),
    "palette, grey where it is used": (saved(palette([*GREYS[:750], *REDS[750:]], image=RAMP)), {}, GREY),
    "one transparent grey": (saved(Image.fromarray(RAMP), transparency=246), {}, GREY * (RAMP < 246)),
    "one transparent bit": (saved(Image.fromarray(INK).convert("1"), transparency=0), {"invert": True}, 1 + 0 * GREY),
    "one transparent red": (saved(Image.fromarray(RED), transparency=(246, 0, 0)), {}, [GREY * (RAMP < 246), *BLACK]),
    # pictures, by frames
    "animated GIF": (frames("a.gif"), {}, FRAMES),
    "GIF of grey, then red": (frames("a.gif", last=RED), {}, [*FRAMES[:2].repeat(3, 1), RED.transpose(2, 0, 1) / 255]),
    "transparent GIF, on white": (saved(palette([0] * 768), "a.gif", transparency=3), {"invert": True}, RAMP == 18),
    "animated PNG": (frames("a.png"), {}, FRAMES),
    "animated WebP": (frames("a.webp", "RGB", lossless=True), {}, FRAMES.repeat(3, 1)),
    "pages of a TIFF": (frames("a.tiff"), {}, FRAMES),
    "pages in colour and in grey": (pages("a.tif", ALL_REDS, ALL_GREYS), {}, REDS_AND_GREYS),
    "pages in float": (frames("a.tiff", "F"), {"white": 255}, FRAMES),
    # arrays, by type
    "bool": (array(RAMP > 99), {}, RAMP > 99),
    "uint8": (array(RAMP), {}, GREY),
    "uint16": (array(np.tile(WORDS, (5, 1))), {}, np.tile(WORDS, (5, 1)) / 65_535),
    "big-endian uint16": (array(np.tile(WORDS, (5, 1)).astype(">u2")), {}, np.tile(WORDS, (5, 1)) / 65_535),
    "int8, white stated": (array((RAMP // 2).astype("i1")), {"white": 127}, RAMP // 2 / 127),
    "int64, white stated": (array(RAMP.astype("i8")), {"white": 255}, GREY),
    "uint64, white stated": (array(RAMP.astype("u8") << 50), {"white": 255 * 2.0**50}, GREY),
    "uint16 of 12 bits": (array(RAMP.astype("u2") * 16), {"white": 4080}, GREY),
    "float16": (array(GREY.astype("f2")), {}, GREY.astype("f2")),
    "float16, white stated": (array(BIG.astype("f2")), {"white": 1e-3}, BIG * 1e3),
    "float64": (array(GREY), {}, GREY),
    "long double": (array(GREY.astype("g")), {}, GREY),
    "big-endian float32": (array(GREY.astype(">f4")), {}, GREY),
    "Fortran's order": (array(np.asfortranarray(GREY)), {}, GREY),
    "up to 255": (array(BIG), {}, BIG),
    "up to 255, white stated": (array(BIG), {"white": 255}, GREY),
    "huge, white stated": (array(GREY * 1e300), {"white": 1e300}, GREY),
    # arrays, by shape
    "(H, W)": (array(MANY[0, 0]), {}, MANY[:1, :1]),
    "(N, H, W)": (array(MANY[:, 0]), {}, MANY[:, :1]),
    "(1, H, W)": (array(MANY[:1, 0]), {}, MANY[:1, :1]),
    "(2, H, W)": (array(MANY[:2, 0]), {}, MANY[:2, :1]),
    "(N, 1, H, W)": (array(MANY[:, :1]), {}, MANY[:, :1]),
    "(3, 1, H, W)": (array(MANY[:3, :1]), {}, MANY[:3, :1]),
    "(N, 3, H, W)": (array(MANY), {}, MANY),
    "(H, W, 3)": (array(LAST[0]), {}, MANY[:1]),
    "(H, W, 1)": (array(LAST[0, ..., :1]), {}, MANY[:1, :1]),
    "(N, H, W, 3)": (array(LAST), {}, MANY),
    "(N, H, W, 1)": (array(LAST[..., :1]), {}, MANY[:, :1]),
    "(3, H, W, 3)": (array(LAST[:3]), {}, MANY[:3]),
    "(H, W, 2)": (array(LAST[0, ..., :2]), {}, MANY[:1, :1] * MANY[:1, 1:2]),
    "(N, H, W, 4)": (array(np.concatenate([LAST, LAST[..., :1]], -1)), {}, MANY * MANY[:, :1]),
    "(H, W, 4) of uint8, on white": (array(np.dstack([0 * RED, RAMP])), {"invert": True}, [1 - GREY] * 3),
    "(784, 784)": (zeros(784, 784, dtype=bool), {}, np.zeros((784, 784))),
    "one wide image": (array(np.ones((1, 5, 784), np.float32)), {}, np.ones((5, 784))),
    # archives
    "archive of one": (saved({"x": MANY}, "a.npz"), {}, MANY),
    "all of an archive": (saved({"x": MANY, "y": LAST[:2]}, "a.npz"), {}, np.concatenate([MANY, MANY[:2]])),
}  # fmt: skip
if tuple(map(int, PIL.__version__.split(".")[:2])) >= (11, 3):  # earlier ones write small MPO files that are broken
    RIGHT["a JPEG's preview"] = (frames("a.jpg", "RGB", format="MPO", quality=100), {"channels": 1}, FRAMES[:1])


@pytest.mark.parametrize("case", RIGHT)
def test_what_is_certain_is_read_as_it_is(tmp_path, case):
    write, options, expected = RIGHT[case]
    expected = np.asarray(expected, np.float32)
    images = torch.cat(list(read_images(write(tmp_path), at_once=2, **options)))
    images = with_channels(images, options.get("channels", images.shape[1]))
    assert images.dtype == torch.float32
    assert images.ndim == 4
    assert images.shape[1] == (expected.shape[-3] if expected.ndim > 2 else 1)
    expected = np.broadcast_to(expected, images.shape)
    np.testing.assert_allclose(images, expected, rtol=1e-5, atol=0.01 if "JPEG" in case or case == "Lab" else 1e-6)


TRANSPARENT_GREY = (b"tRNS", b"\0\0")

# What lies on disk, the options with which it is read, and words of the refusal
REFUSED = {
    "missing": (lambda folder: folder / "none.png", {}, "does not exist"),
    "unknown kind": (saved(b"x", "a.txt"), {}, "unknown kind; known are .png"),
    "missing home": (lambda folder: Path("~nobody-of-that-name/a.png"), {}, "cannot be read"),
    "broken picture": (saved(b"\x89PNG no picture"), {}, "cannot be read"),
    "cut-off picture": (lambda folder: cut(saved(Image.effect_noise((90, 90), 90))(folder)), {}, "cannot be read"),
    "broken array": (saved(b"\x89PNG no picture", "a.npy"), {}, "cannot be read"),
    "broken archive": (saved(b"PK\3\4 no archive", "a.npz"), {}, "cannot be read"),
    "several lines in a name": (lambda folder: folder / "a\nb.png", {}, "does not exist"),
    # pictures that Pillow would read, but not as they are
    "16-bit colour": (png(16, 2, b"\0\xff" * 18), {}, "colour in 16 bits, of which Pillow reads 8: convert"),
    "16-bit grey with alpha": (png(16, 4, b"\0\xff" * 12), {}, "colour in 16 bits"),
    "16-bit transparent grey": (png(16, 0, b"\0\xff" * 6, TRANSPARENT_GREY), {}, "transparent"),
    "12-bit TIFF": (tiff(12, bytes(range(9))), {}, "12 bits"),
    "float TIFF, 0 being white": (tiff(32, WORDS.astype("f4").tobytes(), True, kind=3), {}, "0 being white"),
    "signed 8-bit TIFF": (tiff(8, bytes(6), kind=2), {}, "int8, whose white is unknown"),
    "signed 16-bit TIFF": (tiff(16, bytes(12), kind=2), {}, "int16, whose white is unknown"),
    "32-bit TIFF": (saved(WIDE, "a.tif"), {}, "int32, whose white is unknown"),
    "32-bit TIFF below 0": (saved(Image.fromarray(-RAMP.astype("i4")), "a.tif"), {"white": 9}, "below 0"),
    "float TIFF with NaN": (saved(Image.fromarray(BIG * np.nan), "a.tif"), {}, "NaN"),
    "float TIFF below 0": (saved(Image.fromarray(-BIG), "a.tif"), {}, "below 0"),
    "pages of two sizes": (frames("a.tif", last=RAMP[1:]), {}, "shape (1, 5, 7), where those before have (1, 6, 7)"),
    "pages in grey and in colour": (pages("a.tif", ALL_GREYS, ALL_REDS), {}, "(3, 16, 16), where those before have (1"),
    "GIF that begins in grey": (pages("a.gif", ALL_GREYS, ALL_REDS), {}, "grey frames before others"),
    # arrays, by type and numbers
    "int8": (zeros(8, 8, dtype="i1"), {}, "int8, whose white is unknown: save array / white, or state it"),
    "int16": (zeros(8, 8, dtype="i2"), {}, "int16, whose white is unknown"),
    "uint32": (zeros(8, 8, dtype="u4"), {}, "uint32, whose white is unknown"),
    "int64": (zeros(8, 8, dtype="i8"), {}, "int64, whose white is unknown"),
    "int16 below 0": (array(np.full((8, 8), -1, "i2")), {"white": 255}, "below 0"),
    "complex": (zeros(8, 8, dtype="c8"), {}, "complex64, not numbers"),
    "text": (array(np.full((8, 8), "a")), {}, "<U1, not numbers"),
    "bytes": (array(np.full((8, 8), b"a")), {}, "|S1, not numbers"),
    "dates": (zeros(8, 8, dtype="M8[s]"), {}, "datetime64[s], not numbers"),
    "structures": (zeros(8, 8, dtype="f4,f4"), {}, "not numbers"),
    "pickled objects": (array(np.array([{"a": 1}], dtype=object)), {}, "cannot be read"),
    "NaN": (array(np.full((8, 8), np.nan)), {}, "NaN"),
    "infinite": (array(np.full((8, 8), np.inf)), {}, "infinity"),
    "too large": (array(np.full((8, 8), 1e39)), {}, "too large for single precision"),
    "too small": (array(np.full((8, 8), 1e-60)), {}, "too dark for single precision"),
    "one of two too small": (array(np.ones((2, 8, 8)) * [[[1]], [[1e-60]]]), {}, "too dark"),
    "negative": (array(np.full((8, 8), -1.0)), {}, "below 0"),
    "alpha above 1": (array(np.dstack([RED, RAMP]).astype("f4")), {}, "4 channels; the last is above 1"),
    # arrays, by shape
    "a number": (array(np.float32(1)), {}, "has shape (), not (H, W), (N, H, W)"),
    "a row": (zeros(784), {}, "has shape (784,), not (H, W)"),
    "no images": (zeros(0, 8, 8), {}, "(0, 8, 8), not"),
    "five axes": (zeros(1, 1, 1, 8, 8), {}, "(1, 1, 1, 8, 8), not"),
    "five channels": (zeros(2, 5, 8, 8), {}, "(2, 5, 8, 8), which may be NCHW or several grey images"),
    "65 channels": (zeros(2, 65, 8, 8), {}, "(2, 65, 8, 8), not"),
    "too few axes": (zeros(9, 8, 8), {"axes": "HW"}, "has shape (9, 8, 8), not axes HW"),
    "65 channels as stated": (zeros(65, 8, 8), {"axes": "CHW"}, "(65, 8, 8), not axes CHW with C of 64 at most"),
    "no images as stated": (zeros(0, 8, 8), {"axes": "NHW"}, "(0, 8, 8), not axes NHW"),
    "(3, H, W)": (zeros(3, 28, 28), {}, "which may be NHW or CHW; name its axes by --axes"),
    "(4, H, W)": (zeros(4, 28, 28), {}, "which may be NHW or CHW"),
    "(3, H, 3)": (zeros(3, 28, 3), {}, "5 pixels or more a side"),
    "(N, 3, H, 3)": (zeros(9, 3, 28, 3), {}, "5 pixels or more a side"),
    "(H, W, N)": (zeros(28, 28, 100), {}, "which may be NHW or HWN"),
    "(H, W, 3, N)": (zeros(28, 28, 3, 100), {}, "(28, 28, 3, 100), not"),
    "(N, 2, H, W)": (zeros(1, 2, 8, 8), {}, "which may be NCHW or several grey images"),
    "(N, 4, H, W)": (zeros(9, 4, 8, 8), {}, "each (of array.reshape(-1, height, width)); name its axes by --axes"),
    "(N, 784)": (zeros(5000, 784), {}, "which may be HW or flattened images"),
    "(N, 64)": (zeros(1797, 64), {}, "flattened images (of array.reshape(-1, height, width)); name its axes"),
    # archives
    "empty archive": (saved({}, "a.npz"), {}, "holds none"),
    "labels in an archive": (saved(LABELLED, "a.npz"), {}, "a.npz[y] has shape (5,), not"),
    "how to choose": (saved(LABELLED, "a.npz"), {}, "to read another alone, name it as here: x, y"),
    "objects in an archive": (saved({"o": np.array([{}])}, "a.npz"), {}, "a.npz[o] cannot be read"),
}  # fmt: skip


def cut(path):
    path.write_bytes(path.read_bytes()[:3000])
    return path


@pytest.mark.parametrize("case", REFUSED)
def test_what_may_be_something_else_is_refused_in_one_line(tmp_path, case):
    write, options, words = REFUSED[case]
    path = write(tmp_path)
    with pytest.raises(FileError) as caught:
        whole(path, **options)
    message = str(caught.value)
    assert words in message
    assert message.startswith(" ".join(str(path).splitlines()))
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("white", [0, -1, np.nan, np.inf])
def test_white_is_above_0(tmp_path, white):
    with pytest.raises(ValueError, match="white must be"):
        list(read_images(array(GREY)(tmp_path), white=white))


def test_too_large_a_picture_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.raises(FileError, match="more than 20 pixels"):
        list(read_images(saved(Image.fromarray(RAMP))(tmp_path)))


def test_a_32_bit_png_of_older_pillows_is_of_16_bits(tmp_path, monkeypatch):
    path = saved(Image.fromarray(WORDS[None]))(tmp_path)
    monkeypatch.setattr(ImageFile.ImageFile, "mode", "I", raising=False)
    upright = Image.fromarray(WORDS[None].astype("i4"))
    monkeypatch.setattr("vaebss.modalities.image_frames.ImageOps.exif_transpose", lambda image: upright)
    (images,) = read_images(path)
    np.testing.assert_allclose(images[0, 0], WORDS[None] / 65_535)


@pytest.mark.parametrize(("mode", "straight", "channels"), [("La", "LA", 1), ("RGBa", "RGBA", 3)])
def test_colour_that_is_multiplied_by_alpha_already_is_not_again(tmp_path, monkeypatch, mode, straight, channels):
    upright = alpha(*[255] * channels, mode=straight).convert(mode)
    monkeypatch.setattr("vaebss.modalities.image_frames.ImageOps.exif_transpose", lambda image: upright)
    (images,) = read_images(saved(Image.fromarray(RAMP))(tmp_path))
    np.testing.assert_allclose(images[0], [GREY] * channels, rtol=1e-6)


@pytest.mark.parametrize("name", ["a.npz", "A.NPZ"])
def test_one_array_of_an_archive_is_named_in_brackets(tmp_path, name):
    np.savez(tmp_path / "a.npz", labels=np.arange(5), **{"in/a folder": MANY})
    (tmp_path / "a.npz").rename(tmp_path / name)
    (path,) = find(f"{tmp_path}/{name}[in/a folder]")
    np.testing.assert_array_equal(whole(path), MANY.astype(np.float16))
    with pytest.raises(FileError, match=r"\[none\] names no array; .* holds labels, in/a folder$"):
        whole(f"{tmp_path}/{name}[none]")


def test_an_array_by_the_name_of_an_archive(tmp_path):
    saved(MANY, "a.npy")(tmp_path).rename(tmp_path / "a.npz")
    np.testing.assert_array_equal(torch.cat(list(read_images(tmp_path / "a.npz"))), MANY)
    with pytest.raises(FileError, match="names no array"):
        whole(tmp_path / "a.npz[x]")


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path):
    for number in (2, 0, 1):
        Image.new("L", (8, 8), number).save(tmp_path / f"{number}.png")
    (tmp_path / "below").mkdir()
    Image.new("L", (8, 8), 3).save(tmp_path / "below" / "3.png")
    for nested, order in ((False, [0, 1, 2]), (True, [0, 1, 2, 3])):
        mixtures = whole(tmp_path, nested, white=1)
        assert mixtures[:, 0, 0, 0].tolist() == order


def test_mixtures_of_different_sizes_are_refused(tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    Image.new("L", (9, 8)).save(tmp_path / "b.png")
    with pytest.raises(FileError, match=r"b\.png has images of shape \(1, 8, 9\), where those before have \(1, 8, 8\)"):
        whole(tmp_path)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (0, "float16"),
        (1 / 3, "float16"),
        (65_504, "float16"),
        (65_520, "float32"),
        (1e-8, "float32"),
        (3e-5, "float32"),
    ],
)
def test_mixtures_are_kept_in_half_precision_if_that_only_rounds(tmp_path, value, dtype):
    np.save(tmp_path / "a.npy", np.ones((8, 8), np.float32))
    np.save(tmp_path / "b.npy", np.full((8, 8), value, np.float32))
    mixtures = whole(tmp_path)
    assert mixtures.dtype == getattr(torch, dtype)
    np.testing.assert_allclose(mixtures[1].float(), value, rtol=2**-11)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_picture_is_written_in_as_many_bits_as_its_file_had(tmp_path, channels, dtype):
    """Grey alone: PNG files of colour have 8 bits."""
    fine = dtype == np.uint16 and channels == 1
    step = 1 / (65_535 if fine else 255)
    images = step * torch.arange(12.0).view(1, 1, 3, 4).expand(1, channels, 3, 4)
    write_held(images, tmp_path / "a.png", Held("HW" if channels == 1 else "HWC", np.iinfo(dtype).max, np.dtype(dtype)))
    assert (tmp_path / "a.png").read_bytes()[BIT_DEPTH] == (16 if fine else 8)
    with Image.open(tmp_path / "a.png") as written:
        numbers = np.asarray(written).reshape(3, 4, channels)
    assert numbers[..., 0].tolist() == np.arange(12).reshape(3, 4).tolist()
