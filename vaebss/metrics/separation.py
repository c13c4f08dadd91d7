"""Metrics of separation: estimates matched to sources, then PSNR in both scales, SSIM, SI-SDR and source counts.

Two scales of PSNR are in use, 6.02 dB apart, so every figure is named after its own:
`psnr_paper` has sources in [0, 0.5] (Neri et al. 2021 mix x = (d1 + d2) / 2) and peak 1; `psnr` has them in [0, 1].
"""

# B mixtures, K slots, M true sources at most

import math
from functools import cache
from itertools import permutations

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio
from torchmetrics.functional.image import structural_similarity_index_measure

MAX_PSNR = 100.0  # dB, paper scale
PAPER_SCALE = 0.5  # the brightest pixel of a source there
PSNR_OFFSET = 20 * math.log10(1 / PAPER_SCALE)  # dB from one scale to the other
MAX_SLOTS = 8  # 8! assignments can still be listed
SSIM_WINDOW = 7
HISTOGRAM_BIN = 0.01  # dB
MISSED = 1e9  # added squared error of leaving a source to silence while a slot is free


@cache
def assignments(slots: int, sources: int) -> Tensor:
    """Every way to give each of `sources` sources a slot of its own, (slots! / (slots - sources)!, sources)."""
    with torch.inference_mode(False):  # a test may ask first, and training later
        return torch.tensor(list(permutations(range(slots), sources)))


def match(estimates: Tensor, sources: Tensor, count: Tensor) -> Tensor:
    """Reorder estimates to the assignment with the least summed squared error over the sources that are there.

    Args:
        estimates: (B, K, C, H, W).
        sources: (B, M, C, H, W), of which the first `count` are real.
        count: (B,), true number of sources.

    Returns:
        (B, M, C, H, W): the estimate of each source; silence for sources that outnumber the slots.
    """
    slots, num_sources = estimates.shape[1], sources.shape[1]
    if max(slots, num_sources) > MAX_SLOTS:
        raise ValueError(f"at most {MAX_SLOTS} slots and sources can be matched, not {slots} and {num_sources}")
    spare = max(num_sources - slots, 0)
    silence = estimates.new_zeros(len(estimates), spare, *estimates.shape[2:])
    estimates = torch.cat([estimates, silence], 1)
    errors = [(estimates - source.unsqueeze(1)).flatten(2).square().sum(2) for source in sources.unbind(1)]
    cost = torch.stack(errors, 1).double()  # single precision would lose the errors beside the price of a miss
    cost[:, :, slots:] += MISSED
    cost = cost * present(count, num_sources).unsqueeze(2)
    choices = assignments(slots + spare, num_sources).to(cost.device)  # (A, M)
    total = cost[:, torch.arange(num_sources, device=cost.device), choices].sum(2)  # (B, A)
    best = choices[total.argmin(1)]  # (B, M)
    return estimates[torch.arange(len(best), device=best.device).unsqueeze(1), best]


def present(count: Tensor, num_sources: int) -> Tensor:
    """(B,) counts -> (B, M) bool: which of the M source places are filled."""
    return torch.arange(num_sources, device=count.device) < count.unsqueeze(1)


def psnr_paper(estimates: Tensor, sources: Tensor) -> Tensor:
    """PSNR per image in dB, paper scale: (N, C, H, W) twice, both already in [0, 0.5] -> (N,), at most 100."""
    mean_squared_error = (estimates - sources).flatten(1).square().mean(1)
    return -10 * torch.log10(mean_squared_error.clamp(min=10 ** (-MAX_PSNR / 10)))


def mixture_psnr_paper(estimates: Tensor, sources: Tensor, count: Tensor, source_scale: float) -> Tensor:
    """PSNR in dB, paper scale, of matched estimates, averaged over each mixture's sources.

    Args:
        estimates: (B, K, C, H, W).
        sources: (B, M, C, H, W), of which the first `count` are real.
        count: (B,), true number of sources, 1 or more.
        source_scale: brightest pixel of a source.

    Returns:
        (B,).
    """
    here, rescale = present(count, sources.shape[1]), PAPER_SCALE / source_scale
    matched = match(estimates, sources, count) * rescale
    psnr = psnr_paper(matched.flatten(0, 1), sources.flatten(0, 1) * rescale).view(here.shape)
    return (psnr * here).sum(1) / here.sum(1)


def ssim(estimates: Tensor, sources: Tensor) -> Tensor:
    """SSIM per image with scikit-image's defaults and data range 1: (N, C, H, W) twice -> (N,).

    A uniform 7 x 7 window; windows that reach over the border do not count. Variances are those of a sample,
    n / (n - 1) times torchmetrics'; dividing the constant C2 by that factor instead gives the same ratio.
    """
    pixels = SSIM_WINDOW**2
    similarity = structural_similarity_index_measure(
        estimates,
        sources,
        gaussian_kernel=False,
        kernel_size=SSIM_WINDOW,
        data_range=1.0,
        k2=0.03 * math.sqrt((pixels - 1) / pixels),
        reduction="none",
        return_full_image=True,
    )
    border = SSIM_WINDOW // 2
    return similarity[1][..., border:-border, border:-border].flatten(1).mean(1)


