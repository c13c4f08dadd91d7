import itertools
import math
import os
from pathlib import Path

import children
import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from skimage.metrics import structural_similarity

from vaebss import MNISTMixtures
from vaebss.matching import assignments, match
from vaebss.metrics.images import PSNR_OFFSET, psnr_paper, qualities, si_sdr, ssim
from vaebss.metrics.metric import LARGEST, mean_per_mixture
from vaebss.metrics.separation import SeparationMetrics


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, 1, 28, 28, generator=torch.Generator().manual_seed(seed)) * 0.5


def score(estimates, sources, count=None, active=None, source_scale=0.5) -> dict:
    metric = SeparationMetrics(estimates.shape[1], qualities(source_scale))
    count = torch.full((len(sources),), sources.shape[1]) if count is None else count
    active = estimates.flatten(2).sum(2) > 0 if active is None else active
    metric.update(estimates, active, sources, count)
    return metric.compute()


@pytest.mark.parametrize(("slots", "sources"), [(1, 1), (2, 2), (3, 2), (4, 3), (6, 6), (6, 2), (1, 3)])
def test_matching_is_the_optimal_assignment(slots, sources):
    estimates, truth = images(20, slots), images(20, sources, seed=1)
    matched = match(estimates, truth, torch.full((20,), sources))
    for estimate, source, found in zip(estimates, truth, matched, strict=True):
        silence = torch.zeros(max(sources - slots, 0), 1, 28, 28)
        cost = (source.unsqueeze(1) - torch.cat([estimate, silence]).unsqueeze(0)).flatten(2).square().sum(2)
        rows, columns = linear_sum_assignment(cost.numpy())
        torch.testing.assert_close((source - found).square().sum(), cost[rows, columns].sum())


def test_every_permutation_scores_the_same():
    estimates, sources = images(10, 3), images(10, 3, seed=1)
    scores = [score(estimates[:, list(order)], sources) for order in itertools.permutations(range(3))]
    for other in scores[1:]:
        assert other["psnr_paper"] == pytest.approx(scores[0]["psnr_paper"], abs=1e-9)
        assert other["ssim"] == pytest.approx(scores[0]["ssim"], abs=1e-6)


def test_the_truth_scores_the_cap():
    sources = images(10, 2)
    scores = score(sources.flip(1), sources)
    assert scores["psnr_paper"] == pytest.approx(LARGEST)
    assert scores["psnr"] == pytest.approx(LARGEST - PSNR_OFFSET)
    assert scores["psnr_paper_median"] == pytest.approx(LARGEST)
    assert scores["ssim"] == pytest.approx(1, abs=1e-6)
    assert scores["count"] == 1


def test_the_two_scales_are_those_of_their_definitions():
    estimate, source = images(1, 1), images(1, 1, seed=1)
    scores = score(estimate, source)
    error = (estimate - source).square().mean().item()
    assert scores["psnr_paper"] == pytest.approx(-10 * math.log10(error), abs=1e-5)
    assert scores["psnr"] == pytest.approx(-10 * math.log10(4 * error), abs=1e-5)  # both doubled to [0, 1]


def test_another_source_scale_gives_the_same_figures():
    estimates, sources = images(6, 2), images(6, 2, seed=1)
    half, full = score(estimates, sources), score(2 * estimates, 2 * sources, source_scale=1.0)
    assert full["psnr_paper"] == pytest.approx(half["psnr_paper"], abs=1e-5)
    assert full["ssim"] == pytest.approx(half["ssim"], abs=1e-6)


def test_ssim_is_scikit_images(digits_module):
    batch = next(iter(digits_module.test_dataloader()))
    sources = batch["sources"].flatten(0, 1)[:100]
    estimates = (sources + 0.1 * images(100, seed=2)).clamp(0, 0.5)
    expected = [
        structural_similarity(e.numpy(), s.numpy(), data_range=1.0)
        for e, s in zip(estimates[:, 0], sources[:, 0], strict=True)
    ]
    torch.testing.assert_close(ssim(estimates, sources), torch.tensor(expected).float(), atol=1e-5, rtol=0)


def test_sources_that_outnumber_the_slots_are_scored_as_silence():
    sources = images(4, 2)
    scores = score(sources[:, :1], sources)
    missed = psnr_paper(torch.zeros_like(sources[:, 1]), sources[:, 1])
    taken = psnr_paper(torch.zeros_like(sources[:, 0]), sources[:, 0])
    assert scores["psnr_paper"] == pytest.approx((LARGEST + missed.mean().item()) / 2, abs=1e-3)
    assert missed.mean() != taken.mean()
    assert scores["count"] == 0


def test_a_free_slot_is_preferred_to_silence():
    source = torch.full((1, 2, 1, 28, 28), 0.1)
    poor = torch.full((1, 1, 1, 28, 28), 0.5)
    scores = score(poor, source, count=torch.tensor([1]))
    assert scores["psnr_paper"] == pytest.approx(-10 * math.log10(0.16), abs=1e-4)


def test_spare_slots_count_against_the_count_alone():
    sources = images(5, 2)
    spare = torch.cat([sources, images(5, 1, seed=3)], 1)
    scores = score(spare, sources)
    assert scores["psnr_paper"] == pytest.approx(LARGEST)
    assert scores["count"] == 0
    assert scores["confusion"][2] == [0, 0, 0, 5]


def test_absent_sources_are_not_scored():
    sources = images(4, 3)
    sources[:, 1:] = 0
    scores = score(sources, sources, count=torch.ones(4, dtype=torch.long))
    assert scores["psnr_paper_by_count"] == {1: pytest.approx(LARGEST)}
    assert scores["confusion"][1] == [0, 4, 0, 0]


