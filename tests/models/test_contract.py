"""What holds for every separator, trained or not."""

import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from vaebss.baselines import GLO, NMF, EqualShare, MixIT, OneSlot, Silence
from vaebss.models.masker import Masker
from vaebss.models.separator import Separator
from vaebss.models.vae import VAE


def nmf() -> NMF:
    model = NMF(num_components=8)
    model.dictionary.partial_fit(torch.rand(20, 784, generator=torch.Generator().manual_seed(0)).numpy())
    return model


BUILT = {
    "vae": lambda: VAE(hidden_dims=(32, 16)),
    "masker": lambda: Masker(widths=(4, 6, 8), bottleneck=16),
    "counting masker": lambda: Masker(widths=(4, 6, 8), bottleneck=16, counting=True),
    "glo": lambda: GLO(hidden_dims=(32, 16), latent_dim=4, start_steps=2, fit_steps=3),
    "mixit": lambda: MixIT(hidden_dims=(32, 16)),
    "nmf": nmf,
    "silence": Silence,
    "one-slot": OneSlot,
    "equal-share": EqualShare,
}


@pytest.fixture(params=BUILT)
def model(request) -> Separator:
    torch.manual_seed(0)
    built = BUILT[request.param]().train()
    if list(built.parameters()):  # running statistics that differ from a batch's own
        with torch.no_grad():
            for buffer in built.buffers():
                if buffer.is_floating_point():
                    buffer.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(1))
    return built


def test_estimate_must_be_written():
    with pytest.raises(TypeError, match="_estimate"):
        type("Unwritten", (Separator,), {})(2, (1, 28, 28), 0.5)


def test_a_training_model_answers_as_at_rest_and_stays_as_it_is(model, random_mixture):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    training = [module.training for module in model.modules()]
    learning = [parameter.requires_grad for parameter in model.parameters()]
    answer = model.separate(random_mixture).sources
    assert [module.training for module in model.modules()] == training
    assert [parameter.requires_grad for parameter in model.parameters()] == learning
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(parameter.grad is None for parameter in model.parameters())
    torch.testing.assert_close(model.eval().separate(random_mixture).sources, answer)


def test_confidence_means_the_same_for_all(model, random_mixture):
    confidence = model.separate(random_mixture).confidence
    assert ((confidence >= 1 / model.num_sources - 1e-6) & (confidence <= 1 + 1e-6)).all()
    assert (model.separate(torch.zeros(2, 1, 28, 28)).confidence == 1).all()


def test_two_threads_get_the_answers_of_one(model, random_mixture):
    mixtures = [random_mixture * scale for scale in torch.linspace(0.1, 0.9, 8)]
    alone = [model.separate(mixture).sources for mixture in mixtures]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda mixture: model.separate(mixture).sources, mixtures))
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("model", ["vae", "masker", "glo", "mixit"], indirect=True)
def test_another_thread_may_train_the_model_meanwhile(model, random_mixture):
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = 0.0  # its statistics stay, so that there is one right answer
    alone, stop = model.separate(random_mixture).sources, threading.Event()
    inputs = torch.rand(5, 2, 4) if isinstance(model, GLO) else random_mixture
    trained = model.decoder if isinstance(model, GLO) else model

    def train() -> int:
        steps = 0
        while not stop.is_set() or not steps:
            trained.train()(inputs).sum().backward()
            assert all(module.training for module in trained.modules())
            steps += 1
        return steps

    with ThreadPoolExecutor(1) as pool:
        training = pool.submit(train)
        try:
            answers = [model.separate(random_mixture).sources for _ in range(10)]
        finally:
            stop.set()
        assert training.result()
    for answer in answers:
        torch.testing.assert_close(answer, alone)


def test_it_can_be_copied_and_pickled(model, random_mixture):
    answer = model.separate(random_mixture).sources
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(again.separate(random_mixture).sources, answer)


@pytest.mark.parametrize("precision", ["half", "bfloat16", "double"])
def test_in_other_precisions_its_numbers_are_right(model, precision, random_mixture):
    answer = model.separate(random_mixture).sources
    found = getattr(copy.deepcopy(model), precision)().separate(random_mixture).sources
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, answer, atol=0.05 if precision != "double" else 1e-5, rtol=0)


def test_an_unknown_option_is_refused_by_name(model, random_mixture):
    with pytest.raises(ValueError, match="magic must be 0") as error:
        model.separate(random_mixture, magic=3)
    assert "\n" not in str(error.value)
    model.separate(random_mixture, refine_steps=0)


def test_its_options_make_another_like_it(model):
    again = type(model)(**model.options)
    assert again.options == model.options
    assert {name: value.shape for name, value in again.state_dict().items()} == {
        name: value.shape for name, value in model.state_dict().items()
    }