def si_sdr(estimates: Tensor, sources: Tensor) -> Tensor:
    """Scale-invariant signal-to-distortion ratio per image in dB, within +-100: (N, C, H, W) twice -> (N,)."""
    ratio = scale_invariant_signal_distortion_ratio(estimates.flatten(1), sources.flatten(1))
    return ratio.clamp(-MAX_PSNR, MAX_PSNR)


class SeparationMetrics(Metric):
    """How well estimates match the true sources, summed over batches and devices.

    PSNR, SSIM and SI-SDR are means over source images; a source that outnumbers the slots is scored as silence, and
    a spare slot counts against the count alone. `compute` gives a dict of Python floats and lists: `psnr`,
    `psnr_paper` and the median and 10th percentile ("worst decile") of both in dB, `ssim`, `si_sdr` in dB, `count`
    (share of mixtures with the right number of active slots), `confusion` (row: true count, column: estimated) and
    `psnr_paper_by_count` (true count -> mean).

    Args:
        num_slots: K, of the separator.
        source_scale: brightest pixel of a source in the images to be scored; they are rescaled to the paper's.
    """

    full_state_update = False
    images: Tensor
    psnr_sum: Tensor
    ssim_sum: Tensor
    si_sdr_sum: Tensor
    histogram: Tensor
    confusion: Tensor

    def __init__(self, num_slots: int, source_scale: float = PAPER_SCALE):
        super().__init__()
        max_count = MAX_SLOTS
        self.rescale = PAPER_SCALE / source_scale
        bins = round(2 * MAX_PSNR / HISTOGRAM_BIN) + 1  # from -100 to 100 dB
        self.add_state("images", torch.zeros(max_count + 1, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("psnr_sum", torch.zeros(max_count + 1, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("ssim_sum", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("si_sdr_sum", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("histogram", torch.zeros(bins, dtype=torch.int64), dist_reduce_fx="sum")
        confusion = torch.zeros(max_count + 1, num_slots + 1, dtype=torch.int64)
        self.add_state("confusion", confusion, dist_reduce_fx="sum")

    def update(self, estimates: Tensor, active: Tensor, sources: Tensor, count: Tensor) -> None:
        """Add a batch: estimates (B, K, C, H, W), active (B, K), sources (B, M, C, H, W), true count (B,)."""
        here = present(count, sources.shape[1])
        matched = match(estimates.float(), sources.float(), count)[here] * self.rescale  # (N, C, H, W)
        truth = sources.float()[here] * self.rescale
        counts = count.unsqueeze(1).expand_as(here)[here]
        psnr = psnr_paper(matched, truth)
        self.images += torch.bincount(counts, minlength=len(self.images))
        self.psnr_sum.index_add_(0, counts, psnr.double())
        self.ssim_sum += ssim(matched, truth).double().sum()
        self.si_sdr_sum += si_sdr(matched, truth).double().sum()
        bins = ((psnr + MAX_PSNR) / HISTOGRAM_BIN).round().long().clamp(0, len(self.histogram) - 1)
        self.histogram += torch.bincount(bins, minlength=len(self.histogram))
        rows, columns = self.confusion.shape
        self.confusion += torch.bincount(count * columns + active.sum(1), minlength=rows * columns).view(rows, columns)

    def _quantile(self, share: float) -> float:
        """Of the PSNR (paper scale), to a hundredth of a dB."""
        seen = self.histogram.cumsum(0)
        bin_index = torch.searchsorted(seen, math.ceil(share * int(seen[-1])))
        return int(bin_index) * HISTOGRAM_BIN - MAX_PSNR

    def compute(self) -> dict:
        """The scores so far, over all devices."""
        images = self.images.sum()
        mean = {
            "psnr_paper": float(self.psnr_sum.sum() / images),
            "psnr_paper_median": self._quantile(0.5),
            "psnr_paper_worst_decile": self._quantile(0.1),
        }
        mean |= {name.replace("_paper", ""): value - PSNR_OFFSET for name, value in mean.items()}
        right = self.confusion.diagonal().sum() / self.confusion.sum()
        by_count = self.psnr_sum / self.images
        return mean | {
            "ssim": float(self.ssim_sum / images),
            "si_sdr": float(self.si_sdr_sum / images),
            "count": float(right),
            "confusion": self.confusion[: int(self.images.nonzero().max()) + 1].tolist(),
            "psnr_paper_by_count": {m: float(by_count[m]) for m in range(len(by_count)) if self.images[m] > 0},
        }
