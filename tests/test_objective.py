import math

import pytest
import torch
from torch.distributions import Independent, Laplace, Normal, kl_divergence

from vaebss.models import objective


@pytest.mark.parametrize("name", ["normal", "laplace"])
@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_rate_is_its_monte_carlo_estimate(name, scale):
    torch.manual_seed(0)
    posterior = Independent(Normal(torch.randn(3, 4), torch.rand(3, 4) + 0.1), 1)
    prior = objective.prior(name, scale, posterior.mean)
    z = posterior.sample((400_000,))
    sampled = (posterior.log_prob(z) - prior.log_prob(z)).mean(0)
    torch.testing.assert_close(objective.rate(posterior, prior), sampled, atol=0.03, rtol=0.01)


def test_laplace_kl_follows_a_shifted_centre():
    q, p = Normal(torch.tensor(0.3), torch.tensor(0.7)), Laplace(torch.tensor(0.3), torch.tensor(1.0))
    centred = kl_divergence(Normal(torch.tensor(0.0), torch.tensor(0.7)), Laplace(torch.tensor(0.0), torch.tensor(1.0)))
    torch.testing.assert_close(kl_divergence(q, p), centred)


def test_rate_is_zero_for_the_prior_itself():
    latents = torch.zeros(2, 3, 20)
    prior = objective.prior("normal", 1.0, latents)
    torch.testing.assert_close(objective.rate(prior, prior), torch.zeros(2, 3))


def test_log_likelihood_sums_pixels_in_nats():
    x, estimate = torch.rand(2, 1, 3, 3), torch.rand(2, 1, 3, 3)
    b = math.sqrt(0.5)
    expected = (-(x - estimate).abs() / b - math.log(2 * b)).flatten(1).sum(1)
    torch.testing.assert_close(objective.log_likelihood("laplace", b, x, estimate), expected)


@pytest.mark.parametrize("name", ["laplace", "normal", "bernoulli"])
def test_the_mixture_itself_is_its_likeliest_estimate(name):
    x = torch.rand(4, 1, 5, 5) * 0.9 + 0.05
    best = objective.log_likelihood(name, 0.7, x, x)
    assert (objective.log_likelihood(name, 0.7, x, (x + 0.05).clamp(0, 1)) < best).all()


def test_bernoulli_takes_mixtures_brighter_than_one():
    x = torch.full((1, 1, 2, 2), 2.0)
    assert torch.isfinite(objective.log_likelihood("bernoulli", 1.0, x, x)).all()


def test_elbo_weighs_the_rate_by_beta():
    distortion, rate = torch.tensor([10.0]), torch.tensor([[1.0, 2.0]])
    assert objective.elbo(distortion, rate).item() == -13
    assert objective.elbo(distortion, rate, beta=0.5).item() == -11.5


def test_warm_up_rises_linearly_to_beta():
    assert [objective.warmed_up(0.5, step, 100) for step in (0, 50, 100, 1000)] == [0, 0.25, 0.5, 0.5]
    assert objective.warmed_up(0.5, 0, 0) == 0.5


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="cauchy"):
        objective.prior("cauchy", 1.0, torch.zeros(1))
    with pytest.raises(ValueError, match="cauchy"):
        objective.log_likelihood("cauchy", 1.0, torch.zeros(1, 1), torch.zeros(1, 1))
