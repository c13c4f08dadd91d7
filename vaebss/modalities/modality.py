"""Interface of a modality: how a signal becomes a picture, and how shares of the picture become signals again."""

# B mixtures, K slots, S the shape of a signal

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

from torch import Tensor

from vaebss.errors import FileError
from vaebss.metrics.metric import Metric, Quality
from vaebss.modalities.files import reading
from vaebss.modalities.part import Part
from vaebss.models.separator import Separator
from vaebss.separation import Separation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vaebss.figures.rows import Rows

Channels = Literal["first", "last"]  # where an array has them: before all other axes of one signal, or after them


class UserSignals(NamedTuple):
    """Signals that a user has, and how to restore their layout.

    Attributes:
        signals: Mixtures, (B, *S).
        restore: Function that brings sources (B, K, *S) to the shape of the user's array, with K after B, or first if
            the array has no B.
        several: Whether the user's array has a B; otherwise it is one signal.
        residual: What was subtracted from the user's mixtures, such as their background, (B, *S); None if nothing was.
    """

    signals: Tensor
    restore: Callable[[Tensor], Tensor]
    several: bool
    residual: Tensor | None = None


MODALITIES: dict[str, type["Modality"]] = {}  # by kind, each from the moment that its class is defined


class Modality(ABC):
    """A kind of signal. Separators see its pictures, (B, C, H, W), never the modality.

    Attributes:
        kind: Name of the modality, by which a checkpoint refers to the class.
        plural: Word for several signals, for people.
        suffixes: Suffixes of the files that hold its signals; none by default.
        formats: Suffixes of the files that it writes, the default one first.
        dims: Number of dimensions S of a signal.
        audible: Whether signals are sounds.
        shape: (C, H, W) of a picture.
        exponent: Exponent p; pictures of sources add up to that of their mixture as (sum_k s_k^p)^(1/p).
        frequencies: Centre of each row of a picture in hertz, if rows are bands of frequencies.
        voices: Whether each slot holds one voice in all windows of a signal, or one class of sources in all pictures.
            Otherwise slots are in no order, and windows have to be linked.
        has_white: Whether signals have a white, a background and a brightest value of a source, which users may state.
        metrics: Metrics of estimated signals, the main one first.
        gain: Factor that makes signals as bright as the separator's mixtures before they are pictured.
        teachers: Names of the shipped models that teach students of this modality, in the order of their slots.
    """

    kind: ClassVar[str]
    plural: ClassVar[str] = "signals"
    suffixes: ClassVar[tuple[str, ...]] = ()
    formats: ClassVar[tuple[str, ...]] = ()
    dims: ClassVar[int]
    audible: ClassVar[bool] = False
    has_white: ClassVar[bool] = False
    metrics: ClassVar[tuple[Metric, ...]]
    teachers: ClassVar[tuple[str, ...]] = ()
    frequencies: tuple[float, ...] = ()
    gain: float = 1.0
    exponent: float
    voices: bool = False

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        if "kind" in vars(cls) and MODALITIES.setdefault(cls.kind, cls).__qualname__ != cls.__qualname__:
            raise TypeError(f"the kind {cls.kind!r} is that of {MODALITIES[cls.kind].__qualname__}: choose another")

    @classmethod
    def of(cls, separator: Separator, *args: Any, **stated: Any) -> "Modality":
        """Build the modality of a separator from the options in its checkpoint; see `registry.modality_of`."""
        return cls(**{name: value for name, value in separator.modality.items() if name != "kind"})

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]: ...

    def separate(self, answer: Callable[[Tensor], Separation], signals: Tensor) -> Separation:
        """Separate signals, see `separate_signals`.

        Args:
            answer: Function that separates pictures (B, C, H, W).
            signals: Mixtures (B, *S).
        """
        windows = self.split(signals)
        picture = self.picture(self.split(signals * self.levelling(signals)))
        found = answer(picture)
        heard = Separation(self.to_signals(found, picture, windows), found.active, found.confidence)
        return self.join(heard, signals)

    def to_signals(self, separation: Separation, mixture: Tensor, signals: Tensor) -> Tensor:
        """Return the signals of separated pictures.

        Args:
            separation: Separation of the pictures.
            mixture: The pictures, (B, C, H, W).
            signals: Signals of the pictures, (B, *S).

        Returns:
            (B, K, *S).
        """
        return self.apply(separation.shares(mixture, self.exponent), signals)

    def with_voices(self) -> Self:
        """Return a copy for separators that give each voice, or each class of sources, a slot of its own."""
        other = copy(self)
        vars(other)["voices"] = True
        return other

    @property
    def has_classes(self) -> bool:
        """True if each slot holds one class of sources in all pictures, so that slots are never reordered."""
        return self.voices and not self.audible

    def levelling(self, signals: Tensor) -> Tensor:
        """Return the gain that brings signals (B, *S) to the separator's training level, (B, 1, ...); 1 by default."""
        return signals.new_ones(len(signals), *[1] * self.dims)

    @abstractmethod
    def picture(self, signals: Tensor) -> Tensor:
        """Return the pictures (B, C, H, W), 0 or more, of signals (B, *S), which a separator sees."""

    def plot_pictures(self, rows: "Rows") -> "Figure":
        """Draw labelled rows of pictures (N, C, H, W): as curves where all are lines, unless they are in colour."""
        from vaebss.figures.rows import curves_figure, rows_figure, visible  # Matplotlib takes long to import

        rows = {label: visible(pictures) for label, pictures in rows.items()}
        if all(tuple(pictures.shape[1:3]) == (1, 1) for pictures in rows.values()):
            return curves_figure({label: pictures.flatten(1) for label, pictures in rows.items()})
        return rows_figure(rows)

    def figure(self, rows: "Rows") -> "Figure":
        """Draw labelled rows of signals (N, *S)."""
        return self.plot_pictures({label: self.picture(signals) for label, signals in rows.items()})

    @abstractmethod
    def apply(self, shares: Tensor, signals: Tensor) -> Tensor:
        """Return the signal of each slot, from shares of pictures.

        Args:
            shares: Share of each slot in the pictures, (B, K, C, H, W).
            signals: Signals of the pictures, (B, *S).

        Returns:
            (B, K, *S). If the shares add up to 1, these add up to the signals.
        """

    def qualities(self, source_scale: float) -> dict[str, Quality]:
        """Return the functions of the metrics by their names, for signals of a scale of their own.

        Args:
            source_scale: Brightest pixel of a source in the signals' own scale; infinity where it is unknown.
        """
        return {metric.name: metric.quality for metric in self.metrics}

    def errors(self, shares: Tensor, signals: Tensor, sources: Tensor) -> Tensor:
        """Measure how far each slot's signal is from each source: what a mask network learns to make small.

        It is the mean squared error of samples unless a modality says otherwise.

        Args:
            shares: (B, K, C, H, W) of the pictures of
            signals: (B, *S), the sums of
            sources: (B, M, *S).

        Returns:
            (B, M, K), 0 or more.
        """
        differences = self.apply(shares, signals).unsqueeze(1) - sources.unsqueeze(2)
        return differences.flatten(3).square().mean(3)

    # Signals that users have. A modality that leaves these out separates those of a corpus alone.

    def from_user(self, signals: Any, sample_rate: float | None, channels: Channels | None = None) -> UserSignals:
        """Read signals that a user has, a tensor or an array of one signal or many, as (B, *S).

        Args:
            signals: Tensor or array of one signal or several.
            sample_rate: Sample rate of sounds in Hz; None for the modality's own.
            channels: Place of the axis of one sound that holds its channels; None if there is no such axis.

        Raises:
            ValueError: The signals cannot be read as this modality; the message is one line.
        """
        raise ValueError(f"{self.plural} cannot be read from arrays")

    def opened(self, path: Path) -> UserSignals:
        """Read a file whole; the answer is that of `from_user`, as if the file's contents had been an array.

        Raises:
            FileError: The file cannot be read; the message is one line that names it.
        """
        raise FileError(f"{path}: {self.plural} cannot be read from files")

    def look(self, signals: Iterable[Tensor], invert: bool | None) -> dict[str, Any]:
        """Tell how signals (N, *S) look: `invert` and `source_max`, or nothing of signals that have no white.

        Args:
            signals: Some of a user's mixtures, read as this modality reads them.
            invert: Whether the user has said that they are dark on white, and they are inverted already; None if the
                user has said nothing.
        """
        return {}

    def split(self, signals: Tensor) -> Tensor:
        """Split signals (B, *S) into N windows that a separator can take, (B N, *S); short signals are one window."""
        return signals

    def linked(self, found: Separation) -> Separation:
        """Reorder slots (N, K, *S) so that each holds one voice in all windows, or one class in all pictures."""
        return found

    def join(self, found: Separation, signals: Tensor) -> Separation:
        """Merge the separation of windows into one of whole signals.

        Args:
            found: Separation of the windows that `split` returned.
            signals: The signals, (B, *S).
        """
        return found

    @property
    @abstractmethod
    def options(self) -> dict[str, Any]:
        """Plain values, `kind` among them, that say in a checkpoint what its mixtures are."""

    def read(self, path: Path) -> Iterator[Part]:
        """Read the signals of a file in parts.

        Raises:
            FileError: The file cannot be read; the message is one line that names it.
        """
        raise FileError(f"{path}: {self.plural} cannot be read from files")

    def columns_per_page(self, signal: Tensor) -> int:
        """Return how many such signals (*S) can be seen side by side on a page."""
        return 4

    def resize_note(self, signals: Tensor) -> str:
        """Return one line on what is done to signals before they are separated; empty if nothing."""
        return ""

    def write(self, signal: Tensor, path: Path) -> None:
        """Write one signal as a file.

        Args:
            signal: The signal (*S).
            path: Path to write to; its suffix determines the format.

        Raises:
            FileError: Signals of this kind cannot be written, or the file cannot.
        """
        raise FileError(f"{path}: {self.plural} cannot be written to files")


def parts_of(modality: Modality, path: Path) -> Iterator[Part]:
    """Read a file in parts.

    Args:
        modality: Modality of the mixtures in the file.
        path: Path of the file.

    Raises:
        FileError: The file cannot be read, whatever error was raised; the message names the file.
    """
    with reading(path):
        yield from modality.read(path)


def separate_signals(
    answer: Callable[..., Separation], modality: Modality, signals: Tensor, **options: Any
) -> Separation:
    """Separate signals (B, *S) by the pictures of their levelled windows; sources (B, K, *S) add up to the signals.

    Args:
        answer: A separator's `separate` or `pseudo_label`, masked.
        modality: Modality of the separator.
        signals: Signals to separate.
        options: Options of `answer`.
    """
    return modality.separate(partial(answer, **options), signals)
