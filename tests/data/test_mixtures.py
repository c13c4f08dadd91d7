import numpy as np
import pytest
import torch
from pytorch_lightning.trainer.states import TrainerFn

from vaebss import MNISTMixtures
from vaebss.data.corpora import notes
from vaebss.data.corpora.note_splits import SPLITS, NoteSplits
from vaebss.data.plans import SILENT, draw_plan, draw_voices
from vaebss.modalities.audio import Audio


def epoch(data: MNISTMixtures, number: int = 0) -> dict[str, torch.Tensor]:
    """A whole epoch of training mixtures in their order."""
    loader = data.train_dataloader()
    loader.sampler.set_epoch(number)
    batches = list(loader)
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


def module(**options) -> MNISTMixtures:
    data = MNISTMixtures(source="bundled", **{"epoch_size": 240, "batch_size": 40} | options)
    data.setup(TrainerFn.FITTING)
    return data


def known(data: MNISTMixtures) -> dict:
    """All test mixtures, whose batches hold their sources."""
    batches = list(data.test_dataloader())
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


def test_training_batches_hold_no_true_source():
    data = module()
    assert {tuple(batch) for batch in data.train_dataloader()} == {("signal", "mixture")}
    for loader in (data.val_dataloader(), data.test_dataloader()):
        assert {*next(iter(loader))} == {"signal", "mixture", "sources", "count"}


def test_a_mixture_is_the_sum_of_its_scaled_sources():
    batch = known(module(test_mixtures=240))
    assert batch["mixture"].shape == (240, 1, 28, 28)
    assert batch["sources"].shape == (240, 2, 1, 28, 28)
    torch.testing.assert_close(batch["sources"].sum(1), batch["mixture"])
    assert batch["sources"].max() == 0.5
    assert batch["mixture"].max() == 1.0
    assert (batch["count"] == 2).all()


def test_four_digits_are_never_clipped():
    batch = epoch(module(num_mixed=4, epoch_size=2000))
    assert 1.5 < batch["mixture"].max() <= 2.0


def test_a_range_draws_every_count_as_often():
    batch = known(module(num_mixed=[1, 4], test_mixtures=4000))
    shares = batch["count"].bincount(minlength=5) / 4000
    torch.testing.assert_close(shares, torch.tensor([0, 0.25, 0.25, 0.25, 0.25]), atol=0.03, rtol=0)
    silent = torch.arange(4) >= batch["count"].unsqueeze(1)
    assert (batch["sources"][silent] == 0).all()
    assert (batch["sources"][~silent].flatten(1).sum(1) > 0).all()


@pytest.mark.parametrize("options", [{"num_workers": 2}, {"batch_size": 80}, {"batch_size": 24}])
def test_mixtures_depend_on_neither_workers_nor_batch_size(options):
    torch.testing.assert_close(epoch(module(), 3), epoch(module(**options), 3), rtol=0, atol=0)


def test_epochs_and_seeds_draw_different_mixtures():
    data = module()
    first = epoch(data, 0)["mixture"]
    assert not torch.equal(first, epoch(data, 1)["mixture"])
    assert not torch.equal(first, epoch(module(seed=1), 0)["mixture"])
    assert torch.equal(first, epoch(module(), 0)["mixture"])


def test_a_row_of_a_plan_depends_on_its_number_alone():
    assert torch.equal(draw_plan(100, 50, (1, 3), 7), draw_plan(100, 80, (1, 3), 7)[:50])


def test_remixes_have_a_signal_of_each_voice_in_its_own_place():
    voices = torch.tensor([2, 0, 0, 2, 0, 1])
    plan = draw_voices(voices, 3_000, (1, 3), 7)
    there = plan != SILENT
    for voice, column in enumerate(plan.unbind(1)):
        used = column[column != SILENT]
        assert (voices[used] == voice).all()
        assert set(used.tolist()) == set((voices == voice).nonzero().flatten().tolist())
    assert there.sum(1).bincount(minlength=4).tolist() == pytest.approx([0, 1_000, 1_000, 1_000], abs=100)
    assert there.sum(0).tolist() == pytest.approx([2_000] * 3, abs=100)
    assert torch.equal(plan, draw_voices(voices, 3_000, (1, 3), 7))


def test_a_voice_that_was_never_found_stays_silent():
    plan = draw_voices(torch.tensor([1, 1]), 50, (2, 2), 7)
    assert (plan[:, 0] == SILENT).all()
    assert (plan[:, 1] != SILENT).all()


def test_a_fixed_list_is_shuffled_each_time_through():
    data = module(num_mixtures=100, epoch_size=100, batch_size=25)
    passes = [epoch(data, number)["mixture"].flatten(1) for number in (0, 1)]
    assert not torch.equal(*passes)
    assert len(torch.cat(passes).unique(dim=0)) == len(passes[0].unique(dim=0)) == 100


