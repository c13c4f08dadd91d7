import itertools
import json
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import quiet
from pytorch_lightning import Trainer

import vaebss
from vaebss import VAE, Masker, Remixes, RemixSeparator, Scores, Separation
from vaebss.commands import test
from vaebss.data.bank import Bank, make_bank
from vaebss.data.batches import MixtureDataset
from vaebss.data.corpora.digits import Digits
from vaebss.matching import with_silence
from vaebss.modalities.images import Images
from vaebss.training import banks
from vaebss.training.banks import BankMaker, consistency
from vaebss.training.scores import quality_by_confidence
from vaebss.training.student import COUNTING, counting_loss, permutation_invariant_loss, slot_by_slot_loss

SMALL = {"num_mixtures": 60, "epoch_size": 64, "batch_size": 16, "val_mixtures": 16, "epochs_per_round": 2}


def loss(estimates: torch.Tensor, sources: torch.Tensor, source_scale: float) -> torch.Tensor:
    """Of estimates (B, K, C, H, W) of images, as parts of a white one."""
    white = torch.ones_like(estimates[:, 0])
    errors = Images(white.shape[1:]).errors(estimates, white, with_silence(sources, estimates.shape[1]))
    return permutation_invariant_loss(errors, source_scale)


def student(**options) -> RemixSeparator:
    torch.manual_seed(0)
    return RemixSeparator(**{"widths": (4, 6, 8), "bottleneck": 16} | options)


def train(data: Remixes, model: RemixSeparator, **options) -> Trainer:
    trainer = quiet(callbacks=[Scores()], reload_dataloaders_every_n_epochs=1, **{"max_epochs": 4} | options)
    data.banks = data.banks or BankMaker(data, model.model, teacher)
    trainer.fit(model, data)
    return trainer


def teacher() -> VAE:
    torch.manual_seed(1)
    return VAE(hidden_dims=(32, 16)).eval()


def test_estimates_add_up_exactly(random_mixture):
    separation = student(num_sources=3).separate(random_mixture)
    assert separation.sources.shape == (5, 3, 1, 28, 28)
    assert (separation.sources >= 0).all()
    torch.testing.assert_close(separation.sources.sum(1), random_mixture, atol=1e-5, rtol=0)
    assert ((separation.confidence >= 1 / 3) & (separation.confidence <= 1)).all()


def test_silence_has_no_source_and_no_doubt():
    separation = student().separate(torch.zeros(2, 1, 28, 28))
    assert (separation.count == 0).all()
    assert (separation.confidence == 1).all()


def test_there_are_no_latents_to_refine(random_mixture):
    with pytest.raises(ValueError, match="refine_steps"):
        student().separate(random_mixture, refine_steps=1)


def test_the_loss_is_the_least_over_assignments():
    estimates, sources = torch.rand(6, 3, 1, 8, 8) / 2, torch.rand(6, 3, 1, 8, 8) / 2
    found = loss(estimates, sources, 0.5)
    errors = [
        torch.log10((estimates[:, list(order)] - sources).square().flatten(2).mean(2) + 1e-4).mean(1)
        for order in itertools.permutations(range(3))
    ]
    torch.testing.assert_close(found, torch.stack(errors).amin(0))
    torch.testing.assert_close(loss(sources.flip(1), sources, 0.5), torch.full((6,), -4.0))
    torch.testing.assert_close(loss(2 * estimates, 2 * sources, 1.0), found)


def test_spare_slots_should_be_silent():
    source = torch.rand(1, 1, 1, 8, 8) / 2
    silent = torch.cat([source, torch.zeros_like(source)], 1)
    halved = torch.cat([source / 2, source / 2], 1)
    assert loss(silent, source, 0.5) < loss(halved, source, 0.5)


def test_the_bank_holds_the_active_slots_of_the_surest():
    sources = torch.arange(8.0).view(4, 2, 1, 1, 1)
    active = torch.tensor([[True, True], [True, False], [True, True], [True, True]])
    separation = Separation(sources, active, torch.tensor([1.0, 3.0, 2.0, 0.0]))
    bank = make_bank(separation, 0.5, 0)
    assert sorted(bank.sources.flatten().tolist()) == [2, 4, 5]
    assert bank.counts == (1, 2)
    with pytest.raises(ValueError, match="empty"):
        make_bank(Separation(sources, torch.zeros_like(active), torch.ones(4)), 0.5, 0)


