"""Mixture invariant training of a mask network (Wisdom et al., NeurIPS 2020), and its training as a LightningModule."""

# B mixtures, K assumed sources, P = C * H * W pixels, A assignments of outputs to mixtures

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from vaebss.baselines.method import Method, Setting
from vaebss.data.mixtures import MNISTMixtures
from vaebss.models.networks import hidden_layers
from vaebss.models.separator import Separator
from vaebss.separation import add_up


class MaskNetwork(nn.Module):
    """The paper's encoder followed by its mirror: (B, size_in) -> (B, size_out).

    A mask needs the details of its mixture, so each layer of the mirror adds the encoder's layer of the same width.

    Args:
        size_in: Width of the input.
        hidden_dims: Widths of the encoder's layers.
        size_out: Width of the output.
    """

    def __init__(self, size_in: int, hidden_dims: Sequence[int], size_out: int):
        super().__init__()
        encoder, mirror = pairwise([size_in, *hidden_dims]), pairwise(reversed(hidden_dims))
        self.encoder = nn.ModuleList(nn.Sequential(*hidden_layers(widths)) for widths in encoder)
        self.mirror = nn.ModuleList(nn.Sequential(*hidden_layers(widths)) for widths in mirror)
        self.output = nn.Linear(hidden_dims[0], size_out)

    def forward(self, pixels: Tensor) -> Tensor:
        hidden, layers = pixels, []
        for layer in self.encoder:
            hidden = layer(hidden)
            layers.append(hidden)
        for layer, same_width in zip(self.mirror, reversed(layers[:-1]), strict=True):
            hidden = layer(hidden) + same_width
        return self.output(hidden)


class MixIT(Separator):
    """A separator that is trained to split sums of two mixtures into 2 K outputs; it keeps the K brightest of them.

    The network returns 2 K masks that add up to 1 in every pixel. The K brightest outputs are masked again, so that
    they add up to the mixture. The ranking of separations is the share of brightness in these outputs. Masks and
    brightness are those of p-th powers.

    Args:
        num_sources: K, the sources in each mixture.
        hidden_dims: Widths of the network's layers, before they are mirrored.
        image_shape: (C, H, W) of a mixture.
        source_scale: Brightest pixel of a source.
        exponent: Exponent p; sources add up to a mixture as (sum_k s_k^p)^(1/p).
    """

    def __init__(
        self,
        num_sources: int = 2,
        hidden_dims: tuple[int, ...] = (700, 600, 500, 400, 300),
        image_shape: tuple[int, ...] = (1, 28, 28),
        source_scale: float = 0.5,
        exponent: float = 1.0,
    ):
        super().__init__(num_sources, image_shape, source_scale, exponent=exponent)
        self.hidden_dims = hidden_dims
        outputs, pixels = 2 * num_sources, math.prod(image_shape)
        self.network = nn.Sequential(
            nn.Flatten(), MaskNetwork(pixels, hidden_dims, outputs * pixels), nn.Unflatten(1, (outputs, *image_shape))
        )

    def forward(self, mixture: Tensor) -> Tensor:
        """Return outputs that add up to the mixture: (B, C, H, W) -> (B, 2 K, C, H, W)."""
        logits = self.network(mixture).float()
        if self.exponent == 1:
            return logits.softmax(1) * mixture.unsqueeze(1)
        return (logits.log_softmax(1) / self.exponent).exp() * mixture.unsqueeze(1)  # a root's slope at 0 is infinite

    def _estimate(self, mixture: Tensor) -> tuple[Tensor, Tensor]:
        outputs = self(mixture)
        powers = outputs.pow(self.exponent).flatten(2).sum(2)
        brightness, brightest = powers.topk(self.num_sources, dim=1)
        kept = outputs[torch.arange(len(outputs), device=outputs.device).unsqueeze(1), brightest]
        return kept, brightness.sum(1) / mixture.pow(self.exponent).flatten(1).sum(1).clamp(min=1e-6)


class MixITTraining(LightningModule):
    """The training of a MixIT model on sums x1 + x2. The loss is the least error over assignments of outputs.

    Args:
        model: Model to train.
        lr: Adam's learning rate, which falls to 0 on a cosine.
        picture: Function from signals (B, *S), which add up, to pictures (B, C, H, W), which may not; by default the
            identity.
    """

    assignments: Tensor

    def __init__(self, model: MixIT, lr: float = 1.5e-3, picture: Callable[[Tensor], Tensor] = lambda signals: signals):
        super().__init__()
        self.model, self.lr, self.picture = model, lr, picture
        outputs = 2 * model.num_sources
        to_first = torch.arange(2**outputs).unsqueeze(1) >> torch.arange(outputs) & 1
        self.register_buffer("assignments", to_first.float(), persistent=False)  # (A, 2 K): 1 goes to x1, 0 to x2

    def loss(self, outputs: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Return the least squared error of x1 and x2 over all assignments of outputs, summed over pixels: (B,).

        Args:
            outputs: (B, 2 K, C, H, W), for the picture of x1 + x2.
            first: First mixture x1, (B, C, H, W).
            second: Second mixture x2, (B, C, H, W).
        """
        with torch.autocast(outputs.device.type, enabled=False):
            if self.model.exponent == 1:
                return self._error_of_sums(outputs.flatten(2), first.flatten(1).unsqueeze(2))
            return self._error_of_powers(outputs.flatten(2), first.flatten(1), second.flatten(1))

    def _error_of_sums(self, outputs: Tensor, first: Tensor) -> Tensor:
        """Return the least squared error, (B,), of outputs (B, 2 K, P) that add up to x1 + x2.

        The error of x2 then equals that of x1, which is given as `first` (B, P, 1).

        |x1 - sum_k a_k s_k|^2 is expanded into products of the outputs, so that no assignment needs images of its own.
        """
        with_first = (outputs @ first).squeeze(2) @ self.assignments.T  # (B, A)
        squares = torch.einsum("ai,bij,aj->ba", self.assignments, outputs @ outputs.mT, self.assignments)
        return (first.square().sum((1, 2)).unsqueeze(1) - 2 * with_first + squares).amin(1)

    def _error_of_powers(self, outputs: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Return the least mean error, (B,), for x1 and x2 (B, P), of outputs (B, 2 K, P) whose p-th powers add up."""
        errors: list[Tensor] = []
        for to_first in self.assignments:  # one at a time: images of all would fill the memory
            remixed = add_up(outputs[:, to_first > 0], self.model.exponent).unsqueeze(1)
            errors.append((remixed - torch.stack([first, second], 1)).square().sum(2))
        of_first, of_second = torch.stack(errors, 2).unbind(1)  # (B, A)
        return (of_first + of_second.flip(1)).amin(1) / 2  # an assignment's opposite is as far from the other end

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        # Every mixture is x1 once and x2 once.
        first, signal = batch["mixture"], batch["signal"]
        both = self.picture(signal + signal.roll(1, 0))
        loss = self.loss(self.model(both), first, first.roll(1, 0)).mean()
        self.log("train/loss", loss, prog_bar=True, batch_size=len(first))
        return loss

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        optimizer = torch.optim.Adam(self.parameters(), lr=self.lr, fused=True)
        steps = int(self.trainer.estimated_stepping_batches)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def _learn(setting: Setting, data: MNISTMixtures) -> Separator:
    model = MixIT(**setting.shared, **setting.some("hidden_dims"))
    return setting.train(MixITTraining(model, picture=setting.modality.picture), data.train_dataloader())


METHOD = Method(_learn)
