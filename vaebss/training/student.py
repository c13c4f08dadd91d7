"""The second stage: a mask network that learns from remixes of a separator's own confident estimates.

A trained separator, the teacher, takes training mixtures apart. Its most confident estimates, pseudo-sources, make a
bank. A student learns to take remixes of the bank apart, whose answers are known; then it separates the training
mixtures anew, which makes a better bank, and learns on. The errors of an estimate have nothing to do with what it is
remixed with, so the student averages them away. No true source takes part. Kin of RemixIT (Tzinis et al. 2022),
MixCycle (Karamatli and Kirbiz 2022) and noisy-student training (Xie et al. 2020).
"""

# B mixtures, K slots, M sources in a remix, N pseudo-sources

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from tqdm import tqdm

from vaebss.data.digits import SourceName
from vaebss.data.mixtures import EVALUATION_BATCH, TRAIN, FixedPlan, FreshPlan, MixtureDataset, MNISTMixtures
from vaebss.hardware import fastest_autocast
from vaebss.metrics.separation import PAPER_SCALE, assignments, match, mixture_psnr_paper
from vaebss.models.networks import MaskUNet
from vaebss.models.separator import Separator
from vaebss.separation import Separation, active_slots
from vaebss.training.muon import Muon

ERROR_FLOOR = 1e-4  # mean squared error below which a better estimate hardly pays
MOVES = ((1, 1), (-1, -1))  # pixels by which a mixture is moved for a second and a third opinion
FAINT = 1e-7  # least of an estimate in a geometric mean
COMMON = 0.05  # share of mixtures with a count from which on remixes have it too


@dataclass(frozen=True)
class Bank:
    """Pseudo-sources to remix.

    Attributes:
        images: (N, C, H, W) float16, in the mixtures' scale.
        counts: fewest and most sources of a remix, as the separator found them in the mixtures.
        round: how many students have made banks before.
    """

    images: Tensor
    counts: tuple[int, int]
    round: int

    def save(self, path: Path) -> None:
        """Whole or not at all."""
        part = path.with_suffix(".part")
        torch.save(asdict(self), part)
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> "Bank":
        """A bank that `save` wrote; nothing in the file is run."""
        return cls(**torch.load(path, weights_only=True))


def make_bank(separation: Separation, share: float, number: int) -> Bank:
    """The active slots of the most confident separations.

    Args:
        separation: of all training mixtures.
        share: of the mixtures to keep, above 0 and at most 1.
        number: the bank's round.
    """
    best = separation.confidence.topk(max(1, round(share * len(separation.confidence)))).indices
    images = separation.sources[best][separation.active[best]].half()
    if not len(images):
        raise ValueError("the bank is empty: no slot of any kept mixture is active")
    shares = separation.count.clamp(min=1).bincount() / len(separation.count)
    common = (shares >= COMMON).nonzero().flatten().tolist()
    return Bank(images, (common[0], common[-1]), number)


