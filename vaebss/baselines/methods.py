"""The methods of the paper's Tables II and III as records: how each is trained and asked."""

# B mixtures, K assumed sources, M true sources

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from pytorch_lightning import LightningModule, seed_everything
from pytorch_lightning.callbacks import TQDMProgressBar
from torch.utils.data import DataLoader

from vaebss.baselines import ceilings
from vaebss.baselines.glo import GLO, GLOTraining
from vaebss.baselines.mixit import MixIT, MixITTraining
from vaebss.baselines.nmf import NMF
from vaebss.baselines.spectral_nmf import SpectralNMF
from vaebss.baselines.trivial import EqualShare, OneSlot, Silence
from vaebss.checkpoints import load
from vaebss.data.batches import Batch
from vaebss.data.corpora.digits import SHAPE
from vaebss.data.mixtures import MNISTMixtures
from vaebss.modalities.audio import Audio
from vaebss.modalities.images import Images
from vaebss.modalities.modality import Modality
from vaebss.models import pruning
from vaebss.models.separator import Separator
from vaebss.separation import Separation
from vaebss.training.trainers import bare_trainer
from vaebss.training.vae import VAEBSS

# With a spare slot, a slow rise of beta leaves the sources in fewer slots, so that the spare one can fall silent.
WARMUP_STEPS, WARMUP_STEPS_SPARE = 100, 1_200
BEGIN_WITH = 5  # slots of a VAE that is to have 3 or 4: see pruning.py
DIGITS = Images(SHAPE)
REFINEMENT: dict[str, Any] = {
    "refine_steps": 60,
    "restarts": 1,
}  # like GLO, which fits latents to every test mixture too
BEST_REFINEMENT: dict[str, Any] = REFINEMENT | {"restarts": 4}  # of shipped models


@dataclass(frozen=True)
class Setting:
    """What every method is built for.

    Attributes:
        num_sources: K.
        steps: of training.
        source_scale: brightest pixel of a source.
        seed: of all that is drawn.
        device: to train on.
        modality: of the mixtures.
        options: of VAEBSS; other methods take the sizes of their networks from there.
        begin_with: slots that a VAE of more than two has at first, of which it keeps the K busiest.
        shipped: whether models come with the package, in place of training.
    """

    num_sources: int
    steps: int = 1
    source_scale: float = 0.5
    seed: int = 0
    device: str = "cpu"
    modality: Modality = DIGITS
    options: dict[str, Any] = field(default_factory=dict)
    begin_with: int = BEGIN_WITH
    shipped: bool = False

    @property
    def shared(self) -> dict[str, Any]:
        """Options that all separators have."""
        picture = {"image_shape": self.modality.shape, "exponent": self.modality.exponent}
        return {"num_sources": self.num_sources, "source_scale": self.source_scale, **picture}

    def some(self, *names: str) -> dict[str, Any]:
        """Of the options, those named."""
        return {name: self.options[name] for name in names if name in self.options}


Learner = Callable[[Setting, MNISTMixtures], Separator]  # builds and trains a separator on one epoch of mixtures alone
Models = dict[str, Separator]
Estimator = Callable[[Batch], Separation]


@dataclass(frozen=True)
class Method:
    """A row of the table.

    Attributes:
        learn: builds and trains it; nothing for one that asks another's model, or the truth.
        answer: what it makes of a batch, given the trained models of all methods so far.
        needs: the method whose model it asks.
        only_k: the one K that it is for.
        sees: the modality of its pictures, given that of all others.
        sees_truth: whether its answer comes from the true sources.
    """

    learn: Learner | None = None
    answer: Callable[[Setting, Models, Batch], Separation] | None = None
    needs: str | None = None
    only_k: int | None = None
    sees: Callable[[Any], Modality] = lambda modality: modality
    sees_truth: bool = False


def seen(name: str, setting: Setting) -> Setting:
    """The setting as a method sees it."""
    return replace(setting, modality=METHODS[setting.modality.kind][name].sees(setting.modality))


