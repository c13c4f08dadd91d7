"""Corpora: signals to mix, or mixtures that exist already. Every part of a run asks its corpus about the data."""

# B mixtures, M sources in each at most, N signals, S the shape of a signal

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset

from vaebss.data.batches import Batch, GivenMixtures, MixtureDataset
from vaebss.data.conditions import IDEAL, Conditions
from vaebss.data.plans import FIXED_SEED, VAL, draw_plan
from vaebss.errors import counted
from vaebss.modalities.modality import Modality
from vaebss.modalities.registry import modality_of
from vaebss.models.separator import Separator
from vaebss.seeding import generator

Split = Literal["train", "val", "test"]
TENTH = 10  # one of so many signals is held out


class Signals(Protocol):
    """Signals (N, *S) that are indexed by number: a tensor, or windows of a longer signal."""

    def __len__(self) -> int: ...
    def __getitem__(self, numbers: Any, /) -> Tensor: ...


class Splits(NamedTuple):
    """Signals (N, *S) of each split; no signal is in two of them."""

    train: Any
    val: Any
    test: Any


class Corpus(ABC):
    """A collection of signals in three splits, from which batches of mixtures are made.

    A user's own corpus derives from `Singles` or `Given`, sets `name`, `modality` and `source_scale`, and writes
    `signals`. It is used by `MNISTMixtures(source=MyCorpus())`, or on the command line by
    `--data.source my_package.MyCorpus`.

    Attributes:
        name: Name of the corpus in titles and results.
        kind: Name of this kind of data.
        modality: How its signals are pictured for a separator of its own size.
        source_scale: Brightest pixel of one source; infinity where it is unknown.
        given: Whether the mixtures exist already; otherwise they are drawn at random from single signals.
        distinct: Whether no mixture holds a signal twice.
        has_truth: Whether the sources of validation and test mixtures are known.
        source: Value of the option `data.source` that opens this corpus.
        recordings: Recordings (T',) that the mixtures are windows of; none by default.
    """

    name: str
    kind: ClassVar[str] = "data of your own"
    modality: Modality
    source_scale: float
    given: ClassVar[bool] = False
    distinct: bool = False
    has_truth: bool = True
    source: str = ""
    recordings: Sequence[Tensor] = ()

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        cls.source = f"{cls.__module__}.{cls.__qualname__}"

    @property
    def title(self) -> str:
        """The name of what is mixed, for people."""
        return self.name

    @property
    def bounded(self) -> bool:
        """True if the brightest pixel of a source is known, so that estimates can be bounded by it."""
        return not self.given and math.isfinite(self.source_scale)

    @property
    def settled(self) -> dict[str, Any]:
        """Options whose value was found while the corpus was opened or fetched, for the saved hyper-parameters."""
        return {"source": self.source, "source_scale": self.source_scale}

    def prepare(self) -> None:
        """Fetch or render what is missing. It runs in one process only."""
        self.load()

    def load(self) -> None:
        """Bring the signals into memory; a second call does nothing."""
        _ = self.splits

    @cached_property
    def splits(self) -> Splits:
        """The signals, which are loaded at the first access."""
        return self.signals()

    @property
    def note(self) -> str:
        """One line on what was done to the signals as they were read; empty if nothing."""
        return ""

    @abstractmethod
    def signals(self) -> Splits:
        """Return the signals of all splits; it is called once."""

    @abstractmethod
    def plan(self, split: Split, number: int | None, counts: tuple[int, int], *address: int) -> Tensor | None:
        """Return a fixed list of `number` mixtures, (number, M) int64, or None where each epoch draws new ones.

        Args:
            split: Split whose signals are mixed.
            number: Length of the list.
            counts: Fewest and most sources of a mixture.
            address: Seeds of the randomness, see `draw_plan`.
        """

    @abstractmethod
    def dataset(self, split: Split, modality: Modality | None = None, truth: bool | None = None) -> Dataset[Batch]:
        """Return a data set whose items are whole batches, which are asked for by their plan.

        Args:
            split: Split whose signals are mixed.
            modality: Pictures the mixtures; by default the corpus' own.
            truth: Whether batches hold `sources` and `count`, for scores alone; by default training batches do not.
        """

    def sample_mixtures(self, num_mixed: float) -> Tensor | None:
        """Return pictures (N, C, H, W) as bright as mixtures of `num_mixed` sources, from which options are proposed.

        None means that the defaults suit this corpus.
        """
        return None

    def seen_by(self, separator: Separator) -> Modality:
        """Return the modality by which a separator of any size sees these signals."""
        return modality_of(separator)

    @property
    def contents(self) -> dict[str, Any] | None:
        """Arguments of this class that hold what was read from files; None where they are not to be made anew."""
        return None


