"""Metrics of separated pictures.

Two scales of PSNR are in use, 6.02 dB apart. `psnr_paper` has sources in [0, 0.5] (Neri et al. 2021 mix
x = (d1 + d2) / 2) and peak 1; `psnr` has sources in [0, 1].
"""

# B mixtures, M sources in each, N images

import math
from functools import partial

import torch
from torch import Tensor

from vaebss.metrics import audio
from vaebss.metrics.metric import LARGEST, SPREAD, Metric, Quality

PAPER_SCALE = 0.5  # brightest pixel of a source in the paper
PSNR_OFFSET = 20 * math.log10(1 / PAPER_SCALE)  # dB from one scale to the other
SSIM_WINDOW = 7


def psnr_paper(estimates: Tensor, sources: Tensor) -> Tensor:
    """Return the PSNR of each image in dB, on the paper's scale, at most 100.

    Args:
        estimates: Estimates (N, C, H, W) of sources in [0, 0.5].
        sources: True sources (N, C, H, W), in [0, 0.5].

    Returns:
        (N,).
    """
    mean_squared_error = (estimates - sources).flatten(1).square().mean(1)
    return -10 * torch.log10(mean_squared_error.clamp(min=10 ** (-LARGEST / 10)))


def psnr(estimates: Tensor, sources: Tensor) -> Tensor:
    """Return the PSNR of each image in dB for sources that are rescaled to [0, 1]: 6.02 dB less than `psnr_paper`.

    Args:
        estimates: Estimates (N, C, H, W) of sources in [0, 0.5].
        sources: True sources (N, C, H, W), in [0, 0.5].

    Returns:
        (N,).
    """
    return psnr_paper(estimates, sources) - PSNR_OFFSET


def ssim(estimates: Tensor, sources: Tensor) -> Tensor:
    """Return the SSIM of each image with scikit-image's defaults and a data range of 1.

    The window is uniform, 7 x 7 or as large as a smaller image allows, and lies wholly within the image. Variances are
    sample variances, n / (n - 1) times those of torchmetrics; dividing the constant C2 by that factor instead gives the
    same ratio.

    Args:
        estimates: Estimates (N, C, H, W).
        sources: True sources (N, C, H, W).

    Returns:
        (N,), at most 1.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure  # takes long to import

    window = [min(SSIM_WINDOW, side - 1 + side % 2) for side in estimates.shape[2:]]
    pixels = max(2, math.prod(window))
    similarity = structural_similarity_index_measure(
        estimates,
        sources,
        gaussian_kernel=False,
        kernel_size=window,
        data_range=1.0,
        k2=0.03 * math.sqrt((pixels - 1) / pixels),
        reduction="none",
        return_full_image=True,
    )
    rows, columns = (slice(side // 2, -(side // 2) or None) for side in window)
    return similarity[1][..., rows, columns].flatten(1).mean(1)


def si_sdr(estimates: Tensor, sources: Tensor) -> Tensor:
    """Return the scale-invariant SDR of each image in dB.

    Args:
        estimates: Estimates (N, C, H, W).
        sources: True sources (N, C, H, W).

    Returns:
        (N,), from -100 to 100.
    """
    return audio.si_sdr(estimates.flatten(1), sources.flatten(1))


def _of_mixtures(quality: Quality, estimates: Tensor, sources: Tensor) -> Tensor:
    """Apply a quality of images (N, C, H, W) to all sources of mixtures: (B, M, C, H, W) twice -> (B, M)."""
    return quality(estimates.flatten(0, 1), sources.flatten(0, 1)).unflatten(0, sources.shape[:2])


METRICS = (  # the main one first; of sources in [0, PAPER_SCALE]
    Metric("psnr_paper", partial(_of_mixtures, psnr_paper), "PSNR", "paper scale", rows=SPREAD, published="published"),
    Metric("psnr", partial(_of_mixtures, psnr), "PSNR", rows=SPREAD),
    Metric("ssim", partial(_of_mixtures, ssim), "SSIM", unit="", decimals=3, published="published SSIM"),
    Metric("si_sdr", partial(_of_mixtures, si_sdr), "SI-SDR", rows=SPREAD, columns=()),
)


def qualities(source_scale: float) -> dict[str, Quality]:
    """Return the functions of METRICS for mixtures whose sources' brightest pixel is `source_scale`."""
    return {metric.name: partial(_rescaled, metric.quality, PAPER_SCALE / source_scale) for metric in METRICS}


def _rescaled(quality: Quality, rescale: float, estimates: Tensor, sources: Tensor) -> Tensor:
    return quality(estimates * rescale, sources * rescale)
