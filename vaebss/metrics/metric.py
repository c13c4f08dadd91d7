"""The record of a metric: how estimates are measured, and how tables, results and progress show it."""

# B mixtures, M sources, S the shape of a signal

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from vaebss.matching import match, present

LARGEST = 100.0  # bound on the magnitude of a metric, dB
MEAN = ("",)
SPREAD = ("", "median", "worst_decile")  # the statistics that SeparationMetrics computes, as the end of their names


Quality = Callable[[Tensor, Tensor], Tensor]  # estimates, sources (B, M, *S) -> (B, M), more is better


@dataclass(frozen=True)
class Metric:
    """A measure of estimated sources; more is better.

    Attributes:
        name: Key in results, curves and cards.
        quality: Function of matched estimates and sources, (B, M, *S) twice, that returns (B, M), within +-100.
        title: Name for people.
        note: Remark that follows the title in brackets; empty if none is needed.
        unit: Unit; empty if the metric has none.
        decimals: Decimals in the table of a comparison.
        rows: Statistics that are rows of results and entries of cards, from SPREAD.
        columns: Statistics that are columns of a comparison, from SPREAD.
        published: Title of the column of published figures; None if none were published.
    """

    name: str
    quality: Quality
    title: str
    note: str = ""
    unit: str = "dB"
    decimals: int = 2
    rows: tuple[str, ...] = MEAN
    columns: tuple[str, ...] = MEAN
    published: str | None = None

    @property
    def heading(self) -> str:
        """Title of a column."""
        return f"{self.title} ({self.note})" if self.note else self.title

    @property
    def label(self) -> str:
        """Title with the unit, for rows and axes."""
        return f"{self.heading}, {self.unit}" if self.unit else self.heading

    def key(self, statistic: str) -> str:
        """Return the key of a statistic of SPREAD in results."""
        return f"{self.name}_{statistic}" if statistic else self.name

    def text(self, value: float) -> str:
        """Return a value with its title and unit, for a line of text."""
        note = f"({self.note})" if self.note else ""
        return " ".join(part for part in (self.title, f"{value:.{self.decimals}f}", self.unit, note) if part)


def mean_per_mixture(quality: Quality, estimates: Tensor, sources: Tensor, count: Tensor) -> Tensor:
    """Average a metric over the sources of each mixture, and over their channels if it has a value for each, (B,).

    Args:
        quality: Function of matched estimates and sources.
        estimates: (B, K, *S), in any order.
        sources: (B, M, *S), of which the first `count` are real.
        count: (B,), 1 or more.
    """
    here = present(count, sources.shape[1])
    found = quality(match(estimates, sources, count), sources).reshape(*here.shape, -1).mean(2)
    return (found * here).sum(1) / here.sum(1)
