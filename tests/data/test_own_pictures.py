"""A user's own pictures: mixtures, single images to mix, true sources; loudness and noise; lines."""

from functools import partial

import numpy as np
import pytest
import torch
from conftest import prepared
from PIL import Image

from vaebss import MNISTMixtures
from vaebss.data.corpora.open import OPTIONS, open_corpus, revised
from vaebss.errors import FileError

ready = partial(prepared, epoch_size=40, batch_size=20, val_mixtures=30, test_mixtures=50)


def pictures(number: int, *shape: int) -> np.ndarray:
    """Few bright pixels on black, the brightest of each 1."""
    values = np.random.default_rng(0).random((number, *shape), dtype=np.float32)
    axes = tuple(range(1, values.ndim))
    return np.where(values < 0.8, 0, values / values.max(axes, keepdims=True)).astype(np.float32)


def saved(path, array) -> str:
    np.save(path, array)
    return str(path)


def whole(loader) -> dict[str, torch.Tensor]:
    batches = list(loader)
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


@pytest.fixture
def single(tmp_path) -> str:
    """Forty single images in colour, in a folder of folders."""
    for number, image in enumerate(255 * pictures(40, 16, 20, 3)):
        (tmp_path / "single" / str(number % 3)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.astype(np.uint8)).save(tmp_path / "single" / str(number % 3) / f"{number}.png")
    return str(tmp_path / "single")


def test_single_images_are_mixed_at_random_as_digits_are(single):
    data = ready(source=single, num_mixed=[1, 3], source_scale=0.25)
    assert data.image_shape == (3, 16, 20)
    assert {tuple(batch) for batch in data.train_dataloader()} == {("signal", "mixture")}
    for loader in (data.val_dataloader(), data.test_dataloader()):
        batch = whole(loader)
        torch.testing.assert_close(batch["sources"].sum(1), batch["mixture"])
        assert batch["count"].unique().tolist() == [1, 2, 3]
        assert batch["sources"].amax() == 0.25


def test_no_single_image_is_in_two_splits(single):
    splits = ready(source=single).corpus.splits
    images = torch.cat(splits)
    assert [len(part) for part in splits] == [32, 4, 4]
    assert len(images.flatten(1).unique(dim=0)) == 40


def test_too_few_single_images_are_refused(tmp_path):
    with pytest.raises(ValueError, match="9 images"):
        ready(source=saved(tmp_path / "few.npy", pictures(9, 8, 8)))


def test_no_source_of_that_name_is_refused():
    with pytest.raises(ValueError, match=r"source must be auto, .*, or a class of your own, such as .* not cifar"):
        MNISTMixtures(source="cifar")


@pytest.fixture
def pairs(tmp_path) -> dict[str, object]:
    """Thirty mixtures and their sources, the second of which are missing in ten."""
    first, second = (part * 0.5 for part in np.split(pictures(60, 16, 16), 2))
    first[5:10], second[:5] = 0, 0
    paths = [saved(tmp_path / f"{name}.npy", part) for name, part in (("first", first), ("second", second))]
    return {"mixtures": saved(tmp_path / "mixtures.npy", first + second), "sources": paths}


def test_given_sources_are_seen_where_scores_are_made_alone(pairs):
    data = ready(**pairs)
    assert {tuple(batch) for batch in data.train_dataloader()} == {("signal", "mixture")}
    for loader, number in ((data.val_dataloader(), 3), (data.test_dataloader(), 30)):
        batch = whole(loader)
        assert len(batch["mixture"]) == number
        torch.testing.assert_close(batch["sources"].sum(1), batch["mixture"], atol=1e-3, rtol=0)
        assert ((batch["sources"].flatten(2).amax(2) > 0).sum(1) == batch["count"]).all()
        assert (batch["sources"][:, 0].flatten(1).amax(1) > 0).all()  # silence comes last
    assert batch["count"].tolist() == [1] * 10 + [2] * 20


def test_sources_that_are_not_as_many_are_refused(pairs, tmp_path):
    fewer = saved(tmp_path / "fewer.npy", pictures(29, 16, 16))
    with pytest.raises(FileError, match="fewer"):
        MNISTMixtures(**pairs | {"sources": [fewer]})
    with pytest.raises(ValueError, match=r"data\.mixtures"):
        MNISTMixtures(sources=[fewer])


