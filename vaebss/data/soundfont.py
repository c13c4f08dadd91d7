"""Single notes from a SoundFont 2 file: its recordings at a note's pitch, looped and enveloped, without effects.

After the SoundFont Technical Specification 2.04: chunks (sections 4 and 7), generators and the volume envelope (8.1),
and how presets add to instruments (9.4). Not played are modulators, low-frequency oscillators, the modulation envelope,
panning (a note is mono) and what follows a note's release. Compressed fonts (.sf3) are not read.
"""

# T samples

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.signal import lfilter

from vaebss.errors import DataError

Sound = NDArray[np.float64]
Zone = dict[int, int]  # number of a generator -> its amount

# numbers of generators
START, END, LOOP_START, LOOP_END, CUTOFF, RESONANCE = 0, 1, 2, 3, 8, 9
COARSE = {START: 4, END: 12, LOOP_START: 45, LOOP_END: 50}  # the same, in units of 32,768 samples
DELAY, ATTACK, HOLD, DECAY, SUSTAIN, HOLD_BY_KEY, DECAY_BY_KEY = 33, 34, 35, 36, 37, 39, 40
INSTRUMENT, KEYS, VELOCITIES, ATTENUATION = 41, 43, 44, 48
SEMITONES, CENTS, SAMPLE, LOOPED, TUNING, ROOT = 51, 52, 53, 54, 56, 58
DEFAULTS = {CUTOFF: 13_500, DELAY: -12_000, ATTACK: -12_000, HOLD: -12_000, DECAY: -12_000, TUNING: 100, ROOT: -1}
REPLACED = (KEYS, VELOCITIES, INSTRUMENT)  # of a preset, these are not added to the instrument's

_NAMED = [("name", "S20")]
_LAYOUTS: dict[bytes, Any] = {
    b"phdr": [*_NAMED, ("program", "<u2"), ("bank", "<u2"), ("bag", "<u2"), ("rest", "V12")],
    b"inst": [*_NAMED, ("bag", "<u2")],
    b"pbag": [("generator", "<u2"), ("modulator", "<u2")],
    b"ibag": [("generator", "<u2"), ("modulator", "<u2")],
    b"pgen": [("number", "<u2"), ("amount", "<i2")],
    b"igen": [("number", "<u2"), ("amount", "<i2")],
    b"shdr": [
        *_NAMED,
        *((field, "<u4") for field in ("start", "end", "loop_start", "loop_end", "rate")),
        *(("root", "u1"), ("correction", "i1"), ("link", "<u2"), ("type", "<u2")),
    ],
    b"smpl": "<i2",
}


