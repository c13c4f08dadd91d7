"""Sound: a spectrogram in bands for the separator, and shares of its bands as masks of the mixture's own spectrum.

Energies of different sounds add up, give or take the interference of their phases, so that pictures (spectrogram.py)
add up as (sum_k u_k^p)^(1/p), p = 2 / compression. The paper (Neri et al. 2021) has linear magnitudes of single bins,
added plainly: Audio(bands=512, pooled=1, compression=1.0, add="magnitudes").
"""

# B signals, C channels or none, K slots, T samples, N windows, H bands, W pooled frames

import math
import warnings
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from vaebss.metrics.audio import METRICS
from vaebss.metrics.metric import Metric
from vaebss.modalities import resampling, slot_linking, sound_files, templates, windows
from vaebss.modalities.blocks import whole
from vaebss.modalities.modality import Channels, Modality, UserSignals
from vaebss.modalities.recording import Recording
from vaebss.modalities.sound_arrays import as_sounds, whole_rate
from vaebss.modalities.spectrogram import AT_ONCE, Spectrogram
from vaebss.separation import Separation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vaebss.figures.rows import Rows

MARKED = (250, 1_000, 4_000)  # hertz, on the axis of a spectrogram
PAIR = 0.25 * math.sqrt(2)  # root mean square of two notes of 0.25 each
SILENCE = 100  # times its energy: else an empty slot pays so well that one stays empty, whatever there is for it


