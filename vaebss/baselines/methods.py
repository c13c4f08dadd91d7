"""The methods of the paper's Table II as records: how each is trained and asked, and what was published of it."""

# B mixtures, K assumed sources, M true sources

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pytorch_lightning import LightningModule, Trainer, seed_everything
from pytorch_lightning.callbacks import TQDMProgressBar

from vaebss.baselines import ceilings
from vaebss.baselines.glo import GLO, GLOTraining
from vaebss.baselines.mixit import MixIT, MixITTraining
from vaebss.baselines.nmf import NMF
from vaebss.baselines.trivial import EqualShare, OneSlot, Silence
from vaebss.data.collections import Batch
from vaebss.data.mixtures import MNISTMixtures
from vaebss.hardware import fastest_precision
from vaebss.models.separator import Separator
from vaebss.separation import Separation
from vaebss.training.vae import VAEBSS

PUBLISHED_MIXED = 2  # M of Table II

# With a spare slot, a slow rise of beta leaves the sources in fewer slots, so that the spare one can fall silent.
WARMUP_STEPS, WARMUP_STEPS_SPARE = 100, 1_200
REFINEMENT: dict[str, Any] = {
    "refine_steps": 60,
    "restarts": 1,
}  # like GLO, which fits latents to every test mixture too


@dataclass(frozen=True)
class Setting:
    """What every method is built for.

    Attributes:
        num_sources: K.
        steps: of training.
        source_scale: brightest pixel of a source.
        seed: of all that is drawn.
        device: to train on.
    """

    num_sources: int
    steps: int = 1
    source_scale: float = 0.5
    seed: int = 0
    device: str = "cpu"

    @property
    def shared(self) -> dict[str, Any]:
        """Options that all separators have."""
        return {"num_sources": self.num_sources, "source_scale": self.source_scale}


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
        published: K -> PSNR (paper scale) in dB and SSIM, of mixed pairs of MNIST digits (Neri et al. 2021, Table II).
        sees_truth: whether its answer comes from the true sources.
    """

    learn: Learner | None = None
    answer: Callable[[Models, Batch], Separation] | None = None
    needs: str | None = None
    only_k: int | None = None
    published: dict[int, tuple[float, float]] = field(default_factory=dict)
    sees_truth: bool = False


def estimator(name: str, models: Models) -> Estimator:
    """How a method answers a batch."""
    answer = METHODS[name].answer
    return partial(answer, models) if answer else lambda batch: models[name].separate(batch["mixture"])


def trained(name: str, setting: Setting, data: MNISTMixtures) -> Separator | None:
    """Its separator, if it has one of its own."""
    seed_everything(setting.seed, verbose=False)
    learn = METHODS[name].learn
    return learn(setting, data) if learn else None


def _untrained(kind: type[Separator], setting: Setting, data: MNISTMixtures) -> Separator:
    return kind(**setting.shared)


def _nmf(setting: Setting, data: MNISTMixtures) -> Separator:
    model = NMF(**setting.shared, seed=setting.seed)
    model.fit(data)
    return model


def _glo(setting: Setting, data: MNISTMixtures) -> Separator:
    training = GLOTraining(GLO(**setting.shared, seed=setting.seed))
    _descend(training, training.batches(data), setting.device)
    return training.model.to(setting.device)


def _mixit(setting: Setting, data: MNISTMixtures) -> Separator:
    training = MixITTraining(MixIT(**setting.shared))
    _descend(training, data.train_dataloader(), setting.device)
    return training.model.to(setting.device)


def _vae(setting: Setting, data: MNISTMixtures) -> Separator:
    warmup_steps = WARMUP_STEPS if setting.num_sources <= 2 else WARMUP_STEPS_SPARE
    return _elbo(setting, data, warmup_steps=min(warmup_steps, setting.steps // 2), seed=setting.seed)


def _elbo(setting: Setting, data: MNISTMixtures, **options: Any) -> Separator:
    training = VAEBSS(**setting.shared, **options)
    _descend(training, data.train_dataloader(), setting.device)
    return training.model.to(setting.device)


def _descend(training: LightningModule, batches: Any, device: str) -> None:
    """One epoch."""
    accelerator = "gpu" if device == "cuda" else "cpu"
    Trainer(
        accelerator=accelerator,
        devices=1,
        max_epochs=1,
        precision=fastest_precision(accelerator),  # type: ignore[arg-type]
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        callbacks=[TQDMProgressBar(refresh_rate=20)],
    ).fit(training, batches)


def _refined(models: Models, batch: Batch) -> Separation:
    return models["vae"].separate(batch["mixture"], **REFINEMENT)


def _oracle_latents(models: Models, batch: Batch) -> Separation:
    model: Any = models["vae"]
    return ceilings.answer(partial(ceilings.oracle_latents, model), batch)


def _ideal(mask: ceilings.Ceiling, models: Models, batch: Batch) -> Separation:
    return ceilings.answer(mask, batch)


METHODS = {
    "silence": Method(partial(_untrained, Silence)),
    "one-slot": Method(partial(_untrained, OneSlot)),
    "equal-share": Method(partial(_untrained, EqualShare)),
    "nmf": Method(_nmf, published={2: (17.22, 0.50), 3: (18.27, 0.44)}),
    "ae": Method(partial(_elbo, variational=False), published={2: (15.96, 0.43), 3: (16.30, 0.43)}),
    "glo": Method(_glo, only_k=2, published={2: (24.63, 0.86)}),
    "mixit": Method(_mixit, published={2: (25.69, 0.88), 3: (25.41, 0.69)}),
    "vae": Method(_vae, published={2: (26.69, 0.93), 3: (27.68, 0.94)}),
    "vae-refined": Method(answer=_refined, needs="vae"),
    "oracle-latents": Method(answer=_oracle_latents, needs="vae", sees_truth=True),
    "ideal-binary-mask": Method(answer=partial(_ideal, ceilings.ideal_binary_mask), sees_truth=True),
    "ideal-ratio-mask": Method(answer=partial(_ideal, ceilings.ideal_ratio_mask), sees_truth=True),
}