def quality_by_confidence(confidence: Tensor, psnr: Tensor) -> dict[int, float]:
    """Mean PSNR of the most confident 10, 20, ... 100 % of mixtures: for curves alone, since it knows the truth."""
    ranked = psnr[confidence.argsort(descending=True)]
    return {percent: float(ranked[: max(1, len(ranked) * percent // 100)].mean()) for percent in range(10, 101, 10)}


class Remixes(MNISTMixtures):
    """Training batches are remixes of a bank; validation and test mixtures are MNISTMixtures'.

    Args:
        num_mixtures: Length of the fixed list of training mixtures that make the banks.
        keep: Share of the mixtures, the most confident ones, that make each round's bank; its length is the number of
            rounds.
        epochs_per_round: Epochs that a student learns from one bank.
        refine_steps: Refinement of the teacher's latents, if it has any, for the first bank.
        restarts: Other starts of that refinement.
        batch_size: Remixes in a training step, on each device.
        epoch_size: Remixes in an epoch, rounded down to whole batches.
        root: Folder of the image sets, in torchvision's layout; fetched into once, then reused.
        source: Image set, see fit.py.
        num_mixed: Digits in a mixture, a number or a range such as [1, 4].
        source_scale: Brightest pixel of a digit in a mixture.
        train_size: Use only so many of the training digits.
        val_mixtures: Length of the fixed list of validation mixtures, of training digits held out.
        test_mixtures: Length of the fixed list of test mixtures.
        num_workers: Processes that gather batches.
        seed: Of mixtures and remixes. On the command line --seed_everything sets it.
        mixtures: File or folder of mixtures to make the banks of instead, see fit.py.
    """

    def __init__(
        self,
        num_mixtures: int = 30_000,
        keep: tuple[float, ...] = (0.7, 0.5, 0.6, 0.7),
        epochs_per_round: int = 6,
        refine_steps: int = 20,
        restarts: int = 0,
        batch_size: int = 96,
        epoch_size: int = 24_000,
        root: str = "./data",
        source: SourceName = "auto",
        num_mixed: int | list[int] = 2,
        source_scale: float = 0.5,
        train_size: int | None = None,
        val_mixtures: int = 1_000,
        test_mixtures: int = 5_000,
        num_workers: int = 0,
        seed: int = 0,
        mixtures: str | None = None,
    ):
        super().__init__(
            root,
            source,
            num_mixed,
            source_scale,
            batch_size,
            epoch_size,
            num_mixtures,
            train_size,
            val_mixtures,
            test_mixtures,
            num_workers,
            seed,
            mixtures,
        )
        self.save_hyperparameters()
        if not keep or not all(0 < share <= 1 for share in keep):
            raise ValueError(f"data.keep must be shares above 0 and at most 1, not {keep}")
        if epochs_per_round < 1:
            raise ValueError(f"data.epochs_per_round must be 1 or more, not {epochs_per_round}")
        self.teacher: Callable[[], Separator] | None = None  # asked only where the first bank has yet to be made
        self.bank: Bank | None = None
        self.bank_path: Path | None = None
        self.bank_quality: dict[int, float] = {}

    def train_dataloader(self) -> DataLoader:
        """Remixes of the bank of this epoch's round; to be asked for anew each epoch."""
        trainer: Any = self.trainer
        epoch, hparams = trainer.fit_loop.epoch_progress.current.processed, self.hparams
        last = len(hparams.keep) - 1
        bank = self._bank_of(min(epoch // hparams.epochs_per_round, last), trainer)
        if bank.counts[1] > (slots := trainer.lightning_module.hparams.num_sources):
            raise ValueError(f"{bank.counts[1]} sources were found in a mixture, too many for num_sources {slots}")
        plans = FreshPlan(
            len(bank.images), hparams.epoch_size, bank.counts, hparams.seed, hparams.batch_size, None, *self._world
        )
        plans.set_epoch(epoch)
        dataset = MixtureDataset(bank.images, 1.0)
        return DataLoader(dataset, batch_size=None, sampler=plans, num_workers=hparams.num_workers)

    def _bank_of(self, number: int, trainer: Any) -> Bank:
        """From memory, from the run's folder, or made now: the first by the teacher, later ones by the student."""
        if self.bank is None and self.bank_path and self.bank_path.is_file():
            self.bank = Bank.load(self.bank_path)
        if self.bank is None or self.bank.round != number:
            self.bank = self._make_bank(trainer.lightning_module if number else self._teacher(), number)
            if self.bank_path and trainer.is_global_zero:
                self.bank.save(self.bank_path)
        return self.bank

    def _teacher(self) -> Separator:
        if self.teacher is None:
            raise ValueError("the first bank needs a teacher: set the data module's `teacher`")
        return self.teacher()

    def _make_bank(self, separator: Separator, number: int) -> Bank:
        hparams, images = self.hparams, self._digits.train
        plan: Any = self._listed(hparams.num_mixtures, images, hparams.seed, TRAIN)
        batches = self._loader(images, FixedPlan(plan, EVALUATION_BATCH))
        separations, truth = [], []
        for batch in tqdm(batches, desc=f"Bank {number + 1}", unit="batch", leave=False):
            part = separator.label(batch["mixture"], hparams.refine_steps, hparams.restarts)
            separations.append(Separation(part.sources.half(), part.active, part.confidence))
            if "sources" in batch:
                psnr = mixture_psnr_paper(part.sources, batch["sources"], batch["count"], hparams.source_scale)
                truth.append(psnr)
        whole = Separation.cat(separations)
        self.bank_quality = quality_by_confidence(whole.confidence, torch.cat(truth)) if truth else {}
        return make_bank(whole, hparams.keep[number], number)


class RemixSeparator(Separator):
    """A mask network, trained on remixes of another separator's estimates.

    Args:
        num_sources: K, slots.
        widths: Channels at each resolution, the finest first.
        bottleneck: Units of the fully connected layer at the coarsest.
        lr: Muon's learning rate, falling to lr_min along a cosine until the end of the last round.
        lr_min: Lowest learning rate.
        average_decay: The network that separates is a running average of the one that learns, which keeps this share
            of itself in each step.
        image_shape: (C, H, W) of a mixture. On the command line the data sets it.
        source_scale: Brightest pixel of a source. On the command line --data.source_scale sets it.
        bounded: Whether masked estimates respect that. On the command line true unless --data.mixtures are given, whose
            scale nobody knows.
    """

    def __init__(
        self,
        num_sources: int = 2,
        widths: tuple[int, ...] = (24, 48, 96),
        bottleneck: int = 384,
        lr: float = 2e-3,
        lr_min: float = 1e-6,
        average_decay: float = 0.995,
        image_shape: tuple[int, ...] = (1, 28, 28),
        source_scale: float = 0.5,
        bounded: bool = True,
    ):
        super().__init__()
        self.save_hyperparameters()
        if num_sources < 1:
            raise ValueError(f"model.num_sources must be 1 or more, not {num_sources}")
        if lr <= 0 or lr_min < 0 or bottleneck < 1 or not widths or min(widths) < 2:
            raise ValueError("model.lr must be above 0, lr_min not below, bottleneck 1 or more and widths 2 or more")
        if not 0 <= average_decay < 1:
            raise ValueError(f"model.average_decay must be at least 0 and below 1, not {average_decay}")
        self.network = MaskUNet(image_shape, num_sources, widths, bottleneck)
        averaging = get_ema_multi_avg_fn(average_decay)
        self.average = AveragedModel(self.network, multi_avg_fn=averaging, use_buffers=True).requires_grad_(False)
        self.prepare_scores()
        self.example_input_array = torch.zeros(2, *image_shape)

    def forward(self, mixture: Tensor) -> Tensor:
        """Each slot's share of the mixture, pixel by pixel: (B, C, H, W) -> (B, K, C, H, W), summing to 1."""
        network = self.network if self.training else self.average
        return network(mixture / self.hparams.source_scale).softmax(1)

    def check_refinement(self, refine_steps: int, restarts: int) -> None:
        """Raise a ValueError unless both are 0."""
        if refine_steps or restarts:
            raise ValueError("refine_steps and restarts must be 0: a mask network has no latents to refine")

    def separate(self, mixture: Tensor, *, masked: bool = True, refine_steps: int = 0, restarts: int = 0) -> Separation:
        """Take mixtures apart: as VAEBSS.separate, but estimates are masked in any case and there are no latents.

        `confidence` is the sharpness of the masks: the largest share of each pixel, averaged with the mixture as
        weight, between 1 / K and 1.

        Raises:
            ValueError: as VAEBSS.separate; or refine_steps or restarts are not 0.
        """
        self.check_refinement(refine_steps, restarts)
        return self._separate_all(mixture, masked)

    def label(self, mixture: Tensor, refine_steps: int = 0, restarts: int = 0) -> Separation:
        """The mean of three opinions: on the mixture, and on it moved by a pixel either way along a diagonal.

        `confidence` is 1 less the share of the mixture that the opinions give to different slots: it tells good
        estimates from bad ones far better than the masks' sharpness does. There are no latents to refine.
        """
        return self._separate_all(mixture, True, opinions=1 + len(MOVES))

    def _opinions(self, mixture: Tensor) -> Separation:
        with fastest_autocast(mixture.device):
            first = self(mixture) * mixture.unsqueeze(1)
            slots = torch.full((len(mixture),), first.shape[1], device=mixture.device)
            opinions = [first]
            for down, right in MOVES:
                moved = mixture.roll((down, right), (-2, -1))
                estimates = (self(moved) * moved.unsqueeze(1)).roll((-down, -right), (-2, -1))
                opinions.append(match(estimates, first, slots))
        every = torch.stack(opinions)
        sources = self.masked(every.clamp(min=FAINT).log().mean(0).exp(), mixture)
        disputed = (every[1:] - first).abs().flatten(2).sum(2).mean(0) / 2
        total = mixture.flatten(1).sum(1)
        confidence = 1 - torch.where(total > 0, disputed / total, 0.0)
        return Separation(sources, active_slots(sources, self.hparams.source_scale), confidence)

    def _separate(self, mixture: Tensor, masked: bool, **options: int) -> Separation:
        if options.get("opinions"):
            return self._opinions(mixture)
        shares = self(mixture)
        sources = self.masked(shares, mixture)
        sharpness = (shares.amax(1) * mixture).flatten(1).sum(1)
        total = mixture.flatten(1).sum(1)
        confidence = torch.where(total > 0, sharpness / total, 1.0)
        return Separation(sources, active_slots(sources, self.hparams.source_scale), confidence)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Loss of remixes, whose sources are pseudo-sources."""
        mixture = batch["mixture"]
        estimates = self(mixture) * mixture.unsqueeze(1)
        loss = permutation_invariant_loss(estimates, batch["sources"], self.hparams.source_scale).mean()
        self.log("train/loss", loss, prog_bar=True, batch_size=len(mixture))
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Noise of single steps averages out: as good a separator at any time as a falling learning rate ends with."""
        self.average.update_parameters(self.network)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Muon, and a learning rate that is set before every step."""
        optimizer = Muon(self.network.parameters(), lr=self.hparams.lr)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self.lr_factor_cosine)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def permutation_invariant_loss(estimates: Tensor, sources: Tensor, source_scale: float) -> Tensor:
    """Mean over slots of log10(MSE + 1e-4), paper scale, under the assignment with the least of it.

    A logarithm, as in PSNR, lets no single source outweigh the others; plain MSE ends 2 dB lower.

    Args:
        estimates: (B, K, C, H, W).
        sources: (B, M, C, H, W), M at most K; spare slots should be silent.
        source_scale: brightest pixel of a source.

    Returns:
        (B,), from -4 to about 0.
    """
    slots = estimates.shape[1]
    silence = sources.new_zeros(len(sources), slots - sources.shape[1], *sources.shape[2:])
    sources = torch.cat([sources, silence], 1)
    errors = (estimates.unsqueeze(1) - sources.unsqueeze(2)).flatten(3).square().mean(3)  # (B, source, slot)
    cost = torch.log10(errors * (PAPER_SCALE / source_scale) ** 2 + ERROR_FLOOR)
    choices = assignments(slots, slots).to(cost.device)  # (A, source)
    return cost[:, torch.arange(slots, device=cost.device), choices].mean(2).amin(1)