def estimator(name: str, setting: Setting, models: Models) -> Estimator:
    """How a method answers a batch of what it sees."""
    answer = METHODS[setting.modality.kind][name].answer
    return partial(answer, setting, models) if answer else lambda batch: models[name].separate(batch["mixture"])


def trained(name: str, setting: Setting, data: MNISTMixtures) -> Separator | None:
    """Its separator, if it has one of its own."""
    seed_everything(setting.seed, verbose=False)
    learn = METHODS[setting.modality.kind][name].learn
    if learn and setting.shipped:
        return load(shipped(name, setting.num_sources)).to(setting.device)
    return learn(setting, data) if learn else None


def shipped(name: str, num_sources: int) -> str:
    """The model of a method that comes with the package, if it does."""
    return f"{name}-k{num_sources}"


def _untrained(kind: type[Separator], setting: Setting, data: MNISTMixtures) -> Separator:
    return kind(**setting.shared)


def _nmf(setting: Setting, data: MNISTMixtures) -> Separator:
    model = NMF(setting.num_sources, source_scale=setting.source_scale, seed=setting.seed)
    model.fit(data)
    return model


def _spectral_nmf(setting: Setting, data: MNISTMixtures) -> Separator:
    return SpectralNMF(**setting.shared, seed=setting.seed)


def _glo(setting: Setting, data: MNISTMixtures) -> Separator:
    sizes = setting.some("latent_dim", "hidden_dims", "output")
    training = GLOTraining(GLO(**setting.shared, **sizes, seed=setting.seed))
    _descend(training, training.batches(data), setting.device)
    return training.model.to(setting.device)


def _mixit(setting: Setting, data: MNISTMixtures) -> Separator:
    model = MixIT(**setting.shared, **setting.some("hidden_dims"))
    training = MixITTraining(model, picture=setting.modality.picture)
    _descend(training, data.train_dataloader(), setting.device)
    return training.model.to(setting.device)


def _ae(setting: Setting, data: MNISTMixtures) -> Separator:
    return _elbo(setting, data.train_dataloader(), variational=False)


def _vae(setting: Setting, data: MNISTMixtures) -> Separator:
    batches = data.train_dataloader()
    if not 2 < setting.num_sources < setting.begin_with:
        return _warmed_up(setting, batches)
    first, second = _parts(batches)
    begun: Any = _warmed_up(replace(setting, num_sources=setting.begin_with, steps=len(first)), first)
    used = pruning.usage(begun, next(iter(second))["mixture"])
    begun = pruning.pruned(begun, pruning.busiest(used, setting.num_sources))
    return _elbo(setting, second, begun, warmup_steps=0, seed=setting.seed)