def test_a_bank_knows_in_which_slot_each_was_found():
    sources = torch.arange(8.0).view(4, 2, 1, 1, 1)
    active = torch.tensor([[True, True], [False, True], [True, True], [True, True]])
    bank = make_bank(Separation(sources, active, torch.tensor([1.0, 3.0, 2.0, 0.0])), 0.5, 0, voices=True)
    assert bank.voices is not None
    assert dict(zip(bank.sources.flatten().tolist(), bank.voices.tolist(), strict=True)) == {3: 1, 4: 0, 5: 1}


class Corners:
    """Finds a source in each corner of a picture that is not black."""

    def separate(self, mixture):
        sources = torch.stack([mixture * corner for corner in torch.eye(4).view(4, 1, 2, 2)], 1)
        return Separation(sources, sources.flatten(2).any(2), torch.ones(len(mixture)))


def test_a_separation_is_consistent_where_groups_of_its_sources_are_found_again():
    white, black = torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    of_its_own = Corners().separate(white).sources  # four sources, each in a corner
    merged = torch.stack([of_its_own[:, 0] + of_its_own[:, 1], of_its_own[:, 2], black, black], 1)
    alone = torch.stack([of_its_own[:, 0], black, black, black], 1)
    sources = torch.cat([of_its_own, merged, alone])
    found = Separation(sources, sources.flatten(2).any(2), torch.ones(3))
    separator: Any = Corners()
    assert consistency(separator, Images((1, 2, 2)), found).tolist() == [1, 0.5, 1]


@pytest.mark.parametrize(("consistent", "kept"), [(False, [0, 1]), (True, [1, 2])])
def test_confidence_counts_as_much_as_consistency(consistent, kept, monkeypatch):
    """By confidence the first two are best, by consistency the last two, by their product the middle two."""
    sure, right = torch.tensor([0.9, 0.8, 0.7, 0.2]), torch.tensor([0.5, 0.8, 0.9, 1.0])
    data = Remixes(source="bundled", consistent=consistent, keep=(0.5,), **SMALL | {"num_mixtures": 4})
    data.setup()
    separator, numbers = student().model, torch.arange(1.0, 9.0).view(4, 2, 1, 1, 1).expand(4, 2, 1, 28, 28)
    found = Separation(numbers, torch.ones(4, 2, dtype=torch.bool), sure)
    monkeypatch.setattr(separator, "pseudo_label", lambda mixture, **options: found)
    monkeypatch.setattr(banks, "consistency", lambda separator, modality, found: right)
    bank = BankMaker(data, separator, lambda: separator).make(separator, 0)
    slots = [2 * number + slot + 1 for number in kept for slot in (0, 1)]
    assert sorted(bank.sources.amax((1, 2, 3)).tolist()) == slots


def test_a_count_is_common_from_one_mixture_in_twenty_on():
    active = torch.zeros(100, 4, dtype=torch.bool)
    for number, count in enumerate([1] * 4 + [2] * 88 + [3] * 5 + [4] * 3):
        active[number, :count] = True
    found = Separation(torch.rand(100, 4, 1, 1, 1), active, torch.ones(100))
    assert make_bank(found, 0.5, 0).counts == (2, 3)


@pytest.mark.parametrize(("voices", "away"), [(False, 0.01), (True, 0.29)])
def test_a_student_of_voices_learns_to_keep_their_slots(voices, away, monkeypatch):
    """Estimates of 0.11 and 0.39 for sources of 0.4 and 0.1: right to 0.01, though each in the other's slot."""
    model, mixture = student(num_sources=2), torch.full((3, 1, 4, 4), 0.5)
    sources = torch.tensor([0.4, 0.1]).view(1, 2, 1, 1, 1) * torch.ones(3, 2, 1, 4, 4)
    shares = torch.tensor([0.11, 0.39]).view(1, 2, 1, 1, 1) / 0.5 * torch.ones(3, 2, 1, 4, 4)
    model.modality = SimpleNamespace(voices=voices, errors=Images((1, 4, 4)).errors)
    monkeypatch.setattr(model.model, "shares_and_counts", lambda mixture: (shares, None))
    monkeypatch.setattr(type(model), "logs_now", False)
    loss = model.training_step({"mixture": mixture, "signal": mixture, "targets": sources}, 0)
    assert loss.item() == pytest.approx(math.log10(away**2 + 1e-4), abs=1e-4)


