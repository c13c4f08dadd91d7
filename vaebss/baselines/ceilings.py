"""Upper bounds for comparisons, computed from the TRUE sources. For research only.

Code that trains or separates must not import this file, as a separator must only see mixtures.
"""

# B mixtures, M true sources, D latent size

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vaebss.baselines.method import Method, Models, Setting
from vaebss.data.bank import Bank
from vaebss.data.batches import Batch
from vaebss.data.remixes import Remixes
from vaebss.hardware import fastest_autocast
from vaebss.modalities.modality import Modality
from vaebss.models.refinement import ascend
from vaebss.models.vae import VAE
from vaebss.separation import Separation, active_slots, mask

Ceiling = Callable[[Tensor, Tensor], Tensor]  # mixture (B, C, H, W), sources (B, M, C, H, W) -> estimates, as these


def answer(ceiling: Ceiling, modality: Modality, source_scale: float, batch: Batch) -> Separation:
    """Return the separation of a batch by an upper bound, which uses the true sources.

    Args:
        ceiling: Function of the pictures of mixtures and of their true sources that returns estimates.
        modality: Modality of the mixtures.
        source_scale: Brightest pixel of a source; infinity if it is unknown.
        batch: Batch with true sources.

    Returns:
        Separation whose confidence is 0.
    """
    signals = batch["sources"]
    sources = modality.picture(signals.flatten(0, 1)).unflatten(0, signals.shape[:2])
    estimates = ceiling(batch["mixture"], sources)
    active = active_slots(estimates, source_scale, modality.exponent)
    return Separation(estimates, active, torch.zeros(len(estimates)))


def ideal_ratio_mask(mixture: Tensor, sources: Tensor, exponent: float = 1.0) -> Tensor:
    """Return each true source's share of every pixel, times the mixture.

    Images add up without phase or clipping, so that the mask is exact for them. For audio it is not; there, shares of
    magnitudes are known as the ideal ratio mask and shares of energies as the Wiener mask.

    Args:
        mixture: (B, C, H, W), the sum of the sources.
        sources: (B, M, C, H, W), non-negative.
        exponent: Exponent p; shares are those of p-th powers.

    Returns:
        Estimates of the sources, (B, M, C, H, W).
    """
    return mask(sources, mixture, exponent=exponent)


def ideal_binary_mask(mixture: Tensor, sources: Tensor) -> Tensor:
    """Assign every pixel of the mixture to the source that is brightest there.

    Args:
        mixture: (B, C, H, W), the sum of the sources.
        sources: (B, M, C, H, W), non-negative.

    Returns:
        Estimates of the sources, (B, M, C, H, W).
    """
    brightest = sources.argmax(1, keepdim=True)
    slots = torch.arange(sources.shape[1], device=sources.device).view(1, -1, *[1] * (sources.ndim - 2))
    return (slots == brightest) * mixture.unsqueeze(1)


def oracle_latents(model: VAE, mixture: Tensor, sources: Tensor, steps: int = 100) -> Tensor:
    """Return masked estimates whose latents are fitted to each true source: the best that the decoder can do.

    Adam minimises the squared error, starting from the prior's mean, with the decoder fixed.

    Args:
        model: Trained VAE.
        mixture: (B, C, H, W), the sum of the sources.
        sources: (B, M, C, H, W), on the same device.
        steps: Number of Adam steps.

    Returns:
        Estimates of the sources, (B, M, C, H, W).
    """
    model = model.eval_copy()
    truth = sources.to(model.device)

    def closeness(latents: Tensor) -> Tensor:
        with fastest_autocast(model.device):
            return -(model.decode(latents) - truth).square()

    latents = ascend(closeness, torch.zeros(*sources.shape[:2], model.latent_dim, device=model.device), steps)
    with torch.no_grad():
        return model.masked(model.decode(latents).to(mixture.device), mixture)


def _oracle_latents(setting: Setting, models: Models, batch: Batch) -> Separation:
    model: Any = models["vae"]
    return answer(partial(oracle_latents, model), setting.modality, setting.source_scale, batch)


def _ideal_binary(setting: Setting, models: Models, batch: Batch) -> Separation:
    return answer(ideal_binary_mask, setting.modality, setting.source_scale, batch)


def _ideal_ratio(setting: Setting, models: Models, batch: Batch) -> Separation:
    shares = partial(ideal_ratio_mask, exponent=setting.modality.exponent)
    return answer(shares, setting.modality, setting.source_scale, batch)


ORACLE_LATENTS = Method(answer=_oracle_latents, needs="vae", sees_truth=True)
IDEAL_BINARY = Method(answer=_ideal_binary, sees_truth=True)
IDEAL_RATIO = Method(answer=_ideal_ratio, sees_truth=True)


class TrueRemixes(Remixes):
    """Remixes whose bank is the true training digits, an upper bound for a student of `Remixes` with better banks.

    Train with them from Python, for the same number of steps:
    `Trainer(max_epochs=24, reload_dataloaders_every_n_epochs=1).fit(RemixSeparator(), TrueRemixes())`.
    """

    def setup(self, stage: str | None = None) -> None:
        super().setup(stage)
        corpus: Any = self.corpus
        bank = Bank(corpus.splits.train[:].half() * corpus.scale, self.counts, 0)
        self.banks = lambda number: bank
