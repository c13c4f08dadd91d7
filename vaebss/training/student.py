"""Training of a mask network on remixes of a separator's own confident estimates, as a LightningModule.

See training/banks.py for where its remixes come from.
"""

# B mixtures, K slots, M sources in a remix

import math
from typing import Any

import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn.functional import cross_entropy

from vaebss.errors import check_above_zero, check_at_least
from vaebss.matching import assignments, with_silence
from vaebss.models.masker import Masker
from vaebss.training.muon import Muon
from vaebss.training.system import System

ERROR_FLOOR = 1e-4  # mean squared error below which a better estimate hardly pays, where
BRIGHTEST = 0.5  # is the brightest pixel of a source
COUNTING = 0.1  # weight of the loss of counts, in nats, beside that of masks, in which 10 dB are 1


class RemixSeparator(System):
    """A mask network, trained on remixes of another separator's estimates. Holds a Masker as `model`.

    Args:
        lr: Learning rate of Muon, falling to lr_min along a cosine until the end of the last round.
        lr_min: Lowest learning rate.
        model: Options of the Masker.

    Examples:
        >>> import torch
        >>> from vaebss import RemixSeparator
        >>> module = RemixSeparator(num_sources=2, widths=(8, 16), bottleneck=16)
        >>> module.separate(torch.rand(4, 1, 28, 28)).sources.shape
        torch.Size([4, 2, 1, 28, 28])
    """

    model: Masker

    def __init__(self, lr: float = 2e-3, lr_min: float = 1e-6, **model: Any):
        super().__init__()
        check_above_zero(model__lr=lr)
        check_at_least(0, model__lr_min=lr_min)
        self._followed: list[tuple[list[Tensor], list[Tensor]]] = []
        self._set_model(Masker(**model), lr=lr, lr_min=lr_min)

    def inputs(self, batch: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """Return pictures (B, C, H, W) and signals (B, *S) of mixtures, and the parts for the slots, (B, K, *S)."""
        return batch["mixture"], batch["signal"], with_silence(batch["targets"], self.model.num_sources)

    def cost(self, mixture: Tensor, signal: Tensor, sources: Tensor) -> tuple[Tensor]:  # type: ignore[override]
        """Return the loss of a batch of remixes, in a tuple.

        Args:
            mixture: Pictures of the remixes, (B, C, H, W).
            signal: The remixes, (B, *S).
            sources: Their pseudo-sources, (B, K, *S), 0 where a remix has fewer than K.
        """
        shares, counts = self.model.shares_and_counts(mixture)
        errors = self.modality.errors(shares, signal, sources)
        of_each = slot_by_slot_loss if self.modality.voices else permutation_invariant_loss
        loss = of_each(errors, self.model.source_scale).mean()
        return (loss if counts is None else loss + COUNTING * counting_loss(counts, sources),)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of remixes, whose sources are pseudo-sources.

        Args:
            batch: Batch of remixes: "mixture" (B, C, H, W), "signal" (B, *S), and "targets" (B, M, *S), the
                pseudo-sources.
            batch_idx: Number of the batch in the epoch.
        """
        (loss,) = self.compute(*self.inputs(batch))
        if self.logs_now:
            self.log("train/loss", loss, prog_bar=True, batch_size=len(batch["mixture"]))
            self.log_rate()
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Make a step and update the average of the weights.

        Averaging removes the noise of single steps, so that the average separates at any time as well as the weights at
        the end of a decayed learning rate.
        """
        super().optimizer_step(*args, **kwargs)
        if self._followed:
            self.launch(self._follow)
        else:
            self.model.average.update_parameters(self.model.network)
            self._followed = self._pairs()

    @torch.no_grad()
    def _follow(self) -> None:
        """Update the average as AveragedModel does, which would have a GPU's step wait for the host twice."""
        follow: Any = self.model.average.multi_avg_fn
        for average, current in self._followed:
            follow(average, current, self.model.average.n_averaged)
        self.model.average.n_averaged += 1

    def on_train_start(self) -> None:
        """Forget the tensors of the last training, for the weights have been moved to their device and may be other
        ones. Take over whether slots are classes, which the first bank has decided."""
        self._followed = []
        self.setup("fit")

    def _pairs(self) -> list[tuple[list[Tensor], list[Tensor]]]:
        """Return the tensors of the running average and of the network: weights, and counts of batches."""
        of_each = ([*m.parameters(), *m.buffers()] for m in (self.model.average.module, self.model.network))
        pairs = list(zip(*of_each, strict=True))
        kinds = [[pair for pair in pairs if pair[0].is_floating_point() is floating] for floating in (True, False)]
        return [([a for a, _ in kind], [c for _, c in kind]) for kind in kinds]

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Return Muon, and a learning rate that is set before every step."""
        optimizer = Muon(self.model.network.parameters(), lr=self.hparams.lr)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self.cosine)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def permutation_invariant_loss(errors: Tensor, source_scale: float) -> Tensor:
    """Return the mean over slots of log10(error + 1e-4) under the best assignment.

    A logarithm, as in PSNR, lets no single source outweigh the others; plain errors end 2 dB lower.

    Args:
        errors: (B, K sources, K slots), squared; as Modality.errors gives them.
        source_scale: Brightest pixel of a source, which is rescaled to 0.5; or infinity, where errors are relative.

    Returns:
        (B,), from -4 to about 0.
    """
    cost, slots = _logarithmic(errors, source_scale), errors.shape[2]
    choices = assignments(slots, slots, cost.device)  # (A, source)
    return cost[:, torch.arange(slots, device=cost.device), choices].mean(2).amin(1)


def slot_by_slot_loss(errors: Tensor, source_scale: float) -> Tensor:
    """Return the loss of assigning the k-th source to the k-th slot, even if another assignment costs less.

    Args:
        errors: Squared errors (B, K sources, K slots), see `permutation_invariant_loss`.
        source_scale: Brightest pixel of a source, which is rescaled to 0.5; or infinity, where errors are relative.

    Returns:
        (B,), from -4 to about 0.
    """
    return _logarithmic(errors, source_scale).diagonal(dim1=1, dim2=2).mean(1)


def counting_loss(logits: Tensor, sources: Tensor) -> Tensor:
    """Return the mean cross-entropy in nats of the numbers of sources in remixes.

    Args:
        logits: Logits of 1 to K sources, (B, K).
        sources: Sources (B, K, *S), 0 where a remix has fewer.
    """
    count = sources.flatten(2).any(2).sum(1)
    return cross_entropy(logits, count.clamp(min=1) - 1)


def _logarithmic(errors: Tensor, source_scale: float) -> Tensor:
    scale = 1.0 if math.isinf(source_scale) else (BRIGHTEST / source_scale) ** 2
    return torch.log10(errors * scale + ERROR_FLOOR)
