"""What trainings take from given mixtures: digits have the defaults, and neither size nor brightness changes them."""

import math

import pytest
import torch
from torch.nn.functional import interpolate
from worlds import BRIGHTNESS, cells, spectra, world

from vaebss import VAEBSS
from vaebss.data.corpora.digits import load_digits
from vaebss.modalities.appearance import estimated_scale
from vaebss.modalities.images import within
from vaebss.separation import FAINTEST
from vaebss.training import statistics


@pytest.fixture(scope="module")
def pairs() -> torch.Tensor:
    digits = load_digits("bundled", "none").train.float() / 255 * BRIGHTNESS
    return digits[: len(digits) // 2 * 2].unflatten(0, (-1, 2)).sum(1)


def test_digits_have_the_numbers_of_digits(pairs):
    known = {"likelihood_scale": VAEBSS().model.likelihood_scale, "faintest": FAINTEST}
    scale = estimated_scale(pairs)
    assert scale == pytest.approx(BRIGHTNESS, abs=0.01)
    options = statistics.vae_options(pairs, scale, 2)
    assert {name: options["model"][name] for name in known} == pytest.approx(known, rel=0.05)
    assert options["data"] == {"max_pixels": 784, "source_scale": scale}


@pytest.mark.parametrize("seed", range(3))
def test_sources_of_unequal_brightness_are_taken_as_bright_as_the_brightest(seed):
    """No level of brightness is the common one then, and the brightest pixel is of two bright sources."""
    gains = 0.4 + 0.6 * torch.rand(100, 2, 1, 1, 1, generator=torch.Generator().manual_seed(seed))
    for mixtures in ((gains * world(100, 28, seed)).sum(1), cells(20, 64, seed).sum(1)):
        assert estimated_scale(mixtures) == pytest.approx(BRIGHTNESS, rel=0.15)


@pytest.mark.parametrize("gain", [0.2, 1.5])
def test_brightness_changes_what_is_seen_and_not_how_it_is_weighed(pairs, gain):
    """Half as bright mixtures, with half the scale, have the same distortion."""
    scale, other = (statistics.likelihood_scale(mixtures) for mixtures in (pairs, gain * pairs))
    assert other == pytest.approx(gain * scale, rel=0.01)
    assert statistics.faintest(gain * pairs, gain * BRIGHTNESS) == pytest.approx(statistics.faintest(pairs, BRIGHTNESS))


@pytest.mark.parametrize(("size", "channels"), [(64, 1), (20, 1), (64, 3)])
def test_neither_size_nor_channels_change_how_mixtures_are_weighed(pairs, size, channels):
    """A sum of errors grows with pixels and channels, and so does the scale that divides it."""
    larger = interpolate(pairs, (size, size), mode="area").expand(-1, channels, -1, -1)
    per_value = statistics.likelihood_scale(larger) / larger[0].numel()
    assert per_value == pytest.approx(statistics.likelihood_scale(pairs) / pairs[0].numel(), rel=0.02)
    assert statistics.faintest(larger, BRIGHTNESS) == pytest.approx(statistics.faintest(pairs, BRIGHTNESS), rel=0.02)


def test_thin_lines_are_sources_too():
    """A spectrum's mean is a tenth of a digit's: by the digits' threshold some hold no source."""
    sources = spectra(50, 0)
    faintest = statistics.faintest(sources.sum(1), BRIGHTNESS)
    assert faintest < FAINTEST
    assert (sources.mean((2, 3, 4)) > 3 * faintest * BRIGHTNESS).all()


def test_slots_begin_as_bright_together_as_mixtures_are(pairs):
    model = VAEBSS(num_sources=3, begin=statistics.begin(pairs, 3)).model.eval()
    with torch.no_grad():
        next(model.decoder.layers[-2].parameters()).zero_()
        together = model(pairs[:4]).sum(1)
    assert together.mean() == pytest.approx(float(pairs.mean()), rel=0.01)


def test_black_mixtures_have_some_numbers():
    options = statistics.vae_options(torch.zeros(3, 1, 8, 8), 1.0, 2)
    assert options["model"]["likelihood_scale"] > 0
    assert options["model"]["begin"] < 0


@pytest.mark.parametrize(
    ("shape", "seen"),
    [
        ((1, 28, 28), (1, 28, 28)),
        ((3, 64, 64), (3, 28, 28)),
        ((1, 20, 30), (1, 20, 30)),
        ((1, 50, 200), (1, 14, 56)),
        ((1, 1, 256), (1, 1, 256)),
        ((1, 1, 4096), (1, 1, 784)),
        ((1, 4096, 1), (1, 784, 1)),
    ],
    ids=str,
)
def test_pictures_are_shrunk_in_proportion(shape, seen):
    assert within(shape, statistics.PIXELS) == seen
    assert math.prod(seen[1:]) <= statistics.PIXELS


def test_a_world_of_spectra_is_the_same_each_time():
    sources = spectra(5, 3)
    assert torch.equal(sources, spectra(5, 3))
    assert (sources.amax((2, 3, 4)) > 0.59 * BRIGHTNESS).all()
