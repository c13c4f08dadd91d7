"""Contents of a SoundFont file: presets and instruments as lists of zones, and recordings as samples.

After the SoundFont Technical Specification 2.04: chunks (sections 4 and 5), samples (6 and 7.10), and presets and
instruments (7.2 to 7.9). Version 3 (.sf3) differs in that recordings are compressed with Ogg Vorbis: bit 4 of their
type is set, `start` and `end` count bytes, and loops are counted from the first sample.
"""

# N recordings

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vaebss.errors import DataError, first_line

Zone = dict[int, int]  # number of a generator -> its amount

INSTRUMENT, KEYS, VELOCITIES, SAMPLE = 41, 43, 44, 53  # numbers of generators
VERSIONS = (2, 3)
SIDES, COMPRESSED, ROM = 2 | 4, 0x10, 0x8000  # bits of the type of a recording: right or left; Vorbis; elsewhere
UNPITCHED = 60  # key of a recording that names none
KEY_COUNT = 128
SLOWEST = 400  # samples a second, the least that the specification calls practical

FIELDS = ("start", "end", "loop_start", "loop_end", "rate", "root", "correction")  # of a recording's header

_NAMED = [("name", "S20")]
_LAYOUTS: dict[bytes, Any] = {
    b"ifil": [("major", "<u2"), ("minor", "<u2")],
    b"phdr": [*_NAMED, ("program", "<u2"), ("bank", "<u2"), ("bag", "<u2"), ("rest", "V12")],
    b"inst": [*_NAMED, ("bag", "<u2")],
    b"pbag": [("generator", "<u2"), ("modulator", "<u2")],
    b"ibag": [("generator", "<u2"), ("modulator", "<u2")],
    b"pgen": [("number", "<u2"), ("amount", "<i2")],
    b"igen": [("number", "<u2"), ("amount", "<i2")],
    b"shdr": [
        *_NAMED,
        *((field, "<u4") for field in FIELDS[:5]),
        *(("root", "u1"), ("correction", "i1"), ("link", "<u2"), ("type", "<u2")),
    ],
    b"smpl": "u1",
}


class _Damaged(ValueError):
    """The reason why a file is refused."""


@dataclass(frozen=True)
class Recording:
    """One recording of a font.

    Attributes:
        samples: Samples of all recordings, int16.
        start, end: Index of the recording's first sample, and of the one after its last.
        loop_start, loop_end: Index of the first sample of its loop, and of the one after the loop's last.
        rate: Sample rate in Hz.
        root: MIDI key at which it was recorded.
        correction: Number of cents to be added to its pitch.
    """

    samples: NDArray[np.int16]
    start: int
    end: int
    loop_start: int
    loop_end: int
    rate: int
    root: int
    correction: int


