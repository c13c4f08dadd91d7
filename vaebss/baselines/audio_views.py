"""Modalities of sound by which single methods see mixtures: linear magnitudes or energies, in bands or in bins."""

from dataclasses import replace

from vaebss.modalities.audio import Audio


def magnitudes(modality: Audio) -> Audio:
    """Return pictures, at the same resolution, of linear magnitudes that add up."""
    return replace(modality, compression=1.0, add="magnitudes")


def energies(modality: Audio) -> Audio:
    """Return pictures, at the same resolution, of energies that add up."""
    return replace(modality, compression=1.0, add="energies")


def magnitudes_of_bins(modality: Audio) -> Audio:
    """Return pictures of linear magnitudes with a pixel for every bin and frame."""
    return _bins(magnitudes(modality))


def energies_of_bins(modality: Audio) -> Audio:
    """Return pictures of energies with a pixel for every bin and frame."""
    return _bins(energies(modality))


def _bins(modality: Audio) -> Audio:
    return replace(modality, bands=modality.window // 2, pooled=1)