@pytest.mark.parametrize("source", ["bundled", None])
def test_gains_make_sources_unlike_loud(source, single):
    data = ready(source=source or single, gains=[0.4, 0.8])
    loader = data.test_dataloader()
    batch = whole(loader)
    brightness = batch["sources"].flatten(2).amax(2)
    assert brightness.max() <= 0.8 * 0.5
    assert brightness.std() > 0.02
    torch.testing.assert_close(batch["sources"].sum(1), batch["mixture"])
    assert torch.equal(whole(data.test_dataloader())["mixture"], batch["mixture"])  # the same list each time


def test_noise_is_as_strong_as_it_says_and_no_pixel_below_black():
    data = ready(source="bundled", noise=0.02)
    batch = whole(data.test_dataloader())
    noise = batch["mixture"] - batch["sources"].sum(1)
    assert abs(float(noise[batch["sources"].sum(1) > 0.2].std()) - 0.02) < 0.001
    assert batch["mixture"].min() == 0


def test_mixtures_of_an_epoch_do_not_share_their_noise():
    first, second = (ready(source="bundled", noise=0.02, seed=seed).train_dataloader() for seed in (0, 1))
    noise = [next(iter(loader))["mixture"] for loader in (first, second)]
    assert len(torch.cat(noise).flatten(1).unique(dim=0)) == 40


@pytest.mark.parametrize(
    "options", [{"gains": [0.5]}, {"gains": [0.9, 0.4]}, {"gains": [0, 1]}, {"gains": [1, 2]}, {"noise": -0.1}]
)
def test_impossible_conditions_are_refused_by_name(options):
    with pytest.raises(ValueError, match=f"data.{next(iter(options))}"):
        MNISTMixtures(source="bundled", **options)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)], ids=["N, L", "N, 1, L", "N, 1, 1, L"])
def test_lines_are_mixtures_too(tmp_path, shape):
    lines = pictures(20, *shape, 90)
    data = ready(mixtures=saved(tmp_path / "lines.npy", lines))
    assert data.image_shape == (1, 1, 90)
    torch.testing.assert_close(
        data.corpus.splits.test.float(), torch.from_numpy(lines).view(20, 1, 1, 90), atol=1e-3, rtol=0
    )


@pytest.mark.parametrize("invert", [None, True])
def test_dark_ink_on_white_becomes_bright_on_black(tmp_path, invert):
    ink = pictures(12, 20, 20)
    data = MNISTMixtures(mixtures=saved(tmp_path / "paper.npy", 1 - ink), invert=invert)
    assert data.hparams.invert
    np.testing.assert_allclose(data.corpus.splits.test[:, 0], ink, atol=1e-3)
    data = MNISTMixtures(mixtures=saved(tmp_path / "ink.npy", ink))
    assert data.hparams.invert is False
    np.testing.assert_allclose(data.corpus.splits.test[:, 0], ink, atol=1e-3)


def test_what_is_brighter_than_white_cannot_be_inverted(tmp_path):
    with pytest.raises(FileError, match="above 1"):
        open_corpus(mixtures=saved(tmp_path / "bright.npy", 2 * pictures(12, 20, 20)), invert=True)


def test_axes_of_mixtures_and_of_their_sources_may_be_stated(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sources = np.random.default_rng(0).random((2, 20, 9, 12), dtype=np.float32) / 2
    np.save("mixtures.npy", np.moveaxis(sources.sum(0), 0, -1))
    for name, array in zip(("a.npy", "b.npy"), sources, strict=True):
        np.save(name, np.moveaxis(array, 0, -1))
    named = {"mixtures": "mixtures.npy", "sources": ["a.npy", "b.npy"]}
    data = MNISTMixtures(**named, axes="HWN")
    np.testing.assert_allclose(data.corpus.mixtures[:, 0], sources.sum(0), atol=1e-3)
    np.testing.assert_allclose(data.corpus.sources[:, :, 0].swapaxes(0, 1), sources, atol=1e-3)
    assert data.hparams.axes == "HWN"
    with pytest.raises(ValueError, match="axes must be distinct letters"):
        MNISTMixtures(**named, axes="HWX")


def test_as_many_mixtures_are_held_out_under_other_options(tmp_path):
    corpus = open_corpus(mixtures=saved(tmp_path / "mixtures.npy", pictures(40, 8, 8)), held_out=1)
    again = revised(corpus, OPTIONS | {"source_scale": 0.25})
    assert again.source_scale == 0.25
    assert [len(part) for part in again.splits] == [len(part) for part in corpus.splits] == [39, 1, 40]
