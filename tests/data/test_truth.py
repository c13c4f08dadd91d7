"""Known sources belong to their mixtures by name, and add up to them but for rounding, clipping and noise."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from worlds import world

from vaebss.data.corpora.digits import load_digits
from vaebss.data.corpora.open import open_corpus
from vaebss.data.corpus import Corpus
from vaebss.data.truth import paired
from vaebss.errors import FileError
from vaebss.modalities.audio import Audio

WORLDS = {
    "letters over shapes": lambda: world(24, 28, 0),
    "letters over shapes in colour": lambda: world(24, 20, 0, 3),
    "digits": lambda: load_digits("bundled", "").train[:72].view(24, 3, 1, 28, 28) / 510,
    "dense": lambda: torch.rand(24, 2, 1, 20, 20, generator=torch.Generator().manual_seed(0)) / 2,
    "lines": lambda: torch.rand(24, 2, 1, 1, 90, generator=torch.Generator().manual_seed(1)) / 2,
}
SPOILED = {
    "as they are": lambda x: x,
    "8 bits": lambda x: (x * 255).round() / 255,
    "noise of 0.02": lambda x: (x + 0.02 * torch.randn(x.shape)).clamp(min=0),
    "noise of 0.05": lambda x: (x + 0.05 * torch.randn(x.shape)).clamp(min=0),
    "dark noise": lambda x: (x + 0.05 * torch.randn(x.shape)).clamp(0, 1),
}


def opened(mixtures: Path, sources: Iterable[Any]) -> Corpus:
    return open_corpus(mixtures=str(mixtures), sources=list(map(str, sources)), invert=False)


def known_sources(mixtures: Path, sources: Iterable[Any]) -> torch.Tensor:
    corpus: Any = opened(mixtures, sources)
    return corpus.sources * corpus.unit  # lines above 1 are held in another unit


@pytest.fixture(params=WORLDS)
def sources(request) -> torch.Tensor:
    """(N, M, C, H, W) of twenty-four mixtures."""
    torch.manual_seed(0)
    return WORLDS[request.param]()


def checked(folder: Path, mixtures: torch.Tensor, sources: torch.Tensor) -> torch.Tensor:
    """What is read of mixtures and of their sources as files of arrays."""
    paths = [str(folder / f"s{number}.npy") for number in range(sources.shape[1])]
    for path, own in zip(paths, sources.unbind(1), strict=True):
        np.save(path, own.numpy())
    np.save(folder / "x.npy", mixtures.numpy())
    return known_sources(folder / "x.npy", paths)


@pytest.mark.parametrize("spoil", SPOILED)
def test_sources_that_add_up_but_for_rounding_and_noise_are_taken(tmp_path, sources, spoil):
    read = checked(tmp_path, SPOILED[spoil](sources.sum(1)), SPOILED["8 bits"](sources))
    torch.testing.assert_close(read.float(), sources, atol=3e-3, rtol=0)


@pytest.mark.parametrize("scale", [2, 3])
def test_mixtures_may_be_clipped_at_white(tmp_path, sources, scale):
    checked(tmp_path, (sources * scale).sum(1).clamp(max=1), sources * scale)


def test_mixtures_may_be_jpegs(tmp_path):
    mixtures, parts = tmp_path / "x", [tmp_path / "a", tmp_path / "b"]
    for number, both in enumerate(world(24, 28, 0)):
        for folder, image in zip((mixtures, *parts), (both.sum(0), *both), strict=True):
            folder.mkdir(exist_ok=True)
            pixels = Image.fromarray((255 * image[0].numpy()).round().astype(np.uint8))
            pixels.save(folder / (f"{number}.png" if folder != mixtures else f"{number}.jpg"), quality=60)
    assert known_sources(mixtures, parts).shape[:2] == (24, 2)


SHUFFLED = {
    "all by one": lambda s: s.roll(1, 0),
    "one source by one": lambda s: torch.cat([s[:, :1].roll(1, 0), s[:, 1:]], 1),
    "two mixtures": lambda s: s[[1, 0, *range(2, len(s))]],
    "half as bright": lambda s: s / 2,
    "twice as bright": lambda s: s * 2,
    "a source black": lambda s: torch.cat([0 * s[:, :1], s[:, 1:]], 1),
}


@pytest.mark.parametrize("spoil", SPOILED)
@pytest.mark.parametrize("wrong", [name for name in SHUFFLED if name != "a source black"])
def test_sources_of_other_mixtures_are_refused(tmp_path, sources, spoil, wrong):
    with pytest.raises(FileError, match=r"^number \d+ of \S+x.npy is not the sum of number \d+ of .* differ by \d+ %"):
        checked(tmp_path, SPOILED[spoil](sources.sum(1)), SHUFFLED[wrong](sources))


@pytest.mark.parametrize("spoil", ["as they are", "8 bits"])
def test_a_source_that_is_left_out_is_missed_where_it_is_half_of_the_energy(tmp_path, spoil):
    both = world(24, 28, 0)
    with pytest.raises(FileError, match="differ by"):
        checked(tmp_path, SPOILED[spoil](both.sum(1)), SHUFFLED["a source black"](both))


NAMES = {
    "the same": (["a.png", "b.png"], ["b.jpg", "a.png"], [0, 1]),
    "numbers": (["1.png", "2.png", "10.png"], ["01.png", "02.png", "10.png"], [0, 2, 1]),
    "numbers among words": (["mix-2.png", "mix-10.png"], ["s1_2.png", "s1_10.png"], None),
    "folders": (["x/1.png", "y/1.png"], ["y/1.png", "x/1.png"], [0, 1]),
    "numbers of folders": (["1/1.png", "10/1.png", "2/1.png"], ["01/1.png", "02/1.png", "10/1.png"], [0, 2, 1]),
    "numbers twice": (["1.png", "01.png"], ["a.png", "b.png"], None),
    "no names in common": (["a.png", "b.png"], ["x.png", "y.png"], None),
}


@pytest.mark.parametrize("case", NAMES)
def test_names_pair_files_where_they_are_certain(tmp_path, case):
    mixtures, sources, order = NAMES[case]
    for folder, names in (("m", mixtures), ("s", sources)):
        for name in names:
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / name).touch()
    by_name = sorted(tmp_path.glob("s/**/*.*"))
    expected = by_name if order is None else [by_name[number] for number in order]
    assert paired(tmp_path / "s", tmp_path / "m") == expected


def test_files_are_paired_by_the_numbers_in_their_names(tmp_path):
    """By the order of names, 1.png, 10.png, 11.png would have the sources 01.png, 02.png, 03.png."""
    both = (world(12, 28, 0) * 254).floor().byte().numpy()
    for number, (first, second) in enumerate(both, 1):
        pictures = {f"x/{number}": first + second, f"a/{number:02}": first, f"b/{number:02}": second}
        for name, picture in pictures.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            Image.fromarray(picture[0]).save(tmp_path / f"{name}.png")
    corpus: Any = opened(tmp_path / "x", [tmp_path / "a", tmp_path / "b"])
    torch.testing.assert_close(corpus.sources.float().sum(1), corpus.mixtures.float(), atol=1e-3, rtol=0)
    (tmp_path / "a" / "01.png").rename(tmp_path / "a" / "00.png")  # so that names say nothing
    words = r"x/10\.png is not the sum of \S+a/02\.png and \S+b/10\.png: they differ by \d+ % of its energy\. Sources"
    with pytest.raises(FileError, match=words):
        known_sources(tmp_path / "x", [tmp_path / "a", tmp_path / "b"])


@pytest.fixture
def takes(tmp_path) -> dict[str, np.ndarray]:
    """Twelve recordings of three seconds and their two stems, in folders."""
    soundfile = pytest.importorskip("soundfile")
    random, audio = np.random.default_rng(0), Audio()
    stems = random.normal(size=(2, 12, 3 * audio.rate)) / 10
    recordings = {"x": 0.7 * stems.sum(0) + 0.01 * random.normal(size=stems.shape[1:]), "a": stems[0], "b": stems[1]}
    for name, sounds in recordings.items():
        (tmp_path / name).mkdir()
        for number, sound in enumerate(sounds, 1):
            soundfile.write(tmp_path / name / f"{number:0{1 if name == 'x' else 2}}.wav", sound, audio.rate)
    return recordings


def test_recordings_may_be_softer_than_the_sum_of_their_stems_and_noisy(tmp_path, takes):
    corpus: Any = opened(tmp_path / "x", [tmp_path / "a", tmp_path / "b"])
    mixtures, stems = corpus.windows, corpus.stems
    differences = mixtures[torch.arange(9)] / 0.7 - stems[torch.arange(9)].sum(1)
    assert differences.square().mean() < 0.03 * mixtures[torch.arange(9)].square().mean()


def test_stems_of_other_recordings_are_refused(tmp_path, takes):
    (tmp_path / "b" / "01.wav").rename(tmp_path / "b" / "13.wav")
    with pytest.raises(FileError, match=r"x/1\.wav is not the sum of \S+a/01\.wav and \S+b/02\.wav: they differ by"):
        opened(tmp_path / "x", [tmp_path / "a", tmp_path / "b"])


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_sources_of_another_brightness_are_refused_with_the_factor(tmp_path, sources, factor):
    told = rf"x\.npy is not the sum of .*s0\.npy.*, as it is {1 / factor:.2f} times the sum: rescale the sources"
    with pytest.raises(FileError, match=told):
        checked(tmp_path, sources.sum(1), factor * sources)
