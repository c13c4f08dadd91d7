"""Laws of large pictures that are separated by tiles: no seam, slots that go on, exact sums, bounded memory."""

import subprocess
import sys

import numpy as np
import pytest
import torch

import vaebss
from vaebss.commands import remix, separate
from vaebss.modalities.images import Images
from vaebss.modalities.modality import separate_signals
from vaebss.modalities.tiles import crops, linked, neighbours, not_blank, starts
from vaebss.separation import Separation

MOST_MEMORY = 2e9  # bytes above those of the imports, for 2,048 x 2,048 pixels of four channels


def shared(picture: torch.Tensor, slots: int, shuffled: bool = False) -> Separation:
    """Shares that depend on the brightness of a pixel alone; slots of each tile in a random order if `shuffled`."""
    grey = picture.mean(1, keepdim=True)
    levels = torch.stack([torch.sigmoid(3 * (slot + 1) * (grey - 0.4)) + 0.1 * slot for slot in range(slots)], 1)
    shares = levels / levels.sum(1, keepdim=True)
    order = torch.stack([torch.randperm(slots) if shuffled else torch.arange(slots) for _ in picture])
    shares = shares[torch.arange(len(picture)).unsqueeze(1), order]
    return Separation(shares * picture.unsqueeze(1), torch.ones(len(picture), slots).bool(), torch.ones(len(picture)))


