"""Random mixtures of digits, or of whatever else a corpus holds, as a LightningDataModule.

Samplers draw plans in the main process; the data set only gathers, a whole batch at once. See plans.py.
"""

import math
from collections.abc import Iterable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, Self

import torch
from pytorch_lightning import LightningDataModule
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler

from vaebss.checkpoints import for_lightning
from vaebss.data.batches import MixtureDataset
from vaebss.data.corpora.open import OPTIONS, open_corpus, unused
from vaebss.data.corpus import Corpus, Split
from vaebss.data.plans import FIXED_SEED, TEST, TRAIN, VAL, FixedPlan, FreshPlan
from vaebss.errors import check_at_least
from vaebss.modalities.modality import Modality

tell_once = cache(rank_zero_only(partial(print, flush=True)))
EVALUATION_BATCH = 500
ROOM = 4  # times the memory of the signals that a GPU must have free to hold them
NUM_MIXED = 2


class MNISTMixtures(LightningDataModule):
    """Random mixtures of the digits, or of the other signals, of a corpus; or mixtures that exist already.

    Training batches hold `signal` and `mixture`. Validation and test batches also hold `sources` and `count`, for
    metrics and pictures alone, where the true sources are known.

    Args:
        num_mixed: Number of digits in a mixture, or a range such as [1, 4] from which it is drawn for each mixture.
        batch_size: Mixtures in a training step, on each device.
        epoch_size: Mixtures in an epoch, rounded down to whole batches.
        num_mixtures: Length of a fixed list of training mixtures, as from a folder; by default every mixture is new.
        val_mixtures: Length of the fixed list of validation mixtures, made from held-out training digits.
        test_mixtures: Length of the fixed list of test mixtures.
        num_workers: Processes that load batches. 0 is fastest: a batch is one indexing operation.
        seed: Random seed of the training mixtures. On the command line --seed_everything sets it.
        corpus: Options of `open_corpus`: what is mixed.

    Attributes:
        corpus: Corpus of the signals or mixtures.
        modality: How mixtures are pictured; by default at their own size.
        counts: Fewest and most sources of a mixture.

    Examples:
        >>> from vaebss import MNISTMixtures
        >>> data = MNISTMixtures(num_mixed=2, batch_size=32, source="bundled")
        >>> data.setup()
        >>> batch = next(iter(data.train_dataloader()))
        >>> sorted(batch), batch["mixture"].shape
        (['mixture', 'signal'], torch.Size([32, 1, 28, 28]))
    """

    hparams: Any  # an AttributeDict, which type checkers cannot see into

    def __init__(
        self,
        num_mixed: int | list[int] = NUM_MIXED,
        batch_size: int = 256,
        epoch_size: int = 30_000,
        num_mixtures: int | None = None,
        val_mixtures: int = 1_000,
        test_mixtures: int = 5_000,
        num_workers: int = 0,
        seed: int = 0,
        **corpus: Any,
    ):
        super().__init__()
        sizes = {"batch_size": batch_size, "epoch_size": epoch_size, "num_mixtures": num_mixtures}
        sizes |= {"val_mixtures": val_mixtures, "test_mixtures": test_mixtures}
        own = {"num_mixed": num_mixed, **sizes, "num_workers": num_workers, "seed": seed}
        check_at_least(1, **{f"data__{name}": size for name, size in sizes.items() if size is not None})
        check_at_least(0, data__num_workers=num_workers, data__seed=seed)
        self.counts = counts_of(num_mixed)
        self.corpus = open_corpus(held_out=val_mixtures, **corpus)
        self.save_hyperparameters(own | OPTIONS | corpus | self.corpus.settled)
        given = {"num_mixed"} if self.corpus.given and num_mixed != NUM_MIXED else set()
        self.tell_unused({*unused(self.corpus, corpus), *given})
        if self.corpus.note:
            tell_once(self.corpus.note)
        if not (0 < self.corpus.source_scale <= 1 or math.isinf(self.corpus.source_scale)):
            raise ValueError(f"data.source_scale must lie in (0, 1], not {self.corpus.source_scale}")
        self.modality: Modality = self.corpus.modality

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: str | Path, *args: Any, **options: Any) -> Self:  # type: ignore[override]
        """Load as Lightning does, but from what `vaebss.load` opens, and without importing what a checkpoint names."""
        file = for_lightning(checkpoint_path, cls, cls.CHECKPOINT_HYPER_PARAMS_KEY)
        return super().load_from_checkpoint(file, *args, **options)

    def tell_unused(self, names: Iterable[str]) -> None:
        """Print one line about options that were set, though they have no meaning for this kind of data."""
        if names := sorted(names):
            tell_once(f"Not used with {self.corpus.kind}: {', '.join(f'data.{name}' for name in names)}")

    # What the model's options follow from; the command line links them.

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, H, W) of a mixture as a separator sees it."""
        return self.modality.shape

    @property
    def exponent(self) -> float:
        """Exponent p, with which pictures of sources add up to that of their mixture."""
        return self.modality.exponent

    @property
    def frequencies(self) -> tuple[float, ...]:
        """Centre of each band of a spectrogram in hertz; empty for images."""
        return self.modality.frequencies

    @property
    def brightest(self) -> float:
        """Brightest pixel of a source; infinity where it is unknown."""
        return self.corpus.source_scale

    @property
    def bounded(self) -> bool:
        """True if estimates can be bounded by the brightest pixel of a source."""
        return self.corpus.bounded

    def prepare_data(self) -> None:
        """Fetch what is missing, and refuse what is damaged; on one process only."""
        self.corpus.prepare()

    def setup(self, stage: str | None = None) -> None:
        """Load the corpus; the hyper-parameters say what was found, so that a checkpoint says what was used."""
        self.corpus.load()
        self.hparams.update(self.corpus.settled)

    def train_dataloader(self) -> DataLoader:
        hparams, signals = self.hparams, self.corpus.splits.train
        world_size, rank = self.world
        if hparams.epoch_size < hparams.batch_size * world_size and world_size > 1:
            raise ValueError(f"data.epoch_size {hparams.epoch_size} leaves no batch for some of {world_size} devices")
        sizes = (len(signals), hparams.epoch_size, self.counts, hparams.seed, hparams.batch_size)
        plans = FreshPlan(*sizes, self.training_list, world_size, rank, self.corpus.distinct)
        if self.trainer:  # Lightning tells samplers the epoch, but a resumed run's first one too late
            plans.set_epoch(*self._begun)
        return self._loader("train", plans)

    @property
    def _begun(self) -> tuple[int, int]:
        """The epoch to come, and how many of its batches have been seen by a run that was stopped amid it."""
        trainer: Any = self.trainer
        epoch, batch = trainer.fit_loop.epoch_progress.current, trainer.fit_loop.epoch_loop.batch_progress.current
        return epoch.processed, batch.processed if epoch.started > epoch.processed else 0

    @property
    def training_list(self) -> Tensor | None:
        """The plan of a fixed list of training mixtures, where there is one."""
        return self._training_list(self.corpus)

    def _training_list(self, corpus: Corpus) -> Tensor | None:
        return corpus.plan("train", self.hparams.num_mixtures, self.counts, self.hparams.seed, TRAIN)

    def listed(self, truth: bool = False, corpus: Corpus | None = None) -> DataLoader:
        """Return the batches of the fixed list of training mixtures, in order.

        Args:
            truth: Whether batches hold the sources, where they are known, for scores alone.
            corpus: Corpus to draw mixtures from; by default that of all other mixtures.
        """
        corpus = corpus or self.corpus
        plan: Any = self._training_list(corpus)
        dataset = corpus.dataset("train", self.modality, truth)
        plans = FixedPlan(plan, EVALUATION_BATCH)
        return DataLoader(dataset, batch_size=None, sampler=plans, num_workers=self.hparams.num_workers)

    def val_dataloader(self) -> DataLoader:
        return self._fixed_loader("val", self.hparams.val_mixtures, VAL)

    def test_dataloader(self) -> DataLoader:
        if not self.corpus.has_truth:
            raise ValueError(
                f"nothing to score: the sources in {self.corpus.name} are unknown; name their files with "
                "--data.sources, or score on digits instead with --data.mixtures null"
            )
        return self._fixed_loader("test", self.hparams.test_mixtures, TEST)

    def predict_dataloader(self) -> DataLoader:
        """Return batches of the test mixtures without their sources, which may be unknown."""
        return self._fixed_loader("test", self.hparams.test_mixtures, TEST, truth=False)

    def held_out(self) -> Tensor:
        """Return the signals (N, *S) of all validation mixtures, without their sources."""
        loader = self._fixed_loader("val", self.hparams.val_mixtures, VAL, truth=False)
        return torch.cat([batch["signal"] for batch in loader])

    def _fixed_loader(self, split: Split, num_mixtures: int, number: int, truth: bool | None = None) -> DataLoader:
        plan: Any = self.corpus.plan(split, num_mixtures, self.counts, FIXED_SEED, number)
        return self._loader(split, FixedPlan(plan, EVALUATION_BATCH, *self.world), truth)

    def _loader(self, split: Split, plans: DistributedSampler, truth: bool | None = None) -> DataLoader:
        dataset = self.corpus.dataset(split, self.modality, truth)
        dataset = self.on_device(dataset) if split == "train" else dataset
        return DataLoader(dataset, batch_size=None, sampler=plans, num_workers=self.hparams.num_workers)

    def on_device(self, dataset: Any) -> Any:
        """Return a data set that keeps its signals on the GPU of this process, if there is one and it has room.

        Other processes, which `num_workers` starts, cannot share a GPU's memory: then signals stay where they are.
        """
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        if device.type != "cuda" or self.hparams.num_workers or not isinstance(dataset, MixtureDataset):
            return dataset
        free, _ = torch.cuda.mem_get_info(device)
        return dataset.to(device) if getattr(dataset.signals, "nbytes", math.inf) < free / ROOM else dataset

    @property
    def is_first_process(self) -> bool:
        """True in the process that writes files."""
        return self.world[1] == 0

    @property
    def world(self) -> tuple[int, int]:
        """Number of devices and which of them this is."""
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)


def counts_of(num_mixed: int | Sequence[int], named: str = "num_mixed") -> tuple[int, int]:
    """Return the smallest and the largest number of sources in a mixture.

    Args:
        num_mixed: One number, or a range of two numbers.
        named: Name of the option, without `data.`, for the error.

    Raises:
        ValueError: The option is neither a number from 1 nor a range of two such numbers.
    """
    counts = (num_mixed, num_mixed) if isinstance(num_mixed, int) else tuple(num_mixed)
    if len(counts) != 2 or not 1 <= counts[0] <= counts[1]:
        raise ValueError(f"data.{named} must be a number from 1, or a range such as [1, 4], not {num_mixed}")
    return counts
