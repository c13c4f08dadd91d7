"""Mixtures of one file, which are separated and whose sources are written."""

# N mixtures, K slots, S the shape of a signal

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from vaebss.modalities.tables import Table
from vaebss.separation import Separation

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Part(ABC):
    """Mixtures of a file.

    Attributes:
        signals: (N, *S), the mixtures as figures show them: perhaps only the beginning of each, or fewer pixels.
        suffix: Suffix of files that hold as much as this one does.
        rows: Whether the signals are rows of one array.
        complete: Whether the signals are as long as the mixtures.
        scored: (N, *S), the mixtures from which the quality is estimated: as they are separated, or as `signals`.
        note: How the file was read where it might have been read otherwise; empty if not.
        steps: Number of steps of separating and writing; 0 if they take hardly any time.
        step: Word for what is separated in a step.
        progress: Function that is called with the number of steps that have been made.
        residual: What was subtracted from the mixtures, (N, *S) as it looks in the file; None if nothing was.
        table: How the file holds lines, if it is a table.
    """

    signals: Tensor
    suffix: str
    rows: bool = False
    complete: bool = True
    note: str = ""
    steps: int = 0
    step: ClassVar[str] = "window"
    progress: Callable[[int], object] = staticmethod(lambda steps: None)
    residual: Tensor | None = None
    table: Table | None = None

    @property
    def scored(self) -> Tensor:
        return self.signals

    @abstractmethod
    def separated(self, answer: Callable[[Tensor], Separation]) -> Separation:
        """Separate the mixtures: sources (N, K, *S) of `signals`.

        Active slots come before inactive ones, unless each slot holds one class of sources.

        Args:
            answer: Function that separates pictures (B, C, H, W), masked.
        """

    @abstractmethod
    def save(self, found: Separation, number: int, paths: Sequence[Path]) -> None:
        """Write the first sources of one mixture as they are in the file: at its rate, dark on white.

        Args:
            found: Result of `separated`.
            number: Index of the mixture, from 0 to N - 1.
            paths: Path of one file for each source; its suffix names its kind.

        Raises:
            FileError: A file cannot be written, or cannot hold the source.
        """

    def figure(self, found: Separation) -> "Figure | None":
        """Draw the mixture and its sources, to be kept beside their files; by default nothing.

        Args:
            found: Result of `separated`.
        """
        return None
