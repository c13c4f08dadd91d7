"""Non-negative matrix factorisation of single spectrograms."""

# B mixtures, K assumed sources, H bands, W frames

import torch
from torch import Tensor

from vaebss.baselines import audio_views
from vaebss.baselines.method import Method
from vaebss.models.separator import Separator
from vaebss.seeding import generator

TINY = 1e-9  # least divisor


class SpectralNMF(Separator):
    """A factorisation of each mixture into K spectra, each with its own course of loudness over time.

    This models a note whose spectrum never changes. There is nothing to train. Multiplicative updates minimise the
    Kullback-Leibler divergence (Lee and Seung 2000), whose negative ranks separations.

    Args:
        num_sources: Number K of slots.
        steps: Number of updates.
        image_shape: (C, H, W) of a mixture.
        source_scale: Brightest pixel of a source.
        exponent: Exponent p; the p-th powers of pictures, which add up, are factorised.
        seed: Random seed of the initial spectra and courses.
    """

    def __init__(
        self,
        num_sources: int = 2,
        steps: int = 100,
        image_shape: tuple[int, ...] = (1, 512, 64),
        source_scale: float = float("inf"),
        exponent: float = 1.0,
        seed: int = 0,
    ):
        super().__init__(num_sources, image_shape, source_scale, exponent=exponent)
        self.steps, self.seed = steps, seed

    def _estimate(self, mixture: Tensor) -> tuple[Tensor, Tensor]:
        seen = mixture.pow(self.exponent).flatten(1, 2)  # (B, H, W)
        spectra, courses = self._drawn(seen.shape[1]), self._drawn(seen.shape[2]).mT  # (H, K), (K, W)
        spectra, courses = spectra.expand(len(seen), -1, -1), courses.expand(len(seen), -1, -1)
        for _ in range(self.steps):
            courses = courses * (spectra.mT @ _ratio(seen, spectra @ courses)) / _above_zero(spectra.sum(1)[..., None])
            spectra = spectra * (_ratio(seen, spectra @ courses) @ courses.mT) / _above_zero(courses.sum(2)[:, None])
        parts = spectra.mT.unsqueeze(3) * courses.unsqueeze(2)  # (B, K, H, W)
        whole = _above_zero(parts.sum(1))
        divergence = (torch.xlogy(seen, seen / whole) - seen + whole).flatten(1).sum(1)
        return parts.pow(1 / self.exponent).unflatten(2, self.image_shape[:2]), -divergence

    def _drawn(self, size: int) -> Tensor:
        """Sample factors (size, K), uniform in [0.5, 1.5)."""
        return 0.5 + torch.rand(size, self.num_sources, generator=generator(self.seed, size))


def _ratio(seen: Tensor, explained: Tensor) -> Tensor:
    return seen / _above_zero(explained)


def _above_zero(tensor: Tensor) -> Tensor:
    return tensor.clamp(min=TINY)


METHOD = Method(
    lambda setting, data: SpectralNMF(**setting.shared, seed=setting.seed), sees=audio_views.magnitudes_of_bins
)