def test_voices_keep_their_slots_though_others_would_cost_less():
    errors = torch.tensor([[[0.5, 0.1], [0.01, 0.2]]])  # (source, slot)
    expected = (torch.tensor([0.5, 0.2]) + 1e-4).log10().mean()
    torch.testing.assert_close(slot_by_slot_loss(errors, math.inf), expected[None])
    assert permutation_invariant_loss(errors, math.inf) < slot_by_slot_loss(errors, math.inf)


@pytest.mark.parametrize("voices", [None, torch.tensor([0, 1, 1])])
def test_a_bank_is_the_same_after_a_file(tmp_path, voices):
    bank = Bank(torch.rand(3, 1, 4, 4).half(), (1, 2), 1, voices)
    bank.save(tmp_path / "bank.pt")
    loaded = Bank.load(tmp_path / "bank.pt")
    assert torch.equal(loaded.sources, bank.sources)
    assert loaded.voices is None if voices is None else torch.equal(loaded.voices, voices)
    assert (loaded.counts, loaded.round) == ((1, 2), 1)
    assert [path.name for path in tmp_path.iterdir()] == ["bank.pt"]


def test_quality_follows_confidence():
    curve = quality_by_confidence(torch.arange(100.0), torch.arange(100.0))
    assert curve[10] == 94.5
    assert curve[100] == 49.5


def test_every_round_has_a_bank_of_its_own(tmp_path):
    data, model, makers = Remixes(source="bundled", keep=(0.5, 1.0), **SMALL), student(), []
    data.banks = maker = BankMaker(data, model.model, teacher, tmp_path / "bank.pt")
    make = maker.make
    maker.make = lambda separator, number: makers.append((type(separator), number)) or make(separator, number)
    train(data, model)
    assert makers == [(VAE, 0), (Masker, 1)]
    assert Bank.load(tmp_path / "bank.pt").round == 1
    assert len(maker.bank.sources) > 60  # of nearly every slot of every mixture


def test_a_renewed_bank_is_made_before_every_epoch_with_the_share_of_its_round(monkeypatch):
    made = []
    monkeypatch.setattr(banks, "make_bank", lambda *given: made.append(given[1:3]) or make_bank(*given))
    train(Remixes(source="bundled", keep=(0.5, 1.0), renew=True, **SMALL), student())
    assert made == [(0.5, 0), (0.5, 1), (1.0, 2), (1.0, 3)]


def test_remixes_hold_targets_and_no_true_source():
    data, batches = Remixes(source="bundled", keep=(1.0,), **SMALL), []
    data.on_after_batch_transfer = lambda batch, _: batches.append(batch) or batch
    train(data, student(), max_epochs=1, limit_val_batches=0)
    assert {tuple(batch) for batch in batches} == {("signal", "mixture", "targets")}
    torch.testing.assert_close(batches[0]["targets"].sum(1), batches[0]["mixture"])


def test_a_bank_of_more_sources_than_slots_is_refused():
    data = Remixes(source="bundled", keep=(1.0,), **SMALL)
    data.setup()
    bank = Bank(data.corpus.splits.train[:20].half() / 510, (1, 3), 0)
    data.banks = lambda number: bank
    with pytest.raises(ValueError, match="3 sources"):
        train(data, student())


def test_workers_change_nothing():
    runs = []
    for num_workers in (0, 2):
        data = Remixes(source="bundled", keep=(1.0,), num_workers=num_workers, **SMALL)
        model = student()
        train(data, model, max_epochs=1)
        runs.append(model.state_dict())
    for name, value in runs[0].items():
        assert torch.equal(value, runs[1][name]), name


def test_a_student_learns_from_a_bank():
    data = Remixes(source="bundled", keep=(1.0,), **SMALL | {"epoch_size": 1600, "epochs_per_round": 1})
    data.setup()
    bank = Bank(data.corpus.splits.train[:200].half() / 510, (2, 2), 0)  # an ideal one, so that the test is quick
    data.banks = lambda number: bank
    model = student(widths=(8, 16, 32), average_decay=0.9)
    trainer = train(data, model, max_epochs=1)
    assert trainer.callback_metrics["val/psnr_paper"] > 21.5  # an equal share scores 21