class SoundFont:
    """A font's melodic presets, those of bank 0.

    Args:
        path: .sf2 file.

    Raises:
        DataError: it cannot be read, or is no SoundFont.
    """

    def __init__(self, path: str | Path):
        try:
            content = Path(path).read_bytes()
            chunks = dict(_chunks(content[12:])) if content[:4] + content[8:12] == b"RIFFsfbk" else {}
            self._tables: dict[bytes, NDArray[Any]] = {
                n: np.frombuffer(chunks[n], kind) for n, kind in _LAYOUTS.items()
            }
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from error
        except (KeyError, ValueError) as error:
            raise DataError(f"{path} is not a SoundFont 2 file, or not a whole one") from error

    def play(self, program: int, pitch: int, velocity: int, length: int, rate: int) -> Sound:
        """The first `length` samples, at `rate`, of a note that is held; silent where the font has none.

        Args:
            program: General MIDI's, counted from 0.
            pitch: MIDI's, 69 being 440 Hz.
            velocity: 1 to 127; it chooses among recordings, and does not make them louder.
            length: T.
            rate: samples a second; not below that of the recordings, or high partials alias.
        """
        voices = [self._voice(zone, pitch, length, rate) for zone in self._zones(program, pitch, velocity)]
        return np.sum(voices, axis=0) if voices else np.zeros(length)

    def _zones(self, program: int, pitch: int, velocity: int) -> Iterator[Zone]:
        """What sounds: an instrument's zones, with what the preset adds to them."""
        presets, instruments = self._tables[b"phdr"], self._tables[b"inst"]
        for number in np.flatnonzero((presets["program"] == program) & (presets["bank"] == 0))[:1]:
            for preset in self._sounding(b"p", presets["bag"], number, INSTRUMENT, pitch, velocity):
                added = {number: amount for number, amount in preset.items() if number not in REPLACED}
                for zone in self._sounding(b"i", instruments["bag"], preset[INSTRUMENT], SAMPLE, pitch, velocity):
                    whole = DEFAULTS | zone
                    yield whole | {number: whole.get(number, 0) + amount for number, amount in added.items()}

    def _sounding(
        self, kind: bytes, bags: NDArray[Any], number: int, end: int, pitch: int, velocity: int
    ) -> Iterator[Zone]:
        """Zones of one preset or instrument for a note; those without the last generator, `end`, speak for all."""
        edges, generators = self._tables[kind + b"bag"]["generator"], self._tables[kind + b"gen"]
        common: Zone = {}
        for bag in range(bags[number], bags[number + 1]):
            own = dict(generators[edges[bag] : edges[bag + 1]].tolist())
            zone = common | own
            if end not in own:
                common = zone
            elif _within(pitch, zone.get(KEYS)) and _within(velocity, zone.get(VELOCITIES)):
                yield zone

    def _voice(self, zone: Zone, pitch: int, length: int, rate: int) -> Sound:
        """One recording, (T,)."""
        header = self._tables[b"shdr"][zone[SAMPLE]]
        root = zone[ROOT] if zone[ROOT] >= 0 else int(header["root"])
        cents = (pitch - root) * zone[TUNING] + 100 * zone.get(SEMITONES, 0) + zone.get(CENTS, 0)
        step = 2 ** ((cents + int(header["correction"])) / 1200) * int(header["rate"]) / rate
        recording = self._recording(zone, header, int(step * length) + 2)
        sound = map_coordinates(recording, [step * np.arange(length)], order=3, mode="constant")
        gain = 10 ** (-zone.get(ATTENUATION, 0) / 200)
        return gain * _lowpassed(sound, zone, rate) * _envelope(zone, pitch, length, rate)

    def _recording(self, zone: Zone, header: Any, length: int) -> Sound:
        """The recording at its own rate and pitch, its loop repeated up to `length` samples."""

        def place(field: str, generator: int) -> int:
            return int(header[field]) + zone.get(generator, 0) + 32_768 * zone.get(COARSE[generator], 0)

        start, end = place("start", START), place("end", END)
        loop, back = place("loop_start", LOOP_START), place("loop_end", LOOP_END)
        points = np.arange(length) + start
        if zone.get(LOOPED, 0) % 2 and start <= loop < back:
            points = np.where(points < back, points, loop + (points - loop) % (back - loop))
        else:
            points = points[points < end]
        return self._tables[b"smpl"][points] / 32_768


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Names and contents of a RIFF file's chunks, lists opened."""
    place = 0
    while place + 8 <= len(content):
        name, size = content[place : place + 4], int.from_bytes(content[place + 4 : place + 8], "little")
        chunk = content[place + 8 : place + 8 + size]
        if name == b"LIST":
            yield from _chunks(chunk[4:])
        else:
            yield name, chunk
        place += 8 + size + size % 2


def _within(value: int, span: int | None) -> bool:
    """Whether a key or velocity is in a span, whose two bytes are lowest and highest."""
    return span is None or span & 255 <= value <= span >> 8 & 255


def _seconds(timecents: float) -> float:
    return 2 ** (timecents / 1200)


def _envelope(zone: Zone, pitch: int, length: int, rate: int) -> Sound:
    """Volume over time, (T,): up linearly, held, then down, by 100 dB in the time of decay, to what is sustained."""
    time = np.arange(length) / rate - _seconds(zone[DELAY])
    attack = _seconds(zone[ATTACK])
    hold = _seconds(zone[HOLD] + (60 - pitch) * zone.get(HOLD_BY_KEY, 0))
    decay = _seconds(zone[DECAY] + (60 - pitch) * zone.get(DECAY_BY_KEY, 0))
    fallen = np.clip(100 * (time - attack - hold) / decay, 0, np.clip(zone.get(SUSTAIN, 0) / 10, 0, 100))
    return np.clip(time / attack, 0, 1) * 10 ** (-fallen / 20)


def _lowpassed(sound: Sound, zone: Zone, rate: int) -> Sound:
    """Low-passed by two poles where the font says so (Bristow-Johnson's cookbook for audio equalisers)."""
    cutoff = 8.176 * 2 ** (zone[CUTOFF] / 1200)
    if zone[CUTOFF] >= DEFAULTS[CUTOFF] or cutoff > 0.45 * rate:
        return sound
    angle = 2 * np.pi * cutoff / rate
    width = np.sin(angle) / (2 * 10 ** ((zone.get(RESONANCE, 0) / 10 - 3.01) / 20))
    rise = (1 - np.cos(angle)) / 2
    filtered = lfilter([rise, 2 * rise, rise], [1 + width, -2 * np.cos(angle), 1 - width], sound)
    return np.asarray(filtered)
