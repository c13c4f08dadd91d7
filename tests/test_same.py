"""Training is what it was: runs of version 0.1.0 go on, and begin anew, to the very weights that it came to.

Bit for bit on a processor that rounds as the one did that they come from. On others, by how the weights moved from the
checkpoint to the end: as far along the stored way (rounding changes that by 0.0005 at most, a learning rate 1 % higher
by 0.009), and not far from it (0.012; steps along orthogonalised momentum are of half precision). A new student cannot
be told there from one with another learning rate: which estimates its bank keeps hangs on last bits.
"""

import contextlib
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

import vaebss
from vaebss import hardware
from vaebss.commands import fit, remix
from vaebss.training import muon

STORED = Path(__file__).parent / "same"  # after epoch 1 of 4 (checkpoints), and at the end (weights)
COMMON = ["--gpus=0", "--data.source=bundled", "--trainer.precision=32-true", "--trainer.max_epochs=4"]
FIT = [*COMMON, "--data.epoch_size=640", "--data.batch_size=64", "--data.val_mixtures=64"]
FIT += ["--model.hidden_dims=[8,6]", "--model.latent_dim=4"]
REMIX = [*COMMON, "--data.num_mixtures=60", "--data.epoch_size=320", "--data.batch_size=32", "--data.val_mixtures=16"]
REMIX += ["--data.epochs_per_round=2", "--data.keep=[0.5,0.5]", "--model.widths=[4,6,8]", "--model.bottleneck=8"]
LAST = Path("lightning_logs/version_0/checkpoints/last.ckpt")

Weights = dict[str, Tensor]


def weights(path: Path) -> Weights:
    contents = torch.load(path, weights_only=True)
    return contents.get("state_dict", contents)


def stored(command: str) -> Weights:
    return weights(STORED / f"{command}-end.pt")


@pytest.fixture(scope="module")
def ended(tmp_path_factory) -> dict[str, Weights]:
    """What runs come to that go on from an old checkpoint, and new ones."""
    folder = tmp_path_factory.mktemp("same")
    found = {}
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        for module in (hardware, muon):  # a bank found in bfloat16 is another one
            patch.setattr(module, "bfloat16_pays", lambda device: False)
        for command in (fit, remix):
            name = command.__name__.rpartition(".")[2]
            last = Path(f"old-{name}") / LAST
            last.parent.mkdir(parents=True)
            shutil.copy(STORED / f"{name}-0.1.0.ckpt", last)
            assert command.main(["--ckpt", str(last)]) == 0  # a second round makes a bank of its own
            found[f"old {name}"] = weights(last)
        assert fit.main([*FIT, "--trainer.default_root_dir=new-fit"]) == 0
        teacher = Path("new-fit") / LAST
        assert remix.main([*REMIX, f"--teacher={teacher}", "--trainer.default_root_dir=new-remix"]) == 0
        return found | {"new fit": weights(teacher), "new remix": weights(Path("new-remix") / LAST)}


def same_bits(found: Weights, expected: Weights) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], value) for name, value in expected.items())


def way(start: Weights, end: Weights) -> Tensor:
    """From weights to others, as one vector; statistics of batches left out."""
    learned = sorted(name for name in start if name.endswith(("weight", "bias")))
    return torch.cat([(end[name].double() - start[name].double()).flatten() for name in learned])


@pytest.mark.parametrize("run", ["old fit", "old remix", "new fit"])
def test_a_run_comes_to_the_stored_weights(run, ended):
    command, found = run.split()[1], ended[run]
    if same_bits(found, stored(command)):
        return
    assert {name: value.shape for name, value in found.items()} == {k: v.shape for k, v in stored(command).items()}
    start = weights(STORED / f"{command}-0.1.0.ckpt")
    expected, gone = way(start, stored(command)), way(start, found)
    assert (gone @ expected) / (expected @ expected) == pytest.approx(1, abs=0.003)
    assert (gone - expected).norm() / expected.norm() < (0.05 if command == "remix" else 1e-3)


def test_a_new_student_comes_to_the_stored_weights(ended):
    found, expected = ended["new remix"], stored("remix")
    if all(same_bits(ended[f"old {command}"], stored(command)) for command in ("fit", "remix")):
        assert same_bits(found, expected)
    nothing = {name: torch.zeros_like(value) for name, value in expected.items()}
    assert way(expected, found).norm() / way(nothing, expected).norm() < 0.2


@pytest.mark.parametrize("name", ["fit", "remix"])
def test_an_old_checkpoint_opens_and_separates(name, random_mixture):
    separation = vaebss.load(STORED / f"{name}-0.1.0.ckpt").separate(random_mixture / 2)
    torch.testing.assert_close(separation.sources.sum(1), random_mixture / 2, atol=1e-5, rtol=0)


def test_old_checkpoints_start_new_runs(tmp_path, monkeypatch):
    """With next to no learning rate they end where they begin, but for the running average."""
    monkeypatch.chdir(tmp_path)
    short = ["--gpus=0", "--data.source=bundled", "--trainer.max_epochs=1", "--data.epoch_size=64"]
    short += ["--data.batch_size=32", "--model.lr=1e-30", "--model.lr_min=0"]
    tiny = ["--data.num_mixtures=40", "--data.keep=[0.5]", "--data.epochs_per_round=1", "--data.val_mixtures=16"]
    old = {name: STORED / f"{name}-0.1.0.ckpt" for name in ("fit", "remix")}
    assert fit.main([*short, f"--init={old['fit']}", "--trainer.default_root_dir=fit"]) == 0
    options = [f"--init={old['remix']}", f"--teacher={old['fit']}", "--trainer.default_root_dir=remix"]
    assert remix.main([*short, *tiny, *options]) == 0
    for name, path in old.items():
        start = {key: value for key, value in weights(path).items() if not key.startswith("average.")}
        assert way(start, weights(Path(name) / LAST)).abs().max() < 1e-6