@pytest.fixture
def picture() -> torch.Tensor:
    return torch.rand(1, 4, 150, 117, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shuffled", [False, True], ids=["alike", "shuffled"])
@pytest.mark.parametrize("slots", [1, 2, 3, 4])
@pytest.mark.parametrize("shape", [(4, 32, 32), (1, 28, 40), (4, 20, 200)])
def test_tiles_leave_no_seam_and_slots_go_on(picture, shape, slots, shuffled):
    torch.manual_seed(1)
    images = Images(shape, tiles=True)
    found = separate_signals(lambda tiles: shared(tiles, slots, shuffled), images, picture)
    expected = shared(picture, slots).sources[0]
    if shuffled:  # which of the slots comes first is left to chance, but the same all over the picture
        errors = (found.sources[0].unsqueeze(1) - expected).square().flatten(2).mean(2)
        assert sorted(errors.argmin(1).tolist()) == list(range(slots))
        expected = expected[errors.argmin(1)]
    torch.testing.assert_close(found.sources[0], expected, rtol=0, atol=1e-3)  # of shares in half precision
    torch.testing.assert_close(found.sources.sum(1), picture, rtol=0, atol=1e-6)
    assert found.active.shape == (1, slots)


def test_slots_that_are_voices_are_not_linked(picture):
    class Voices(Images):
        voices = True

    images = Voices((4, 32, 32), tiles=True)
    found = separate_signals(lambda tiles: shared(tiles, 2, True), images, picture)
    errors = (found.sources[0] - shared(picture, 2).sources[0]).abs().flatten(1).amax(1)
    assert errors.min() > 0.05


def test_dark_tiles_break_no_link():
    """Two bright bands meet in one place alone; what is sure is linked first, wherever that is in the picture."""
    bright = torch.zeros(1, 1, 160, 160)
    bright[..., :40, :], bright[..., 120:, :], bright[..., 110:140] = 1, 1, 1
    picture = bright * (0.2 + 0.8 * torch.rand(bright.shape, generator=torch.Generator().manual_seed(0)))
    torch.manual_seed(2)
    found = separate_signals(lambda tiles: shared(tiles, 2, True), Images((1, 32, 32), tiles=True), picture)
    expected = shared(picture, 2).sources[0]
    errors = torch.stack([(found.sources[0] - own).abs().max() for own in (expected, expected.flip(0))])
    assert errors.min() < 1e-3


def test_the_surest_pairs_link_tiles():
    """Three tiles in a row and one pair that misleads, though its slots hardly agree."""
    pairs = np.array([[0, 1], [1, 2], [0, 2]])
    crossed, straight = np.array([[0, 9], [9, 0]]), np.array([[1, 0], [0, 1]])
    assert linked(pairs, np.stack([crossed, crossed, crossed / 20])).tolist() in (
        [[0, 1], [1, 0], [0, 1]],
        [[1, 0], [0, 1], [1, 0]],
    )
    assert linked(pairs, np.stack([straight, straight, crossed / 20])).tolist() == [[0, 1]] * 3


def test_tiles_cover_a_picture_and_overlap_by_half():
    for length in range(1, 200, 7):
        for tile in (1, 5, 32):
            places = starts(max(length, tile), tile)
            assert (places[0], places[-1] + tile) == (0, max(length, tile))
            assert all(step <= max(1, tile // 2) for step in np.diff(places))
    assert neighbours(2, 3).tolist() == [[0, 1], [1, 2], [3, 4], [4, 5], [0, 3], [1, 4], [2, 5]]


@pytest.mark.parametrize("size", [(70, 61), (20, 90)])
def test_progress_counts_every_tile_of_a_file_and_nothing_of_a_small_one(size, tmp_path):
    for path, sides in (("large.npy", (2, *size)), ("small.npy", (2, 28, 28))):
        np.save(tmp_path / path, np.random.default_rng(0).random(sides, "f4"))
        ((part,), done) = list(Images((1, 28, 28), axes="NHW", tiles=True).read(tmp_path / path)), []
        part.progress = done.append
        part.separated(lambda pictures: shared(pictures, 2))
        tiles = 2 * len(starts(size[0], 28)) * len(starts(size[1], 28)) if path == "large.npy" else 0
        assert part.steps == tiles
        assert path == "small.npy" or sum(done) == tiles


def test_small_pictures_are_separated_as_without_tiles():
    picture = torch.rand(3, 1, 28, 28)
    images = Images((1, 28, 28), tiles=True)
    assert torch.equal(
        separate_signals(lambda seen: shared(seen, 2), images, picture).sources, shared(picture, 2).sources
    )
    assert not images.cuts(picture[..., :9, :9])
    assert images.cuts(torch.rand(1, 1, 20, 29))


def test_files_and_arrays_have_the_same_sources_and_resizing_stays_the_default(tmp_path):
    rng = np.random.default_rng(0)
    array = (0.4 * rng.random((70, 61)) * (rng.random((70, 61)) > 0.7)).astype("f4")
    np.save(tmp_path / "large.npy", array)
    options = ["--ckpt=remix-k2", "--gpus=0", "--source-max=0.5", "--invert=false", "--out", str(tmp_path / "out")]
    assert separate.main([str(tmp_path / "large.npy"), "--tiles=true", *options]) == 0
    known = {"source_max": 0.5, "invert": False}
    found = vaebss.separate(array, "remix-k2", tiles=True, **known)
    np.testing.assert_allclose(found.sources.sum(0), array, atol=1e-6)
    of_files = np.stack([np.load(tmp_path / "out" / f"large_source{k}.npy") for k in (1, 2)])
    np.testing.assert_allclose(of_files.sum(0), array, atol=1e-6)
    assert min(np.abs(of_files - own).max() for own in (found.sources.numpy(), found.sources.numpy()[::-1])) < 1e-3
    resized = vaebss.separate(array, "remix-k2", **known)
    torch.testing.assert_close(resized.sources, vaebss.separate(array, "remix-k2", tiles=False, **known).sources)
    assert float((resized.sources - found.sources).abs().max()) > 0.05


def test_tiles_are_an_option_for_pictures():
    with pytest.raises(ValueError, match="tiles is an option for pictures"):
        vaebss.separate(np.zeros(16_000, "f4"), "remix-lines", tiles=True)


def test_crops_lie_side_by_side_and_blank_ones_are_known():
    picture = torch.arange(2 * 7 * 9.0).view(1, 2, 7, 9)
    tiles = crops(picture, (3, 4))
    assert tiles.shape == (4, 2, 3, 4)
    assert torch.equal(tiles[3], picture[0, :, 3:6, 4:8])
    tiles[1] = 5.0
    assert not_blank(tiles).tolist() == [True, False, True, True]


def bars(side: int) -> np.ndarray:
    """A page with crossing bars, (side, side), its lower half black."""
    picture = np.zeros((side, side), "f4")
    picture[: side // 2, ::9] += 0.5
    picture[: side // 2 : 7] += 0.5
    return picture


def test_a_student_of_tiles_remembers_that_it_cuts_pictures(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pages").mkdir()
    np.save("pages/a.npy", bars(64))
    np.save("pages/b.npy", bars(80))
    short = ("--gpus=0", "--data.epochs_per_round=1", "--data.epoch_size=16", "--model.widths=[4,6,8]")
    assert remix.main(["--data.mixtures=pages", "--data.tile=16", "--data.invert=false", *short]) == 0
    assert "23 mixtures" in capsys.readouterr().out  # 2 x 4 and 3 x 5 tiles are not black
    model = vaebss.load("lightning_logs/version_0/checkpoints/last.ckpt")
    assert model.image_shape == (1, 16, 16)
    found = vaebss.separate(bars(80), model, invert=False)
    assert torch.equal(found.sources, vaebss.separate(bars(80), model, invert=False, tiles=True).sources)
    resized = vaebss.separate(bars(80), model, invert=False, tiles=False).sources
    assert not torch.allclose(found.sources, resized, atol=1e-5)


def test_true_sources_are_cut_as_their_mixtures_are(tmp_path):
    for name, share in {"mixtures": 1.0, "first": 0.25, "second": 0.75}.items():
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "a.npy", share * bars(160))
    paths = [str(tmp_path / name) for name in ("first", "second")]
    data = vaebss.MNISTMixtures(mixtures=str(tmp_path / "mixtures"), sources=paths, tile=16, invert=False)
    data.setup()
    batch = next(iter(data.test_dataloader()))
    assert batch["mixture"].shape == (50, 1, 16, 16)
    torch.testing.assert_close(batch["sources"].sum(1), batch["signal"])


SCRIPT = """
import resource, sys, torch
from vaebss import Masker, separate
model = Masker(num_sources=2, image_shape=(4, 64, 64), widths=(4, 8), bottleneck=8).eval()
peak = lambda: 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
separate(torch.rand(4, 64, 64), model, axes="CHW", tiles=True, source_max=0.5, invert=False)
before = peak()
found = separate(torch.rand(4, 2048, 2048), model, axes="CHW", tiles=True, source_max=0.5, invert=False)
assert found.sources.shape == (2, 4, 2048, 2048)
print(peak() - before)
"""


def test_a_large_picture_takes_little_memory():
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert int(run.stdout) < MOST_MEMORY
