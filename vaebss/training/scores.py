"""Scores of mixtures whose true sources are known: the only door through which these come in.

What is seen here is written down and drawn. It never reaches a loss, a schedule or the choice of a checkpoint.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from vaebss.metrics.separation import Quality, SeparationMetrics, of_mixtures
from vaebss.modalities.modality import Modality
from vaebss.models.separator import Separator
from vaebss.models.vae import VAE
from vaebss.seeding import generator
from vaebss.separation import Separation
from vaebss.training.vae import NOISE

Batch = dict[str, Tensor]


def main_quality(modality: Modality, source_scale: float) -> tuple[str, Quality]:
    """Return the name of a modality's main metric, and the metric."""
    return next(iter(modality.qualities(source_scale).items()))


class Scorer:
    """Scores of a separator on mixtures of a modality.

    Args:
        num_slots: K.
        source_scale: of the mixtures' sources, brightest pixel or infinity.
        modality: of the mixtures.
    """

    def __init__(self, num_slots: int, source_scale: float, modality: Modality):
        self.metrics = SeparationMetrics(num_slots, modality.qualities(source_scale))
        self.modality = modality

    def add(self, separation: Separation, batch: Batch) -> None:
        """A batch of mixtures and what was found in them."""
        heard = self.modality.heard(separation, batch["mixture"], batch["signal"])
        self.metrics.to(heard.device).update(heard, separation.active, batch["sources"], batch["count"])

    def report(self) -> dict[str, Any]:
        """As SeparationMetrics gives them, over all devices, and begin anew; empty where nothing was scored."""
        scores = self.metrics.compute() if self.metrics.update_called else {}
        self.metrics.reset()
        return scores


class Scores(Callback):
    """Logs how well validation and test mixtures are taken apart.

    Attributes:
        report: the last scores, as SeparationMetrics gives them; empty where nobody knows the sources.
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
    """How good a bank's pseudo-sources are, for curves alone: see `BankMaker.watch`.

    Args:
        source_scale: Brightest pixel of the mixtures' sources, or infinity.
        modality: Modality of the mixtures.

    Attributes:
        name: of what is measured, the first of the kind's qualities.
    """

    def __init__(self, source_scale: float, modality: Modality):
        self.name, self.quality = main_quality(modality, source_scale)
        self.confidence: list[Tensor] = []
        self.found: list[Tensor] = []

    def __call__(self, batch: Batch, separation: Separation) -> None:
        """Take note of a batch of mixtures and what was found in it."""
        if "sources" in batch:
            known = batch["sources"], batch["count"]
            self.found.append(of_mixtures(self.quality, separation.sources, *known))
            self.confidence.append(separation.confidence)

    def by_confidence(self) -> dict[int, float]:
        """Its mean in dB of the most confident 10, 20, ... 100 % of mixtures since last asked."""
        if not self.found:
            return {}
        curve = quality_by_confidence(torch.cat(self.confidence), torch.cat(self.found))
        self.confidence, self.found = [], []
        return curve


def examples(batches: Iterable[Batch], number: int) -> Batch:
    """The first mixtures of a data set, with all that is known of them."""
    return {name: value[:number] for name, value in next(iter(batches)).items()}


class Apart(NamedTuple):
    """Mixtures taken apart, for people to look at and listen to.

    Attributes:
        signals: of the mixtures, (B, *S).
        estimates: of each slot, (B, K, *S).
        sources: the true ones, (B, M, *S), or None where nobody knows them.
        captions: of each mixture, how many were found, how sure of it the separator is and, with truth, how good it is.
    """

    signals: Tensor
    estimates: Tensor
    sources: Tensor | None
    captions: list[str]

    def named(self) -> Iterator[tuple[int, str, Tensor]]:
        """Number of each mixture, from 1, what a signal of it is ("mixture", "estimate 1", "source 1"), and that."""
        for number, mixture in enumerate(self.signals, 1):
            yield number, "mixture", mixture
            for kind, signals in (("estimate", self.estimates), ("source", self.sources)):
                for slot, signal in enumerate(() if signals is None else signals[number - 1], 1):
                    yield number, f"{kind} {slot}", signal


def apart(found: Separation, batch: Batch, modality: Modality, source_scale: float) -> Apart:
    """A batch, and what was found in it; `source_scale` is the brightest pixel of a source, of pictures."""
    heard = modality.heard(found, batch["mixture"], batch["signal"])
    found_there = [f"{count} found" for count in found.count.tolist()]
    lines = [found_there, [f"sure {confidence:.2f}" for confidence in found.confidence.tolist()]]
    if "sources" in batch:
        lines[0] = [f"{told} of {there}" for told, there in zip(found_there, batch["count"].tolist(), strict=True)]
        _, quality = main_quality(modality, source_scale)
        scores = of_mixtures(quality, heard.float(), batch["sources"].float(), batch["count"])
        lines.append([f"{score:.1f} dB" for score in scores.tolist()])
    return Apart(
        batch["signal"], heard, batch.get("sources"), ["\n".join(column) for column in zip(*lines, strict=True)]
    )


def score(answer: Callable[[Batch], Separation], batches: Iterable[Batch], scorer: Scorer) -> dict[str, Any]:
    """Scores of any way to answer batches, as SeparationMetrics gives them."""
    for batch in batches:
        scorer.add(answer(batch), batch)
    return scorer.report()


def quality_by_confidence(confidence: Tensor, quality: Tensor) -> dict[int, float]:
    """Mean quality of the most confident 10, 20, ... 100 % of mixtures: (B,) twice."""
    ranked = quality[confidence.argsort(descending=True)]
    return {percent: float(ranked[: max(1, len(ranked) * percent // 100)].mean()) for percent in range(10, 101, 10)}


@torch.no_grad()
def evaluate(model: Separator, batches: Iterable[Batch], modality: Modality, **refinement: Any) -> dict[str, Any]:
    """How well a separator takes mixtures apart whose sources are known.

    Args:
        model: of any kind, in eval mode.
        batches: of mixtures and their sources.
        modality: of the mixtures.
        refinement: options of `separate` for a further column.

    Returns:
        Column ("raw", "masked", perhaps "refined") -> scores as SeparationMetrics gives them.
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


@torch.no_grad()
def mean_nats(model: VAE, batches: Iterable[Batch]) -> dict[str, float]:
    """The mean "loss", "elbo", "distortion" and "rate" of mixtures, in nats; their sources take no part."""
    model, parts = model.at_rest(), []
    for number, batch in enumerate(batches):
        noise = generator(model.seed, NOISE["test"], number, 0, device=model.device)
        bound = model.bound(batch["mixture"].to(model.device), noise)
        parts.append(torch.stack([-bound.elbo(model.beta), bound.elbo(), bound.distortion, bound.rate.sum(1)]))
    means = torch.cat(parts, 1).mean(1).tolist()
    return dict(zip(("loss", "elbo", "distortion", "rate"), means, strict=True))
