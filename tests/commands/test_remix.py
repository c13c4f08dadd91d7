"""remix.py in process."""

import pytest
import torch

import vaebss
from vaebss.commands import remix
from vaebss.training.banks import BankMaker

REMIX_RUN = [
    "--gpus=0",
    "--data.source=bundled",
    "--data.num_mixtures=60",
    "--data.epoch_size=160",
    "--data.batch_size=16",
    "--data.refine_steps=1",
    "--data.epochs_per_round=3",
    "--data.keep=[0.5,0.5]",
    "--data.val_mixtures=16",
    "--model.widths=[4,6,8]",
    "--model.bottleneck=16",
]


def test_trainer_options_hold_for_the_teacher_and_the_place_of_the_logs(here):
    options = ["--trainer.default_root_dir", str(here / "there"), "--trainer.limit_train_batches=2"]
    assert remix.main([*REMIX_RUN, *options, "--teacher-epochs=1"]) == 0
    run = here / "there" / "lightning_logs" / "version_0"
    assert torch.load(run / "teacher" / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 2
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 12
    assert torch.load(run / "bank.pt", weights_only=True)["round"] == 1
    assert [path.name for path in here.iterdir()] == ["there"]


def test_a_run_takes_no_other_runs_bank_or_teacher(here):
    short = ["--trainer.limit_train_batches=2", "--teacher-epochs=1", "--trainer.logger=false"]
    for seed in (0, 1):
        assert remix.main([*REMIX_RUN, *short, f"--seed_everything={seed}"]) == 0
    banks = [torch.load(here / "lightning_logs" / f"version_{n}" / "bank.pt", weights_only=True) for n in (0, 1)]
    assert not torch.equal(banks[0]["sources"][:10], banks[1]["sources"][:10])


def test_a_run_that_others_began_is_resumed_with_the_options_in_its_own_folder(here, capsys):
    short = ["--trainer.limit_train_batches=2", "--teacher-epochs=1"]
    first, run = (here / "lightning_logs" / f"version_{number}" for number in (0, 1))
    assert remix.main([*REMIX_RUN, *short]) == 0
    assert remix.main([*REMIX_RUN, *short, "--init", str(first / "checkpoints" / "last.ckpt")]) == 0
    assert remix.main(["--config", str(run / "config.yaml"), "--ckpt", str(run / "checkpoints" / "last.ckpt")]) == 0
    assert "Nothing is left to train" in capsys.readouterr().out


def test_a_run_with_renewed_banks_is_resumed_bit_for_bit(here, checkpoint, monkeypatch):
    short = [*REMIX_RUN, "--data.renew=true", "--trainer.limit_train_batches=2", f"--teacher={checkpoint}"]
    first, second = (here / "lightning_logs" / f"version_{number}" for number in (0, 1))
    assert remix.main(short) == 0
    make = BankMaker.make
    with monkeypatch.context() as patch:
        patch.setattr(BankMaker, "make", lambda self, of, number: make(self, of, {0: 0, 1: 1}[number]))
        with pytest.raises(KeyError):
            remix.main(short)
    assert torch.load(second / "bank.pt", weights_only=True)["round"] == 1
    assert remix.main(["--ckpt", str(second / "checkpoints" / "last.ckpt")]) == 0
    states = [torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for run in (first, second)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert torch.load(second / "bank.pt", weights_only=True)["round"] == 5


def test_more_slots_than_the_first_weights_have_need_a_teacher_that_fills_them(here, checkpoint, capsys):
    short = [*REMIX_RUN, "--trainer.limit_train_batches=1", "--teacher", str(checkpoint)]
    first, more = (here / "lightning_logs" / f"version_{number}" / "checkpoints" / "last.ckpt" for number in (0, 1))
    assert remix.main(short) == 0
    assert remix.main([*short, "--init", str(first), "--model.num_sources=3"]) == 0
    kept, grown = (torch.load(path, weights_only=True)["state_dict"]["network.masks.weight"] for path in (first, more))
    assert (len(kept), len(grown)) == (2, 3)
    torch.testing.assert_close(grown[:2], kept, atol=0.1, rtol=0)
    assert remix.main([*REMIX_RUN, "--init", str(first), "--model.num_sources=3"]) == 2
    assert "--init has 2 slots: --model.num_sources 3 needs a --teacher" in capsys.readouterr().err


def test_a_teacher_of_pairs_teaches_to_count_one_to_three(here, checkpoint, capsys):
    """The first student has no head that counts; the second begins with its weights and learns from its estimates."""
    short = [*REMIX_RUN, "--trainer.limit_train_batches=1"]
    first, more = (here / "lightning_logs" / f"version_{number}" / "checkpoints" / "last.ckpt" for number in (0, 1))
    assert remix.main([*short, "--teacher", str(checkpoint)]) == 0
    options = ["--model.num_sources=3", "--model.counting=true", "--data.num_remixed=[1,3]", "--data.keep=[0.5]"]
    assert remix.main([*short, *options, "--init", str(first)]) == 0
    student = vaebss.load(more)
    assert (student.num_sources, student.counting) == (3, True)
    assert remix.main([*short, "--init", str(more), "--model.counting=false"]) == 2
    assert remix.main([*short, "--teacher", str(checkpoint), "--data.num_remixed=3"]) == 2
    assert "--data.num_remixed 3 is more than --model.num_sources 2" in capsys.readouterr().err


def test_a_dry_run_leaves_nothing_behind(here, checkpoint):
    assert remix.main([*REMIX_RUN, "--teacher", str(checkpoint), "--trainer.fast_dev_run=true"]) == 0
    assert not list(here.iterdir())
