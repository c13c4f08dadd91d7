"""A recording of any length, separated in bounded memory: it is read, separated and written a few windows at a time."""

# C channels, K slots, N windows, n of them at once, L samples of a window, T samples

import math
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vaebss.errors import FileError
from vaebss.modalities import resampling, slot_linking, sound_files, templates, windows
from vaebss.modalities.blocks import until, whole
from vaebss.modalities.modality import Modality
from vaebss.modalities.part import Part
from vaebss.modalities.sound_arrays import whole_rate
from vaebss.modalities.spectrogram import Spectrogram
from vaebss.models.separator import CHUNK
from vaebss.separation import Separation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AT_ONCE = 4  # windows of all channels
SHOWN = 60  # seconds of a recording on a contact sheet
DRAWN = 30  # seconds in a figure of its own
PASSES = 6  # over all windows: level, shares, links, templates, highs, writing


class Recording(Part):
    """The recording of a file, of any length.

    Its file is read again in every pass. In between there are a few numbers for each window and the templates of the
    voices in memory, and on the disk the shares that the separator gives to each slot. A constant offset is taken off
    first and given back in equal parts. Sources are those of `separate_signals`.

    Args:
        path: The file.
        modality: Modality of the separator.
        spectrogram: Its pictures, with the separator's sample rate.
        samples: L, samples of the separator's windows.
        level: Root mean square that the separator knows.

    Attributes:
        signals: (1, C, T'), the first seconds, `SHOWN` at most, at the separator's rate.

    Raises:
        FileError: The file is broken or empty, or its sound is not finite.
        ImportError: The package soundfile is not installed.
    """

    def __init__(self, path: Path, modality: Modality, spectrogram: Spectrogram, samples: int, level: float):
        self.path, self.modality, self.suffix = path, modality, modality.formats[0]
        self.spectrogram, self.length, self.level, own_rate = spectrogram, samples, level, spectrogram.rate
        rate = sound_files.rate_of(path)
        try:
            self.rate = whole_rate(rate)
        except ValueError as error:
            raise FileError(f"{path}: {error}") from error
        self.samples, self.offset = self._measured()
        self.own_samples = resampling.number_of(self.samples, self.rate, own_rate)
        self.steps = PASSES * windows.number_of(self.own_samples, self.length)
        self.signals = whole(until(self._own(), SHOWN * own_rate)).unsqueeze(0)
        self.complete = self.own_samples <= self.signals.shape[-1]

    def separated(self, answer: Callable[[Tensor], Separation]) -> Separation:
        """Separate the recording, see `Part`; the sources (1, K, C, T') are those of `signals`."""
        if note := sound_files.cut_off(self.path, self.samples):
            warnings.warn(note, stacklevel=2)
        active, confidence = self._asked(answer)
        order = self._linked(active)
        active = active.gather(1, order).any(0)
        sources_first = active.int().argsort(descending=True, stable=True)
        self._order = order[:, sources_first]
        self._templates = self._learned(int(active.sum()))
        shown: list[Tensor] = []
        self._highs = resampling.highs(self._keeping(shown), self.spectrogram.window, self.spectrogram.hop)
        return Separation(whole(shown).unsqueeze(0), active[sources_first].unsqueeze(0), confidence.unsqueeze(0))

    def save(self, found: Separation, number: int, paths: Sequence[Path]) -> None:
        """Write the sources, see `Part`."""
        rates = self.samples, self.rate, self.spectrogram.rate
        sources = resampling.restored(self._sound(), self._parts(), self._highs, *rates)
        if paths:
            complete = (block[: len(paths)] + self.offset / len(paths) for block in sources)
            sound_files.write_blocks(complete, paths, self.rate, self.samples)

    def figure(self, found: Separation) -> "Figure | None":
        """Draw spectrograms of the first seconds, `DRAWN` at most; none of a recording of a single window."""
        if self.own_samples <= self.length:
            return None
        samples = DRAWN * self.spectrogram.rate
        rows = {"mixture": self.signals[..., :samples]}
        rows |= {f"source {k + 1}": found.sources[:, k, ..., :samples] for k in range(int(found.count))}
        figure = self.modality.figure(rows)
        if self.own_samples > samples:
            figure.suptitle(f"the first {DRAWN} of {self.samples / self.rate:.0f} seconds", fontsize=9)
        return figure

    def _measured(self) -> tuple[int, Tensor]:
        """Return the number of samples, and the offset of each channel, (C, 1)."""
        samples, sums = 0, torch.zeros(2, 1, 1, dtype=torch.float64)
        for block in sound_files.blocks(self.path):
            samples, sums = samples + block.shape[1], sums + resampling.moments(block)
        return samples, resampling.offset_of(sums, samples)

    def _sound(self) -> Iterator[Tensor]:
        """Read blocks (C, n) without their offset."""
        return (block - self.offset for block in sound_files.blocks(self.path))

    def _own(self) -> Iterator[Tensor]:
        """Read blocks (C, n) at the separator's rate."""
        return resampling.resampled(self._sound(), self.rate, self.spectrogram.rate)

    def _windows(self, blocks: Iterator[Tensor], at_once: int) -> Iterator[Tensor]:
        """Cut blocks (*C, n) into windows (n, *C, L), `at_once` at a time."""
        for group in windows.cut(blocks, self.own_samples, self.length, at_once):
            self.progress(len(group))
            yield group

    def _mono(self, gain: float | Tensor = 1.0) -> Iterator[Tensor]:
        """Read blocks (n,) of the mean of all channels at the separator's rate."""
        return ((block * gain).mean(0) for block in self._own())

    def _asked(self, answer: Callable[[Tensor], Separation]) -> tuple[Tensor, Tensor]:
        """Ask for the shares of all windows, and store them; which slots are active (N, K), and the mean confidence."""
        energies = torch.cat([group.square().mean(1) for group in self._windows(self._mono(), AT_ONCE)])
        gain = windows.gains(energies.unsqueeze(0), self.level)
        self._shares = tempfile.TemporaryFile()  # noqa: SIM115  it lives as long as the recording
        # As many as a separator takes on a CPU, so that random restarts are those of `separate_signals`.
        asked_at_once = max(1, CHUNK // math.prod(self.modality.shape))
        active, confidence = [], []
        for group in self._windows(self._mono(gain), asked_at_once):
            picture = self.modality.picture(group)
            found = answer(picture)
            self._shares.write(found.shares(picture, self.modality.exponent).numpy().tobytes())
            active.append(found.active)
            confidence.append(found.confidence)
        return torch.cat(active), torch.cat(confidence).mean()

    def _linked(self, active: Tensor) -> Tensor:
        """Return which slot of each window each source is in, (N, K)."""
        as_found = torch.arange(active.shape[1]).expand(len(active), -1)
        if self.modality.voices or 1 in active.shape:
            self.progress(len(active))
            return as_found
        return slot_linking.orders_of(self._masked(as_found), active, self.modality, self.spectrogram.hertz)

    def _masked(self, order: Tensor) -> Iterator[Tensor]:
        """Mask windows with the stored shares of their slots in an `order` (N, K): parts (n, K, C, L)."""
        slots, shape = order.shape[1], self.modality.shape
        self._shares.seek(0)
        for group, slot in zip(self._windows(self._own(), AT_ONCE), order.split(AT_ONCE), strict=True):
            stored = self._shares.read(4 * len(group) * slots * math.prod(shape))
            shares = torch.from_numpy(np.frombuffer(stored, np.float32).copy()).view(len(group), slots, *shape)
            yield self.modality.apply(shares[torch.arange(len(group)).unsqueeze(1), slot], group)

    def _learned(self, voices: int) -> templates.Templates | None:
        """Learn the templates of the first sources, the voices; None if the recording has none, see `templates`."""
        own_rate = self.spectrogram.rate
        if voices < templates.FEWEST or not templates.apply_to(self.own_samples, own_rate):
            self.progress(len(self._order))
            return None
        found = (block[:voices] for block in self._by_windows())
        return templates.learn(found, self.own_samples, own_rate)

    def _by_windows(self) -> Iterator[Tensor]:
        """Separate the sources window by window: blocks (K, C, n) at the separator's rate."""
        return until(windows.joined(self._masked(self._order)), self.own_samples)

    def _parts(self) -> Iterator[Tensor]:
        """Separate the sources at the separator's rate: blocks (K, C, n)."""
        if self._templates is None:
            yield from self._by_windows()
            return
        slots, number, done, told = self._order.shape[1], len(self._order), 0, 0
        for block in templates.separate(self._own(), self._templates, self.spectrogram.rate):
            done += block.shape[-1]
            here = number * done // self.own_samples
            self.progress(here - told)
            told = here
            yield functional.pad(block, (0, 0, 0, 0, 0, slots - len(block)))

    def _keeping(self, shown: list[Tensor]) -> Iterator[Tensor]:
        """Separate the sources, and put their part of `signals` into a list."""
        left = self.signals.shape[-1]
        for block in self._parts():
            shown += [block[..., :left]] if left > 0 else []
            left -= block.shape[-1]
            yield block