class SoundFontFile:
    """The melodic presets of a font (bank 0), its instruments and its recordings.

    Args:
        path: Path of a .sf2 or .sf3 file.

    Attributes:
        presets: Zones of each program. Every zone names an INSTRUMENT.
        instruments: Zones of each instrument. Every zone names a SAMPLE, the number of a recording.

    Raises:
        DataError: The file cannot be read, is no SoundFont, or is damaged.
    """

    def __init__(self, path: str | Path):
        self.path = path
        self._decoded: dict[int, NDArray[np.int16]] = {}
        try:
            self._tables = _tables(memoryview(Path(path).read_bytes()))
            self.instruments = self._zones(b"i", self._tables[b"inst"], SAMPLE)
            presets = self._zones(b"p", self._tables[b"phdr"], INSTRUMENT)
            self._check(presets)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from error
        except _Damaged as error:
            raise DataError(f"{path} is not a whole SoundFont file (version 2 or 3): {error}") from error
        heads = self._tables[b"phdr"][:-1]
        melodic = np.flatnonzero(heads["bank"] == 0)[::-1]  # the first preset of a program wins
        self.presets = {int(heads["program"][number]): presets[number] for number in melodic}

    def recording(self, number: int) -> Recording:
        """Return the recording of this number.

        Raises:
            DataError: The recording is compressed and cannot be decoded.
            ImportError: The recording is compressed and soundfile is not installed.
        """
        head = self._tables[b"shdr"][number]
        start, end, loop_start, loop_end, rate, root, correction = head[list(FIELDS)].item()
        samples: NDArray[np.int16] = self._tables[b"smpl"][: len(self._tables[b"smpl"]) // 2 * 2].view("<i2")
        if head["type"] & COMPRESSED:
            if number not in self._decoded:
                self._decoded[number] = self._decode(number, start, end)
            samples = self._decoded[number]
            start, end = 0, len(samples)
        root = root if root < KEY_COUNT else UNPITCHED
        return Recording(samples, start, end, loop_start, loop_end, max(rate, SLOWEST), root, correction)

    @property
    def stretches(self) -> NDArray[np.int64]:
        """The stretch of the file that each recording lies in, (N,): recordings that overlap share one, and so do the
        two sides of a stereo recording that name each other."""
        heads = self._tables[b"shdr"][:-1]
        order = np.lexsort((heads["end"], heads["start"]))
        reach = np.maximum.accumulate(heads["end"][order])
        stretches = np.zeros(len(heads), np.int64)
        stretches[order[1:]] = np.cumsum(heads["start"][order][1:] >= reach[:-1])
        links, sides = heads["link"].tolist(), heads["type"] & SIDES
        for one, other in enumerate(links):
            if other < len(heads) and links[other] == one and sides[one] and sides[other]:
                stretches[stretches == stretches[other]] = stretches[one]
        return stretches

    def _zones(self, kind: bytes, heads: NDArray[Any], last: int) -> list[list[Zone]]:
        """Return the zones of each preset or instrument but the terminal one; each ends with the generator `last`.

        The first zone may lack that generator: then it has the defaults of all others. Others that lack it are ignored.
        """
        edges, generators = self._tables[kind + b"bag"]["generator"], self._tables[kind + b"gen"]
        _check_rising(heads["bag"], len(edges) - 1, "zones")
        _check_rising(edges, len(generators), "generators")
        lists = generators.tolist()
        every = [_zone(lists[start:end], last) for start, end in pairwise(edges)]
        found = []
        for start, end in pairwise(heads["bag"]):
            own = every[start:end]
            common = own[0] if own and last not in own[0] else {}
            found.append([common | zone for zone in own if last in zone])
        return found

    def _check(self, presets: list[list[Zone]]) -> None:
        """Raise _Damaged unless all zones name an instrument or a recording that there is."""
        heads, size = self._tables[b"shdr"][:-1], len(self._tables[b"smpl"])
        version = int(self._tables[b"ifil"]["major"][0])
        if not all(0 <= zone[INSTRUMENT] < len(self.instruments) for zones in presets for zone in zones):
            raise _Damaged("a preset names an instrument that is missing")
        used = {zone[SAMPLE] for zones in self.instruments for zone in zones}
        if not all(0 <= number < len(heads) for number in used):
            raise _Damaged("an instrument names a recording that is missing")
        for start, end, kind in heads[sorted(used)][["start", "end", "type"]].tolist():
            if kind & ROM:
                raise _Damaged("a recording lies in the ROM of a sound card")
            if kind & COMPRESSED and version < VERSIONS[-1]:
                raise _Damaged(f"a recording is of type {kind}, which version {version} does not have")
            if not start <= end <= (size if kind & COMPRESSED else size // 2):
                raise _Damaged(f"a recording lies from {start} to {end}, beyond the end of all recordings")

    def _decode(self, number: int, start: int, end: int) -> NDArray[np.int16]:
        """Decode the samples of a compressed recording from its bytes."""
        try:
            import soundfile
        except ImportError as error:
            raise ImportError("compressed SoundFonts need soundfile: pip install 'vaebss[audio]'") from error
        try:
            content = io.BytesIO(self._tables[b"smpl"][start:end].tobytes())
            samples, _ = soundfile.read(content, dtype="int16", always_2d=True)
        except (soundfile.SoundFileError, ValueError, MemoryError) as error:
            raise DataError(
                f"{self.path} is damaged: recording {number} cannot be decoded: {first_line(error)}"
            ) from error
        return samples[:, 0].astype(np.int16, copy=False)


def _tables(content: memoryview) -> dict[bytes, NDArray[Any]]:
    """Return the chunks of a file as arrays of records."""
    if len(content) < 12 or bytes(content[:4]) + bytes(content[8:12]) != b"RIFFsfbk":
        raise _Damaged("it does not begin as one")
    chunks, tables = dict(_chunks(content[12:])), {}
    for name, layout in _LAYOUTS.items():
        kind = np.dtype(layout)
        if name not in chunks or len(chunks[name]) % kind.itemsize or not (name == b"smpl" or len(chunks[name])):
            raise _Damaged(f"chunk {name.decode()} is missing or of a wrong size")
        tables[name] = np.frombuffer(chunks[name], kind)
    if (version := int(tables[b"ifil"]["major"][0])) not in VERSIONS:
        raise _Damaged(f"it is of version {version}")
    return tables


def _chunks(content: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Return names and contents of a RIFF file's chunks, including those within lists."""
    place = 0
    while place + 8 <= len(content):
        name, size = bytes(content[place : place + 4]), int.from_bytes(content[place + 4 : place + 8], "little")
        if place + 8 + size > len(content):
            raise _Damaged("it ends within a chunk")
        chunk = content[place + 8 : place + 8 + size]
        if name == b"LIST":
            yield from _chunks(chunk[4:])
        else:
            yield name, chunk
        place += 8 + size + size % 2


def _zone(generators: Sequence[tuple[int, int]], last: int) -> Zone:
    """Return a zone of these generators. Those after `last`, and ranges that do not come first, are ignored."""
    zone: Zone = {}
    for place, (number, amount) in enumerate(generators):
        if (number == KEYS and place) or (number == VELOCITIES and zone.keys() - {KEYS}):
            continue
        zone[number] = amount
        if number == last:
            zone[last] = amount & 0xFFFF  # an index, which has no sign
            break
    return zone


def _check_rising(indices: NDArray[Any], most: int, named: str) -> None:
    """Raise _Damaged unless indices rise, and the last is `most` at most."""
    if (np.diff(indices.astype(np.int64)) < 0).any() or indices[-1] > most:
        raise _Damaged(f"the indices of {named} are out of range")
