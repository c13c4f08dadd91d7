"""Laws of pictures and lines with any number of channels: read, separated, adapted to and written."""

import csv

import numpy as np
import pytest
import tifffile
import torch

import vaebss
from vaebss.commands import fit, remix, separate
from vaebss.modalities.brightness import with_channels
from vaebss.modalities.image_files import read_held
from vaebss.modalities.images import Images

CHANNELS = (2, 4, 5, 64)
SHORT = ("--gpus=0", "--trainer.max_epochs=1", "--data.epoch_size=16", "--data.batch_size=8")


def mixtures(channels: int, *size: int, number: int = 20) -> np.ndarray:
    """Pairs of bright bars (N, C, *size), each bar with a spectrum of its own."""
    rng = np.random.default_rng(channels)
    pairs = np.zeros((number, channels, *size), np.float32)
    for picture in pairs:
        for axis in (-1, -2)[: len(size)]:
            start = int(rng.integers(0, size[axis] - 4))
            bar = np.arange(size[axis]) - start
            inside = ((bar >= 0) & (bar < 4)).reshape(-1, *[1] * (-axis - 1))
            picture += (0.5 * rng.random(channels)).reshape(-1, *[1] * len(size)) * inside
    return pairs


@pytest.mark.parametrize("channels", CHANNELS)
def test_a_model_adapts_to_pictures_and_separates_them(channels, small_students):
    array = mixtures(channels, 16, 16)
    model = vaebss.adapt(array, axes="NCHW", steps=20)
    assert model.image_shape == (channels, 16, 16)
    found = vaebss.separate(array, model, axes="NCHW")
    assert found.sources.shape == (20, 2, channels, 16, 16)
    np.testing.assert_allclose(found.sources.sum(1), array, atol=1e-6)
    last = vaebss.separate(np.moveaxis(array, 1, -1), model, axes="NHWC")
    torch.testing.assert_close(last.sources.movedim(-1, 2), found.sources)
    score = vaebss.evaluate_blind(array, model, axes="NCHW")
    assert score.each.shape == (20,)


@pytest.mark.parametrize("shape", [(2, 16, 16), (4, 16, 16), (5, 16, 16), (64, 16, 16), (5, 1, 64)])
def test_a_model_of_as_many_channels_tells_which_axis_they_are(shape, tmp_path):
    array = np.random.default_rng(0).random((3, *shape), np.float32)
    np.save(tmp_path / "a.npy", array)
    images = Images(shape)
    for given in (images.from_user(array, None), images.opened(tmp_path / "a.npy")):
        np.testing.assert_array_equal(given.signals, array)
        assert given.restore(given.signals.unsqueeze(1)).shape == (3, 1, *shape)
    ((part),) = images.read(tmp_path / "a.npy")
    np.testing.assert_array_equal(part.signals, array)
    for other in (Images((1, *shape[1:])), Images((shape[0] + 1, *shape[1:]))):
        with pytest.raises(ValueError, match="name its axes by --axes"):
            other.from_user(array, None)
        with pytest.raises(ValueError, match="name its axes by --axes"):
            other.opened(tmp_path / "a.npy")


def test_alpha_is_still_alpha_where_channels_come_last():
    array = np.random.default_rng(0).random((3, 16, 16, 4), np.float32)
    assert Images((4, 16, 16)).from_user(array, None).signals.shape == (3, 3, 16, 16)


@pytest.mark.parametrize("channels", CHANNELS)
def test_a_grey_model_shares_every_channel_alike(channels):
    array = mixtures(channels, 28, 28)
    sources = vaebss.separate(array, "remix-k2", axes="NCHW").sources
    np.testing.assert_allclose(sources.sum(1), array, atol=1e-6)
    shares = (sources[:, 0] / torch.from_numpy(array)).movedim(1, -1)[torch.from_numpy(array > 1e-3).all(1)]
    assert float(shares.std(1).max()) < 1e-3 < float(shares.std(0).max())


