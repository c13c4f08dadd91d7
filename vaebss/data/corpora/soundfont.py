"""Single notes from a SoundFont: its recordings at a note's pitch, looped and enveloped, without effects.

After the SoundFont Technical Specification 2.04: generators and the volume envelope (8.1), and how presets add to
instruments (9.4). Not played are modulators, low-frequency oscillators, the modulation envelope, panning (a note is
mono) and what follows a note's release.
"""

# T samples

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.signal import lfilter

from vaebss.data.corpora.soundfont_file import INSTRUMENT, KEY_COUNT, KEYS, SAMPLE, VELOCITIES, SoundFontFile, Zone

Sound = NDArray[np.float64]

# numbers of generators
START, END, LOOP_START, LOOP_END, CUTOFF, RESONANCE = 0, 1, 2, 3, 8, 9
COARSE = {START: 4, END: 12, LOOP_START: 45, LOOP_END: 50}  # the same, in units of 32,768 samples
DELAY, ATTACK, HOLD, DECAY, SUSTAIN, HOLD_BY_KEY, DECAY_BY_KEY = 33, 34, 35, 36, 37, 39, 40
FIXED_KEY, ATTENUATION, SEMITONES, CENTS, LOOPED, TUNING, ROOT = 46, 48, 51, 52, 54, 56, 58
DEFAULTS = {CUTOFF: 13_500, DELAY: -12_000, ATTACK: -12_000, HOLD: -12_000, DECAY: -12_000, TUNING: 100}
TIMES = (DELAY, ATTACK, HOLD, DECAY)
ADDED = (CUTOFF, RESONANCE, *TIMES, SUSTAIN, HOLD_BY_KEY, DECAY_BY_KEY, ATTENUATION, SEMITONES, CENTS, TUNING)
LIMITS = {  # what a generator may be at least and at most; an amount beyond is taken for the nearest
    **{RESONANCE: (0, 960), SUSTAIN: (0, 1_440), HOLD_BY_KEY: (-1_200, 1_200), DECAY_BY_KEY: (-1_200, 1_200)},
    **{ATTENUATION: (0, 1_440), SEMITONES: (-120, 120), TUNING: (0, 1_200)},
    **dict.fromkeys(TIMES, (-32_768, 8_000)),  # the least means at once
}
MARGIN = 32  # samples on either side of a loop that is begun again: beyond them a spline is not felt


