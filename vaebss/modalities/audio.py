"""Sound: a spectrogram in bands for the separator, and shares of its bands as masks of the mixture's own spectrum.

A pixel is E^(compression / 2), E being a band's mean energy over a few frames of spectra divided by sqrt(window).
Energies of different sounds add up, give or take the interference of their phases, so that pictures add up as
(sum_k u_k^p)^(1/p), p = 2 / compression. The paper (Neri et al. 2021) has linear magnitudes of single bins, added
plainly: Audio(bands=512, pooled=1, compression=1.0, add="magnitudes").
"""

# B signals, C channels or none, K slots, T samples, F bins, N frames, H bands, W pooled frames

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional

from vaebss.figures.rows import Rows, spectrograms_figure
from vaebss.modalities import linking, sound_files, windows
from vaebss.modalities.modality import Channels, Modality, Part
from vaebss.separation import Separation

MARKED = (250, 1_000, 4_000)  # hertz, on the axis of a spectrogram
PAIR = 0.25 * math.sqrt(2)  # root mean square of two notes of 0.25 each
FAINT = 1e-30  # energy that counts as none
STEEP = 4  # differences, whose energy is mostly that of the highs: a fourth at 1 kHz is 54 dB below one at 8 kHz
QUIETEST = 1e-6  # of a part's mean energy, below which highs tell nothing
SILENCE = 100  # times its energy: else an empty slot pays so well that one stays empty, whatever there is for it
AT_ONCE = 16  # signals to picture: as many spectra as a CPU's cache holds make it twice as fast