def test_a_fixed_list_goes_round_over_the_ends_of_epochs():
    data = module(num_mixtures=100, epoch_size=250, batch_size=50)
    both = torch.cat([epoch(data, number)["mixture"].flatten(1) for number in (0, 1)])
    _, times = both.unique(dim=0, return_counts=True)
    assert (times == 5).all()


def test_devices_share_an_epoch_without_overlap(monkeypatch):
    whole = epoch(module(batch_size=80))["mixture"]
    data = module(batch_size=40)
    parts = []
    for rank in (0, 1):
        monkeypatch.setattr(MNISTMixtures, "world", (2, rank))
        parts.append(epoch(data)["mixture"].split(40))
    together = torch.cat([part for step in zip(*parts, strict=True) for part in step])
    assert torch.equal(together, whole)


def test_validation_and_test_lists_are_fixed_and_of_their_own_digits():
    data, other = module(val_mixtures=30, test_mixtures=20), module(val_mixtures=30, test_mixtures=20, seed=5)
    for name, length in (("val_dataloader", 30), ("test_dataloader", 20)):
        batch = next(iter(getattr(data, name)()))
        assert len(batch["mixture"]) == length
        assert torch.equal(batch["mixture"], next(iter(getattr(other, name)()))["mixture"])


def test_train_size_limits_the_digits():
    data = module(train_size=10, num_mixed=1)
    assert len(epoch(data)["mixture"].unique(dim=0)) == 10
    with pytest.raises(ValueError, match="train_size"):
        module(train_size=10**6)


@pytest.mark.parametrize(
    "options",
    [
        {"num_mixed": 0},
        {"num_mixed": [3, 1]},
        {"num_mixed": [1, 2, 3]},
        {"batch_size": 0},
        {"epoch_size": -1},
        {"source_scale": 0.0},
        {"source_scale": 2.0},
        {"num_workers": -1},
        {"num_mixtures": 0},
        {"window": 3, "source": "notes"},
        {"seed": -1},
    ],
)
def test_impossible_options_are_refused_by_name(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        MNISTMixtures(**{"source": "bundled"} | options)


def test_silent_places_come_last():
    plan = draw_plan(10, 200, (1, 4), 0)
    silent = plan == SILENT
    assert (silent.int().diff(dim=1) >= 0).all()
    assert plan.max() < 10


@pytest.fixture
def given(tmp_path) -> MNISTMixtures:
    np.save(tmp_path / "mixtures.npy", np.random.default_rng(0).random((40, 3, 32, 32), dtype=np.float32))
    data = MNISTMixtures(mixtures=str(tmp_path / "mixtures.npy"), batch_size=8, epoch_size=36, val_mixtures=3)
    data.prepare_data()
    data.setup()
    return data


def test_given_mixtures_come_without_sources(given):
    assert given.image_shape == (3, 32, 32)
    batches = [*given.train_dataloader(), *given.val_dataloader()]
    assert {tuple(batch) for batch in batches} == {("signal", "mixture")}
    seen = torch.cat([batch["mixture"] for batch in batches])
    assert len(seen.flatten(1).unique(dim=0)) == len(seen) == 32 + 3  # whole batches of 37, and 3 held out


def test_given_mixtures_cannot_be_scored(given):
    with pytest.raises(ValueError, match=r"the sources in .* are unknown"):
        given.test_dataloader()


def test_too_few_given_mixtures_are_refused(tmp_path):
    np.save(tmp_path / "few.npy", np.zeros((9, 28, 28), np.float32))
    with pytest.raises(ValueError, match="9 mixtures"):
        MNISTMixtures(mixtures=str(tmp_path / "few.npy")).setup()


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_no_mixture_holds_a_note_twice(monkeypatch, split):
    """Five notes, of which two would often be one."""
    five = torch.eye(5, Audio.samples).half()
    labels = {name: torch.zeros(5, 2) for name in SPLITS}
    monkeypatch.setattr(notes, "load_notes", lambda *_: NoteSplits(five, five, five, five, labels))
    data = MNISTMixtures(source="notes", epoch_size=100, batch_size=50, val_mixtures=50, test_mixtures=50)
    data.setup()
    for batch in getattr(data, f"{split}_dataloader")():
        assert (batch["signal"].count_nonzero(1) == 2).all()


def test_a_mixture_may_hold_a_digit_twice():
    assert torch.equal(draw_plan(10, 50, (2, 2), 3), draw_plan(10, 50, (2, 2), 3, distinct=False))
    assert (draw_plan(3, 50, (2, 2), 3)[:, 0] == draw_plan(3, 50, (2, 2), 3)[:, 1]).any()
