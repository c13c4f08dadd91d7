"""Metrics of separated sound in dB: SI-SDR, SI-SIR and SI-SAR, as the paper's Table III names them.

An estimate e is split into three orthogonal parts. The target is its projection on its own source. Interference is its
projection on the span of all sources minus the target. Artefacts are the rest. (This is BSS Eval of Vincent et al.
2006 without filters, scale-invariant as in Le Roux et al. 2019, "SDR: half-baked or well done?".)

    SI-SDR = target : interference + artefacts       SI-SIR = target : interference
    SI-SAR = target + interference : artefacts

All functions take matched estimates (B, M, T) and sources (B, M, T), and return (B, M) float64 in [-100, 100]. A silent
estimate or source scores -100.
"""

# B mixtures, M sources, T samples

import torch
from torch import Tensor

from vaebss.metrics.metric import LARGEST, SPREAD, Metric

LEAST = 1e-15  # least energy that is divided by; the energy of a whole estimate is 1


def si_sdr(estimates: Tensor, sources: Tensor) -> Tensor:
    """Return the scale-invariant signal-to-distortion ratio of each estimate to its own source, in dB.

    Args:
        estimates: Estimates (..., T), matched with their sources.
        sources: True sources (..., T).

    Returns:
        (...), float64 in [-100, 100].
    """
    estimates, sources = _unit(estimates), _unit(sources)
    target = (estimates * sources).sum(-1).square()
    return _decibels(target, (estimates.square().sum(-1) - target).clamp(min=0))


def si_sir(estimates: Tensor, sources: Tensor) -> Tensor:
    """Return the scale-invariant signal-to-interference ratio in dB; it is 100 for a single source.

    Args:
        estimates: Estimates (B, M, T), matched with their sources.
        sources: All true sources of each mixture, (B, M, T).

    Returns:
        (B, M), float64 in [-100, 100].
    """
    target, interference, _ = _energies(estimates, sources)
    return _decibels(target, interference)


def si_sar(estimates: Tensor, sources: Tensor) -> Tensor:
    """Return the scale-invariant signal-to-artefacts ratio in dB.

    It does not depend on which source the signal comes from.

    Args:
        estimates: Estimates (B, M, T).
        sources: All true sources of each mixture, (B, M, T).

    Returns:
        (B, M), float64 in [-100, 100].
    """
    target, interference, artefacts = _energies(estimates, sources)
    return _decibels(target + interference, artefacts)


def _energies(estimates: Tensor, sources: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the energies of target, interference and artefacts, (B, M) each; they sum to 1, or to 0 for silence."""
    estimates, sources = _unit(estimates), _unit(sources)
    among = sources @ sources.mT  # (B, M, M), singular where sources are silent or alike
    onto = estimates @ sources.mT  # (B, M estimates, M sources)
    target = onto.diagonal(dim1=1, dim2=2).square()
    spanned = (onto @ torch.linalg.pinv(among, hermitian=True) * onto).sum(2)
    return target, (spanned - target).clamp(min=0), (estimates.square().sum(2) - spanned).clamp(min=0)


def _unit(signals: Tensor) -> Tensor:
    """Scale signals (..., T) to energy 1; silence stays silence."""
    return torch.nn.functional.normalize(signals.double(), dim=-1, eps=LEAST)


def _decibels(signal: Tensor, noise: Tensor) -> Tensor:
    return 10 * torch.log10((signal / noise.clamp(min=LEAST)).clamp(10 ** (-LARGEST / 10), 10 ** (LARGEST / 10)))


METRICS = (  # the main one first
    Metric("si_sdr", si_sdr, "SI-SDR", rows=SPREAD, columns=SPREAD, published="published"),
    Metric("si_sir", si_sir, "SI-SIR", published="published SIR"),
    Metric("si_sar", si_sar, "SI-SAR", published="published SAR"),
)
