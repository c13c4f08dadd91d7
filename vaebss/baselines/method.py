"""The record of a method of the comparison: how it is trained and how it separates a batch of mixtures."""

# B mixtures, K assumed sources, M true sources

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pytorch_lightning.callbacks import TQDMProgressBar

from vaebss.data.batches import Batch
from vaebss.data.corpora.digits import SHAPE
from vaebss.data.mixtures import MNISTMixtures
from vaebss.modalities.images import Images
from vaebss.modalities.modality import Modality
from vaebss.models.separator import Separator
from vaebss.separation import Separation
from vaebss.training.trainers import bare_trainer

BEGIN_WITH = 5  # initial slots of a VAE that shall have 3 or 4, see pruning.py
DIGITS = Images(SHAPE)


@dataclass(frozen=True)
class Setting:
    """The settings that every method is built for.

    Attributes:
        num_sources: Number K of slots.
        steps: Training steps.
        source_scale: Brightest pixel of a source.
        seed: Random seed.
        device: Device to train on.
        modality: Modality of the mixtures.
        options: Options of VAEBSS; other methods take the sizes of their networks from them.
        begin_with: Slots that a VAE of more than two has at first, of which it keeps the K busiest.
        shipped: Whether models that come with the package replace training.
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
        """Return the named options that are set."""
        return {name: self.options[name] for name in names if name in self.options}

    def train(self, training: Any, batches: Any) -> Separator:
        """Train for one epoch; return the trained model, on the setting's device.

        Args:
            training: LightningModule that holds the model.
            batches: Batches of the epoch.

        Raises:
            ValueError: A weight is no longer finite.
        """
        options: dict[str, Any] = {"accelerator": "gpu" if self.device == "cuda" else "cpu", "max_epochs": 1}
        trainer = bare_trainer(**options, limit_val_batches=0, callbacks=[TQDMProgressBar(refresh_rate=20)])
        trainer.fit(training, batches)
        if not all(parameter.isfinite().all() for parameter in training.parameters()):
            raise ValueError(f"the training of {type(training).__name__} diverged: its weights are no longer finite")
        return training.model.to(self.device)


Learner = Callable[[Setting, MNISTMixtures], Separator]  # builds and trains a separator on one epoch of mixtures alone
Models = dict[str, Separator]
Estimator = Callable[[Batch], Separation]


@dataclass(frozen=True)
class Method:
    """A row of the table.

    Attributes:
        learn: Function that builds and trains its separator; None if it uses another method's model or true sources.
        answer: Function that separates a batch, given the trained models of all methods so far.
        needs: Name of the method whose model it uses.
        only_k: The only K that it is for.
        sees: Function that returns the modality of its pictures from that of the data.
        sees_truth: Whether its estimates are computed from the true sources.
        only_named: Whether it takes part in a comparison only if it is named, for it suits some data alone.
    """

    learn: Learner | None = None
    answer: Callable[[Setting, Models, Batch], Separation] | None = None
    needs: str | None = None
    only_k: int | None = None
    sees: Callable[[Any], Modality] = lambda modality: modality
    sees_truth: bool = False
    only_named: bool = False
