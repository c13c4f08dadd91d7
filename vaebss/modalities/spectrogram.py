"""Spectrograms in bands, and masks of their bands as masks of the signals.

A pixel is E^(compression / 2), E being a band's mean energy over a few frames of spectra divided by sqrt(window).
"""

# B signals, C channels or none, K slots, T samples, F bins, N frames, H bands, W pooled frames

import math
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

AT_ONCE = 16  # signals to picture: as many spectra as a CPU's cache holds make it twice as fast


@dataclass(frozen=True)
class Spectrogram:
    """The picture (1, H, W) >= 0 of a signal, the lowest band first, and the way back.

    Args:
        rate: Sample rate in Hz.
        window: Length of a Hann window in samples, twice the number F of bins; the spectrum's topmost bin is not
            pictured.
        hop: Number of samples from one frame to the next.
        bands: H, F at most. One for each bin up to `linear_hz`, from there evenly in log frequency, though never
            closer than one for each bin. They are triangles that sum to 1 in every bin.
        linear_hz: Frequency in Hz up to which every bin has a band of its own.
        pooled: Number of frames that are averaged into one.
        compression: Exponent of magnitudes; 1 for no compression.

    Raises:
        ValueError: There are fewer bands than `linear_hz` asks for, or more than bins.
    """

    rate: int
    window: int
    hop: int
    bands: int
    linear_hz: float
    pooled: int
    compression: float

    def __post_init__(self):
        if not self._linear + 1 < self.bands <= self.window // 2:
            raise ValueError(f"bands must be from {self._linear + 2} to {self.window // 2}, not {self.bands}")

    def shape(self, samples: int) -> tuple[int, int, int]:
        """Return the shape (1, H, W) of the picture of a signal of T samples."""
        return 1, self.bands, math.ceil((1 + samples // self.hop) / self.pooled)

    def picture(self, signals: Tensor) -> Tensor:
        """Picture signals (B, *C, T) as (B, *C, H, W)."""
        return self._banded(self._parts(signals).square()).pow(self.compression / 2)

    def apply(self, shares: Tensor, signals: Tensor) -> Tensor:
        """Mask the spectrograms of signals.

        Args:
            shares: Share of each slot in the magnitudes of bands, (B, K, H, W).
            signals: Signals (B, *C, T).

        Returns:
            (B, K, *C, T).
        """
        spectrum = self._spectrum(signals).unsqueeze(1)  # (B, 1, *C, F + 1, N)
        masks = (self.triangles.to(signals.device).mT @ shares).repeat_interleave(self.pooled, -1)
        masks = torch.cat([masks, masks[..., -1:, :]], -2)[..., : spectrum.shape[-1]]
        masked = spectrum * (masks if signals.ndim == 2 else masks.unsqueeze(2))
        parts = torch.istft(masked.flatten(0, -3), **self._frames(signals), length=signals.shape[-1])
        return parts.unflatten(0, masked.shape[:-2])

    def products(self, sources: Tensor) -> tuple[Tensor, Tensor]:
        """Multiply the spectra of sources (B, M, *C, T), and sum over channels.

        Returns:
            The products of each with the sum of all sources, in bands, (B, M, H, W); and of each with itself, summed
            over all bins and frames, (B, M).
        """
        spectra = self._parts(sources if sources.ndim == 4 else sources.unsqueeze(2))  # (B, M, C, N, F + 1, 2)
        products = self._banded((spectra.sum(1, keepdim=True) * spectra).sum(2))
        return products, spectra[..., :-1, :].square().flatten(2).sum(2) / self.pooled

    @property
    def hertz(self) -> list[float]:
        """The frequency of the middle of each band, H of them."""
        return (self._centres * self.rate / self.window).tolist()

    @property
    def frames_per_second(self) -> float:
        """The number of pooled frames in a second."""
        return self.rate / (self.hop * self.pooled)

    @cached_property
    def triangles(self) -> Tensor:
        """The weight of each bin in each band, (H, F): 0 at the neighbours' centres, summing to 1 over the bands."""
        centres = self._centres
        edges = torch.cat([centres[:1] - 1, centres, centres[-1:] + 1]).unsqueeze(1)
        bins = torch.arange(self.window // 2)
        rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
        falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
        return torch.minimum(rising, falling).clamp(min=0).float()

    @property
    def _linear(self) -> int:
        """The number of bins that have a band of their own at least."""
        return round(self.linear_hz * self.window / self.rate)

    @property
    def _centres(self) -> Tensor:
        """The place of each band among the bins, (H,) float64."""
        own, last = max(self._linear, 1), self.window // 2 - 1
        band = torch.arange(self.bands, dtype=torch.float64)
        curve = own * (last / own) ** ((band - own) / (self.bands - 1 - own))
        return torch.where(band < own, band, torch.maximum(band, curve))

    def _banded(self, products: Tensor) -> Tensor:
        """Average products of real and of imaginary parts (..., N, F + 1, 2) over bands and pooled frames."""
        frames = torch.eye(products.shape[-3], device=products.device)
        pooling = functional.avg_pool1d(frames, self.pooled, ceil_mode=True)
        return (pooling.mT @ products.flatten(-2) @ _of_parts(self, products.device).mT).mT

    def _parts(self, signals: Tensor) -> Tensor:
        """Return real and imaginary parts of signals (B, *C, T), as they lie in memory: (B, *C, N, F + 1, 2)."""
        return torch.view_as_real(self._spectrum(signals).mT)

    def _spectrum(self, signals: Tensor) -> Tensor:
        """Transform signals (B, *C, T) to complex spectra (B, *C, F + 1, N), N = 1 + T // hop."""
        flat = signals.flatten(0, -2)
        spectrum = torch.stft(flat, **self._frames(signals), pad_mode="constant", return_complex=True)
        return spectrum.unflatten(0, signals.shape[:-1])

    def _frames(self, signals: Tensor) -> dict[str, Any]:
        """Return what forward and inverse transform share."""
        window = torch.hann_window(self.window, device=signals.device)
        return {"n_fft": self.window, "hop_length": self.hop, "window": window, "normalized": True}


@cache
def _of_parts(spectrogram: Spectrogram, device: torch.device) -> Tensor:
    """Return the triangles for both parts of each bin, with 0 for the topmost bin, (H, 2 F + 2); kept on the device."""
    with torch.inference_mode(False):
        return functional.pad(spectrogram.triangles, (0, 1)).repeat_interleave(2, 1).to(device)
