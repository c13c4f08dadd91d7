"""Laws of every modality: how signals are pictured, and how shares of pictures become signals again."""

import copy

import pytest
import torch

from vaebss import load
from vaebss.modalities.audio import Audio
from vaebss.modalities.images import Images, brightest, seen_by
from vaebss.modalities.modality import separate_signals
from vaebss.separation import Separation

MODALITIES = {
    "own size": (Images((1, 28, 28)), (1, 28, 28)),
    "larger": (Images((1, 28, 28), gain=0.5), (1, 61, 40)),
    "a line": (Images((1, 28, 28)), (1, 1, 90)),
    "colour for a grey model": (Images((1, 28, 28)), (3, 30, 31)),
    "grey for a colour model": (Images((3, 28, 28)), (1, 30, 31)),
    "sound": (Audio(), (16_128,)),
    "sound in long windows": (Audio(window=2_048, hop=512, pooled=2, linear_hz=500), (16_128,)),
    "sound of three channels": (Audio(), (3, 16_128)),
}


@pytest.fixture(params=MODALITIES)
def case(request):
    modality, shape = MODALITIES[request.param]
    return modality, torch.rand(4, *shape, generator=torch.Generator().manual_seed(0))


def test_pictures_are_of_the_separators_size_and_never_negative(case):
    modality, signals = case
    picture = modality.picture(signals)
    assert picture.shape == (4, *modality.shape)
    assert picture.min() >= 0


def test_twice_the_signal_is_as_much_more_of_the_picture(case):
    modality, signals = case
    growth = 2 ** getattr(modality, "compression", 1.0)
    torch.testing.assert_close(modality.picture(2 * signals), growth * modality.picture(signals))


def test_shares_that_add_up_give_signals_that_add_up(case):
    modality, signals = case
    shares = torch.rand(4, 3, *modality.shape, generator=torch.Generator().manual_seed(1)).softmax(1)
    torch.testing.assert_close(modality.apply(shares, signals).sum(1), signals, atol=1e-5, rtol=0)


def test_what_is_found_is_heard_and_adds_up(case):
    modality, signals = case
    picture = modality.picture(signals)
    shares = torch.rand(4, 2, *modality.shape).softmax(1)
    found = shares.pow(1 / modality.exponent) * picture.unsqueeze(1)
    separation = Separation(found, torch.ones(4, 2, dtype=torch.bool), torch.ones(4))
    torch.testing.assert_close(modality.to_signals(separation, picture, signals).sum(1), signals, atol=1e-4, rtol=0)


def test_errors_are_those_of_what_is_heard(case):
    """Of masks that are the same everywhere, about which sound need not guess. Of what silence should not have got, a
    hundredth counts."""
    modality, signals = case
    sources = torch.stack([signals / 4, signals * 3 / 4, torch.zeros_like(signals)], 1)
    shares = torch.tensor([0.7, 0.2, 0.1]).view(1, 3, 1, 1, 1).expand(4, 3, *modality.shape)
    parts = modality.apply(shares, signals)
    errors = (parts.unsqueeze(1) - sources.unsqueeze(2)).flatten(3).square().mean(3)
    if modality.kind == "audio":
        own, whole = sources.square().flatten(2).mean(2), signals.square().flatten(1).mean(1, keepdim=True)
        errors /= torch.where(own > 0, own, 100 * whole).unsqueeze(2)
    torch.testing.assert_close(modality.errors(shares, signals, sources), errors, rtol=0.03, atol=1e-3)


@pytest.mark.parametrize("loudness", [1e-3, 1e-2, 1, 100])
def test_the_same_is_found_in_a_sound_of_any_loudness(loudness):
    time = torch.arange(40_000) / 16_000
    duet = sum(0.25 * torch.sin(2 * torch.pi * hertz * time) for hertz in (440, 1_760))
    signals, model = torch.stack([duet, torch.zeros(40_000)]), load("vae-notes")
    plain, other = (separate_signals(model.separate, Audio(), gain * signals) for gain in (1, loudness))
    torch.testing.assert_close(other.sources, loudness * plain.sources, atol=1e-4 * loudness, rtol=0)
    torch.testing.assert_close(other.sources.sum(1), loudness * signals, atol=1e-5 * loudness, rtol=0)
    assert torch.equal(other.active, plain.active)


def test_pictures_are_never_levelled():
    pictures = torch.rand(3, 1, 28, 28)
    assert torch.equal(Images((1, 28, 28)).levelling(pictures), torch.ones(3, 1, 1, 1))


@pytest.fixture(scope="module")
def teacher():
    return load("remix-k2")


@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 64, 40), (3, 48, 48), (3, 1, 30)], ids=str)
@pytest.mark.parametrize("ask", ["separate", "pseudo_label"])
def test_answers_through_the_seam_add_up(teacher, shape, ask):
    mixtures = torch.rand(3, *shape)
    found = separate_signals(getattr(teacher, ask), seen_by(teacher, mixtures, 0.5), mixtures)
    assert found.sources.shape == (3, 2, *shape)
    torch.testing.assert_close(found.sources.sum(1), mixtures, atol=1e-5, rtol=0)


def test_a_separator_sees_mixtures_of_its_own_kind_as_they_are(teacher):
    mixtures = torch.rand(3, 1, 28, 28)
    assert seen_by(teacher, mixtures, 0.5).picture(mixtures) is mixtures
    found = separate_signals(teacher.pseudo_label, seen_by(teacher, mixtures, 0.5), mixtures)
    assert torch.equal(found.sources, teacher.pseudo_label(mixtures).sources)


@pytest.mark.parametrize("gain", [0.1, 0.6, 1.0])
def test_brightness_does_not_change_what_is_seen(teacher, gain):
    mixtures = torch.rand(4, 3, 40, 40)
    plain, faint = seen_by(teacher, mixtures, 0.5), seen_by(teacher, gain * mixtures, gain * 0.5)
    torch.testing.assert_close(faint.picture(gain * mixtures), plain.picture(mixtures))


@pytest.mark.parametrize("bounded", [True, False])
def test_only_a_separator_that_knows_its_sources_brightness_undoes_the_darkening_of_smaller_pictures(teacher, bounded):
    mixtures = torch.rand(4, 1, 84, 84, generator=torch.Generator().manual_seed(0))
    separator = copy.deepcopy(teacher)
    separator.bounded = bounded
    seen = seen_by(separator, mixtures, 0.25).picture(mixtures)
    averaged = Images((1, 28, 28)).picture(mixtures)
    assert brightest(averaged) < 0.95 * brightest(mixtures)
    expected = mixtures if bounded else averaged
    assert brightest(seen) == pytest.approx(2 * brightest(expected), rel=1e-4)  # its sources reach 0.5, and these 0.25


def test_grey_shares_are_those_of_every_channel():
    shares = torch.rand(2, 2, 1, 4, 4)
    signals = torch.rand(2, 3, 4, 4)
    torch.testing.assert_close(Images((1, 4, 4)).apply(shares, signals), shares * signals.unsqueeze(1))


def test_black_mixtures_are_seen_as_black(teacher):
    black = torch.zeros(2, 1, 40, 40)
    assert (seen_by(teacher, black, 0.5).picture(black) == 0).all()
