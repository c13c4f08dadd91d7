"""Scores of separations of mixtures whose true sources are known.

True sources of batches are read here and in `examples.py`, for scores, pictures and sounds. They never reach a loss, a
schedule or the choice of a checkpoint.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from vaebss.data.batches import Batch
from vaebss.metrics.metric import Quality, mean_per_mixture
from vaebss.metrics.separation import SeparationMetrics
from vaebss.modalities.modality import Modality
from vaebss.models.separator import Separator
from vaebss.separation import Separation


def main_quality(modality: Modality, source_scale: float) -> tuple[str, Quality]:
    """Return the name and the function of a modality's main metric.

    Args:
        modality: Modality of the mixtures.
        source_scale: Brightest pixel of a source; infinity if it is unknown.
    """
    return next(iter(modality.qualities(source_scale).items()))


class Scorer:
    """Scores of a separator, summed up over batches of mixtures.

    Args:
        num_slots: Number of slots, K.
        source_scale: Brightest pixel of a source, or infinity where there is no bound.
        modality: Modality of the mixtures, which names the metrics.
    """

    def __init__(self, num_slots: int, source_scale: float, modality: Modality):
        self.metrics = SeparationMetrics(num_slots, modality.qualities(source_scale))
        self.modality = modality

    def add(self, separation: Separation, batch: Batch) -> None:
        """Add the scores of a batch.

        Args:
            separation: Separation of the pictures of the batch.
            batch: Batch with true sources and counts.
        """
        heard = self.modality.to_signals(separation, batch["mixture"], batch["signal"])
        self.metrics.to(heard.device).update(heard, separation.active, batch["sources"], batch["count"])

    def report(self) -> dict[str, Any]:
        """Return the scores of SeparationMetrics over all devices and reset them; empty if nothing was scored."""
        scores = self.metrics.compute() if self.metrics.update_called else {}
        self.metrics.reset()
        return scores


class Scores(Callback):
    """A callback that logs scores of the separation of validation and test mixtures whose true sources are known.

    Attributes:
        report: The last scores, as SeparationMetrics returns them; empty where the true sources are unknown.

    Examples:
        >>> from pytorch_lightning import Trainer
        >>> from vaebss import MNISTMixtures, RemixSeparator, Scores
        >>> scores = Scores()
        >>> quiet = dict(logger=False, enable_progress_bar=False, enable_model_summary=False)
        >>> trainer = Trainer(accelerator="cpu", callbacks=[scores], **quiet)
        >>> module = RemixSeparator(num_sources=2, widths=(8, 16), bottleneck=16)
        >>> data = MNISTMixtures(source="bundled", test_mixtures=50)
        >>> metrics = trainer.test(module, data, verbose=False)
        >>> sorted(scores.report)[:3]
        ['confusion', 'count', 'psnr']
    """

    def __init__(self):
        self.report: dict[str, Any] = {}
        self.scorer: Scorer | None = None

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if "sources" not in batch:
            return
        if self.scorer is None:
            model: Any = pl_module.model
            self.scorer = Scorer(model.num_sources, model.source_scale, trainer.datamodule.modality)  # type: ignore[attr-defined]
        self.scorer.add(outputs["separation"], batch)

    on_test_batch_end = on_validation_batch_end

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._log(pl_module, "val")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._log(pl_module, "test")

    def _log(self, pl_module: LightningModule, stage: str) -> None:
        if self.scorer is None:
            return
        self.report = self.scorer.report()
        main, *others = (*self.scorer.metrics.qualities, "count")
        pl_module.log(f"{stage}/{main}", self.report[main], prog_bar=True)
        pl_module.log_dict({f"{stage}/{name}": self.report[name] for name in others})


class BankScores:
    """Scores of a bank's pseudo-sources against true sources, for curves alone: see `BankMaker.watch`.

    Args:
        source_scale: Brightest pixel of the mixtures' sources, or infinity.
        modality: Modality of the mixtures.

    Attributes:
        name: Name of the metric, the first of the modality.
    """

    def __init__(self, source_scale: float, modality: Modality):
        self.name, self.quality = main_quality(modality, source_scale)
        self.confidence: list[Tensor] = []
        self.found: list[Tensor] = []

    def __call__(self, batch: Batch, separation: Separation) -> None:
        """Score the separation of a batch of mixtures, if their true sources are known."""
        if "sources" in batch:
            known = batch["sources"], batch["count"]
            self.found.append(mean_per_mixture(self.quality, separation.sources, *known))
            self.confidence.append(separation.confidence)

    def by_confidence(self) -> dict[int, float]:
        """Return the mean in dB of the most confident 10, 20, ... 100 % of mixtures since the last call."""
        if not self.found:
            return {}
        curve = quality_by_confidence(torch.cat(self.confidence), torch.cat(self.found))
        self.confidence, self.found = [], []
        return curve


def score(answer: Callable[[Batch], Separation], batches: Iterable[Batch], scorer: Scorer) -> dict[str, Any]:
    """Return the scores of any function that separates batches.

    Args:
        answer: Function that separates the pictures of a batch.
        batches: Batches with true sources.
        scorer: Scorer, which is reset afterwards.

    Returns:
        Scores as `SeparationMetrics.compute` returns them.
    """
    for batch in batches:
        scorer.add(answer(batch), batch)
    return scorer.report()


def quality_by_confidence(confidence: Tensor, quality: Tensor) -> dict[int, float]:
    """Return the mean quality of the most confident 10, 20, ... 100 % of mixtures, by the percentage.

    Args:
        confidence: Confidence of each mixture, (B,).
        quality: Quality of each mixture, (B,).
    """
    ranked = quality[confidence.argsort(descending=True)]
    return {percent: float(ranked[: max(1, len(ranked) * percent // 100)].mean()) for percent in range(10, 101, 10)}


@torch.no_grad()
def evaluate(model: Separator, batches: Iterable[Batch], modality: Modality, **refinement: Any) -> dict[str, Any]:
    """Score a separator on mixtures whose true sources are known.

    Args:
        model: Any separator, in eval mode.
        batches: Batches of mixtures, with true sources and counts.
        modality: Modality of the mixtures.
        refinement: Options of `separate`, which add a column "refined" unless all are 0.

    Returns:
        Column ("raw", "masked", perhaps "refined") -> scores as SeparationMetrics returns them.
    """
    columns = ("raw", "masked", "refined") if any(refinement.values()) else ("raw", "masked")
    scorers = {column: Scorer(model.num_sources, model.source_scale, modality) for column in columns}
    for batch in batches:
        raw = model.separate(batch["mixture"], masked=False)
        scorers["raw"].add(raw, batch)
        masked = model.masked(raw.sources, batch["mixture"])
        scorers["masked"].add(Separation(masked, raw.active, raw.confidence), batch)
        if "refined" in scorers:
            scorers["refined"].add(model.separate(batch["mixture"], **refinement), batch)
    return {column: scorer.report() for column, scorer in scorers.items()}
