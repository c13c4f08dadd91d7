"""The VAE of the paper and its plain auto-encoder as methods of the comparison."""

from dataclasses import replace
from typing import Any

from torch.utils.data import DataLoader

from vaebss.baselines.method import Method, Models, Setting
from vaebss.data.batches import Batch
from vaebss.data.mixtures import MNISTMixtures
from vaebss.models import pruning
from vaebss.models.separator import Separator
from vaebss.separation import Separation
from vaebss.training.vae import VAEBSS

# With a spare slot, a slow rise of beta leaves the sources in fewer slots, so that the spare one can become inactive.
WARMUP_STEPS, WARMUP_STEPS_SPARE = 100, 1_200
REFINEMENT: dict[str, Any] = {"refine_steps": 60, "restarts": 1}  # like GLO, which fits latents to test mixtures too
BEST_REFINEMENT: dict[str, Any] = REFINEMENT | {"restarts": 4}  # of shipped models


def _auto_encoder(setting: Setting, data: MNISTMixtures) -> Separator:
    return _trained(setting, data.train_dataloader(), variational=False)


def _vae(setting: Setting, data: MNISTMixtures) -> Separator:
    batches = data.train_dataloader()
    if not 2 < setting.num_sources < setting.begin_with:
        return _warmed_up(setting, batches)
    first, second = _halves(batches)
    begun: Any = _warmed_up(replace(setting, num_sources=setting.begin_with, steps=len(first)), first)
    used = pruning.usage(begun, next(iter(second))["mixture"])
    begun = pruning.pruned(begun, pruning.busiest(used, setting.num_sources))
    return _trained(setting, second, begun, warmup_steps=0, seed=setting.seed)


def _warmed_up(setting: Setting, batches: DataLoader) -> Separator:
    warmup_steps = WARMUP_STEPS if setting.num_sources <= 2 else WARMUP_STEPS_SPARE
    return _trained(setting, batches, warmup_steps=min(warmup_steps, setting.steps // 2), seed=setting.seed)


def _halves(batches: DataLoader) -> tuple[DataLoader, DataLoader]:
    """Divide an epoch into its first half and the rest."""
    plans: Any = list(batches.sampler)
    half = len(plans) // 2
    first, second = (DataLoader(batches.dataset, None, sampler=part) for part in (plans[:half], plans[half:]))
    return first, second


def _trained(setting: Setting, batches: DataLoader, begun: Separator | None = None, **options: Any) -> Separator:
    training = VAEBSS(**setting.shared, **setting.options, **options)
    if begun:
        training.model.load_state_dict(begun.state_dict())
    return setting.train(training, batches)


def _unmasked(setting: Setting, models: Models, batch: Batch) -> Separation:
    return models["vae"].separate(batch["mixture"], masked=False)


def _refined(setting: Setting, models: Models, batch: Batch) -> Separation:
    refinement = BEST_REFINEMENT if setting.shipped else REFINEMENT
    return models["vae"].separate(batch["mixture"], **refinement)


AUTO_ENCODER = Method(_auto_encoder)
VAE = Method(_vae)
UNMASKED = Method(answer=_unmasked, needs="vae")
REFINED = Method(answer=_refined, needs="vae")
