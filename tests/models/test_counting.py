"""A mask network that counts sources: as many of its loudest slots are active."""

from typing import Any

import pytest
import torch

import vaebss
from vaebss import Masker
from vaebss.modalities.audio import Audio
from vaebss.separation import loudest_slots

AUDIO = Audio(bands=96)
SOUND = {"image_shape": AUDIO.shape, "source_scale": float("inf"), "exponent": AUDIO.exponent, "bounded": False}
VIEWS = {"pixels": {}, "bands": SOUND, "lines": {"image_shape": (1, 1, 40)}}


def counting(view: str = "pixels", **options) -> Masker:
    torch.manual_seed(0)
    return Masker(3, (4, 6), 8, view=view, counting=True, **VIEWS[view] | options).eval()


def always(number: int, model: Masker) -> Masker:
    """The model, whose head finds this number in every mixture."""
    for network in (model.network, model.average.module):
        head: Any = next(module for name, module in network.named_modules() if name.endswith("counts"))
        with torch.no_grad():
            head.bias += 100 * torch.nn.functional.one_hot(torch.tensor(number - 1), 3)
    return model


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("number", [1, 2, 3])
def test_the_head_decides_how_many_slots_are_active_and_loudness_decides_which(number, view):
    model = always(number, counting(view))
    mixture = torch.rand(5, *model.image_shape)
    for found in (model.separate(mixture), model.pseudo_label(mixture)):
        assert (found.count == number).all()
        energies = found.sources.pow(model.exponent).flatten(2).sum(2)
        faintest = energies.masked_fill(~found.active, torch.inf).amin(1)
        assert torch.equal(faintest, energies.sort(1).values[:, -number])
        whole = found.drop_inactive(mixture, model.exponent).sources
        assert (whole.flatten(2).sum(2) > 1e-3).sum(1).eq(number).all()
        total = whole.pow(model.exponent).sum(1).pow(1 / model.exponent)
        torch.testing.assert_close(total, mixture, atol=1e-4, rtol=1e-4)


def test_the_threshold_of_a_slot_is_not_used():
    mixture = torch.rand(5, 1, 28, 28)
    assert torch.equal(counting(faintest=1e6).separate(mixture).active, counting().separate(mixture).active)
    assert not Masker(3, (4, 6), 8, faintest=1e6).separate(mixture).active.any()


def test_silence_holds_no_source():
    assert not always(3, counting()).separate(torch.zeros(2, 1, 28, 28)).active.any()


def test_the_loudest_slots_are_as_many_as_were_counted():
    masked = torch.tensor([[1.0, 3.0, 2.0], [1.0, 1.0, 1.0], [0.0, 2.0, 0.0]]).view(3, 3, 1, 1, 1)
    assert loudest_slots(masked, torch.tensor([2, 1, 3])).int().tolist()[::2] == [[0, 1, 1], [0, 1, 0]]
    assert loudest_slots(masked, torch.tensor([2, 1, 3])).sum(1).tolist() == [2, 1, 1]
    spread = torch.tensor([[[1.0, 1.0, 1.0], [2.0, 0.0, 0.0]]]).view(1, 2, 1, 1, 3)
    assert loudest_slots(spread, torch.tensor([1]), exponent=1.0).int().tolist() == [[1, 0]]
    assert loudest_slots(spread, torch.tensor([1]), exponent=4.0).int().tolist() == [[0, 1]]


@pytest.mark.parametrize("bits", [8, 16])
def test_a_saved_model_counts_as_before(bits, tmp_path):
    model, mixture = always(2, counting("bands")), torch.rand(5, *AUDIO.shape)
    again = vaebss.load(vaebss.save(model, tmp_path, bits=bits))
    assert again.options["counting"]
    assert (again.separate(mixture).count == 2).all()
    assert "counting" in model.options
    assert not vaebss.load("remix-k2").options["counting"]  # of a card that does not name the option


def test_without_a_head_the_weights_are_what_they_were():
    assert not any("counts" in name for name in Masker(3, (4, 6), 8).state_dict())
    extra = set(counting().state_dict()) - set(Masker(3, (4, 6), 8).state_dict())
    assert {name.rsplit(".", 2)[0] for name in extra} == {"network.counter", "average.module.counter"}
