"""Laws that hold for any input, tried on many."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vaebss.data.batches import MixtureDataset
from vaebss.data.plans import draw_plan
from vaebss.matching import match
from vaebss.modalities.images import Images
from vaebss.separation import mask
from vaebss.training.student import permutation_invariant_loss

settings.register_profile("laws", deadline=None, max_examples=60)
settings.load_profile("laws")

seeds = st.integers(0, 2**31)
slots = st.integers(1, 5)
magnitudes = st.sampled_from([0.0, 1e-40, 1e-20, 1e-6, 1.0])  # silence and numbers below float32's normal ones too


def images(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@given(seed=seeds, slots=slots, estimate=magnitudes, mixture=magnitudes)
def test_masked_estimates_add_up_and_are_never_negative(seed, slots, estimate, mixture):
    x = images(seed, 3, 1, 5, 5) * mixture
    masked = mask(images(seed + 1, 3, slots, 1, 5, 5) * estimate, x)
    assert (masked >= 0).all()
    torch.testing.assert_close(masked.sum(1), x, atol=1e-6, rtol=1e-5)


@given(seed=seeds, slots=slots, estimate=magnitudes, mixture=magnitudes, brightest=st.sampled_from([0.05, 0.3, 0.5]))
def test_no_masked_estimate_is_too_bright_and_still_they_add_up(seed, slots, estimate, mixture, brightest):
    x = images(seed, 3, 1, 5, 5) * mixture
    estimates = images(seed + 1, 3, slots, 1, 5, 5) ** 4 * estimate
    masked = mask(estimates, x, brightest)
    assert (masked >= 0).all()
    torch.testing.assert_close(masked.sum(1), x, atol=1e-6, rtol=1e-5)
    assert (masked <= torch.maximum(x / slots, torch.tensor(brightest)).unsqueeze(1) + 1e-6).all()
    plain = mask(estimates, x)
    fits = (plain <= brightest).all(1, keepdim=True).expand_as(plain)
    assert torch.equal(masked[fits], plain[fits])


@given(seed=seeds, slots=slots, sources=st.integers(1, 4))
def test_matching_undoes_any_permutation_of_slots(seed, slots, sources):
    estimates, truth = images(seed, 2, slots, 1, 4, 4), images(seed + 1, 2, sources, 1, 4, 4)
    count = torch.randint(1, sources + 1, (2,), generator=torch.Generator().manual_seed(seed))
    order = torch.randperm(slots, generator=torch.Generator().manual_seed(seed))
    here = torch.arange(sources) < count.unsqueeze(1)
    before, after = match(estimates, truth, count)[here], match(estimates[:, order], truth, count)[here]
    torch.testing.assert_close((before - truth[here]).square().sum(), (after - truth[here]).square().sum())


@given(seed=seeds, slots=slots, sources=st.integers(2, 4))
def test_matching_does_not_look_beyond_the_count(seed, slots, sources):
    estimates, truth = images(seed, 3, slots, 1, 4, 4), images(seed + 1, 3, sources, 1, 4, 4)
    count = torch.randint(1, sources, (3,), generator=torch.Generator().manual_seed(seed))
    here = torch.arange(sources) < count.unsqueeze(1)
    other = torch.where(here[..., None, None, None], truth, 9 * images(seed + 2, *truth.shape))
    assert torch.equal(match(estimates, truth, count)[here], match(estimates, other, count)[here])


@given(seed=seeds, slots=slots)
def test_the_remix_loss_knows_no_order(seed, slots):
    errors = images(seed, 2, slots, slots)
    order = torch.randperm(slots, generator=torch.Generator().manual_seed(seed))
    expected = permutation_invariant_loss(errors, 0.5)
    torch.testing.assert_close(permutation_invariant_loss(errors[:, order], 0.5), expected)
    torch.testing.assert_close(permutation_invariant_loss(errors[:, :, order], 0.5), expected)


@given(seed=seeds, epoch=st.integers(0, 1000), rows=st.integers(1, 50), low=slots, more=st.integers(0, 3))
def test_a_plan_depends_on_its_address_alone(seed, epoch, rows, low, more):
    counts = (low, low + more)
    plan = draw_plan(100, rows, counts, seed, 0, epoch)
    assert torch.equal(draw_plan(100, 50, counts, seed, 0, epoch)[:rows], plan)
    there = (plan >= 0).sum(1)
    assert ((there >= low) & (there <= low + more) & (plan < 100).all(1)).all()


@given(seed=seeds, signals=st.integers(4, 9), least=st.integers(1, 4))
def test_a_plan_of_distinct_signals_holds_none_twice_and_is_uniform(seed, signals, least):
    plan = draw_plan(signals, 400, (least, 4), seed, distinct=True)
    assert all(len(set(row)) == len(row) for row in ([n for n in row if n >= 0] for row in plan.tolist()))
    assert torch.equal((plan >= 0).sum(1), (draw_plan(signals, 400, (least, 4), seed) >= 0).sum(1))
    assert torch.equal(plan[:100], draw_plan(signals, 100, (least, 4), seed, distinct=True))
    for column in plan.T:  # within six standard deviations of as many of each as of any other
        drawn = column[column >= 0]
        expected = len(drawn) / signals
        assert ((drawn.bincount(minlength=signals) - expected).abs() < 6 * expected**0.5 + 1).all()


def test_more_sources_than_signals_are_drawn_more_than_once():
    assert set(draw_plan(1, 5, (2, 2), 0, distinct=True).flatten().tolist()) == {0}


@given(seed=seeds, rows=st.integers(1, 20), cut=st.integers(0, 20))
def test_mixtures_are_sums_however_they_are_batched(seed, rows, cut):
    dataset = MixtureDataset(images(seed, 10, 1, 4, 4), 0.5, Images((1, 4, 4)))
    plan = draw_plan(10, rows, (1, 4), seed)
    whole = dataset[plan]
    torch.testing.assert_close(whole["sources"].sum(1), whole["mixture"])
    parts = [dataset[part]["mixture"] for part in (plan[:cut], plan[cut:]) if len(part)]
    assert torch.equal(torch.cat(parts), whole["mixture"])