@dataclass(frozen=True)
class Audio(Modality):
    """Signals of one rate, (T,) floats, or (C, T). Their pictures are (1, H, W) >= 0, the lowest band first.

    Of several channels the mean is pictured, and every channel has its shares.

    Args:
        rate: samples a second.
        samples: T of the signals whose pictures are of `shape`. Others may be longer or shorter: W follows T.
        window: samples of a Hann window, twice the number F of bins; the spectrum's topmost bin is not pictured.
        hop: samples from one frame to the next.
        bands: H, F at most. One for each bin up to `linear_hz`, from there evenly in log frequency, though never
            closer than one for each bin. They are triangles that sum to 1 in every bin.
        linear_hz: up to where every bin has a band of its own.
        pooled: frames averaged into one.
        compression: exponent of magnitudes, 1 for none.
        add: what of the sources adds up to the mixture's, "energies" or (as in the paper) "magnitudes".
        level: root mean square that separators know of mixtures, see `levelling`.
        voices: whether separators give each voice a slot of its own. Else windows' slots are linked by how they sound.

    Raises:
        ValueError: fewer bands than `linear_hz` asks for, or more than bins; no level.
    """

    kind: ClassVar[str] = "audio"
    suffixes: ClassVar[tuple[str, ...]] = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif")
    formats: ClassVar[tuple[str, ...]] = (".wav", ".flac")
    dims: ClassVar[int] = 1
    audible: ClassVar[bool] = True

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
        if not self._linear + 1 < self.bands <= self.window // 2:
            raise ValueError(f"bands must be from {self._linear + 2} to {self.window // 2}, not {self.bands}")
        if not 0 < self.level < math.inf:
            raise ValueError(f"level must be above 0, not {self.level}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(1, H, W) of the picture of a signal of `samples`."""
        return 1, self.bands, math.ceil((1 + self.samples // self.hop) / self.pooled)

    @property
    def exponent(self) -> float:  # type: ignore[override]
        """p: pictures u_k of sources add up as (sum_k u_k^p)^(1/p)."""
        return (2 if self.add == "energies" else 1) / self.compression

    def levelling(self, signals: Tensor) -> Tensor:
        """What brings the loud windows of signals (B, *C, T) to `level`, one for all channels; 1 for silence.

        The mean of the windows' energies is weighted by these energies themselves: pauses do not count.
        """
        energy = self.split(_mono(signals)).square().mean(1).unflatten(0, (len(signals), -1))
        weights = functional.normalize(energy, p=1, dim=1, eps=FAINT)
        loudness = (weights * energy).sum(1, keepdim=True).sqrt()
        gains = torch.where(loudness > 0, self.level / loudness, 1.0)
        return gains.view(-1, *[1] * (signals.ndim - 1))

    def picture(self, signals: Tensor) -> Tensor:
        """Signals (B, *C, T) -> (B, 1, H, W). One g > 0 times as loud has a picture g^compression times as bright."""
        return torch.cat([self._picture(part) for part in _mono(signals).split(AT_ONCE)])

    def _picture(self, signals: Tensor) -> Tensor:
        return self._banded(self._parts(signals).square()).pow(self.compression / 2).unsqueeze(1)

    def _parts(self, signals: Tensor) -> Tensor:
        """Real and imaginary parts of signals (B, *C, T), as they lie in memory: (B, *C, N, F + 1, 2)."""
        return torch.view_as_real(self._spectrum(signals).mT)

    def _banded(self, products: Tensor) -> Tensor:
        """Of real and of imaginary parts (..., N, F + 1, 2) -> of bands and pooled frames, their means (..., H, W)."""
        frames = torch.eye(products.shape[-3], device=products.device)
        pooling = functional.avg_pool1d(frames, self.pooled, ceil_mode=True)
        return (pooling.mT @ products.flatten(-2) @ self._of_parts.to(products.device).mT).mT

    def drawn(self, rows: Rows) -> Figure:
        """As spectrograms, pictures (N, 1, H, W) being magnitudes to the power of `compression`."""
        magnitudes = {label: pictures.pow(1 / self.compression) for label, pictures in rows.items()}
        edges = (self._centres * self.rate / self.window).tolist()
        pitches = {bisect_left(edges, hertz): f"{hertz} Hz" for hertz in MARKED if hertz < edges[-1]}
        return spectrograms_figure(magnitudes, pitches, self.rate / (self.hop * self.pooled))

    def beside(self, signal: Tensor) -> int:
        """Seconds take an inch each, twelve a page."""
        return max(1, min(12, 12 * self.rate // signal.shape[-1]))

    def apply(self, shares: Tensor, signals: Tensor) -> Tensor:
        """Shares (B, K, 1, H, W) of the pictures of signals (B, *C, T) -> parts (B, K, *C, T) of the signals.

        A bin's mask is the mean of its bands' shares, weighted by the triangles; phases are the mixture's. Shares that
        sum to 1 give parts that sum to the signals, topmost bin included.
        """
        parts = zip(shares.split(AT_ONCE), signals.split(AT_ONCE), strict=True)
        return torch.cat([self._apply(*part) for part in parts])

    def _apply(self, shares: Tensor, signals: Tensor) -> Tensor:
        spectrum = self._spectrum(signals).unsqueeze(1)  # (B, 1, *C, F + 1, N)
        masks = (self._triangles.to(signals.device).mT @ shares.squeeze(2)).repeat_interleave(self.pooled, -1)
        masks = torch.cat([masks, masks[..., -1:, :]], -2)[..., : spectrum.shape[-1]]
        masked = spectrum * (masks if signals.ndim == 2 else masks.unsqueeze(2))
        parts = torch.istft(masked.flatten(0, -3), **self._frames(signals), length=signals.shape[-1])
        return parts.unflatten(0, masked.shape[:-2])

    def errors(self, shares: Tensor, signals: Tensor, sources: Tensor) -> Tensor:
        """Energy of the errors over that of the source, or of silence over a hundred times that of the signal.

        A mask m leaves |m x - s|^2 = m^2 |x|^2 - 2 m <x, s> + |s|^2 of a spectrum, x being the sum of the sources'. It
        is taken to be the same in all bins and frames of a band: then products of spectra, summed over bands, are
        enough, and no transform has to be inverted.
        """
        found = [self._products(part) for part in sources.split(AT_ONCE)]
        products, own = (torch.cat(each) for each in zip(*found, strict=True))  # (B, M, H, W), (B, M)
        masks, energy = shares.squeeze(2), products.sum(1, keepdim=True)  # (B, K, H, W), (B, 1, H, W)
        taken = (masks.square() * energy).sum((2, 3)) - 2 * torch.einsum("bkhw,bmhw->mbk", masks, products)
        errors = (taken.transpose(0, 1) + own.unsqueeze(2)).clamp(min=0)
        return errors / torch.where(own > 0, own, SILENCE * energy.sum((2, 3))).clamp(min=FAINT).unsqueeze(2)

    def _products(self, sources: Tensor) -> tuple[Tensor, Tensor]:
        """Of sources (B, M, *C, T) with their sum, in bands (B, M, H, W), and of each with itself, in all (B, M)."""
        spectra = self._parts(sources if sources.ndim == 4 else sources.unsqueeze(2))  # (B, M, C, N, F + 1, 2)
        products = self._banded((spectra.sum(1, keepdim=True) * spectra).sum(2))
        return products, spectra[..., :-1, :].square().flatten(2).sum(2) / self.pooled

    def taken(
        self, signals: Any, sample_rate: float | None, channels: Channels | None = None
    ) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Sounds (T,) or (B, T), floats of any rate, by default `rate` -> (B, T') at `rate`."""
        sounds = torch.as_tensor(signals).float()
        if sounds.ndim not in (1, 2) or not sounds.numel() or not torch.isfinite(sounds).all():
            raise ValueError(f"sounds must have shape (T,) or (B, T) and be finite, not {tuple(sounds.shape)}")
        taken, whole = self._at_own_rate(torch.atleast_2d(sounds).cpu(), round(sample_rate or self.rate))
        return taken, whole if sounds.ndim == 2 else lambda sources: whole(sources)[0]

    def _at_own_rate(self, sounds: Tensor, rate: int) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Sounds (B, *C, T) at a rate -> (B, *C, T') at the own; and what brings parts (B, K, *C, T') of those back.

        Those add up to the sounds: what the own rate cannot carry is shared out by `highs`.
        """

        def restore(parts: Tensor) -> Tensor:
            whole = _resampled(parts.cpu(), self.rate, rate)[..., : sounds.shape[-1]]
            missing = sounds.unsqueeze(1) - whole.sum(1, keepdim=True)
            shares = functional.interpolate(self.highs(parts.cpu()), sounds.shape[-1], mode="linear")
            return whole + missing * (shares if sounds.ndim == 2 else shares.unsqueeze(2))

        return _resampled(sounds, rate, self.rate), restore

    def highs(self, parts: Tensor) -> Tensor:
        """Each part's share of the energy of the highs of parts (B, K, *C, T), moment by moment, (B, K, N)."""
        steep = functional.pad(parts, (STEEP, 0)).diff(n=STEEP).square()
        steep = steep.reshape(*parts.shape[:2], -1, parts.shape[-1]).mean(2)
        energy = functional.avg_pool1d(steep, self.window, self.hop, self.window // 2)
        energy = energy + QUIETEST * parts.square().flatten(2).mean(2, keepdim=True)
        return energy / energy.sum(1, keepdim=True).clamp(min=torch.finfo().tiny)

    def split(self, signals: Tensor) -> Tensor:
        """Signals (B, *C, T) of any length -> windows (B N, *C, samples), see windows.py."""
        return windows.split(signals, self.samples)

    def linked(self, found: Separation) -> Separation:
        """Parts of windows (N, K, *C, T), each slot with what sounds alike."""
        parts, active = found.sources, found.active
        if self.voices or 1 in parts.shape[:2]:
            return found
        powers = self.picture(parts.flatten(0, 1).float()).pow(self.exponent)
        energies = powers.mean((1, 3)).unflatten(0, parts.shape[:2])
        order = linking.orders(energies, active).to(active.device)
        parts = parts.gather(1, order.view(*order.shape, *[1] * (parts.ndim - 2)).expand_as(parts))
        return Separation(parts, active.gather(1, order), found.confidence)

    def join(self, found: Separation, signals: Tensor) -> Separation:
        """Parts of windows (B N, K, *C, samples) -> of signals (B, K, *C, T), their slots linked."""
        each = (found.sources, found.active, found.confidence)
        split = zip(*[part.unflatten(0, (len(signals), -1)) for part in each], strict=True)
        linked = [self.linked(Separation(*signal)) for signal in split]
        parts = windows.join(torch.stack([one.sources for one in linked]), signals.shape[-1])
        active = torch.stack([one.active.any(0) for one in linked])
        return Separation(parts, active, torch.stack([one.confidence.mean() for one in linked]))

    @property
    def options(self) -> dict[str, Any]:
        """Arguments that make another like this one."""
        return {"kind": self.kind, **asdict(self)}

    def read(self, path: str | Path) -> Iterator[Part]:
        """The sound of a file, (1, C, T) float32, at `rate`.

        Raises:
            FileError: broken, empty, or not finite.
            ImportError: soundfile is not installed.
        """
        sound, rate = sound_files.read(path)
        signals, restore = self._at_own_rate(sound.unsqueeze(0), rate)
        yield Part(signals, restore, lambda found, place: self.write(found[0], place, rate), self.formats[0])

    def write(self, signal: Tensor, path: str | Path, rate: int | None = None) -> None:
        """Signal (T,) or (C, T) -> a file: WAV of 32-bit floats, in which nothing is clipped, or FLAC of 24 bits.

        Args:
            signal: floats, of which FLAC holds those from -1 to 1.
            path: the suffix says which.
            rate: samples a second, by default the own.

        Raises:
            FileError: it cannot be written.
            ImportError: soundfile is not installed.
        """
        sound_files.write(signal.float().cpu(), path, rate or self.rate)

    @property
    def _linear(self) -> int:
        """How many bins have a band of their own at least."""
        return round(self.linear_hz * self.window / self.rate)

    @property
    def _centres(self) -> Tensor:
        """The place of each band among the bins, (H,) float64."""
        own, last = max(self._linear, 1), self.window // 2 - 1
        band = torch.arange(self.bands, dtype=torch.float64)
        curve = own * (last / own) ** ((band - own) / (self.bands - 1 - own))
        return torch.where(band < own, band, torch.maximum(band, curve))

    @cached_property
    def _triangles(self) -> Tensor:
        """Weight of each bin in each band, (H, F): falls to 0 at the neighbours' centres, sums to 1 over the bands."""
        centres = self._centres
        edges = torch.cat([centres[:1] - 1, centres, centres[-1:] + 1]).unsqueeze(1)
        bins = torch.arange(self.window // 2)
        rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
        falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
        return torch.minimum(rising, falling).clamp(min=0).float()

    @cached_property
    def _of_parts(self) -> Tensor:
        """The same for the real and the imaginary part of each bin, and of the topmost one, (H, 2 F + 2)."""
        return functional.pad(self._triangles, (0, 1)).repeat_interleave(2, 1)

    def _spectrum(self, signals: Tensor) -> Tensor:
        """Signals (B, *C, T) -> complex (B, *C, F + 1, N), N = 1 + T // hop."""
        flat = signals.flatten(0, -2)
        spectrum = torch.stft(flat, **self._frames(signals), pad_mode="constant", return_complex=True)
        return spectrum.unflatten(0, signals.shape[:-1])

    def _frames(self, signals: Tensor) -> dict[str, Any]:
        """What forward and inverse transform share."""
        window = torch.hann_window(self.window, device=signals.device)
        return {"n_fft": self.window, "hop_length": self.hop, "window": window, "normalized": True}


def _mono(signals: Tensor) -> Tensor:
    """Signals (B, *C, T) -> (B, T), the mean of their channels."""
    return signals if signals.ndim == 2 else signals.mean(1)


def _resampled(sound: Tensor, rate: int, wanted: int) -> Tensor:
    """Sound (..., T) at `rate` -> (..., T') at the `wanted` one, low-passed and never shorter in time."""
    if rate == wanted:
        return sound
    from scipy.signal import resample_poly

    common = math.gcd(rate, wanted)
    return torch.from_numpy(resample_poly(sound.numpy(), wanted // common, rate // common, axis=-1))