@pytest.mark.parametrize(("command", "axes", "shape"), [(fit, "NCW", (64,)), (remix, "NCHW", (12, 12))])
def test_commands_train_on_stated_axes_and_separate_into_the_same_layout(
    command, axes, shape, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    array = mixtures(5, *shape)
    np.save("mixtures.npy", array)
    own = ("--teacher_epochs=1", "--data.epochs_per_round=1", "--data.keep=[0.9]") if command is remix else ()
    assert command.main(["--data.mixtures=mixtures.npy", f"--data.axes={axes}", *SHORT, *own]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("Separate:"))
    assert separate.main([*line.split("separate.py")[-1].split(), "--gpus=0"]) == 0
    written = [np.load(path) for path in sorted((tmp_path / "separated").glob("*.npy"))]
    assert written[0].shape == array.shape
    np.testing.assert_allclose(sum(written), array, atol=1e-5)
    assert (tmp_path / "separated" / "contact_sheet.png").is_file()


def test_a_model_of_other_channels_says_so():
    model = vaebss.Masker(num_sources=2, image_shape=(4, 16, 16), widths=(4, 6), bottleneck=8)
    with pytest.raises(ValueError, match=r"separates pictures of 4 channels, and these have 5"):
        vaebss.separate(mixtures(5, 16, 16), model, axes="NCHW")


def test_grey_is_the_luma_of_colour_and_the_mean_of_other_channels():
    images = torch.rand(2, 4, 5, 6)
    torch.testing.assert_close(with_channels(images, 1), images.mean(1, keepdim=True))
    luma = 0.299 * images[:, :1] + 0.587 * images[:, 1:2] + 0.114 * images[:, 2:3]
    torch.testing.assert_close(with_channels(images[:, :3], 1), luma)
    assert torch.equal(with_channels(images[:, :1], 4), images[:, :1].repeat(1, 4, 1, 1))


def test_lines_of_channels_are_drawn_as_curves_and_pictures_in_grey():
    images = Images((5, 16, 16))
    assert images.figure({"mixture": torch.rand(3, 5, 1, 64)}).axes[0].lines
    (image,) = images.figure({"mixture": torch.rand(3, 5, 16, 16)}).axes[0].images
    assert image.get_array().ndim == 2


PLANES = {"CYX": (4,), "ZCYX": (6, 4), "TCYX": (6, 4), "TZCYX": (2, 3, 4), "CZYX": (4, 6)}


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@pytest.mark.parametrize("axes", PLANES)
@pytest.mark.parametrize("kind", ["ome", "imagej", "shaped"])
def test_planes_that_a_tiff_calls_channels_are_channels(tmp_path, kind, axes, dtype):
    if kind == "imagej" and axes == "CZYX":
        pytest.skip("ImageJ has an order of its own")
    numbers = (np.random.default_rng(0).random((*PLANES[axes], 20, 18)) * (1 if dtype == "f4" else 250)).astype(dtype)
    path, own = tmp_path / "a.tif", {} if kind == "shaped" else {kind: True}
    tifffile.imwrite(path, numbers, photometric="minisblack", metadata={"axes": axes}, **own)
    ((images, held),) = read_held(path)
    white = {"u1": 255, "u2": 65_535, "f4": 1}[dtype]
    expected = np.moveaxis(numbers, axes.index("C"), -3).reshape(-1, 4, 20, 18) / white
    np.testing.assert_allclose(images, expected, rtol=1e-6)
    assert held.planes
    assert held.suffix(4) == ".tiff"


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@pytest.mark.parametrize("layout", ["contig", "separate"])
@pytest.mark.parametrize(("photometric", "channels"), [("minisblack", 2), ("minisblack", 5), ("rgb", 4)])
def test_samples_of_a_page_that_are_neither_colour_nor_alpha_are_channels(
    tmp_path, photometric, channels, layout, dtype
):
    numbers = (np.random.default_rng(0).random((channels, 20, 18)) * (1 if dtype == "f4" else 250)).astype(dtype)
    extra = ["unspecified"] * (channels - (3 if photometric == "rgb" else 1))
    pixels = numbers if layout == "separate" else np.moveaxis(numbers, 0, -1)
    options = {"photometric": photometric, "planarconfig": layout, "extrasamples": extra}
    tifffile.imwrite(tmp_path / "a.tif", pixels, **options)
    ((images, _),) = read_held(tmp_path / "a.tif")
    np.testing.assert_allclose(images[0], numbers / {"u1": 255, "u2": 65_535, "f4": 1}[dtype], rtol=1e-6)


def test_pages_without_such_metadata_stay_frames(tmp_path):
    numbers = np.random.default_rng(0).random((4, 20, 18)).astype("f4")
    tifffile.imwrite(tmp_path / "a.tif", numbers, photometric="minisblack")
    ((images, held),) = read_held(tmp_path / "a.tif")
    assert images.shape == (4, 1, 20, 18)
    assert not held.planes
    tifffile.imwrite(
        tmp_path / "b.tif", numbers[:, None], photometric="minisblack", ome=True, metadata={"axes": "TCYX"}
    )
    ((images, _),) = read_held(tmp_path / "b.tif")
    assert images.shape == (4, 1, 20, 18)


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@pytest.mark.parametrize("channels", [2, 3, 5])
def test_sources_of_a_tiff_of_channels_are_such_files_and_add_up(tmp_path, channels, dtype):
    white = {"u1": 255, "u2": 65_535, "f4": 1}[dtype]
    numbers = (white * mixtures(channels, 28, 28, number=2)).astype(dtype)
    path = tmp_path / "cells.ome.tif"
    tifffile.imwrite(path, numbers, photometric="minisblack", metadata={"axes": "ZCYX"})
    options = ["--ckpt=remix-k2", "--gpus=0", "--out", str(tmp_path / "out")]
    assert separate.main([str(path), *options]) == 0
    with (tmp_path / "out" / "separations.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows):
        written = sorted((tmp_path / "out").glob(row["written"]))
        assert {each.suffix for each in written} == {".tiff"}
        total = np.zeros((channels, 28, 28))
        for each in written:
            with tifffile.TiffFile(each) as file:
                assert file.series[0].axes == "CYX"
                assert file.series[0].dtype == np.dtype(dtype)
                total += file.series[0].asarray()
        np.testing.assert_allclose(total, numbers[number], atol=1e-5 if dtype == "f4" else len(written))
    as_png = separate.main([str(path), *options[:-1], str(tmp_path / "png"), "--format=png"])
    assert as_png == (0 if channels == 3 else 2)
