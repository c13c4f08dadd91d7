"""Training and separation on a GPU come to what they come to on a CPU; where they can, tests run on a CPU too.

`pytest -m gpu` runs those that need a GPU, and skips them without one.
"""

import copy
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback
from torch import Tensor

import vaebss
from vaebss.commands import fit, remix
from vaebss.data.bank import Bank
from vaebss.data.batches import MixtureDataset
from vaebss.data.conditions import Conditions
from vaebss.data.mixtures import MNISTMixtures
from vaebss.data.plans import draw_plan
from vaebss.data.remixes import Remixes
from vaebss.modalities.images import Images
from vaebss.models.onnx import TOLERANCE, export
from vaebss.training.student import RemixSeparator
from vaebss.training.trainers import bare_trainer
from vaebss.training.vae import VAEBSS

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
COMMON = ["--data.source=bundled", "--data.batch_size=32", "--data.val_mixtures=16", "--trainer.max_epochs=2"]
COMMON += ["--data.epoch_size=128", "--trainer.enable_progress_bar=false", "--trainer.logger=false"]
FIT = [*COMMON, "--model.hidden_dims=[16,8]", "--model.variational=false"]  # noise is another one on a GPU
REMIX = [*COMMON, "--data.num_mixtures=64", "--data.keep=[0.5]", "--data.epochs_per_round=2", "--data.refine_steps=0"]
REMIX += ["--model.widths=[8,8]", "--model.bottleneck=8"]


def gpus(device: str) -> str:
    return f"--gpus={int(device == 'cuda')}"


def last(here, number: int):
    return here / "lightning_logs" / f"version_{number}" / "checkpoints" / "last.ckpt"


def learned(path) -> Tensor:
    """All weights of a checkpoint as one vector."""
    state = torch.load(path, weights_only=True, map_location="cpu")["state_dict"]
    return torch.cat([value.flatten() for name, value in state.items() if name.endswith(("weight", "bias"))])


def assert_near(found: Tensor, expected: Tensor, share: float) -> None:
    assert (found - expected).norm() < share * expected.norm()


@pytest.mark.parametrize(
    ("device", "precision", "share"),
    [
        ("cpu", "bf16-mixed", 0.1),
        pytest.param("cuda", "32-true", 0.01, marks=pytest.mark.gpu),
        pytest.param("cuda", "bf16-mixed", 0.1, marks=pytest.mark.gpu),
        pytest.param("cuda", "16-mixed", 0.1, marks=pytest.mark.gpu),
    ],
)
@pytest.mark.parametrize("command", ["fit", "remix"])
def test_a_few_steps_come_to_the_weights_of_a_cpu(command, precision, share, device, here, checkpoint):
    main, options = (fit.main, FIT) if command == "fit" else (remix.main, [*REMIX, f"--teacher={checkpoint}"])
    assert main([*options, "--gpus=0", "--trainer.precision=32-true"]) == 0
    assert main([*options, gpus(device), f"--trainer.precision={precision}"]) == 0
    assert_near(learned(last(here, 1)), learned(last(here, 0)), share)


class StopAfterOneEpoch(Callback):
    def on_train_epoch_end(self, trainer, pl_module):
        trainer.should_stop = True


@pytest.mark.parametrize(
    ("device", "back"), [("cpu", False), *[pytest.param("cuda", back, marks=pytest.mark.gpu) for back in (False, True)]]
)
def test_a_run_goes_on_on_another_device(back, device, here):
    first, second = ("--gpus=0", gpus(device))[:: -1 if back else 1]
    begun = [*FIT, "--trainer.precision=32-true"]
    assert fit.main([*begun, "--gpus=0"]) == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit.FitCLI, "own_callbacks", lambda cli: [StopAfterOneEpoch()])
        assert fit.main([*begun, first]) == 0
    assert fit.main(["--ckpt", str(last(here, 1)), second]) == 0
    assert torch.load(last(here, 1), weights_only=True)["global_step"] == 8
    assert_near(learned(last(here, 1)), learned(last(here, 0)), 0.01)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("name", "options"), [("vae-k2", {"refine_steps": 2}), ("vae-k2", {}), ("remix-k2", {})])
def test_separation_is_that_of_a_cpu(name, options, device, random_mixture):
    model, mixture = vaebss.load(name), random_mixture / 2
    expected = model.separate(mixture, **options)
    found = copy.deepcopy(model).to(device).separate(mixture.to(device), **options)
    assert found.sources.device.type == device
    torch.testing.assert_close(found.sources.cpu(), expected.sources, atol=0.02, rtol=0)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("conditions", [Conditions(), Conditions((0.5, 1.0), 0.1)])