def test_truth_never_reaches_bank_loss_or_choice():
    runs = []
    for corrupt in (False, True):
        corpus = SpoiltDigits(source="bundled") if corrupt else Digits(source="bundled")
        data, model = Remixes(source=corpus, keep=(0.5, 0.5), **SMALL), student()
        data.banks = maker = BankMaker(data, model.model, teacher)
        maker.watch = lambda batch, found: None  # batches hold the truth, as where a bank is scored
        trainer = train(data, model)
        runs.append(
            model.state_dict() | {"bank": maker.bank.sources, "chosen by": trainer.callback_metrics["val/confidence"]}
        )
    for name, value in runs[0].items():
        assert torch.equal(value, runs[1][name]), name


class Spoilt(MixtureDataset):
    """The true sources of mixtures are replaced by noise."""

    def __getitem__(self, plan):
        batch = super().__getitem__(plan)
        return batch | {"sources": torch.rand_like(batch["sources"]) / 2} if "sources" in batch else batch


class SpoiltDigits(Digits):
    def dataset(self, split, modality=None, truth=None):
        dataset = super().dataset(split, modality, truth)
        dataset.__class__ = Spoilt
        return dataset


@pytest.mark.parametrize(
    "options",
    [
        *({"keep": keep} for keep in ((), (1.5,), (0.0,))),
        *({"num_remixed": number} for number in (0, [3, 1])),
        {"epochs_per_round": 0},
        {"voices": True},
        {"source_classes": True},
    ],
)
def test_impossible_data_options_are_refused_by_name(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Remixes(source="bundled", **options)


@pytest.mark.parametrize(
    "options", [{"num_sources": 0}, {"lr": 0.0}, {"widths": ()}, {"bottleneck": 0}, {"average_decay": 1.0}]
)
def test_impossible_model_options_are_refused_by_name(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        RemixSeparator(**options)


def test_a_student_opens_without_its_teacher(tmp_path, random_mixture):
    data = Remixes(source="bundled", keep=(1.0,), **SMALL)
    model = student()
    trainer = train(data, model, max_epochs=1)
    trainer.save_checkpoint(tmp_path / "student.ckpt")
    opened = vaebss.load(tmp_path / "student.ckpt")
    assert isinstance(opened, Masker)
    torch.testing.assert_close(opened.separate(random_mixture).sources, model.separate(random_mixture).sources)
    assert test.main(["--ckpt", str(tmp_path / "student.ckpt"), "--data.test_mixtures=20", "--gpus=0"]) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["n"] == 20
    assert "rate" not in results


def test_the_average_separates_and_follows_the_network(random_mixture):
    model = student(average_decay=0.5)
    before = model.separate(random_mixture).sources
    with torch.no_grad():
        for weight in model.model.network.parameters():
            weight += 0.1
    assert torch.equal(model.separate(random_mixture).sources, before)
    start = [weight.clone() for weight in model.model.average.parameters()]
    model.model.average.n_averaged += 1  # as after a first step
    model.optimizer_step(0, 0, torch.optim.SGD(model.model.network.parameters(), lr=0.0), lambda: None)
    for old, new in zip(start, model.model.average.parameters(), strict=True):
        torch.testing.assert_close(new - old, torch.full_like(old, 0.05))
    assert not any(weight.requires_grad for weight in model.model.average.parameters())


def pixel_by_pixel(mixture):
    share = torch.sigmoid(8 * mixture - 3)
    return torch.stack([share, 1 - share], 1)


def test_opinions_that_agree_are_the_answer_whatever_the_order_of_their_slots(random_mixture, monkeypatch):
    model, orders = student(), itertools.cycle([[0, 1], [1, 0]])
    shares = lambda mixture: (pixel_by_pixel(mixture)[:, next(orders)], None)  # noqa: E731
    monkeypatch.setattr(model.model, "shares_and_counts", shares)
    mixture = random_mixture / 2  # nowhere brighter than a source
    labelled = model.model.pseudo_label(mixture)
    torch.testing.assert_close(labelled.sources, pixel_by_pixel(mixture) * mixture.unsqueeze(1))
    torch.testing.assert_close(labelled.confidence, torch.ones(5))


def test_confidence_is_1_minus_the_share_that_is_disputed(random_mixture, monkeypatch):
    """The first estimate gives 9 tenths to one slot, and the others give 6 or 7."""
    model, given = student(), iter([0.9, 0.6, 0.7])

    def shares(mixture):
        first = torch.full_like(mixture, next(given))
        return torch.stack([first, 1 - first], 1), None

    monkeypatch.setattr(model.model, "shares_and_counts", shares)
    labelled = model.model.pseudo_label(random_mixture / 2)
    torch.testing.assert_close(labelled.confidence, torch.full((5,), 1 - (0.3 + 0.2) / 2))


def test_opinions_that_differ_are_less_sure_and_still_add_up(random_mixture):
    model = student(num_sources=3)
    labelled = model.model.pseudo_label(random_mixture)
    assert ((labelled.confidence > 0) & (labelled.confidence < 1)).all()
    torch.testing.assert_close(labelled.sources.sum(1), random_mixture, atol=1e-5, rtol=0)
    assert (model.model.pseudo_label(torch.zeros(2, 1, 28, 28)).confidence == 1).all()


def test_the_loss_of_counts_is_their_cross_entropy():
    logits = torch.randn(3, 3, requires_grad=True)
    sources = torch.rand(3, 3, 1, 4, 4)
    sources[0, 1:], sources[1, 2] = 0, 0  # 1, 2 and 3 sources
    expected = -logits.log_softmax(1).diagonal().mean()
    torch.testing.assert_close(counting_loss(logits, sources), expected)
    assert counting_loss(logits, torch.zeros(1, 3, 1, 4, 4).expand(3, -1, -1, -1, -1)).isfinite()


def test_counts_are_learned_beside_masks():
    """The loss of counts is added with its weight, and reaches the weights that masks are made of, too."""
    model = student(num_sources=3, counting=True)
    sources = torch.rand(6, 3, 1, 28, 28) / 4
    sources[:2, 1:], sources[2:4, 2] = 0, 0
    mixture = sources.sum(1)
    shares, logits = model.model.shares_and_counts(mixture)
    masks = permutation_invariant_loss(model.modality.errors(shares, mixture, sources), 0.5).mean()
    assert logits is not None
    expected = masks + COUNTING * counting_loss(logits, sources)
    torch.testing.assert_close(model.cost(mixture, mixture, sources)[0], expected)
    counting_loss(logits, sources).backward()
    first: Any = next(model.model.network.parameters())
    assert first.grad.abs().sum() > 0


def test_a_student_learns_to_count():
    """Of pseudo-sources that were found in pairs; the test mixtures have one or two digits."""
    sizes = {"epoch_size": 3_200, "epochs_per_round": 1, "val_mixtures": 200}
    data = Remixes(source="bundled", keep=(1.0,), num_mixed=[1, 2], num_remixed=[1, 2], **SMALL | sizes)
    data.setup()
    bank = Bank(data.corpus.splits.train[:400].half() / 510, (2, 2), 0)
    data.banks = lambda number: bank
    model = student(widths=(8, 16, 32), average_decay=0.9, counting=True)
    found = train(data, model, max_epochs=1).callback_metrics["val/count"]
    assert found > 0.8  # one of two is right by chance


@pytest.mark.parametrize(("asked", "expected"), [(None, {2}), (3, {3}), ([1, 3], {1, 2, 3})])
def test_remixes_have_as_many_sources_as_is_asked_or_as_were_found(asked, expected):
    data, counts = Remixes(source="bundled", keep=(1.0,), num_remixed=asked, **SMALL), set()
    data.setup()
    bank = Bank(data.corpus.splits.train[:20].half() / 510, (2, 2), 0)
    data.banks = lambda number: bank
    count = lambda batch, _: counts.update(batch["targets"].flatten(2).any(2).sum(1).tolist()) or batch  # noqa: E731
    data.on_after_batch_transfer = count
    train(data, student(num_sources=3), max_epochs=1, limit_val_batches=0)
    assert counts == expected


def test_a_student_that_counts_trains_in_bfloat16():
    data, model = Remixes(source="bundled", keep=(1.0,), num_remixed=[1, 2], **SMALL), student(counting=True)
    network: Any = model.model.network
    head = network.counter.counts
    before = head.weight.detach().clone()
    train(data, model, max_epochs=1, precision="bf16-mixed")
    assert head.weight.isfinite().all()
    assert not torch.equal(head.weight, before)