class Singles(Corpus):
    """Single signals, from which mixtures are drawn at random.

    Attributes:
        scale: Factor that makes a stored signal a source of a mixture.
        conditions: Gains of the sources and noise of the mixtures.
        vary: Function that changes training mixtures (B, *S), given their plan. Their true sources are then unknown.
    """

    scale: float = 1.0
    conditions: Conditions = IDEAL
    vary: Callable[[Tensor, Tensor], Tensor] | None = None

    def plan(self, split: Split, number: int | None, counts: tuple[int, int], *address: int) -> Tensor | None:
        if number is None:
            return None
        return draw_plan(len(getattr(self.splits, split)), number, counts, *address, distinct=self.distinct)

    def dataset(self, split: Split, modality: Modality | None = None, truth: bool | None = None) -> MixtureDataset:
        return MixtureDataset(
            getattr(self.splits, split),
            self.scale,
            modality or self.modality,
            self.vary if split == "train" else None,
            self.conditions,
            truth=split != "train" if truth is None else truth,
        )


class Given(Corpus):
    """Mixtures that exist already, whose sources are unknown or serve scores alone.

    Attributes:
        truth: Sources (N, M, *S) of the "val" and "test" mixtures, where they are known.
    """

    given = True
    truth: Mapping[str, Signals] = {}

    @property
    def has_truth(self) -> bool:  # type: ignore[override]
        return "test" in self.truth

    def plan(self, split: Split, number: int | None, counts: tuple[int, int], *address: int) -> Tensor | None:
        """Return a plan of one mixture in each row, in the order of the split.

        Args:
            split: Name of the split.
            number: Most mixtures; None for all.
            counts: Ignored, because mixtures are not drawn.
            address: Ignored, because nothing is drawn.

        Returns:
            Numbers of mixtures, (N, 1) int64.
        """
        there = len(getattr(self.splits, split))
        return torch.arange(there if number is None else min(number, there)).unsqueeze(1)

    def dataset(self, split: Split, modality: Modality | None = None, truth: bool | None = None) -> GivenMixtures:
        sources = None if truth is False else self.truth.get(split)
        return GivenMixtures(getattr(self.splits, split), modality or self.modality, sources)


def tenth_apart(signals: Tensor, name: str, kind: str) -> Splits:
    """Split single signals at random: a tenth validates, a tenth tests, and the others train.

    Args:
        signals: Signals (N, *S).
        name: Name of the data, for the error.
        kind: Word for one signal, such as "note", for the error.

    Raises:
        ValueError: There are fewer than ten signals.
    """
    held_out = len(signals) // TENTH
    if not held_out:
        raise ValueError(f"{name} holds {counted(len(signals), kind)}: mixing needs {TENTH} or more")
    shuffled = signals[torch.randperm(len(signals), generator=generator(FIXED_SEED, VAL))]
    val, test, train = shuffled.split([held_out, held_out, len(signals) - 2 * held_out])
    return Splits(train, val, test)


def first(signals: Tensor, number: int | None, name: str) -> Tensor:
    """Return the first training signals.

    Args:
        signals: Training signals (N, *S).
        number: Number of signals; None for all.
        name: Name of the data, for the error.

    Raises:
        ValueError: There are fewer than `number` signals.
    """
    if number is not None and number > len(signals):
        raise ValueError(f"data.train_size is {number}, but {name} has only {len(signals)}")
    return signals[:number]
