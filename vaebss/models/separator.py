"""What all trained separators share: scores in validation and test, checkpoints that say what they are."""

# B mixtures, K slots

import math
import warnings
from abc import abstractmethod
from contextlib import contextmanager
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from vaebss.metrics.separation import SeparationMetrics
from vaebss.separation import Separation, check_mixture, mask

CHUNK = 1_000  # mixtures separated at once, to bound memory
ROUNDING = 1e-3  # by which half precision may exceed the brightest pixel


class Separator(LightningModule):
    """A model that takes mixtures apart.

    Its hyper-parameters include num_sources, image_shape, source_scale and bounded.
    """

    hparams: Any  # an AttributeDict, which type checkers cannot see into

    def prepare_scores(self) -> None:
        """To be called once the hyper-parameters are saved."""
        scored = ("val_masked", "test_raw", "test_masked", "test_refined")
        metrics = {name: SeparationMetrics(self.hparams.num_sources, self.hparams.source_scale) for name in scored}
        self.metrics: Any = nn.ModuleDict(metrics)
        self.refinement: dict[str, int] = {}  # options of `separate` for a third column of test scores

    @abstractmethod
    def check_refinement(self, refine_steps: int, restarts: int) -> None:
        """Raise a ValueError unless `separate` can refine so."""

    @abstractmethod
    def separate(self, mixture: Tensor, *, masked: bool = True, refine_steps: int = 0, restarts: int = 0) -> Separation:
        """Take mixtures (B, C, H, W) apart."""

    @abstractmethod
    def label(self, mixture: Tensor, refine_steps: int = 0, restarts: int = 0) -> Separation:
        """The best answer that the model has, masked, for others to learn from; `confidence` ranks the mixtures."""

    @abstractmethod
    def _separate(self, mixture: Tensor, masked: bool, **options: int) -> Separation:
        """Checked mixtures, on the model's device, in float32 and eval mode."""

    def masked(self, estimates: Tensor, mixture: Tensor) -> Tensor:
        """As `mask`, with sources as bright as they can be in this model's mixtures."""
        return mask(estimates, mixture, self.hparams.source_scale if self.hparams.bounded else math.inf)

    @torch.no_grad()
    def _separate_all(self, mixture: Tensor, masked: bool, **options: int) -> Separation:
        """Check mixtures, take them apart in chunks, and answer on their own device."""
        check_mixture(mixture, self.hparams.image_shape, self.hparams.num_sources)
        self._warn_of_brightness(mixture)
        with self.evaluating():
            chunks = mixture.split(CHUNK)
            parts = [self._separate(chunk.to(self.device, torch.float32), masked, **options) for chunk in chunks]
        return Separation.cat(parts).to(mixture.device)

    def _warn_of_brightness(self, mixture: Tensor) -> None:
        slots, scale = self.hparams.num_sources, self.hparams.source_scale
        if self.hparams.bounded and mixture.max() > slots * scale * (1 + ROUNDING):
            warnings.warn(
                f"a mixture is brighter than {slots} sources of {scale:g}, the brightest that this model knows: such "
                "pixels are shared out evenly",
                stacklevel=4,
            )

    def lr_factor_cosine(self, step: int) -> float:
        """Of the learning rate at an optimiser step: from 1 to lr_min / lr at the end of training."""
        if step == 0:  # before training starts; to ask for its steps would load the data ahead of a resumed epoch
            return 1.0
        lowest = self.hparams.lr_min / self.hparams.lr
        done = min(step / self.trainer.estimated_stepping_batches, 1.0)
        return lowest + (1 - lowest) * 0.5 * (1 + math.cos(math.pi * done))

    @contextmanager
    def evaluating(self):
        """Running statistics and full precision, whatever the caller's mode."""
        training = self.training
        self.eval()
        try:
            with torch.autocast(self.device.type, enabled=False):
                yield
        finally:
            self.train(training)

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        separation = self._separate_all(batch["mixture"], masked=True)
        self._score("val_masked", separation.sources, separation, batch)

    def test_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        raw = self._separate_all(batch["mixture"], masked=False)
        self._score("test_raw", raw.sources, raw, batch)
        self._score("test_masked", self.masked(raw.sources, batch["mixture"]), raw, batch)
        if self.refinement:
            refined = self._separate_all(batch["mixture"], masked=True, **self.refinement)
            self._score("test_refined", refined.sources, refined, batch)

    def _score(self, name: str, estimates: Tensor, separation: Separation, batch: dict[str, Tensor]) -> None:
        if "sources" in batch:
            self.metrics[name].update(estimates, separation.active, batch["sources"], batch["count"])
        stage = name.split("_")[0]
        parts = {"active": separation.count.float().mean(), "confidence": separation.confidence.mean()}
        means = {f"{stage}/{part}": value for part, value in parts.items()}
        self.log_dict(means, batch_size=len(estimates), sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        scores = self.val_report = self._report("val_masked")
        if not scores:  # nobody knows the sources
            return
        self.log("val/psnr_paper", scores["psnr_paper"], prog_bar=True)
        self.log_dict({f"val/{name}": scores[name] for name in ("psnr", "ssim", "si_sdr", "count")})

    def on_test_epoch_end(self) -> None:
        columns = ("raw", "masked", "refined") if self.refinement else ("raw", "masked")
        self.test_report = {name: self._report(f"test_{name}") for name in columns}

    def _report(self, name: str) -> dict[str, Any]:
        if not self.metrics[name].update_called:
            return {}
        scores = self.metrics[name].compute()
        self.metrics[name].reset()
        return scores

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["model_class"] = type(self).__name__
