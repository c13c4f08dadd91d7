import math

import pytest
import torch
from torch.distributions import Independent, Laplace, Normal, kl_divergence

from vaebss.models.objective import ELBO, Bound, warmed_up

UNIT_VARIANCE = math.sqrt(0.5)


def elbo(prior="normal", prior_scale=1.0, likelihood="laplace", likelihood_scale=UNIT_VARIANCE, variational=True):
    return ELBO(prior, prior_scale, likelihood, likelihood_scale, variational)


@pytest.mark.parametrize("name", ["normal", "laplace"])
@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_rate_is_its_monte_carlo_estimate(name, scale):
    torch.manual_seed(0)
    posterior = Independent(Normal(torch.randn(2, 3, 4), torch.rand(2, 3, 4) + 0.1), 1)
    objective = elbo(name, scale)
    z = posterior.sample((400_000,))
    sampled = (posterior.log_prob(z) - objective.prior(z).log_prob(z)).mean(0)
    x = torch.zeros(2, 1, 2, 2)
    torch.testing.assert_close(objective(x, x, posterior).rate, sampled, atol=0.03, rtol=0.01)


def test_laplace_kl_follows_a_shifted_centre():
    q, p = Normal(torch.tensor(0.3), torch.tensor(0.7)), Laplace(torch.tensor(0.3), torch.tensor(1.0))
    centred = kl_divergence(Normal(torch.tensor(0.0), torch.tensor(0.7)), Laplace(torch.tensor(0.0), torch.tensor(1.0)))
    torch.testing.assert_close(kl_divergence(q, p), centred)


def test_rate_is_zero_for_the_prior_itself_and_for_a_plain_auto_encoder():
    latents, x = torch.zeros(2, 3, 20), torch.zeros(2, 1, 2, 2)
    prior = Independent(Normal(latents, torch.ones_like(latents)), 1)
    torch.testing.assert_close(elbo()(x, x, prior).rate, torch.zeros(2, 3))
    far = Independent(Normal(latents + 5, torch.ones_like(latents)), 1)
    assert torch.equal(elbo(variational=False)(x, x, far).rate, torch.zeros(2, 3))


def test_log_likelihood_sums_pixels_in_nats():
    x, estimate = torch.rand(2, 1, 3, 3), torch.rand(2, 1, 3, 3)
    b = math.sqrt(0.5)
    expected = (-(x - estimate).abs() / b - math.log(2 * b)).flatten(1).sum(1)
    torch.testing.assert_close(elbo().log_likelihood(x, estimate), expected)
    posterior = Independent(Normal(torch.zeros(2, 1, 4), torch.ones(2, 1, 4)), 1)
    torch.testing.assert_close(elbo()(x, estimate, posterior).distortion, -expected)


@pytest.mark.parametrize("name", ["laplace", "normal", "bernoulli"])
def test_the_mixture_itself_is_its_likeliest_estimate(name):
    x = torch.rand(4, 1, 5, 5) * 0.9 + 0.05
    objective = elbo(likelihood=name, likelihood_scale=0.7)
    assert (objective.log_likelihood(x, (x + 0.05).clamp(0, 1)) < objective.log_likelihood(x, x)).all()


def test_bernoulli_takes_mixtures_brighter_than_one():
    x = torch.full((1, 1, 2, 2), 2.0)
    assert torch.isfinite(elbo(likelihood="bernoulli").log_likelihood(x, x)).all()


def test_the_bound_weighs_the_rate_by_beta():
    bound = Bound(torch.tensor([10.0]), torch.tensor([[1.0, 2.0]]))
    assert bound.elbo().item() == -13
    assert bound.elbo(beta=0.5).item() == -11.5


def test_the_joint_is_likelihood_and_weighted_prior():
    latents, x = torch.randn(5, 2, 3, 4), torch.rand(2, 1, 3, 3)
    total = torch.rand(5, 2, 1, 3, 3)
    prior = Normal(0.0, 2.0).log_prob(latents).sum((-1, -2))
    fit = torch.stack([elbo().log_likelihood(x, part) for part in total])
    torch.testing.assert_close(elbo(prior_scale=2.0).log_joint(x, latents, total, beta=0.3), fit + 0.3 * prior)
    torch.testing.assert_close(elbo(variational=False).log_joint(x, latents, total, beta=0.3), fit)


def test_warm_up_rises_linearly_to_beta():
    assert [warmed_up(0.5, step, 100) for step in (0, 50, 100, 1000)] == [0, 0.25, 0.5, 0.5]
    assert warmed_up(0.5, 0, 0) == 0.5


@pytest.mark.parametrize("part", ["prior", "likelihood"])
def test_unknown_names_are_refused(part):
    with pytest.raises(ValueError, match="cauchy"):
        elbo(**{part: "cauchy"})
