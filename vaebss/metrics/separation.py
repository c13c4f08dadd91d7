"""Metrics of separation for any kind of signal: estimates are matched, qualities averaged, and sources counted."""

# B mixtures, K slots, M true sources at most, Q qualities, S the shape of a signal or of its picture

import math

import torch
from torch import Tensor
from torchmetrics import Metric

from vaebss.matching import MAX_SLOTS, match, present
from vaebss.metrics.metric import LARGEST, Quality

HISTOGRAM_BIN = 0.01
QUANTILES = {"median": 0.5, "worst_decile": 0.1}


class SeparationMetrics(Metric):
    """A metric of how well estimates match the true sources, accumulated over batches and devices.

    Qualities are averaged over sources. A source that outnumbers the slots is scored as silence. A spare slot only
    affects the count. `compute` returns a dict of Python floats and lists: the mean of each quality, its median and
    10th percentile as `NAME_median` and `NAME_worst_decile`, `count` (share of mixtures with the right number of
    active slots), `confusion` (row: true count, column: estimated count) and, for the first quality, `NAME_by_count`
    (true count -> mean).

    Args:
        num_slots: K, the slots of the separator.
        qualities: Functions by name, the main one first, with values from -100 to 100.
    """

    full_state_update = False
    sources: Tensor
    sums: Tensor
    histogram: Tensor
    confusion: Tensor

    def __init__(self, num_slots: int, qualities: dict[str, Quality]):
        super().__init__()
        self.qualities = qualities
        bins = round(2 * LARGEST / HISTOGRAM_BIN) + 1
        confusion = torch.zeros(MAX_SLOTS + 1, num_slots + 1, dtype=torch.int64)
        sums = torch.zeros(len(qualities), MAX_SLOTS + 1, dtype=torch.float64)
        self.add_state("sources", torch.zeros(MAX_SLOTS + 1, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("sums", sums, dist_reduce_fx="sum")
        self.add_state("histogram", torch.zeros(len(qualities), bins, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("confusion", confusion, dist_reduce_fx="sum")

    def update(self, estimates: Tensor, active: Tensor, sources: Tensor, count: Tensor) -> None:
        """Add the scores of a batch.

        Args:
            estimates: Estimates of the sources, (B, K, *S), in any order of slots.
            active: Which slots hold a source, (B, K) bool.
            sources: True sources (B, M, *S), 0 beyond `count`.
            count: True number of sources, (B,) int64.
        """
        here = present(count, sources.shape[1])
        matched, truth = match(estimates.float(), sources.float(), count), sources.float()
        counts = count.unsqueeze(1).expand_as(here)[here]
        self.sources += torch.bincount(counts, minlength=len(self.sources))
        for number, quality in enumerate(self.qualities.values()):
            found = quality(matched, truth)[here]
            self.sums[number].index_add_(0, counts, found.double())
            bins = ((found + LARGEST) / HISTOGRAM_BIN).round().long().clamp(0, self.histogram.shape[1] - 1)
            self.histogram[number] += torch.bincount(bins, minlength=self.histogram.shape[1])
        rows, columns = self.confusion.shape
        self.confusion += torch.bincount(count * columns + active.sum(1), minlength=rows * columns).view(rows, columns)

    def _quantile(self, number: int, share: float) -> float:
        """Return the quantile `share` of the quality with index `number`, to a hundredth."""
        seen = self.histogram[number].cumsum(0)
        bin_index = torch.searchsorted(seen, math.ceil(share * int(seen[-1])))
        return int(bin_index) * HISTOGRAM_BIN - LARGEST

    def compute(self) -> dict:
        """Return the scores of all batches so far, over all devices."""
        scores: dict = {}
        for number, name in enumerate(self.qualities):
            scores[name] = float(self.sums[number].sum() / self.sources.sum())
            scores |= {f"{name}_{part}": self._quantile(number, share) for part, share in QUANTILES.items()}
        main, by_count = next(iter(self.qualities)), self.sums[0] / self.sources
        return scores | {
            "count": float(self.confusion.diagonal().sum() / self.confusion.sum()),
            "confusion": self.confusion[: int(self.sources.nonzero().max()) + 1].tolist(),
            f"{main}_by_count": {m: float(by_count[m]) for m in range(len(by_count)) if self.sources[m] > 0},
        }
