import warnings

import pytest
import torch

from vaebss import VAE, VAEBSS


@pytest.fixture
def model() -> VAE:
    torch.manual_seed(0)
    return VAE(num_sources=3, hidden_dims=(32, 16)).eval()


def test_separate_answers_every_mixture(model, random_mixture):
    separation = model.separate(random_mixture)
    assert separation.sources.shape == (5, 3, 1, 28, 28)
    assert separation.sources.dtype == torch.float32
    assert not separation.sources.requires_grad
    assert (separation.sources >= 0).all()
    torch.testing.assert_close(separation.sources.sum(1), random_mixture, atol=1e-5, rtol=0)
    assert separation.active.shape == (5, 3)
    assert separation.active.dtype == torch.bool
    assert torch.equal(separation.count, separation.active.sum(1))
    assert separation.confidence.shape == (5,)


def test_mixtures_brighter_than_the_model_knows_are_warned_of(model, random_mixture):
    with pytest.warns(UserWarning, match=r"pixels exceed 3 x source_scale \(0.5\)\. They are split equally"):
        separation = model.separate(2 * random_mixture)
    torch.testing.assert_close(separation.sources.sum(1), 2 * random_mixture, atol=1e-5, rtol=0)
    model.bounded = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.separate(2 * random_mixture)


def test_raw_estimates_are_the_decoders(model, random_mixture):
    raw = model.separate(random_mixture, masked=False)
    torch.testing.assert_close(raw.sources, model(random_mixture))
    assert torch.equal(raw.active, model.separate(random_mixture).active)


def test_separate_leaves_the_model_as_it_was(model, random_mixture):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    answer = model.separate(random_mixture).sources
    model.train()
    torch.testing.assert_close(model.separate(random_mixture).sources, answer)
    assert model.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_separate_does_not_depend_on_the_batch_or_the_dtype(model, random_mixture):
    whole = model.separate(random_mixture).sources
    torch.testing.assert_close(model.separate(random_mixture[2:3]).sources[0], whole[2], atol=1e-5, rtol=1e-4)
    double = model.separate(random_mixture.double()).sources
    assert double.dtype == torch.float32
    torch.testing.assert_close(double, whole)


def test_silence_has_no_source(model):
    separation = model.separate(torch.zeros(2, 1, 28, 28))
    assert (separation.sources == 0).all()
    assert (separation.count == 0).all()


def test_labels_prefer_mixtures_that_the_model_explains(model):
    explained = model.sample(12).view(4, 3, 1, 28, 28).sum(1)
    noise = torch.rand(4, 1, 28, 28) * 3
    assert model.pseudo_label(explained).confidence.min() > model.pseudo_label(noise).confidence.max()


@pytest.mark.parametrize("options", [{}, {"prior": "laplace"}, {"likelihood": "bernoulli"}, {"variational": False}])
def test_refinement_raises_the_objective_of_every_mixture(options, random_mixture):
    torch.manual_seed(0)
    model = VAE(hidden_dims=(32, 16), **options).eval()
    amortised = model.separate(random_mixture, ranked=True).confidence
    refined = model.separate(random_mixture, ranked=True, refine_steps=20)
    restarted = model.separate(random_mixture, ranked=True, refine_steps=20, restarts=5)
    assert (refined.confidence > amortised).all()
    assert (restarted.confidence >= refined.confidence - 0.05).all()
    torch.testing.assert_close(restarted.sources.sum(1), random_mixture, atol=1e-5, rtol=0)


def test_refinement_repeats_itself_and_leaves_no_gradients(model, random_mixture):
    answer = model.separate(random_mixture, refine_steps=5, restarts=3)
    with torch.inference_mode():
        assert torch.equal(model.separate(random_mixture, refine_steps=5, restarts=3).sources, answer.sources)
    assert not answer.sources.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())


def test_other_starts_find_better_answers_and_another_seed_others(random_mixture):
    torch.manual_seed(0)
    model = VAE(hidden_dims=(32, 16), seed=1).eval()
    refined = model.pseudo_label(random_mixture, refine_steps=5).confidence
    restarted = model.pseudo_label(random_mixture, refine_steps=5, restarts=6).confidence
    assert (restarted > refined).any()
    model.seed = 2
    assert not torch.equal(model.pseudo_label(random_mixture, refine_steps=5, restarts=6).confidence, restarted)


def test_refinement_refuses_impossible_numbers(model, random_mixture):
    for options in ({"refine_steps": -1}, {"restarts": 2}, {"refine_steps": 1, "restarts": -1}):
        with pytest.raises(ValueError, match="restarts"):
            model.separate(random_mixture, **options)


def test_the_posterior_is_what_the_encoder_says(model, random_mixture, monkeypatch):
    mean, log_variance = torch.randn(5, 3, 20), torch.randn(5, 3, 20)
    log_variance[0, 0, :2] = torch.tensor([-99.0, 99.0])
    monkeypatch.setattr(model.encoder, "forward", lambda mixture: torch.cat([mean, log_variance], -1))
    posterior = model.encode(random_mixture)
    assert torch.equal(posterior.mean, mean)
    torch.testing.assert_close(posterior.variance.log(), log_variance.clamp(-20, 20))


def test_the_bound_draws_its_latents_from_the_posterior(model, random_mixture, monkeypatch):
    drawn, said = [], torch.cat([torch.zeros(5, 3, 20), torch.linspace(-4, 4, 20).expand(5, 3, 20)], -1)
    monkeypatch.setattr(model.encoder, "forward", lambda mixture: said)
    monkeypatch.setattr(model, "decode", lambda latents: drawn.append(latents) or torch.zeros(5, 3, 1, 28, 28))
    posterior = model.encode(random_mixture)
    for number in range(400):
        model.bound(random_mixture, model.noise(5, torch.Generator().manual_seed(number)))
    standard = (torch.stack(drawn) - posterior.mean) / posterior.stddev
    torch.testing.assert_close(standard.mean(), torch.tensor(0.0), atol=0.02, rtol=0)
    torch.testing.assert_close(standard.flatten(1).std(0).mean(), torch.tensor(1.0), atol=0.02, rtol=0)


def test_samples_are_sources(model):
    samples = model.sample(7)
    assert samples.shape == (7, 1, 28, 28)
    assert len(samples.flatten(1).unique(dim=0)) == 7
    assert samples.min() >= 0
    assert samples.max() <= 1


@pytest.mark.parametrize(
    "options",
    [
        {"num_sources": 0},
        {"latent_dim": 0},
        {"prior_scale": 0.0},
        {"likelihood_scale": -1.0},
        {"lr": 0.0},
        {"beta": -1.0},
        {"warmup_steps": -1},
        {"hidden_dims": ()},
        {"prior": "cauchy"},
        {"likelihood": "cauchy"},
        {"lr_schedule": "up"},
    ],
)
def test_impossible_options_are_refused_by_name(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        VAEBSS(**options)


def test_energies_are_trained_on_in_single_precision(random_mixture):
    model = VAE(hidden_dims=(32, 16), output="softplus", exponent=4.0, source_scale=float("inf"))

    def parts() -> list[torch.Tensor]:
        return list(model.bound(random_mixture, model.noise(5, torch.Generator().manual_seed(0))))

    whole = parts()
    with torch.autocast("cpu", torch.bfloat16):
        assert all(torch.equal(part, known) for part, known in zip(parts(), whole, strict=True))
        assert model(random_mixture).isfinite().all()  # what separates may be coarser
