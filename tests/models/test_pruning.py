import pytest
import torch

from vaebss import VAE
from vaebss.models.pruning import busiest, pruned, usage


@pytest.fixture
def model():
    torch.manual_seed(0)
    return VAE(num_sources=4, hidden_dims=(32, 16)).eval()


def test_the_slots_that_stay_answer_as_before(model, random_mixture):
    fewer = pruned(model, [3, 1])
    assert fewer.num_sources == 2
    torch.testing.assert_close(fewer(random_mixture), model(random_mixture)[:, [3, 1]])


def test_usage_tells_which_slots_are_dark(model, random_mixture, monkeypatch):
    decode, dark = model.decode, torch.tensor([1.0, 0.0, 1.0, 0.0]).view(4, 1, 1, 1)
    monkeypatch.setattr(model, "decode", lambda latents: decode(latents) * dark)
    assert usage(model, random_mixture).tolist() == [1, 0, 1, 0]


def test_the_busiest_slots_are_kept_in_their_order():
    assert busiest(torch.tensor([0.1, 1.0, 0.0, 0.7]), 2) == [1, 3]
    assert busiest(torch.tensor([0.9, 0.1, 1.0]), 2) == [0, 2]


def test_the_kind_of_signal_stays(model):
    model.modality = {"kind": "images", "tiles": True}
    assert pruned(model, [0]).modality == model.modality
