"""Scores of mixtures whose true sources are known: the only door through which these come in.

What is seen here is written down and drawn. It never reaches a loss, a schedule or the choice of a checkpoint.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from vaebss.metrics.images import mixture_psnr_paper, qualities
from vaebss.metrics.separation import SeparationMetrics
from vaebss.models.separator import Separator
from vaebss.models.vae import VAE
from vaebss.seeding import generator
from vaebss.separation import Separation
from vaebss.training.vae import NOISE

Batch = dict[str, Tensor]
LOGGED = ("psnr_paper", "psnr", "ssim", "si_sdr", "count")


def metrics_of(model: Separator) -> SeparationMetrics:
    """Those that score a separator."""
    return SeparationMetrics(model.num_sources, qualities(model.source_scale))


class Scores(Callback):
    """Logs how well validation and test mixtures are taken apart.

    Attributes:
        report: the last scores, as SeparationMetrics gives them; empty where nobody knows the sources.
    """

    def __init__(self):
        self.report: dict[str, Any] = {}
        self.metrics: SeparationMetrics | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        model: Any = pl_module.model
        self.metrics = metrics_of(model)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if "sources" in batch and self.metrics:
            found, known = outputs["separation"], (batch["sources"], batch["count"])
            self.metrics.to(pl_module.device).update(found.sources, found.active, *known)

    on_test_batch_end = on_validation_batch_end

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._log(pl_module, "val")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._log(pl_module, "test")

    def _log(self, pl_module: LightningModule, stage: str) -> None:
        if self.metrics is None or not self.metrics.update_called:
            return
        self.report = self.metrics.compute()
        self.metrics.reset()
        main, *others = LOGGED
        pl_module.log(f"{stage}/{main}", self.report[main], prog_bar=True)
        pl_module.log_dict({f"{stage}/{name}": self.report[name] for name in others})


class BankScores:
    """How good a bank's pseudo-sources are, for curves alone: see `Remixes.watch`."""

    def __init__(self, source_scale: float):
        self.source_scale = source_scale
        self.confidence: list[Tensor] = []
        self.psnr: list[Tensor] = []

    def __call__(self, batch: Batch, separation: Separation) -> None:
        """Take note of a batch of mixtures and what was found in it."""
        if "sources" in batch:
            known = batch["sources"], batch["count"], self.source_scale
            self.psnr.append(mixture_psnr_paper(separation.sources, *known))
            self.confidence.append(separation.confidence)

    def by_confidence(self) -> dict[int, float]:
        """Mean PSNR in dB, paper scale, of the most confident 10, 20, ... 100 % of mixtures since last asked."""
        if not self.psnr:
            return {}
        curve = quality_by_confidence(torch.cat(self.confidence), torch.cat(self.psnr))
        self.confidence, self.psnr = [], []
        return curve


def examples(batches: Iterable[Batch], number: int) -> tuple[Tensor, Tensor | None]:
    """The first mixtures (N, C, H, W) and, where they are known, their sources (N, M, C, H, W), for pictures."""
    batch = next(iter(batches))
    sources = batch.get("sources")
    return batch["mixture"][:number], None if sources is None else sources[:number]


def score(
    answer: Callable[[Batch], Separation], batches: Iterable[Batch], num_slots: int, source_scale: float
) -> dict[str, Any]:
    """Scores of any way to answer batches with so many slots, as SeparationMetrics gives them."""
    metrics = SeparationMetrics(num_slots, qualities(source_scale))
    for batch in batches:
        separation = answer(batch)
        metrics.update(separation.sources, separation.active, batch["sources"], batch["count"])
    return metrics.compute()


def quality_by_confidence(confidence: Tensor, psnr: Tensor) -> dict[int, float]:
    """Mean PSNR of the most confident 10, 20, ... 100 % of mixtures: (B,) twice."""
    ranked = psnr[confidence.argsort(descending=True)]
    return {percent: float(ranked[: max(1, len(ranked) * percent // 100)].mean()) for percent in range(10, 101, 10)}


@torch.no_grad()
def evaluate(model: Separator, batches: Iterable[Batch], **refinement: Any) -> dict[str, Any]:
    """How well a separator takes mixtures apart whose sources are known.

    Args:
        model: of any kind, in eval mode.
        batches: of `mixture`, `sources` and `count`.
        refinement: options of `separate` for a further column.

    Returns:
        Column ("raw", "masked", perhaps "refined") -> scores as SeparationMetrics gives them.
    """
    columns = ("raw", "masked", "refined") if any(refinement.values()) else ("raw", "masked")
    metrics = {column: metrics_of(model) for column in columns}
    for batch in batches:
        mixture, known = batch["mixture"], (batch["sources"], batch["count"])
        raw = model.separate(mixture, masked=False)
        metrics["raw"].update(raw.sources, raw.active, *known)
        metrics["masked"].update(model.masked(raw.sources, mixture), raw.active, *known)
        if "refined" in metrics:
            refined = model.separate(mixture, **refinement)
            metrics["refined"].update(refined.sources, refined.active, *known)
    return {column: metric.compute() for column, metric in metrics.items()}


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
