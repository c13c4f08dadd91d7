"""The record of a metric: how estimates are measured, and how tables, results and progress show it."""

# B mixtures, M sources, S the shape of a signal

from dataclasses import dataclass

from vaebss.metrics.separation import Quality

MEAN = ("",)
SPREAD = ("", "median", "worst_decile")  # what SeparationMetrics gives of each metric, by the end of its name


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