@pytest.mark.parametrize("number", [40, 41])
def test_quantiles_are_those_of_the_values(number):
    brightness = torch.linspace(0.1, 1, number).view(number, 1, 1, 1, 1)
    estimates, sources = images(number, 1), images(number, 1, seed=1) * brightness
    values = psnr_paper(estimates.flatten(0, 1), sources.flatten(0, 1)).numpy()
    scores = score(estimates, sources)
    for name, share in (("median", 0.5), ("worst_decile", 0.1)):
        expected = np.quantile(values, share, method="inverted_cdf")
        assert scores[f"psnr_paper_{name}"] == pytest.approx(expected, abs=0.01)


def test_si_sdr_is_its_definition():
    estimates, sources = images(20), images(20, seed=1)
    estimates[:10] = 0.3 * sources[:10] + 0.02 * estimates[:10]
    e, s = (tensor.flatten(1).double().numpy() for tensor in (estimates, sources))
    target = (e * s).sum(1, keepdims=True) / (s * s).sum(1, keepdims=True) * s
    expected = 10 * np.log10((target**2).sum(1) / ((target - e) ** 2).sum(1))
    np.testing.assert_allclose(si_sdr(estimates, sources), expected, atol=1e-3)
    assert (si_sdr(sources, sources) <= 100).all()


def test_the_quality_of_a_mixture_is_the_mean_over_its_sources_in_any_order():
    sources, noise = images(6, 3), 0.1 * images(6, 3, seed=1)
    count = torch.tensor([1, 2, 3] * 2)
    sources *= (torch.arange(3) < count.unsqueeze(1)).view(6, 3, 1, 1, 1)
    found = mean_per_mixture(qualities(0.5)["psnr_paper"], (sources + noise)[:, [2, 0, 1]], sources, count)
    errors = noise.square().mean((2, 3, 4))
    expected = [(-10 * errors[row, :number].log10()).mean() for row, number in enumerate(count.tolist())]
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-4, rtol=0)


def test_batches_add_up_to_the_whole():
    estimates, sources = images(12, 3), images(12, 2, seed=1)
    count, active = torch.tensor([1, 2] * 6), torch.ones(12, 3, dtype=torch.bool)
    whole, parts = SeparationMetrics(3, qualities(0.5)), SeparationMetrics(3, qualities(0.5))
    whole.update(estimates, active, sources, count)
    for part in range(0, 12, 5):
        chosen = slice(part, part + 5)
        parts.update(estimates[chosen], active[chosen], sources[chosen], count[chosen])
    parts, whole = parts.compute(), whole.compute()
    for name in ("confusion", "psnr_paper_by_count"):
        assert parts.pop(name) == whole.pop(name)
    assert parts == pytest.approx(whole, abs=1e-6)


def _halves_scored_by(rank: int, folder: str) -> None:
    """One of two processes scores its half; both see the whole's figures, and the first writes them down."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    half = slice(rank * 5, rank * 5 + 5)
    scores = score(images(10, 3)[half], images(10, 2, seed=1)[half])
    torch.save(scores, Path(folder) / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_equal_one(tmp_path):
    pair = [children.SERVER.Process(target=_halves_scored_by, args=(rank, str(tmp_path))) for rank in range(2)]
    for process in pair:
        process.start()
    for process in pair:
        process.join()
        assert process.exitcode == 0
    whole = score(images(10, 3), images(10, 2, seed=1))
    for rank in range(2):
        parts = torch.load(tmp_path / f"{rank}.pt")
        assert parts["confusion"] == whole["confusion"]
        assert parts["psnr_paper_by_count"] == pytest.approx(whole["psnr_paper_by_count"])
        for name in ("psnr", "psnr_paper", "psnr_paper_median", "psnr_paper_worst_decile", "ssim", "si_sdr", "count"):
            assert parts[name] == pytest.approx(whole[name], abs=1e-6), name


def test_too_many_slots_are_refused():
    with pytest.raises(ValueError, match="at most 8"):
        match(torch.zeros(1, 9, 1, 8, 8), torch.zeros(1, 1, 1, 8, 8), torch.ones(1))


MNIST_ROOT = Path(os.environ.get("MNIST_ROOT", "data"))


@pytest.mark.skipif(not (MNIST_ROOT / "MNIST" / "raw").is_dir(), reason="MNIST is not at hand (MNIST_ROOT)")
@pytest.mark.parametrize(
    ("answer", "psnr", "similarity"),
    [("silence", 15.75, 0.26), ("mixture in one slot", 16.68, 0.52), ("equal share", 20.93, 0.63)],
)
def test_trivial_answers_score_as_published_elsewhere(answer, psnr, similarity):
    data = MNISTMixtures(root=str(MNIST_ROOT), source="mnist")
    data.setup()
    metric = SeparationMetrics(2, qualities(0.5))
    for batch in data.test_dataloader():
        x = batch["mixture"].unsqueeze(1)
        estimates = {"silence": [0 * x, 0 * x], "mixture in one slot": [x, 0 * x], "equal share": [x / 2, x / 2]}[
            answer
        ]
        metric.update(
            torch.cat(estimates, 1), torch.ones(len(x), 2, dtype=torch.bool), batch["sources"], batch["count"]
        )
    assert metric.compute()["psnr_paper"] == pytest.approx(psnr, abs=0.1)
    assert metric.compute()["ssim"] == pytest.approx(similarity, abs=0.03)


def test_assignments_can_be_trained_with_after_a_test_asked_for_them():
    assignments.cache_clear()
    with torch.inference_mode():
        assignments(3, 2)
    assert not assignments(3, 2).is_inference()
