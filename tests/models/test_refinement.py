import math

import pytest
import torch

from vaebss.models import refinement


def two_peaks(latents: torch.Tensor) -> torch.Tensor:
    """A low peak at 0 and a high one at 4, in every coordinate."""
    low, high = -latents.square(), 3 - (latents - 4).square()
    return torch.maximum(low, high).sum((-1, -2))


def test_ascent_climbs_to_the_nearest_peak():
    starts = torch.tensor([-0.5, 3.0]).view(2, 1, 1, 1)
    peaks = refinement.ascend(two_peaks, starts, 80)
    torch.testing.assert_close(peaks.flatten(), torch.tensor([0.0, 4.0]), atol=0.05, rtol=0)


def test_the_best_start_of_each_mixture_wins():
    candidates = torch.tensor([[0.0, 4.0], [4.0, 0.0], [1.0, 1.0]]).view(3, 2, 1, 1)
    torch.testing.assert_close(refinement.best(two_peaks, candidates).flatten(), torch.tensor([4.0, 4.0]))


def test_starts_begin_with_the_encoders_answer():
    latents = torch.randn(50, 3, 4)
    starts = refinement.starts(latents, 1.0, 3, torch.Generator().manual_seed(0))
    assert starts.shape == (4, 50, 3, 4)
    assert torch.equal(starts[0], latents)
    changed = (starts[1] != latents).any(-1)
    assert (changed.sum(1) == 1).all()  # one slot anew, and not always the same
    assert changed.any(0).all()
    assert (starts[2] - latents).std() < (starts[3] - latents).std()


def test_new_starts_are_as_wide_as_the_prior_and_perturbed_ones_are_not():
    latents = torch.zeros(2_000, 3, 4)
    _, one_slot, perturbed, anew = refinement.starts(latents, 3.0, 3, torch.Generator().manual_seed(0))
    assert one_slot[one_slot != 0].std().item() == pytest.approx(3, rel=0.05)
    assert perturbed.std().item() == pytest.approx(0.5, rel=0.05)
    assert anew.std().item() == pytest.approx(3, rel=0.05)


def test_steps_of_the_ascent_fall_along_a_cosine():
    found = refinement.ascend(lambda latents: latents.sum((-1, -2)), torch.zeros(1, 1, 1, 1), 10)
    steps = [0.2 * 0.5 * (1 + math.cos(math.pi * step / 10)) for step in range(10)]  # Adam's, where slopes are constant
    assert found.item() == pytest.approx(sum(steps), rel=1e-4)
