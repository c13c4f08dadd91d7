"""A mask network on spectrograms: what it sees, and what it must not depend on."""

import pytest
import torch

from vaebss import Masker
from vaebss.modalities.audio import Audio

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
    found, label = masker.separate(picture), masker.label(picture)
    assert torch.equal(label.sources, found.sources)
    assert torch.equal(label.confidence, found.confidence)


def test_spectrograms_are_of_one_size(masker):
    with pytest.raises(ValueError, match="shape"):
        masker.separate(torch.rand(1, 1, 96, 20))


def test_another_view_is_refused():
    with pytest.raises(ValueError, match=r"model\.view"):
        Masker(view="waves")
