"""Training that is replayed from graphs comes to the same weights as training that launches each operator.

`graphs.py` stands for CUDA's graphs. The same test runs on a GPU with true ones, see `tests/test_gpu.py`.
"""

import copy
import pickle
from typing import Any

import graphs
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from vaebss import VAEBSS, MNISTMixtures, Remixes, RemixSeparator
from vaebss.data.bank import Bank
from vaebss.modalities.audio import Audio
from vaebss.models.objective import LIKELIHOODS, PRIORS
from vaebss.training import capture
from vaebss.training.capture import Capture
from vaebss.training.trainers import bare_trainer

STEPS = 12


def trained(
    kind: str, *callbacks: Any, steps: int = STEPS, counting: bool = False, **options: Any
) -> tuple[Any, list[float]]:
    """A small module after some steps, and its losses."""
    torch.manual_seed(0)
    sizes = {"source": "bundled", "batch_size": 8, "epoch_size": 8 * steps, "val_mixtures": 16}
    if kind == "fit":
        module, data = VAEBSS(hidden_dims=(16, 8), latent_dim=4, warmup_steps=6), MNISTMixtures(**sizes)
    else:
        module, data = RemixSeparator(widths=(8, 10), bottleneck=8, counting=counting), Remixes(**sizes, keep=(1.0,))
        sources = torch.rand(40, 1, 28, 28, generator=torch.Generator().manual_seed(1)).half() / 2
        bank = Bank(sources, (2 - counting, 2), 0)
        data.banks = lambda number: bank
    losses, honest = [], module.training_step
    module.training_step = lambda *args: losses.append(honest(*args)) or losses[-1]
    quiet = {"max_epochs": 1, "enable_progress_bar": False, "limit_val_batches": 0, "precision": "32-true"}
    bare_trainer(accelerator="cpu", callbacks=list(callbacks), **quiet | options).fit(module, data)
    del module.training_step
    return module, [loss.item() for loss in losses]


@pytest.mark.parametrize(("kind", "counting"), [("fit", False), ("remix", False), ("remix", True)])
def test_replayed_steps_come_to_the_same_weights(kind, counting, monkeypatch):
    module, _ = trained(kind, counting=counting)
    made = graphs.pretend(monkeypatch)
    monkeypatch.setattr(capture, "captures", lambda trainer: True)
    other, _ = trained(kind, Capture(), counting=counting)
    assert len(made) == (2 if kind == "fit" else 4)  # forward, backward, Muon, running average
    assert all(graph.tape for graph in made)
    expected, found = module.state_dict(), other.state_dict()
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
    copy.deepcopy(other)
    pickle.dumps(other.model)


@pytest.mark.parametrize("kind", ["fit", "remix"])
def test_what_cannot_be_captured_runs_as_it_is(kind, monkeypatch, capsys):
    module, losses = trained(kind)

    def refused(*args: Any, **options: Any) -> None:
        raise RuntimeError("CUDA error: operation not permitted\nand more")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "graph", refused)
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", refused)
    monkeypatch.setattr(capture, "captures", lambda trainer: True)
    other, others = trained(kind, Capture())
    said = [line for line in capsys.readouterr().out.splitlines() if "CUDA error" in line]
    assert said == [
        "Training steps are not captured in a CUDA graph and run slower: CUDA error: operation not permitted"
    ] * len(said)
    assert len(said) == (1 if kind == "fit" else 3)
    assert others == losses
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize("options", [{}, {"accumulate_grad_batches": 2}])
def test_a_cpu_captures_nothing(options, monkeypatch):
    monkeypatch.setattr(capture, "Replay", None)
    module, _ = trained("remix", Capture(), steps=4, **options)
    assert "launch" not in vars(module)


class OnOneDevice(TorchDispatchMode):
    """Refuses operators that read tensors of main memory, or numbers that only a device knows."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        devices = {value.device.type for value in graphs.tensors((args, kwargs, found))}
        assert devices <= {"meta"}, f"{func} moves data between devices: {devices}"
        assert "local_scalar_dense" not in str(func)
        return found


def check_one_device(module: Any, *inputs: Any) -> None:
    module.to("meta").train()
    inputs = tuple(value.to("meta") for value in inputs)
    module.cost(*inputs)  # tensors that are kept are made here
    with OnOneDevice():
        loss, *_ = module.cost(*inputs)
        loss.backward()


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("prior", PRIORS)
def test_the_loss_of_a_vae_stays_on_its_device(prior, likelihood):
    module = VAEBSS(hidden_dims=(16, 8), latent_dim=4, prior=prior, likelihood=likelihood)
    check_one_device(module, torch.rand(4, 1, 28, 28), torch.rand(4, 2, 4), torch.tensor(0.5))


@pytest.mark.parametrize("counting", [False, True])
@pytest.mark.parametrize("slots", [2, 4])
def test_the_loss_of_a_student_stays_on_its_device(slots, counting):
    module = RemixSeparator(num_sources=slots, widths=(8, 10), bottleneck=8, counting=counting)
    check_one_device(module, torch.rand(4, 1, 28, 28), torch.rand(4, 1, 28, 28), torch.rand(4, slots, 1, 28, 28))


def test_the_loss_of_a_student_of_sound_stays_on_its_device():
    audio = Audio()
    sizes = {"image_shape": audio.shape, "exponent": audio.exponent, "source_scale": float("inf")}
    module = RemixSeparator(view="bands", widths=(8, 10), bottleneck=8, **sizes)
    module.modality = audio
    sources = torch.rand(3, 2, 1, audio.samples)
    check_one_device(module, audio.picture(sources.sum(1)), sources.sum(1), sources)


def test_inputs_of_other_shapes_are_not_for_the_graphs(monkeypatch):
    module = VAEBSS(hidden_dims=(16, 8), latent_dim=4).train()
    first, other = ((torch.rand(n, 1, 28, 28), torch.rand(n, 2, 4), torch.tensor(0.5)) for n in (4, 3))
    expected = [copy.deepcopy(module).cost(*inputs)[0] for inputs in (first, other)]
    graphs.pretend(monkeypatch)
    replayed = capture.graphed(module, first)
    for inputs, loss in zip((first, other), expected, strict=True):
        assert torch.equal(replayed(*inputs)[0], loss)


def test_all_batches_of_a_student_have_one_shape():
    """However many sources there are in the mixtures of a round's bank."""
    module = RemixSeparator(num_sources=4, widths=(8, 10), bottleneck=8)
    for most in (1, 2, 4):
        batch = dict.fromkeys(("mixture", "signal"), torch.rand(3, 1, 28, 28))
        *_, sources = module.inputs(batch | {"targets": torch.rand(3, most, 1, 28, 28)})
        assert sources.shape == (3, 4, 1, 28, 28)
        assert not sources[:, most:].any()
