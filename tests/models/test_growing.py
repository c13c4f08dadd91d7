"""A mask network gets more slots than it was trained with."""

import pytest
import torch

from vaebss import Masker
from vaebss.modalities.audio import Audio

AUDIO = Audio(bands=96)
KNOWN = {
    "pixels": {},
    "bands": {"image_shape": AUDIO.shape, "source_scale": float("inf"), "exponent": AUDIO.exponent},
}


@pytest.fixture(params=[*KNOWN, "counting"])
def masker(request):
    torch.manual_seed(0)
    view, counting = ("pixels", True) if request.param == "counting" else (request.param, False)
    return Masker(2, (4, 6), 8, view=view, counting=counting, **KNOWN[view]).eval()


def test_slots_share_out_as_before_what_the_new_ones_leave(masker):
    mixture = torch.rand(3, *masker.image_shape)
    more = masker.grown(4)
    assert more.options == masker.options | {"num_sources": 4}
    shares = more(mixture)
    assert (shares[:, 2:] > 0.01).any()  # large enough to learn from
    torch.testing.assert_close(shares[:, :2] / shares[:, :2].sum(1, keepdim=True), masker(mixture))


def test_the_average_begins_with_the_slots_of_the_network(masker):
    more, mixture = masker.grown(3), torch.rand(3, *masker.image_shape)
    torch.testing.assert_close(more.network(mixture), more.average(mixture))


def test_as_many_slots_are_a_copy(masker):
    more = masker.grown(2)
    assert more is not masker
    assert all(torch.equal(value, masker.state_dict()[name]) for name, value in more.state_dict().items())


def test_a_head_that_counts_is_added_to_what_is_there(masker):
    more, mixture = masker.grown(2, counting=True), torch.rand(3, *masker.image_shape)
    assert more.options == masker.options | {"counting": True}
    known = masker.state_dict()
    assert all(torch.equal(value, known[name]) for name, value in more.state_dict().items() if name in known)
    assert torch.equal(more(mixture), masker(mixture))
    torch.testing.assert_close(more.network(mixture), more.average(mixture))


@pytest.mark.parametrize("view", KNOWN)
def test_new_slots_are_drawn_as_large_as_the_known_ones_and_each_otherwise(view):
    torch.manual_seed(0)
    known = Masker(2, (64, 6), 8, view=view, counting=True, **KNOWN[view])
    more, twice = known.grown(10), known.grown(10)
    for name, old in known.state_dict().items():
        new = more.state_dict()[name]
        if new.shape == old.shape:
            continue
        assert torch.equal(new[: len(old)], old)
        drawn = new[len(old) :].unflatten(0, (8, -1)).flatten(1)
        assert drawn.std() == pytest.approx(float(old.std()), rel=0.2 if "weight" in name else 0.6)
        assert len(drawn.unique(dim=0)) == 8
        assert not torch.equal(new, twice.state_dict()[name])


def test_the_kind_of_signal_stays(masker):
    masker.modality = AUDIO.options
    more = masker.grown(3)
    assert more.modality == masker.modality
    assert more.modality is not masker.modality