@dataclass(frozen=True)
class Audio(Modality):
    """Signals of one rate, (T,) floats, or (C, T). Their pictures are (1, H, W) >= 0, the lowest band first.

    The mean of several channels is pictured, and every channel has its shares.

    Args:
        rate: Sample rate in Hz.
        samples: T of the signals whose pictures are of `shape`. Others may be longer or shorter: W follows T.
        window: Length of a Hann window in samples, twice the number F of bins; the spectrum's topmost bin is not
            pictured.
        hop: Number of samples from one frame to the next.
        bands: H, F at most. One for each bin up to `linear_hz`, from there evenly in log frequency, though never
            closer than one for each bin. They are triangles that sum to 1 in every bin.
        linear_hz: Frequency in Hz up to which every bin has a band of its own.
        pooled: Number of frames that are averaged into one.
        compression: Exponent of magnitudes; 1 for no compression.
        add: Quantity of the sources that adds up to the mixture's, "energies" or (as in the paper) "magnitudes".
        level: Root mean square of the mixtures that separators were trained on, see `levelling`.
        voices: Whether separators give each voice a slot of its own. Otherwise the slots of windows are linked by their
            timbre.

    Raises:
        ValueError: There are fewer bands than `linear_hz` asks for, or more than bins; or there is no level.
    """

    kind: ClassVar[str] = "audio"
    plural: ClassVar[str] = "sounds"
    suffixes: ClassVar[tuple[str, ...]] = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif")
    formats: ClassVar[tuple[str, ...]] = (".wav", ".flac")
    dims: ClassVar[int] = 1
    audible: ClassVar[bool] = True
    metrics: ClassVar[tuple[Metric, ...]] = METRICS
    teachers: ClassVar[tuple[str, ...]] = ("remix-lines", "remix-notes-1to3")

    rate: int = 16_000
    samples: int = 16_128
    window: int = 1_024
    hop: int = 256
    bands: int = 128
    linear_hz: float = 1_000.0
    pooled: int = 4
    compression: float = 0.5
    add: Literal["energies", "magnitudes"] = "energies"
    level: float = PAIR
    voices: bool = False

    def __post_init__(self):
        if not 0 < self.level < math.inf:
            raise ValueError(f"level must be above 0, not {self.level}")
        _ = self.spectrogram  # which refuses bands that cannot be

    @cached_property
    def spectrogram(self) -> Spectrogram:
        """The pictures, before sources are added up in them."""
        return Spectrogram(self.rate, self.window, self.hop, self.bands, self.linear_hz, self.pooled, self.compression)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (1, H, W) of the picture of a signal of `samples`."""
        return self.spectrogram.shape(self.samples)

    @property
    def exponent(self) -> float:  # type: ignore[override]
        """The exponent p with which pictures u_k of sources add up as (sum_k u_k^p)^(1/p)."""
        return (2 if self.add == "energies" else 1) / self.compression

    @property
    def frequencies(self) -> tuple[float, ...]:  # type: ignore[override]
        """The centre of each band in hertz, H of them."""
        return tuple(self.spectrogram.hertz)

    def levelling(self, signals: Tensor) -> Tensor:
        """Return gains (B, 1, ...) that bring the loud windows of signals (B, *C, T) to `level`; 1 for silence.

        The mean of the windows' energies is weighted by these energies themselves: pauses do not count.
        """
        energies = self.split(mono(signals)).square().mean(1).unflatten(0, (len(signals), -1))
        return windows.gains(energies, self.level).view(-1, *[1] * (signals.ndim - 1))

    def picture(self, signals: Tensor) -> Tensor:
        """Picture signals (B, *C, T) as (B, 1, H, W); one g > 0 times as loud is g^compression times as bright."""
        parts = mono(signals).split(AT_ONCE)
        return torch.cat([self.spectrogram.picture(part) for part in parts]).unsqueeze(1)

    def plot_pictures(self, rows: "Rows") -> "Figure":
        """Draw spectrograms, pictures (N, 1, H, W) being magnitudes to the power of `compression`."""
        from vaebss.figures.rows import spectrograms_figure  # Matplotlib takes long to import

        magnitudes = {label: pictures.pow(1 / self.compression) for label, pictures in rows.items()}
        edges = self.spectrogram.hertz
        pitches = {bisect_left(edges, hertz): f"{hertz} Hz" for hertz in MARKED if hertz < edges[-1]}
        return spectrograms_figure(magnitudes, pitches, self.spectrogram.frames_per_second)

    def columns_per_page(self, signal: Tensor) -> int:
        """Return how many signals fit side by side: seconds take an inch each, twelve a page."""
        return max(1, min(12, 12 * self.rate // signal.shape[-1]))

    def apply(self, shares: Tensor, signals: Tensor) -> Tensor:
        """Turn shares of pictures into parts of signals.

        A bin's mask is the mean of its bands' shares, weighted by the triangles; phases are the mixture's. Shares that
        sum to 1 give parts that sum to the signals, topmost bin included.

        Args:
            shares: Share of each slot in the pictures, (B, K, 1, H, W).
            signals: Signals (B, *C, T).

        Returns:
            (B, K, *C, T).
        """
        masks = shares.squeeze(2)
        parts = zip(masks.split(AT_ONCE), signals.split(AT_ONCE), strict=True)
        return torch.cat([self.spectrogram.apply(*part) for part in parts])

    def errors(self, shares: Tensor, signals: Tensor, sources: Tensor) -> Tensor:
        """Return the energies of the errors of masks, relative to those of the sources.

        A mask m leaves |m x - s|^2 = m^2 |x|^2 - 2 m <x, s> + |s|^2 of a spectrum, where x is the sum of the sources'
        spectra. The mask is taken to be the same in all bins and frames of a band. Products of spectra, summed over
        bands, are then enough, and no transform has to be inverted.

        Args:
            shares: Share of each slot in the pictures, (B, K, 1, H, W).
            signals: Mixtures (B, T).
            sources: Sources (B, M, T). The error of a silent source is relative to a hundred times the energy of the
                mixture.

        Returns:
            (B, M, K), 0 or more.
        """
        found = [self.spectrogram.products(part) for part in sources.split(AT_ONCE)]
        products, own = (torch.cat(each) for each in zip(*found, strict=True))  # (B, M, H, W), (B, M)
        masks, energy = shares.squeeze(2), products.sum(1, keepdim=True)  # (B, K, H, W), (B, 1, H, W)
        taken = (masks.square() * energy).sum((2, 3)) - 2 * torch.einsum("bkhw,bmhw->mbk", masks, products)
        errors = (taken.transpose(0, 1) + own.unsqueeze(2)).clamp(min=0)
        return errors / torch.where(own > 0, own, SILENCE * energy.sum((2, 3))).clamp(min=windows.FAINT).unsqueeze(2)

    def from_user(self, signals: Any, sample_rate: float | None, channels: Channels | None = None) -> UserSignals:
        """Read sounds of any rate at the rate of this modality, without a constant offset.

        Sources get the offset back in equal parts.

        Args:
            signals: Tensor or array of one sound or several, see `as_sounds`.
            sample_rate: Sample rate in Hz; None for the rate of this modality.
            channels: Place of the axis of one sound that holds its channels; None if there is no such axis.

        Returns:
            Signals are (B, C, T').
        """
        sounds, arranged, several, _ = as_sounds(signals, channels)
        rate = whole_rate(self.rate if sample_rate is None else sample_rate)
        offsets = resampling.offset_of(resampling.moments(sounds), sounds.shape[-1])
        centred = sounds - offsets
        own = torch.stack([whole(resampling.resampled([sound], rate, self.rate)) for sound in centred])

        def restore(parts: Tensor) -> Tensor:
            """Bring parts (B, K, C, T') back to the sounds' rate and layout."""
            signals = zip(centred, parts.cpu(), strict=True)
            restored = torch.stack([self._restored(*signal, rate) for signal in signals])
            return arranged(restored + offsets.unsqueeze(1) / parts.shape[1])

        return UserSignals(own, restore, several)

    def opened(self, path: Path) -> UserSignals:
        """Read the sound of a file as (1, C, T') at `rate`; sources are (K, C, T), or (K, T) of a single channel."""
        sound, rate = _read(path)
        return self.from_user(sound[0], rate) if len(sound) == 1 else self.from_user(sound, rate, "first")

    def _restored(self, sound: Tensor, parts: Tensor, rate: int) -> Tensor:
        """Bring parts (K, C, T') of a sound (C, T) to its rate, (K, C, T)."""
        shares = resampling.highs([parts], self.window, self.hop)
        return whole(resampling.restored([sound], [parts], shares, sound.shape[1], rate, self.rate))

    def split(self, signals: Tensor) -> Tensor:
        """Cut signals (B, *C, T) of any length into windows (B N, *C, samples), see windows.py."""
        return windows.split(signals, self.samples)

    def linked(self, found: Separation, shifts: Tensor | None = None) -> Separation:
        """Order the slots of windows (N, K, *C, T) so that each goes on with what sounds alike.

        Args:
            found: Separation of consecutive windows.
            shifts: (N - 1,), by how many samples each window begins later than the one before; by default as `split`
                cuts them.
        """
        if self.voices or 1 in found.active.shape:
            return found
        return found.in_order(
            slot_linking.orders_of([found.sources], found.active, self, self.spectrogram.hertz, shifts)
        )

    def join(self, found: Separation, signals: Tensor) -> Separation:
        """Join the separation of windows to that of whole signals. Slots of windows are linked.

        Args:
            found: Separation of windows; sources are (B N, K, *C, samples).
            signals: The signals, (B, *C, T).

        Returns:
            Separation whose sources are (B, K, *C, T).
        """
        each = (found.sources, found.active, found.confidence)
        split = zip(*[part.unflatten(0, (len(signals), -1)) for part in each], strict=True)
        linked = [self.linked(Separation(*signal)) for signal in split]
        parts = windows.join(torch.stack([one.sources for one in linked]), signals.shape[-1])
        active = torch.stack([one.active.any(0) for one in linked])
        return Separation(parts, active, torch.stack([one.confidence.mean() for one in linked]))

    def separate(self, answer: Callable[[Tensor], Separation], signals: Tensor) -> Separation:
        """Separate signals (B, *C, T) window by window, and long ones again by the spectra that their voices repeat.

        Args:
            answer: Function that separates pictures (B, C, H, W).
            signals: Mixtures (B, *C, T).
        """
        found = super().separate(answer, signals)
        if not templates.apply_to(signals.shape[-1], self.rate):
            return found
        each = zip(found.sources, found.active, signals, strict=True)
        return replace(found, sources=torch.stack([templates.refined(*one, self.rate) for one in each]))

    @property
    def options(self) -> dict[str, Any]:
        """Arguments that make another like this one."""
        return {"kind": self.kind, **asdict(self)}

    def read(self, path: Path) -> Iterator[Recording]:
        """Open the recording of a file, to be separated in bounded memory, see `Recording`."""
        yield Recording(path, self, self.spectrogram, self.samples, self.level)

    def sound(self, path: str | Path) -> Tensor:
        """Read the sound of a file, (C, T) float32, at `rate` and without its offset; warn if the file breaks off.

        Raises:
            FileError: The file is broken or empty, or its sound is not finite.
            ImportError: The package soundfile is not installed.
        """
        sound, rate = _read(path)
        centred = sound - resampling.offset_of(resampling.moments(sound), sound.shape[1])
        return whole(resampling.resampled([centred], rate, self.rate))

    def write(self, signal: Tensor, path: str | Path, rate: int | None = None) -> None:
        """Write a signal (T,) or (C, T) as WAV of 32-bit floats, in which nothing is clipped, or FLAC of 24 bits.

        Args:
            signal: Floats of any size for WAV, from -1 to 1 for FLAC.
            path: Path of the file; its suffix, .wav or .flac, names the format.
            rate: Sample rate of the signal in Hz; by default the modality's.

        Raises:
            FileError: The file cannot be written.
            ImportError: The package soundfile is not installed.
        """
        sound_files.write(signal.float().cpu(), path, rate or self.rate)


def _read(path: str | Path) -> tuple[Tensor, int]:
    """Read a file, see `sound_files.read`, and warn if it breaks off before its end."""
    sound, rate = sound_files.read(path)
    if note := sound_files.cut_off(path, sound.shape[1]):
        warnings.warn(f"{path} {note}", stacklevel=5)  # at whoever called vaebss.separate
    return sound, rate


def mono(signals: Tensor) -> Tensor:
    """Average the channels of signals (B, *C, T): (B, T)."""
    return signals if signals.ndim == 2 else signals.mean(1)
