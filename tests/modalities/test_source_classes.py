"""Classes of sources are found in pictures where there are any, and each gets a slot of its own."""

import pytest
import torch
from torch import Tensor
from worlds import clouds, glyphs, world

from vaebss.modalities import source_classes
from vaebss.modalities.images import Images, Pictures, seen_by
from vaebss.modalities.registry import modality_of
from vaebss.models.masker import Masker
from vaebss.separation import Separation


def found(sources: Tensor, active: Tensor | None = None) -> Separation:
    active = torch.ones(sources.shape[:2], dtype=torch.bool) if active is None else active
    return Separation(sources, active, torch.ones(len(sources)))


def turned(sources: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
    """The sources in random slots, and the order that was given to those of each mixture, (N, K)."""
    order = torch.rand(sources.shape[:2], generator=torch.Generator().manual_seed(seed)).argsort(1)
    return sources[torch.arange(len(sources)).unsqueeze(1), order], order


def share_in_place(kinds: Tensor) -> float:
    """The share of mixtures whose sources are in the slots that the most frequent order of kinds (N, K) has."""
    return float(torch.unique(kinds, dim=0, return_counts=True)[1].max() / len(kinds))


@pytest.mark.parametrize("channels", [1, 3])
def test_letters_get_one_slot_and_shapes_the_other(channels):
    sources, kinds = turned(world(150, 28, 3, channels))
    assert share_in_place(kinds) < 0.65
    order = source_classes.orders(found(sources))
    assert share_in_place(kinds.gather(1, order)) > 0.9


def stripes(number: int) -> Tensor:
    """Waves across, waves down, and dots, (N, 3, 1, 20, 20), each at a place and of a brightness of its own."""
    random = torch.Generator().manual_seed(0)
    at, phases = torch.arange(20.0), 6 * torch.rand(number, 3, 1, generator=random)
    waves = 1 + torch.cos(at * 1.5 + phases)  # (N, 3, 20)
    flat = torch.ones(number, 20)
    down, across = (torch.stack([waves[:, 0], flat, waves[:, 2]], 1), torch.stack([flat, waves[:, 1], waves[:, 2]], 1))
    gains = 0.1 + 0.1 * torch.rand(number, 3, 1, 1, 1, generator=random)
    return gains * (down.unsqueeze(3) * across.unsqueeze(2)).unsqueeze(2)


def test_three_classes_are_told_apart_though_some_are_absent():
    sources, kinds = turned(stripes(120))
    active = torch.ones(120, 3, dtype=torch.bool)
    active[:20, 0] = False
    order = source_classes.orders(found(sources * active[..., None, None, None], active))
    placed, there = kinds.gather(1, order), active.gather(1, order)
    usual = placed[20:].mode(0).values
    assert ((placed == usual) | ~there).all(1).float().mean() > 0.95


def test_what_holds_no_source_is_left_as_it_is():
    sources = torch.zeros(5, 2, 1, 8, 8)
    nothing = found(sources, torch.zeros(5, 2, dtype=torch.bool))
    assert source_classes.orders(nothing).tolist() == [[0, 1]] * 5


def test_classes_are_evident_where_there_are_any_and_only_there():
    mixtures = {"classes": world(150, 28, 4), "letters": glyphs(150, 28, 4), "clouds": clouds(150, 28, 4)}
    distinct = {name: source_classes.distinctness(found(turned(own)[0])) for name, own in mixtures.items()}
    assert distinct["classes"] > source_classes.DISTINCT
    assert max(distinct["letters"], distinct["clouds"]) < 0.3


@pytest.mark.parametrize(("own", "number", "evident"), [(world, 150, True), (glyphs, 150, False), (world, 99, None)])
def test_few_mixtures_tell_nothing_of_classes(own, number, evident):
    assert source_classes.are_evident(found(own(number, 28, 5))) is evident


def test_slots_that_are_classes_stay_as_they_are_and_are_saved():
    separator = Masker(widths=(4, 6), bottleneck=8, image_shape=(1, 28, 28))
    separation = found(turned(world(30, 28, 0))[0])
    assert not torch.equal(Images((1, 28, 28)).linked(separation).sources, separation.sources)
    separator.modality = Images((1, 28, 28)).with_voices().options
    for modality in (modality_of(separator), seen_by(separator, torch.rand(2, 1, 28, 28), 0.5)):
        assert modality.linked(separation) is separation
    assert "voices" not in Images((1, 28, 28)).options


@pytest.mark.parametrize(("voices", "means"), [(True, [0.0, 0.25, 0.0]), (False, [0.25, 0.0, 0.0])])
def test_classes_stay_in_their_slots(voices, means):
    """Of three classes the second alone is there: the pictures of the others are black."""
    images = Images((1, 4, 4), voices=voices)
    part = Pictures(images, torch.full((1, 1, 4, 4), 0.25), lambda pictures, path: None, ".png", False)
    second = torch.eye(3, dtype=torch.bool)[1:2]
    separation = part.separated(lambda mixture: found(mixture.unsqueeze(1) * second[..., None, None, None], second))
    assert [float(part.source(k).mean()) for k in range(3)] == means
    assert separation.active.tolist() == [[mean > 0 for mean in means]]
    assert separation.sources.mean((0, 2, 3, 4)).tolist() == means
