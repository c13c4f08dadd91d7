"""Single notes of SoundFonts, on a made-up font of sines; pitches of the font that pretty_midi brings."""

import struct
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from vaebss.data.soundfont import SoundFont
from vaebss.errors import DataError

RATE, LENGTH = 48_000, 24_000
KEYS, VELOCITIES, INSTRUMENT, SAMPLE, LOOPED, ROOT = 43, 44, 41, 53, 54, 58
COARSE_TUNE, FINE_TUNE, SCALE, SUSTAIN, DECAY, ATTENUATION, CUTOFF = 51, 52, 56, 37, 36, 48, 8


def chunk(name: str, content: bytes) -> bytes:
    return name.encode() + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def zones(kind: str, zones: list[dict[int, int]]) -> bytes:
    """Chunks of bags and generators of one preset or instrument, ends included."""
    edges = np.cumsum([0, *map(len, zones)])
    bags = b"".join(struct.pack("<HH", edge, 0) for edge in edges)
    generators = b"".join(
        struct.pack("<HH", number, amount & 65_535) for zone in zones for number, amount in zone.items()
    )
    return chunk(f"{kind}bag", bags) + chunk(f"{kind}gen", generators + bytes(4))


def font(path: Path, *instrument: dict[int, int], preset: dict[int, int] | None = None, program: int = 5) -> Path:
    """A font with one sample, half a second of 440 Hz at 44.1 kHz, of which 100 periods are the loop."""
    sine = np.round(20_000 * np.sin(2 * np.pi * 440 / 44_100 * np.arange(22_050))).astype("<i2")
    head = struct.pack("<20sIIIIIBbHH", b"sine", 0, len(sine), 0, 10_023, 44_100, 69, 0, 0, 1)
    tables = chunk("phdr", b"".join(struct.pack("<20sHHH12x", b"preset", program, 0, bag) for bag in (0, 1)))
    tables += zones("p", [{**(preset or {}), INSTRUMENT: 0}])
    tables += chunk("inst", b"".join(struct.pack("<20sH", b"instrument", bag) for bag in (0, len(instrument))))
    tables += zones("i", list(instrument))
    tables += chunk("shdr", head + bytes(46))
    lists = chunk("LIST", b"sdta" + chunk("smpl", sine.tobytes())) + chunk("LIST", b"pdta" + tables)
    path.write_bytes(chunk("RIFF", b"sfbk" + lists))
    return path


def pitch(sound: np.ndarray) -> float:
    """MIDI pitch of the strongest partial."""
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), 1 << 18))
    return 69 + 12 * np.log2(spectrum.argmax() * RATE / (1 << 18) / 440)


