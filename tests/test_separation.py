import pytest
import torch

from vaebss.separation import Separation, active_slots, add_up, check_mixture, mask, sharpness


def test_masked_estimates_add_up_to_the_mixture(random_mixture):
    estimates = torch.rand(5, 3, 1, 28, 28)
    masked = mask(estimates, random_mixture)
    assert (masked >= 0).all()
    torch.testing.assert_close(masked.sum(1), random_mixture, atol=1e-5, rtol=0)


def test_masks_keep_the_proportions_of_the_estimates():
    masked = mask(torch.tensor([1.0, 3.0]).view(1, 2, 1, 1, 1), torch.full((1, 1, 1, 1), 0.8))
    torch.testing.assert_close(masked.flatten(), torch.tensor([0.2, 0.6]))


def test_what_is_too_bright_for_a_source_goes_to_the_others_in_proportion():
    estimates = torch.tensor([0.8, 0.15, 0.05, 0.0]).view(1, 4, 1, 1, 1)
    masked = mask(estimates, torch.full((1, 1, 1, 1), 1.0), brightest=0.5)
    torch.testing.assert_close(masked.flatten(), torch.tensor([0.5, 0.375, 0.125, 0.0]))
    masked = mask(torch.tensor([1.0, 0.0]).view(1, 2, 1, 1, 1), torch.full((1, 1, 1, 1), 0.75), brightest=0.5)
    torch.testing.assert_close(masked.flatten(), torch.tensor([0.5, 0.25]))


def test_where_nothing_is_estimated_slots_share_alike():
    masked = mask(torch.zeros(1, 4, 1, 2, 2), torch.ones(1, 1, 2, 2))
    torch.testing.assert_close(masked, torch.full((1, 4, 1, 2, 2), 0.25))


def test_vanishing_estimates_stay_finite():
    tiny = torch.full((1, 2, 1, 1, 1), torch.finfo(torch.float32).tiny)
    torch.testing.assert_close(mask(tiny, torch.ones(1, 1, 1, 1)).flatten(), torch.tensor([0.5, 0.5]))


def test_sharpness_is_the_largest_share_weighted_by_the_mixture():
    estimates = torch.tensor([[3.0, 1.0], [1.0, 1.0]]).view(1, 2, 1, 1, 2)  # shares of 3/4 and 1/2
    mixture = torch.tensor([1.0, 3.0]).view(1, 1, 1, 2)
    assert sharpness(estimates, mixture).item() == pytest.approx((0.75 + 3 * 0.5) / 4)
    assert sharpness(estimates, 0 * mixture).item() == 1
    assert sharpness(estimates, mixture, exponent=2.0).item() == pytest.approx((0.9 + 9 * 0.5) / 10)


@pytest.mark.parametrize("exponent", [1.0, 4.0])
def test_masked_estimates_add_up_by_their_exponent(exponent, random_mixture):
    masked = mask(torch.rand(5, 3, 1, 28, 28), random_mixture, exponent=exponent)
    torch.testing.assert_close(add_up(masked, exponent), random_mixture, atol=1e-5, rtol=1e-4)


def test_where_scale_is_unknown_a_slot_is_active_by_its_share():
    masked = torch.tensor([1.0, 0.5, 0.1]).view(1, 3, 1, 1, 1)
    assert active_slots(masked, float("inf"), exponent=1.0).tolist() == [[True, True, True]]
    assert active_slots(masked, float("inf"), exponent=4.0).tolist() == [[True, True, False]]
    assert active_slots(masked, float("inf"), exponent=4.0, faintest=0.1).tolist() == [[True, False, False]]


def test_every_digit_is_active_and_silence_is_not(digits_module):
    sources = torch.cat([digits_module.corpus.splits.train, digits_module.corpus.splits.test]).float().unsqueeze(1) * (
        0.5 / 255
    )
    assert active_slots(sources, 0.5).float().mean() > 0.999
    assert not active_slots(torch.zeros_like(sources), 0.5).any()
    assert torch.equal(active_slots(2 * sources, 1.0), active_slots(sources, 0.5))


@pytest.mark.parametrize(
    ("mixture", "message"),
    [
        ([[0.0]], "Tensor"),
        (torch.rand(1, 28, 28), "shape"),
        (torch.rand(2, 1, 28, 27), "shape"),
        (torch.rand(2, 3, 28, 28), "shape"),
        (torch.rand(0, 1, 28, 28), "no images"),
        (torch.zeros(1, 1, 28, 28, dtype=torch.uint8), "uint8"),
        (torch.zeros(1, 1, 28, 28, dtype=torch.complex64), "complex64"),
        (torch.full((1, 1, 28, 28), -0.1), "-0.1"),
        (torch.full((1, 1, 28, 28), 2.1), "2.1"),
        (torch.full((1, 1, 28, 28), torch.nan), "NaN"),
        (torch.full((1, 1, 28, 28), torch.inf), "infinity"),
    ],
)
def test_mixtures_that_cannot_be_separated_are_refused(mixture, message):
    with pytest.raises(ValueError, match=message) as error:
        check_mixture(mixture, (1, 28, 28), 2)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("exponent", [1.0, 4.0])
def test_slots_without_a_source_give_what_they_have_to_those_with_one(random_mixture, exponent):
    found = mask(torch.rand(5, 3, 1, 28, 28), random_mixture, exponent=exponent)
    active = torch.tensor([[True, False, True]] * 4 + [[False] * 3])
    settled = Separation(found, active, torch.ones(5)).drop_inactive(random_mixture, exponent)
    assert (settled.sources[:4, 1] == 0).all()
    torch.testing.assert_close(add_up(settled.sources, exponent), random_mixture, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(settled.sources[4], found[4])  # who else should have it
    first, last = found[:4, 0] * settled.sources[:4, 2], found[:4, 2] * settled.sources[:4, 0]
    torch.testing.assert_close(first, last)  # in proportion


def test_sources_come_before_slots_without_one():
    sources = torch.arange(6.0).view(2, 3, 1)
    active = torch.tensor([[False, True, True], [True, False, True]])
    ordered = Separation(sources, active, torch.ones(2)).sources_first()
    assert ordered.sources.flatten(1).tolist() == [[1, 2, 0], [3, 5, 4]]
    assert ordered.active.tolist() == [[True, True, False]] * 2