def _warmed_up(setting: Setting, batches: DataLoader) -> Separator:
    warmup_steps = WARMUP_STEPS if setting.num_sources <= 2 else WARMUP_STEPS_SPARE
    return _elbo(setting, batches, warmup_steps=min(warmup_steps, setting.steps // 2), seed=setting.seed)


def _parts(batches: DataLoader) -> tuple[DataLoader, DataLoader]:
    """The first half of an epoch and the rest."""
    plans: Any = list(batches.sampler)
    half = len(plans) // 2
    first, second = (DataLoader(batches.dataset, None, sampler=part) for part in (plans[:half], plans[half:]))
    return first, second


def _elbo(setting: Setting, batches: DataLoader, begun: Separator | None = None, **options: Any) -> Separator:
    training = VAEBSS(**setting.shared, **setting.options, **options)
    if begun:
        training.model.load_state_dict(begun.state_dict())
    _descend(training, batches, setting.device)
    return training.model.to(setting.device)


def _descend(training: LightningModule, batches: Any, device: str) -> None:
    """One epoch."""
    accelerator = "gpu" if device == "cuda" else "cpu"
    bar = TQDMProgressBar(refresh_rate=20)
    bare_trainer(accelerator=accelerator, max_epochs=1, limit_val_batches=0, callbacks=[bar]).fit(training, batches)
    if not all(parameter.isfinite().all() for parameter in training.parameters()):
        raise ValueError(f"{type(training).__name__} went astray: its weights are no longer numbers")


def _unmasked(setting: Setting, models: Models, batch: Batch) -> Separation:
    return models["vae"].separate(batch["mixture"], masked=False)


def _refined(setting: Setting, models: Models, batch: Batch) -> Separation:
    refinement = BEST_REFINEMENT if setting.shipped else REFINEMENT
    return models["vae"].separate(batch["mixture"], **refinement)


def _oracle_latents(setting: Setting, models: Models, batch: Batch) -> Separation:
    model: Any = models["vae"]
    return ceilings.answer(partial(ceilings.oracle_latents, model), setting.modality, setting.source_scale, batch)


def _ideal_binary(setting: Setting, models: Models, batch: Batch) -> Separation:
    return ceilings.answer(ceilings.ideal_binary_mask, setting.modality, setting.source_scale, batch)


def _ideal_ratio(setting: Setting, models: Models, batch: Batch) -> Separation:
    shares = partial(ceilings.ideal_ratio_mask, exponent=setting.modality.exponent)
    return ceilings.answer(shares, setting.modality, setting.source_scale, batch)


def _magnitudes(modality: Audio) -> Audio:
    """Pictures, at the same resolution, of linear magnitudes that add up."""
    return replace(modality, compression=1.0, add="magnitudes")


def _energies(modality: Audio) -> Audio:
    """The same of energies."""
    return replace(modality, compression=1.0, add="energies")


def _bins(modality: Audio) -> Audio:
    """Pictures with a pixel for every bin and frame."""
    return replace(modality, bands=modality.window // 2, pooled=1)


_TRIVIAL = {
    "silence": Method(partial(_untrained, Silence)),
    "one-slot": Method(partial(_untrained, OneSlot)),
    "equal-share": Method(partial(_untrained, EqualShare)),
}
_LEARNED = {
    "ae": Method(_ae),
    "glo": Method(_glo, only_k=2),
    "mixit": Method(_mixit),
    "vae": Method(_vae),
}
_OF_THE_VAE = {
    "vae-refined": Method(answer=_refined, needs="vae"),
    "oracle-latents": Method(answer=_oracle_latents, needs="vae", sees_truth=True),
}

# kind of modality -> name -> method, in the table's order
METHODS: dict[str, dict[str, Method]] = {
    "images": {
        **_TRIVIAL,
        "nmf": Method(_nmf),
        **_LEARNED,
        **_OF_THE_VAE,
        "ideal-binary-mask": Method(answer=_ideal_binary, sees_truth=True),
        "ideal-ratio-mask": Method(answer=_ideal_ratio, sees_truth=True),
    },
    "audio": {
        **_TRIVIAL,
        "nmf": Method(_spectral_nmf, sees=lambda audio: _bins(_magnitudes(audio))),
        **_LEARNED,
        "vae-unmasked": Method(answer=_unmasked, needs="vae"),
        **_OF_THE_VAE,
        "ideal-binary-mask-bands": Method(answer=_ideal_binary, sees=_magnitudes, sees_truth=True),
        "ideal-ratio-mask-bands": Method(answer=_ideal_ratio, sees=_magnitudes, sees_truth=True),
        "wiener-mask-bands": Method(answer=_ideal_ratio, sees=_energies, sees_truth=True),
        "ideal-binary-mask-bins": Method(answer=_ideal_binary, sees=lambda a: _bins(_magnitudes(a)), sees_truth=True),
        "ideal-ratio-mask-bins": Method(answer=_ideal_ratio, sees=lambda a: _bins(_magnitudes(a)), sees_truth=True),
        "wiener-mask-bins": Method(answer=_ideal_ratio, sees=lambda a: _bins(_energies(a)), sees_truth=True),
    },
}