@pytest.mark.parametrize("played", [45, 60, 69, 81, 93])
@pytest.mark.parametrize("looped", [0, 1])
def test_a_note_sounds_at_its_pitch(tmp_path, played, looped):
    sound = SoundFont(font(tmp_path / "a.sf2", {LOOPED: looped, SAMPLE: 0})).play(5, played, 100, LENGTH, RATE)
    assert sound.shape == (LENGTH,)
    assert pitch(sound[: LENGTH // 4]) == pytest.approx(played, abs=0.05)


@pytest.mark.parametrize(
    ("zone", "preset", "expected"),
    [
        ({ROOT: 57}, {}, 81),
        ({COARSE_TUNE: -12, FINE_TUNE: 50}, {}, 57.5),
        ({COARSE_TUNE: -12}, {COARSE_TUNE: 5}, 62),  # what a preset says is added
        ({SCALE: 0}, {}, 69),
        ({SCALE: 50, ROOT: 59}, {}, 74),
    ],
)
def test_tuning(tmp_path, zone, preset, expected):
    path = font(tmp_path / "a.sf2", {**zone, LOOPED: 1, SAMPLE: 0}, preset=preset)
    assert pitch(SoundFont(path).play(5, 69, 100, LENGTH, RATE)) == pytest.approx(expected, abs=0.05)


def test_a_loop_goes_on_and_a_recording_without_one_ends(tmp_path):
    once = SoundFont(font(tmp_path / "a.sf2", {SAMPLE: 0})).play(5, 81, 100, LENGTH, RATE)
    looped = SoundFont(font(tmp_path / "b.sf2", {LOOPED: 1, SAMPLE: 0})).play(5, 81, 100, LENGTH, RATE)
    assert not once[LENGTH // 2 + 100 :].any()
    assert np.abs(looped[-1_000:]).max() == pytest.approx(20_000 / 32_768, rel=0.01)


def test_keys_and_velocities_choose_zones(tmp_path):
    low = {KEYS: 0 | 60 << 8, COARSE_TUNE: 12, SAMPLE: 0}
    high = {KEYS: 61 | 127 << 8, VELOCITIES: 64 | 127 << 8, SAMPLE: 0}
    played = SoundFont(font(tmp_path / "a.sf2", low, high))
    assert pitch(played.play(5, 60, 100, LENGTH, RATE)) == pytest.approx(72, abs=0.05)
    assert pitch(played.play(5, 61, 100, LENGTH, RATE)) == pytest.approx(61, abs=0.05)
    assert not played.play(5, 61, 63, LENGTH, RATE).any()
    assert not played.play(6, 60, 100, LENGTH, RATE).any()


def test_a_zone_without_sample_speaks_for_all(tmp_path):
    played = SoundFont(font(tmp_path / "a.sf2", {COARSE_TUNE: 3}, {SAMPLE: 0}, {COARSE_TUNE: -60, SAMPLE: 0, KEYS: 0}))
    assert pitch(played.play(5, 69, 100, LENGTH, RATE)) == pytest.approx(72, abs=0.05)


def test_a_note_decays_to_what_is_sustained(tmp_path):
    zone = {DECAY: -1_200, SUSTAIN: 200, LOOPED: 1, SAMPLE: 0}  # 100 dB in half a second, as far as 20 dB
    sound = SoundFont(font(tmp_path / "a.sf2", zone)).play(5, 69, 100, LENGTH, RATE)
    assert np.abs(sound[2_350:2_450]).max() == pytest.approx(20_000 / 32_768 * 10**-0.5, rel=0.1)  # after 0.05 s
    assert np.abs(sound[10_000:]).max() == pytest.approx(20_000 / 32_768 * 0.1, rel=0.01)


@pytest.mark.parametrize(("zone", "gain"), [({ATTENUATION: 200}, 0.1), ({CUTOFF: 6_900 - 2_400}, 1 / 16)])
def test_attenuation_and_low_pass(tmp_path, zone, gain):
    plain = SoundFont(font(tmp_path / "a.sf2", {LOOPED: 1, SAMPLE: 0})).play(5, 69, 100, LENGTH, RATE)
    quiet = SoundFont(font(tmp_path / "b.sf2", {**zone, LOOPED: 1, SAMPLE: 0})).play(5, 69, 100, LENGTH, RATE)
    assert quiet[5_000:].std() / plain[5_000:].std() == pytest.approx(gain, rel=0.1)


@pytest.mark.parametrize("content", [b"", b"RIFF", bytes(range(256)), b"RIFF\x04\0\0\0WAVE"])
def test_other_files_are_refused_in_one_line(tmp_path, content):
    (tmp_path / "a.sf2").write_bytes(content)
    with pytest.raises(DataError, match=r"^\S*a.sf2 is not a SoundFont 2 file, or not a whole one$"):
        SoundFont(tmp_path / "a.sf2")


@pytest.mark.parametrize("program", [0, 24, 40, 56, 68, 73])
def test_a_real_font_sounds_at_its_pitch(program):
    found = find_spec("pretty_midi")
    if found is None or found.origin is None:
        pytest.skip("no font")
    played = SoundFont(Path(found.origin).with_name("TimGM6mb.sf2"))
    for note in (60, 67, 75, 83):
        spectrum = np.abs(np.fft.rfft(played.play(program, note, 100, LENGTH, RATE) * np.hanning(LENGTH)))
        bins = 440 * 2 ** ((note - 69) / 12) * LENGTH / RATE * np.arange(1, 9)  # the first partials
        near = sum(spectrum[max(int(0.98 * at) - 2, 0) : int(1.02 * at) + 3].max() for at in bins)
        off = sum(spectrum[int(1.05 * at + 4) : int(1.06 * at + 6)].max() for at in bins)  # a semitone above
        assert near > 5 * off
