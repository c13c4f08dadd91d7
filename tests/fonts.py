"""SoundFonts to test with, made of a few recordings."""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

RATE = 44_100  # samples a second of a recording
PERIOD = 100  # samples, of 441 Hz
SAMPLE, INSTRUMENT = 53, 41  # generators
MONO, RIGHT, LEFT, COMPRESSED = 1, 2, 4, 0x10  # types of a recording
Zone = dict[int, int] | Sequence[tuple[int, int]]  # numbers of generators and their amounts


def sine(samples: int, period: float = PERIOD) -> np.ndarray:
    """A sine of amplitude 20,000, (samples,) int16."""
    return np.round(20_000 * np.sin(2 * np.pi * np.arange(samples) / period)).astype("<i2")


@dataclass
class Recording:
    """A recording and what its header says of it; by default 10 periods of 441 Hz, the second of which is the loop.

    `content` is what lies in the file, if not the samples themselves. `beyond` samples after its end are its own as
    well, as the header says.
    """

    samples: np.ndarray = field(default_factory=lambda: sine(10 * PERIOD))
    loop: tuple[int, int] = (PERIOD, 2 * PERIOD)
    root: int = 69
    correction: int = 0
    link: int = 0
    kind: int = MONO
    rate: int = RATE
    beyond: int = 0
    content: bytes | None = None


def chunk(name: str, content: bytes) -> bytes:
    return name.encode() + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def zones(kind: str, zones: Iterable[Zone]) -> bytes:
    """Chunks of bags and generators of presets or instruments, ends included."""
    lists = [list(zone.items()) if isinstance(zone, dict) else list(zone) for zone in zones]
    bags = b"".join(struct.pack("<HH", edge, 0) for edge in np.cumsum([0, *map(len, lists)]))
    generators = b"".join(struct.pack("<HH", number, amount & 65_535) for zone in lists for number, amount in zone)
    return chunk(f"{kind}bag", bags) + chunk(f"{kind}gen", generators + bytes(4))


def font(
    path: Path,
    *instrument: Zone,
    preset: Sequence[Zone] | None = None,
    recordings: Sequence[Recording] = (Recording(),),
    program: int = 5,
    version: int = 2,
) -> Path:
    """Write a font of one preset and one instrument with these zones; a preset zone without any plays it as it is."""
    heads, stored = b"", b""
    for number, one in enumerate(recordings):
        content = one.samples.astype("<i2").tobytes() + bytes(92) if one.content is None else one.content
        start = len(stored) if one.content else len(stored) // 2
        loop = one.loop if one.content else (start + one.loop[0], start + one.loop[1])
        end = start + (len(content) if one.content else len(one.samples) + one.beyond)
        name = b"recording %d" % number
        tail = (one.rate, one.root, one.correction, one.link, one.kind)
        heads += struct.pack("<20sIIIIIBbHH", name, start, end, *loop, *tail)
        stored += content
    own = [{INSTRUMENT: 0}] if preset is None else preset
    presets = [(program, 0), (0, len(own))]
    tables = chunk("phdr", b"".join(struct.pack("<20sHHH12x", b"preset", number, 0, bag) for number, bag in presets))
    tables += zones("p", own)
    tables += chunk("inst", b"".join(struct.pack("<20sH", b"instrument", bag) for bag in (0, len(instrument))))
    tables += zones("i", instrument) + chunk("shdr", heads + bytes(46))
    lists = chunk("LIST", b"INFO" + chunk("ifil", struct.pack("<HH", version, 1)))
    lists += chunk("LIST", b"sdta" + chunk("smpl", stored)) + chunk("LIST", b"pdta" + tables)
    path.write_bytes(chunk("RIFF", b"sfbk" + lists))
    return path
