"""A mask network on spectrograms: what it sees, and what it must not depend on."""

from typing import Any

import pytest
import torch
from torch import nn

from vaebss import Masker
from vaebss.modalities.audio import Audio
from vaebss.models.networks import harmonic_stack

AUDIO = Audio(bands=96)


@pytest.fixture
def masker():
    torch.manual_seed(0)
    known = {"image_shape": AUDIO.shape, "source_scale": float("inf"), "bounded": False, "exponent": AUDIO.exponent}
    return Masker(view="bands", num_sources=3, widths=(8, 12, 16), bottleneck=8, **known).eval()


@pytest.fixture
def sounds():
    return torch.randn(4, AUDIO.samples, generator=torch.Generator().manual_seed(0))


def test_shares_sum_to_one_and_powers_add_up(masker, sounds):
    picture = AUDIO.picture(sounds)
    found = masker.separate(picture)
    assert found.sources.shape == (4, 3, *AUDIO.shape)
    torch.testing.assert_close(masker(picture).sum(1), torch.ones_like(picture))
    p = AUDIO.exponent
    torch.testing.assert_close(found.sources.pow(p).sum(1), picture.pow(p), rtol=1e-4, atol=1e-4)


def test_loudness_changes_nothing(masker, sounds):
    quiet, loud = masker.separate(AUDIO.picture(sounds)), masker.separate(AUDIO.picture(100 * sounds))
    torch.testing.assert_close(loud.confidence, quiet.confidence)
    torch.testing.assert_close(loud.sources, 10 * quiet.sources)


def test_frames_are_channels_and_so_every_frame_counts_everywhere(masker, sounds):
    picture = AUDIO.picture(sounds)
    other = picture.clone()
    other[..., -1] *= 2
    other *= picture.mean((1, 2, 3), keepdim=True) / other.mean((1, 2, 3), keepdim=True)
    changed = (masker(other) - masker(picture)).abs().amax((0, 1, 2, 3))
    assert (changed > 1e-6).all()


def test_there_is_one_opinion_of_a_spectrogram(masker, sounds):
    picture = AUDIO.picture(sounds)
    found, label = masker.separate(picture), masker.pseudo_label(picture)
    assert torch.equal(label.sources, found.sources)
    assert torch.equal(label.confidence, found.confidence)


def test_spectrograms_are_of_one_size(masker):
    with pytest.raises(ValueError, match="shape"):
        masker.separate(torch.rand(1, 1, 96, 20))


def test_another_view_is_refused():
    with pytest.raises(ValueError, match=r"model\.view"):
        Masker(view="waves")


HARMONICS = (0.5, 1.0, 2.0, 3.0)


def stacked(**options) -> Masker:
    torch.manual_seed(0)
    known = {"image_shape": AUDIO.shape, "source_scale": float("inf"), "bounded": False, "exponent": AUDIO.exponent}
    sizes = {"view": "bands", "widths": (8, 12, 16), "bottleneck": 8}
    return Masker(**known | sizes | {"harmonics": HARMONICS, "frequencies": AUDIO.frequencies} | options).eval()


def first_convolution(network: nn.Module) -> nn.Conv2d:
    return next(module for module in network.modules() if isinstance(module, nn.Conv2d))


def test_bands_are_read_at_multiples_of_their_frequency():
    """A straight line in frequency is read exactly, up to the highest band."""
    hertz = torch.tensor(AUDIO.frequencies)
    for harmonic, read in zip(HARMONICS, harmonic_stack(hertz, torch.tensor(HARMONICS)), strict=True):
        inside = harmonic * hertz <= hertz[-1]
        torch.testing.assert_close((read @ (hertz + 7))[inside], (harmonic * hertz + 7)[inside])
        assert not (read @ (hertz + 7))[~inside].any()
        assert (read >= 0).all()
    assert torch.equal(harmonic_stack(hertz, torch.ones(1))[0], torch.eye(len(hertz)))


