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
