"""Plans of mixtures, and the samplers that distribute them.

The plan of a mixture is a row of signal numbers that is drawn from an address (seed, split, epoch) and the row's
number. So mixtures depend neither on the batch size, nor on the number of workers, nor on where a run was resumed.
"""

# B mixtures, M sources in each at most, N signals

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DistributedSampler

from vaebss.seeding import generator

TRAIN, VAL, TEST, ORDER, COMPOSED = range(5)  # the second number of a plan's address
FIXED_SEED = 2021  # of validation and test mixtures, the same for every run
SILENT = -1  # in a plan, no source
DRAWS = 2**62  # so many that a remainder is as good as uniform


def draw_plan(
    num_signals: int, num_mixtures: int, counts: tuple[int, int], *address: int, distinct: bool = False
) -> Tensor:
    """Draw the numbers of each mixture's sources, (num_mixtures, M) int64, SILENT beyond its count.

    Args:
        num_signals: N, the number of signals, which are drawn uniformly.
        num_mixtures: Number of rows. A row depends only on the address and its own number.
        counts: Fewest and most sources; the numbers between them are drawn uniformly.
        address: Address of the random numbers, see `seeding.generator`.
        distinct: Whether no mixture holds a signal twice, if there are M signals or more.
    """
    low, high = counts
    draws = torch.randint(DRAWS, (num_mixtures, high + 1), generator=generator(*address))
    count = low + draws[:, high:] % (high - low + 1)
    drawn = draws[:, :high]
    numbers = _distinct(drawn, num_signals) if distinct and num_signals >= high else drawn % num_signals
    return torch.where(torch.arange(high) < count, numbers, SILENT)


def _distinct(draws: Tensor, num_signals: int) -> Tensor:
    """Turn draws (R, M) from [0, DRAWS) into numbers below N, none twice in a row: each is one of those left."""
    chosen = torch.empty_like(draws)
    for place in range(draws.shape[1]):
        number = draws[:, place] % (num_signals - place)
        for earlier in chosen[:, :place].sort(1).values.T:
            number = number + (number >= earlier)
        chosen[:, place] = number
    return chosen


def draw_voices(voices: Tensor, num_mixtures: int, counts: tuple[int, int], *address: int) -> Tensor:
    """Draw mixtures of signals that have one of K voices: (num_mixtures, K), column k a signal of voice k or SILENT.

    Args:
        voices: (N,) int64, from 0 to K - 1.
        num_mixtures: Number of rows.
        counts: Fewest and most sources; the numbers between them are drawn uniformly.
        address: Address of the random numbers, see `seeding.generator`.
    """
    low, high = counts
    sizes, random = voices.bincount(), generator(*address)
    draws = torch.randint(DRAWS, (num_mixtures, len(sizes) + 1), generator=random)
    first = sizes.cumsum(0) - sizes  # of each voice, where signals lie in the order of their voices
    picked = voices.argsort(stable=True)[first + draws[:, :-1] % sizes.clamp(min=1)]
    turn = torch.rand(num_mixtures, len(sizes), generator=random).argsort(1)  # in which voices have their say
    there = (turn < low + draws[:, -1:] % (high - low + 1)) & (sizes > 0)
    return torch.where(there, picked, SILENT)


class FixedPlan(DistributedSampler):
    """The batches of one fixed plan, shared out among devices; they are small enough that each device gets one.

    Args:
        plan: Numbers of each mixture's sources, (R, M) int64, see `draw_plan`.
        batch_size: Most mixtures in a batch.
        num_replicas: Number of devices.
        rank: Number of this device, from 0.
    """

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

    With several devices, a step's batches together are those that one device with a larger batch would see.

    Args:
        num_signals: N, the number of signals that mixtures are drawn from.
        epoch_size: Number of mixtures in an epoch, rounded down to whole batches.
        counts: Fewest and most sources of a mixture.
        seed: Random seed.
        batch_size: Number of mixtures in a batch, on each device.
        plan: Plan (R, M) int64 to go through instead of drawing one.
        num_replicas: Number of devices.
        rank: Number of this device, from 0.
        distinct: Whether no mixture holds a signal twice.
    """

    def __init__(
        self,
        num_signals: int,
        epoch_size: int,
        counts: tuple[int, int],
        seed: int,
        batch_size: int,
        plan: Tensor | None = None,
        num_replicas: int = 1,
        rank: int = 0,
        distinct: bool = False,
    ):
        super().__init__(range(epoch_size), num_replicas, rank, seed=seed)  # type: ignore[arg-type]
        self.num_signals, self.epoch_size, self.counts, self.batch_size = num_signals, epoch_size, counts, batch_size
        self.plan, self.seen, self.distinct = plan, 0, distinct

    def set_epoch(self, epoch: int, seen: int = 0) -> None:
        """Set the next epoch.

        Args:
            epoch: Number of the epoch, from 0.
            seen: Number of its batches on this device that a resumed run has seen already; these are left out.
        """
        super().set_epoch(epoch)
        self.seen = seen

    def __iter__(self) -> Iterator[Tensor]:
        plan = self._fresh() if self.plan is None else self._shuffled(self.plan)
        batches = plan.split(self.batch_size)[self.rank : len(self) * self.num_replicas : self.num_replicas]
        return iter(batches[self.seen :])

    def __len__(self) -> int:
        """Return the steps of an epoch: whole batches, the same number on every device."""
        return max(1, self.epoch_size // self.batch_size) // self.num_replicas

    def _fresh(self) -> Tensor:
        address = (self.seed, TRAIN, self.epoch)
        return draw_plan(self.num_signals, self.epoch_size, self.counts, *address, distinct=self.distinct)

    def _shuffled(self, plan: Tensor) -> Tensor:
        first, last = self.epoch * self.epoch_size, (self.epoch + 1) * self.epoch_size
        passes = range(first // len(plan), -(-last // len(plan)))
        order = [torch.randperm(len(plan), generator=generator(self.seed, ORDER, number)) for number in passes]
        start = first - passes[0] * len(plan)
        return plan[torch.cat(order)[start : start + self.epoch_size]]