class SoundFont:
    """A font's melodic presets, those of bank 0.

    Args:
        path: .sf2 or .sf3 file.

    Raises:
        DataError: The file cannot be read, is no SoundFont, or is damaged.
    """

    def __init__(self, path: str | Path):
        self.file = SoundFontFile(path)
        self._stretches = self.file.stretches

    def play(self, program: int, pitch: int, velocity: int, length: int, rate: int) -> Sound:
        """Return the first `length` samples, at `rate`, of a held note; silence if the font lacks it.

        Args:
            program: General MIDI program, counted from 0.
            pitch: MIDI pitch; 69 is 440 Hz. A zone with a fixed key sounds at that key whatever the pitch.
            velocity: 1 to 127; it chooses among recordings, and does not make them louder, so that a zone's fixed
                velocity changes nothing.
            length: Number T of samples.
            rate: Sample rate in Hz; below that of the recordings, high partials alias.

        Raises:
            DataError: A compressed recording cannot be decoded.
            ImportError: A recording is compressed and soundfile is not installed.
        """
        voices = [self._voice(zone, pitch, length, rate) for zone in self._zones(program, pitch, velocity)]
        return np.sum(voices, axis=0) if voices else np.zeros(length)

    def recordings(self, program: int, pitch: int, velocity: int) -> set[int]:
        """Return the numbers of the recordings that a note is played from.

        Recordings that overlap in the file have one number, and so have both sides of a stereo recording.

        Args:
            program: MIDI program, from 0 to 127.
            pitch: MIDI pitch; 60 is middle C.
            velocity: MIDI velocity, from 1 to 127.
        """
        return {int(self._stretches[zone[SAMPLE]]) for zone in self._zones(program, pitch, velocity)}

    def _zones(self, program: int, pitch: int, velocity: int) -> Iterator[Zone]:
        """Return the zones of a preset's instruments, with the preset's additions to them."""
        for preset in _sounding(self.file.presets.get(program, ()), pitch, velocity):
            added = {number: preset[number] for number in ADDED if number in preset}
            for zone in _sounding(self.file.instruments[preset[INSTRUMENT]], pitch, velocity):
                whole = DEFAULTS | zone
                whole |= {number: whole.get(number, 0) + amount for number, amount in added.items()}
                limited = {n: min(max(whole[n], low), high) for n, (low, high) in LIMITS.items() if n in whole}
                yield whole | limited

    def _voice(self, zone: Zone, pitch: int, length: int, rate: int) -> Sound:
        """Return the sound of one zone, (T,)."""
        recording = self.file.recording(zone[SAMPLE])
        pitch = zone[FIXED_KEY] if 0 <= zone.get(FIXED_KEY, -1) < KEY_COUNT else pitch
        root = zone[ROOT] if 0 <= zone.get(ROOT, -1) < KEY_COUNT else recording.root
        cents = (pitch - root) * zone[TUNING] + 100 * zone.get(SEMITONES, 0) + zone.get(CENTS, 0)
        step = 2 ** ((cents + recording.correction) / 1200) * recording.rate / rate
        sound = self._resampled(zone, step * np.arange(length, dtype=np.float64))
        gain = 10 ** (-zone.get(ATTENUATION, 0) / 200)
        return gain * _lowpassed(sound, zone, rate) * _envelope(zone, pitch, length, rate)

    def _resampled(self, zone: Zone, places: Sound) -> Sound:
        """Interpolate a zone's recording by cubic splines at places counted in samples from its start, (T,)."""
        recording = self.file.recording(zone[SAMPLE])

        def moved(place: int, generator: int) -> int:
            place += zone.get(generator, 0) + 32_768 * zone.get(COARSE[generator], 0)
            return min(max(place, 0), len(recording.samples))

        start, end = moved(recording.start, START), moved(recording.end, END)
        loop, back = moved(recording.loop_start, LOOP_START), moved(recording.loop_end, LOOP_END)
        points = np.arange(start, end)
        if zone.get(LOOPED, 0) % 2 and start <= loop < back:
            period, last = back - loop, back - start + MARGIN
            points = np.arange(start, back + period + 2 * MARGIN)
            points = np.where(points < back, points, loop + (points - loop) % period)
            places = np.where(places < last, places, last + (places - last) % period)
        if not len(points):
            return np.zeros(len(places))
        return map_coordinates(recording.samples[points] / 32_768, [places], order=3, mode="constant")


def _sounding(zones: Iterable[Zone], pitch: int, velocity: int) -> Iterator[Zone]:
    """Return the zones whose ranges of keys and velocities contain a note's."""
    for zone in zones:
        if _within(pitch, zone.get(KEYS)) and _within(velocity, zone.get(VELOCITIES)):
            yield zone


def _within(value: int, span: int | None) -> bool:
    """Return whether a key or velocity is in a span, whose two bytes are lowest and highest."""
    return span is None or span & 255 <= value <= span >> 8 & 255


def _seconds(timecents: float) -> float:
    """Convert timecents, 1,200 times log2 of a time in seconds, to seconds."""
    return 2 ** (timecents / 1200)


def _envelope(zone: Zone, pitch: int, length: int, rate: int) -> Sound:
    """Return the volume over time, (T,): it rises linearly, is held, then falls to the sustained level, by 100 dB in
    the time of decay."""
    time = np.arange(length) / rate - _seconds(zone[DELAY])
    attack = _seconds(zone[ATTACK])
    hold = _seconds(zone[HOLD] + (60 - pitch) * zone.get(HOLD_BY_KEY, 0))
    decay = _seconds(zone[DECAY] + (60 - pitch) * zone.get(DECAY_BY_KEY, 0))
    fallen = np.clip(100 * (time - attack - hold) / decay, 0, np.clip(zone.get(SUSTAIN, 0) / 10, 0, 100))
    return np.clip(time / attack, 0, 1) * 10 ** (-fallen / 20)


def _lowpassed(sound: Sound, zone: Zone, rate: int) -> Sound:
    """Apply the font's two-pole low-pass (Bristow-Johnson's cookbook for audio equalisers) to a sound."""
    cutoff = 8.176 * 2 ** (zone[CUTOFF] / 1200)
    if zone[CUTOFF] >= DEFAULTS[CUTOFF] or cutoff > 0.45 * rate:
        return sound
    angle = 2 * np.pi * cutoff / rate
    width = np.sin(angle) / (2 * 10 ** ((zone.get(RESONANCE, 0) / 10 - 3.01) / 20))
    rise = (1 - np.cos(angle)) / 2
    filtered = lfilter([rise, 2 * rise, rise], [1 + width, -2 * np.cos(angle), 1 - width], sound)
    return np.asarray(filtered)
