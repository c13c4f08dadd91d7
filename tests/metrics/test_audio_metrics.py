"""SI-SDR, SI-SIR and SI-SAR."""

import pytest
import torch

from vaebss.metrics.audio import si_sar, si_sdr, si_sir

METRICS = [si_sdr, si_sir, si_sar]


def made_up(mixtures: int = 6, sources: int = 3, samples: int = 2_000) -> tuple[torch.Tensor, torch.Tensor]:
    """Sources that are correlated, and estimates with interference and artefacts at several levels."""
    random = torch.Generator().manual_seed(1)
    shape = (mixtures, sources, samples)
    truth = torch.randn(shape, generator=random) + 0.5 * torch.randn(mixtures, 1, samples, generator=random)
    level = 10.0 ** -torch.arange(mixtures).view(-1, 1, 1)
    leaks = truth + level * truth.roll(1, 1)
    return 0.3 * (leaks + 0.5 * level * torch.randn(shape, generator=random)), truth


@pytest.mark.parametrize("number", range(3))
def test_as_fast_bss_eval_has_it(number):
    fast_bss_eval = pytest.importorskip("fast_bss_eval")
    estimates, sources = made_up()
    expected = fast_bss_eval.si_bss_eval_sources(sources.double(), estimates.double(), compute_permutation=False)
    assert torch.allclose(METRICS[number](estimates, sources), expected[number].clamp(-100, 100), atol=1e-3)


@pytest.mark.parametrize("metric", METRICS)
def test_loudness_of_either_side_does_not_matter(metric):
    estimates, sources = made_up()
    assert torch.allclose(metric(0.01 * estimates, 20 * sources), metric(estimates, sources), atol=1e-4)


@pytest.mark.parametrize("metric", METRICS)
def test_the_truth_scores_100(metric):
    _, sources = made_up()
    assert torch.allclose(metric(sources, sources), torch.tensor(100.0).double())


@pytest.mark.parametrize("metric", METRICS)
def test_silence_scores_minus_100_and_spoils_nothing_else(metric):
    estimates, sources = made_up()
    scores = metric(estimates, sources)
    estimates[0, 0] = 0
    changed = metric(estimates, sources)
    assert changed[0, 0] == -100
    assert torch.allclose(changed.flatten()[1:], scores.flatten()[1:])


def test_a_silent_source_cannot_be_found():
    estimates, sources = made_up()
    sources[0, 0] = 0
    assert si_sdr(estimates, sources)[0, 0] == -100
    assert si_sdr(estimates, sources)[0, 1] == si_sdr(*made_up())[0, 1]


def test_two_equal_sources_mixed_score_0():
    sources = torch.eye(2).repeat_interleave(50, 1).unsqueeze(0)
    mixture = sources.sum(1, keepdim=True).expand(-1, 2, -1)
    assert torch.allclose(si_sdr(mixture, sources), torch.zeros(1, 2).double())
    assert torch.allclose(si_sir(mixture, sources), torch.zeros(1, 2).double())
    assert torch.allclose(si_sar(mixture, sources), torch.full((1, 2), 100.0).double())