def test_convolutions_see_the_partials_of_a_band():
    """The highest partial of a low band, far beyond all kernels, changes what the first convolution makes of it."""
    network = stacked().network
    first = first_convolution(network)
    assert first.in_channels == len(HARMONICS) * AUDIO.shape[2]
    seen = []
    first.register_forward_hook(lambda module, inputs, output: seen.append(output))
    picture = torch.zeros(1, *AUDIO.shape)
    network(picture)
    band = min(range(AUDIO.bands), key=lambda band: abs(AUDIO.frequencies[band] - 3 * AUDIO.frequencies[10]))
    picture[:, :, band] = 1
    network(picture)
    changed = (seen[1] - seen[0])[0, :, 0].abs().amax(0) > 1e-6
    assert changed[10]
    assert changed[band]
    assert not changed[20]


def test_without_harmonics_a_network_is_what_it_was():
    torch.manual_seed(0)
    plain = stacked(harmonics=(), frequencies=AUDIO.frequencies)
    assert plain.options["frequencies"] == plain.options["harmonics"] == ()
    assert first_convolution(plain.network).in_channels == AUDIO.shape[2]
    assert "stack" not in " ".join(plain.state_dict())


def test_a_stacked_network_is_built_again_from_its_options(sounds):
    model, again = stacked(), Masker(**stacked().options).eval()
    again.load_state_dict(model.state_dict())
    picture = AUDIO.picture(sounds)
    torch.testing.assert_close(again(picture), model(picture))
    assert model.grown(3).separate(picture).sources.shape == (4, 3, *AUDIO.shape)
    assert not any("stack" in name for name in model.state_dict())


def test_features_are_read_at_multiples_at_every_coarser_resolution(sounds):
    """Beside all features, the levels below the finest see four of them at each multiple but 1."""
    down: Any = stacked(harmonic_features=4).network.along.down
    others = [harmonic for harmonic in HARMONICS if harmonic != 1]
    assert first_convolution(down[0]).in_channels == len(HARMONICS) * AUDIO.shape[2]
    hertz = torch.tensor(AUDIO.frequencies)
    for level, width in ((1, 8), (2, 12)):
        hertz = hertz.view(-1, 2).mean(1)  # max pooling merges neighbouring bands
        stack: Any = down[level][0]
        features = torch.randn(2, width, 1, len(hertz))
        combined = stack.combine(features).squeeze(2)
        expected = [combined @ read.T for read in harmonic_stack(hertz, torch.tensor(others))]
        found = stack(features)
        torch.testing.assert_close(found[:, :width], features)
        torch.testing.assert_close(found[:, width:].squeeze(2), torch.cat(expected, 1))
    model = stacked(harmonic_features=4)
    again = Masker(**model.options).eval()
    again.load_state_dict(model.state_dict())
    torch.testing.assert_close(again(AUDIO.picture(sounds)), model(AUDIO.picture(sounds)))


def test_harmonic_features_of_bands_that_do_not_halve():
    """Bands are padded as their pictures are, so that 90 of them make 92, 46 and 23."""
    model = stacked(image_shape=(1, 90, 16), frequencies=AUDIO.frequencies[:90], harmonic_features=4)
    down: Any = model.network.along.down
    assert [len(level[0].read[0]) for level in down[1:]] == [46, 23]
    assert model(torch.rand(2, 1, 90, 16)).shape == (2, 2, 1, 90, 16)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"harmonic_features": -1}, "harmonic_features must be 0 or more"),
        ({"harmonic_features": 4, "harmonics": ()}, "harmonic_features need model.harmonics"),
        ({"harmonic_features": 4, "harmonics": (1.0,)}, "harmonic_features need model.harmonics"),
        ({"view": "pixels"}, "view must be bands, not pixels"),
        ({"harmonics": (0.0, 1.0)}, "harmonics must be above 0"),
        ({"harmonics": (1.0, float("nan"))}, "harmonics must be above 0"),
        ({"frequencies": AUDIO.frequencies[1:]}, "must be 96 increasing numbers"),
        ({"frequencies": AUDIO.frequencies[::-1]}, "must be 96 increasing numbers"),
        ({"frequencies": ()}, "must be 96 increasing numbers"),
    ],
)
def test_harmonics_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        stacked(**options)