def test_batches_are_mixed_where_their_signals_lie(device, conditions):
    signals, plan = torch.rand(50, 1, 28, 28), draw_plan(50, 16, (1, 3), 0)
    expected, found = (
        MixtureDataset(signals, 0.5, Images((1, 28, 28)), conditions=conditions).to(torch.device(where))[plan]
        for where in ("cpu", device)
    )
    for name, value in expected.items():
        assert found[name].device.type == device, name
        torch.testing.assert_close(found[name].cpu(), value)


def module_and_data(kind: str) -> tuple:
    """A small module and its data, whose training makes no bank."""
    sizes = {"source": "bundled", "batch_size": 16, "epoch_size": 160, "val_mixtures": 16}
    if kind == "fit":
        return VAEBSS(hidden_dims=(16, 8)), MNISTMixtures(**sizes)
    data = Remixes(**sizes, keep=(1.0,))
    bank = Bank(torch.rand(40, 1, 28, 28).half() / 2, (2, 2), 0)
    data.banks = lambda number: bank
    return RemixSeparator(widths=(8, 8), bottleneck=8), data


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", ["fit", "remix"])
def test_weights_and_batches_lie_on_the_device(kind, device, monkeypatch):
    module, data = module_and_data(kind)
    seen = []

    def step(batch, batch_idx, honest=module.training_step):
        seen.extend(tensor.device.type for tensor in (*batch.values(), *module.parameters()))
        return honest(batch, batch_idx)

    monkeypatch.setattr(module, "training_step", step)
    bare_trainer(accelerator=device, max_epochs=1, enable_progress_bar=False, limit_val_batches=0).fit(module, data)
    assert set(seen) == {device}


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["fit", "remix"])
def test_the_forward_and_backward_pass_wait_for_no_gpu(kind):
    """Where PyTorch forbids to wait, a step of training raises if it does."""
    module, data = module_and_data(kind)

    class Watched(type(module)):
        def training_step(self, batch, batch_idx):
            torch.cuda.set_sync_debug_mode("error" if batch_idx > 2 else "default")
            return super().training_step(batch, batch_idx)

        def on_before_optimizer_step(self, optimizer):
            torch.cuda.set_sync_debug_mode("default")

    module.__class__ = Watched
    bare_trainer(accelerator="cuda", max_epochs=1, enable_progress_bar=False, limit_val_batches=0).fit(module, data)


@pytest.mark.gpu
@pytest.mark.parametrize(("kind", "graphs"), [("fit", 0), ("remix", 2)])
def test_steps_are_replayed(kind, graphs, capsys):
    """The loss by PyTorch's own graphs; Muon and the running average by ours."""
    module, data = module_and_data(kind)
    found = []

    class Look(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            launchers = [pl_module.launch, trainer.optimizers[0].launch]
            found.append(("compute" in vars(pl_module), sum(launcher.graph is not None for launcher in launchers)))

    options = {"callbacks": [Look()], "max_epochs": 1, "enable_progress_bar": False, "limit_val_batches": 0}
    bare_trainer(accelerator="cuda", **options).fit(module, data)
    assert found[-1] == (True, graphs)
    assert "not captured" not in capsys.readouterr().out


@pytest.mark.parametrize("device", DEVICES)
def test_a_model_on_a_device_exports_to_what_it_computes(device, here):
    """The exported program is checked against the model by `export` itself, which raises where they differ."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    assert export(vaebss.load("vae-k2").to(device), here / "model.onnx") < TOLERANCE


@pytest.mark.parametrize("device", DEVICES)
def test_adapting_ends_on_the_cpu(device, here, monkeypatch):
    if device == "cpu":
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    mixtures = torch.rand(20, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    student = vaebss.adapt(mixtures, "vae-k2", steps=20)
    assert student.device.type == "cpu"
    assert vaebss.separate(mixtures, student).sources.isfinite().all()


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are not two GPUs")
def test_two_gpus_come_to_the_weights_of_one(here):
    """Two batches of 16 are one of 32, but for batch norm, whose statistics each process has of its own."""
    assert fit.main([*FIT, "--gpus=1", "--trainer.precision=32-true"]) == 0
    assert fit.main([*FIT, "--gpus=2", "--data.batch_size=16", "--trainer.precision=32-true"]) == 0
    assert_near(learned(last(here, 1)), learned(last(here, 0)), 0.1)
