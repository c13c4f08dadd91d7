"""Single notes of SoundFonts, on made-up fonts of sines; pitches of the font that pretty_midi brings."""

import contextlib
import io
import math
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from fonts import COMPRESSED, INSTRUMENT, LEFT, RIGHT, SAMPLE, Recording, font, sine
from fonts import RATE as RECORDED
from hypothesis import given, settings
from hypothesis import strategies as st

from vaebss.data.corpora.soundfont import SoundFont, _lowpassed
from vaebss.errors import DataError

RATE, LENGTH = 48_000, 24_000
KEYS, VELOCITIES, LOOPED, ROOT, FIXED_KEY, FIXED_VELOCITY = 43, 44, 54, 58, 46, 47
COARSE_TUNE, FINE_TUNE, SCALE, ATTENUATION, CUTOFF, RESONANCE = 51, 52, 56, 48, 8, 9
DELAY, ATTACK, HOLD, DECAY, SUSTAIN, HOLD_BY_KEY, DECAY_BY_KEY = 33, 34, 35, 36, 37, 39, 40
START, END, LOOP_START, LOOP_END = 0, 1, 2, 3
START_COARSE, END_COARSE, LOOP_START_COARSE, LOOP_END_COARSE = 4, 12, 45, 50
A = Recording(sine(22_050, RECORDED / 440), loop=(0, 10_023))  # half a second, and 100 periods of it
LOUD = 20_000 / 32_768  # amplitude of a recording


def played(path: Path, pitch: int = 69, velocity: int = 100, rate: int = RATE) -> np.ndarray:
    return SoundFont(path).play(5, pitch, velocity, LENGTH, rate)


def pitch(sound: np.ndarray) -> float:
    """MIDI pitch of the strongest partial."""
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), 1 << 18))
    return 69 + 12 * np.log2(spectrum.argmax() * RATE / (1 << 18) / 440)


@pytest.mark.parametrize("key", [45, 60, 69, 81, 93])
@pytest.mark.parametrize("looped", [0, 1])
def test_a_note_sounds_at_its_pitch(tmp_path, key, looped):
    sound = played(font(tmp_path / "a.sf2", {LOOPED: looped, SAMPLE: 0}, recordings=[A]), key)
    assert sound.shape == (LENGTH,)
    assert pitch(sound[: LENGTH // 4]) == pytest.approx(key, abs=0.05)


@pytest.mark.parametrize(
    ("zone", "preset", "expected"),
    [
        ({ROOT: 57}, {}, 81),
        ({ROOT: -1}, {}, 69),
        ({ROOT: 200}, {}, 69),  # no key
        ({COARSE_TUNE: -12, FINE_TUNE: 50}, {}, 57.5),
        ({COARSE_TUNE: -12}, {COARSE_TUNE: 5}, 62),  # what a preset says is added
        ({SCALE: 0}, {}, 69),
        ({SCALE: 50, ROOT: 59}, {}, 74),
        ({FIXED_KEY: 60}, {}, 60),
        ({FIXED_KEY: 60, ROOT: 57}, {}, 72),
        ({FIXED_KEY: -1}, {}, 69),
        ({}, {FIXED_KEY: 60}, 69),  # these belong to instruments alone
        ({}, {ROOT: 57}, 69),
        ({ROOT: 57}, {ROOT: 10}, 81),
        ({}, {START_COARSE: 1, LOOPED: 1, SAMPLE: 7}, 69),
        ({SCALE: 32_000, ROOT: 68}, {}, 81),  # beyond its limit, 1,200
    ],
)
def test_tuning(tmp_path, zone, preset, expected):
    whole = [{**preset, INSTRUMENT: 0}]
    path = font(tmp_path / "a.sf2", {**zone, LOOPED: 1, SAMPLE: 0}, preset=whole, recordings=[A])
    assert pitch(played(path)) == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize(("root", "key"), [(60, 60), (255, 60), (128, 60), (127, 127)])
def test_a_recording_without_a_pitch_is_at_middle_c(tmp_path, root, key):
    path = font(tmp_path / "a.sf2", {SAMPLE: 0}, recordings=[Recording(A.samples, root=root)])
    assert pitch(played(path, key)) == pytest.approx(69, abs=0.05)


@pytest.mark.parametrize(
    ("correction", "rate", "expected"), [(50, RECORDED, 69.5), (-50, RECORDED, 68.5), (0, 22_050, 57)]
)
def test_a_recording_has_a_rate_and_a_correction(tmp_path, correction, rate, expected):
    recording = Recording(A.samples, correction=correction, rate=rate)
    assert pitch(played(font(tmp_path / "a.sf2", {SAMPLE: 0}, recordings=[recording]))) == pytest.approx(
        expected, abs=0.05
    )


@pytest.mark.parametrize("key", [57, 64, 69, 76])
def test_a_note_is_interpolated_and_looped_without_a_seam(tmp_path, key):
    sound = played(font(tmp_path / "a.sf2", {LOOPED: 1, SAMPLE: 0}), key)
    phase = 2 * np.pi * 441 * 2 ** ((key - 69) / 12) * np.arange(LENGTH) / RATE
    np.testing.assert_allclose(sound[100:], LOUD * np.sin(phase)[100:], atol=2e-4)  # after 2 ms of delay and attack


def test_a_loop_goes_on_and_a_recording_without_one_ends(tmp_path):
    once = played(font(tmp_path / "a.sf2", {SAMPLE: 0}, recordings=[A]), 81)
    looped = played(font(tmp_path / "b.sf2", {LOOPED: 1, SAMPLE: 0}, recordings=[A]), 81)
    assert not once[LENGTH // 2 + 100 :].any()
    assert np.abs(looped[-1_000:]).max() == pytest.approx(LOUD, rel=0.01)


@pytest.mark.parametrize(("mode", "goes_on"), [(0, False), (1, True), (2, False), (3, True)])
def test_modes_of_a_loop(tmp_path, mode, goes_on):
    sound = played(font(tmp_path / "a.sf2", {LOOPED: mode, SAMPLE: 0}))
    assert bool(np.abs(sound[-1_000:]).max() > 0.5 * LOUD) == goes_on


AT_ONCE = {DELAY: -32_768, ATTACK: -32_768}
MOVED = [  # generators, and from where to where the recording and its loop are then
    ({}, 0, 131_072, 65_536, 65_636),
    ({START: 100}, 100, 131_072, 65_536, 65_636),
    ({START_COARSE: 1, START: 10}, 32_778, 131_072, 65_536, 65_636),
    ({END: -200}, 0, 130_872, 65_536, 65_636),
    ({END_COARSE: -2}, 0, 65_536, 65_536, 65_636),
    ({LOOP_START: 50}, 0, 131_072, 65_586, 65_636),
    ({LOOP_START_COARSE: -1, LOOP_END_COARSE: -1}, 0, 131_072, 32_768, 32_868),
    ({LOOP_END_COARSE: 1, LOOP_END: -50}, 0, 131_072, 65_536, 98_354),
]


@pytest.mark.parametrize("looped", [0, 1])
@pytest.mark.parametrize(("offsets", "start", "end", "loop", "back"), MOVED)
def test_offsets(tmp_path, offsets, start, end, loop, back, looped):
    noise = np.random.default_rng(0).integers(-20_000, 20_000, 131_072).astype("<i2")
    recording = Recording(noise, loop=(65_536, 65_636))
    path = font(tmp_path / "a.sf2", {**AT_ONCE, **offsets, LOOPED: looped, SAMPLE: 0}, recordings=[recording])
    length = end - start - 2 if not looped else 140_000
    points = np.arange(start, start + length)
    points = np.where(points < back, points, loop + (points - loop) % (back - loop)) if looped else points
    sound = SoundFont(path).play(5, 69, 100, length, RECORDED)  # at the recording's own pitch and rate
    np.testing.assert_allclose(sound[1:], noise[points][1:] / 32_768, atol=1e-9)
    if not looped:
        assert not SoundFont(path).play(5, 69, 100, length + 50, RECORDED)[length + 2 :].any()


def test_keys_and_velocities_choose_zones(tmp_path):
    low = {KEYS: 0 | 60 << 8, COARSE_TUNE: 12, SAMPLE: 0}
    high = {KEYS: 61 | 127 << 8, VELOCITIES: 64 | 127 << 8, FIXED_VELOCITY: 1, SAMPLE: 0}
    path = font(tmp_path / "a.sf2", low, high, recordings=[A])
    assert pitch(played(path, 60)) == pytest.approx(72, abs=0.05)
    assert pitch(played(path, 61)) == pytest.approx(61, abs=0.05)
    assert not played(path, 61, 63).any()
    assert not SoundFont(path).play(6, 60, 100, LENGTH, RATE).any()
    assert not SoundFont(path).play(0, 60, 100, LENGTH, RATE).any()  # the terminal preset's number


def test_ranges_that_do_not_come_first_are_ignored(tmp_path):
    late = [(COARSE_TUNE, 1), (KEYS, 0), (VELOCITIES, 0), (SAMPLE, 0)]
    turned = [(VELOCITIES, 0 | 127 << 8), (KEYS, 0), (SAMPLE, 0)]
    assert pitch(played(font(tmp_path / "a.sf2", late, recordings=[A]))) == pytest.approx(70, abs=0.05)
    assert pitch(played(font(tmp_path / "b.sf2", turned, recordings=[A]))) == pytest.approx(69, abs=0.05)


def test_the_first_zone_without_a_sample_holds_for_all_others(tmp_path):
    zones = [
        {COARSE_TUNE: 3, SCALE: 0},
        {KEYS: 0 | 60 << 8, SAMPLE: 0},
        {KEYS: 61 | 127 << 8, COARSE_TUNE: 5, SAMPLE: 0},
    ]
    path = font(tmp_path / "a.sf2", *zones, recordings=[A])
    assert [round(pitch(played(path, key)), 1) for key in (50, 70)] == [72, 74]


def test_later_zones_without_a_sample_are_ignored(tmp_path):
    zones = [{KEYS: 0 | 60 << 8, SAMPLE: 0}, {COARSE_TUNE: 3, ATTENUATION: 100}, {KEYS: 61 | 127 << 8, SAMPLE: 0}]
    path = font(tmp_path / "a.sf2", *zones, recordings=[A])
    assert [round(pitch(played(path, key)), 1) for key in (57, 81)] == [57, 81]
    assert np.abs(played(path, 81)[:5_000]).max() == pytest.approx(LOUD, rel=0.01)


def test_zones_of_a_preset_follow_the_same_rules(tmp_path):
    everything = {COARSE_TUNE: 2}
    zones = [everything, {KEYS: 0 | 60 << 8, INSTRUMENT: 0}, {COARSE_TUNE: 40}, {KEYS: 61 | 127 << 8, INSTRUMENT: 0}]
    path = font(tmp_path / "a.sf2", {SAMPLE: 0}, preset=zones, recordings=[A])
    assert [round(pitch(played(path, key)), 1) for key in (57, 69)] == [59, 71]


def test_generators_after_the_last_are_ignored(tmp_path):
    zone = [(COARSE_TUNE, 3), (SAMPLE, 0), (COARSE_TUNE, -20), (SAMPLE, 9)]
    preset = [(COARSE_TUNE, 1), (INSTRUMENT, 0), (COARSE_TUNE, -20), (INSTRUMENT, 9)]
    path = font(tmp_path / "a.sf2", zone, preset=[preset], recordings=[A])
    assert pitch(played(path)) == pytest.approx(73, abs=0.05)


def test_of_a_generator_that_is_said_twice_the_second_holds(tmp_path):
    zone = [(COARSE_TUNE, 3), (COARSE_TUNE, 5), (SAMPLE, 0)]
    assert pitch(played(font(tmp_path / "a.sf2", zone, recordings=[A]))) == pytest.approx(74, abs=0.05)


def loudness(path: Path, key: int, *seconds: float) -> list[float]:
    """Amplitude of a note at these times, as a share of the recording's."""
    sound = SoundFont(path).play(5, key, 100, RATE, RATE) / LOUD
    return [np.abs(sound[int(RATE * at) - 60 : int(RATE * at) + 60]).max() for at in seconds]


def test_a_note_decays_to_what_is_sustained(tmp_path):
    zone = {DECAY: -1_200, SUSTAIN: 200, LOOPED: 1, SAMPLE: 0}  # 100 dB in half a second, as far as 20 dB
    path = font(tmp_path / "a.sf2", zone)
    assert loudness(path, 69, 0.05, 0.2, 0.9) == pytest.approx([10**-0.5, 0.1, 0.1], rel=0.1)


def test_a_note_is_delayed_and_rises_and_is_held(tmp_path):
    zone = {DELAY: -3_600, ATTACK: -1_200, HOLD: -2_400, DECAY: 0, SUSTAIN: 1_000, LOOPED: 1, SAMPLE: 0}
    path = font(tmp_path / "a.sf2", zone)  # after 1/8 s, in 1/2 s, for 1/4 s, and then 100 dB in a second
    assert loudness(path, 69, 0.1, 0.25, 0.375, 0.625, 0.85, 0.975) == pytest.approx(
        [0, 0.25, 0.5, 1, 1, 10**-0.5], abs=0.02
    )


@pytest.mark.parametrize(("key", "seconds"), [(48, 1.0), (60, 0.5), (72, 0.25)])
def test_higher_notes_decay_sooner(tmp_path, key, seconds):
    zone = {DECAY: -1_200, SUSTAIN: 1_000, DECAY_BY_KEY: 100, SCALE: 0, LOOPED: 1, SAMPLE: 0}
    path = font(tmp_path / "a.sf2", zone)  # 100 dB in half a second at key 60, in half of that an octave higher
    assert loudness(path, key, 0.2 * seconds)[0] == pytest.approx(0.1, rel=0.25)


@pytest.mark.parametrize(("key", "seconds"), [(48, 0.5), (60, 0.25), (72, 0.125)])
def test_higher_notes_are_held_for_less_long(tmp_path, key, seconds):
    zone = {HOLD: -2_400, DECAY: -12_000, SUSTAIN: 1_000, HOLD_BY_KEY: 100, SCALE: 0, LOOPED: 1, SAMPLE: 0}
    path = font(tmp_path / "a.sf2", zone)
    assert loudness(path, key, seconds - 0.01, seconds + 0.01) == pytest.approx([1, 0], abs=0.01)


def test_a_fixed_key_is_that_of_the_envelope_too(tmp_path):
    zone = {DECAY: -1_200, SUSTAIN: 1_000, DECAY_BY_KEY: 100, FIXED_KEY: 72, LOOPED: 1, SAMPLE: 0}
    assert loudness(font(tmp_path / "a.sf2", zone), 48, 0.05)[0] == pytest.approx(0.1, rel=0.25)


@pytest.mark.parametrize(
    ("zone", "gain"), [({ATTENUATION: 200}, 0.1), ({ATTENUATION: -300}, 1), ({CUTOFF: 6_900 - 2_400}, 1 / 16)]
)
def test_attenuation_and_low_pass(tmp_path, zone, gain):
    plain = played(font(tmp_path / "a.sf2", {LOOPED: 1, SAMPLE: 0}, recordings=[A]))
    quiet = played(font(tmp_path / "b.sf2", {**zone, LOOPED: 1, SAMPLE: 0}, recordings=[A]))
    assert quiet[5_000:].std() / plain[5_000:].std() == pytest.approx(gain, rel=0.1)


@pytest.mark.parametrize("decibels", [0, 12, 24])
def test_resonance_is_the_gain_at_the_cutoff_above_that_at_0_hertz(decibels):
    """Of a filter whose frequency response is looked at through its impulse response."""
    cutoff, rate = 1_000, 48_000
    zone = {CUTOFF: round(1_200 * math.log2(cutoff / 8.176)), RESONANCE: 10 * decibels, 0: 77}
    impulse = np.zeros(rate)
    impulse[0] = 1
    response = np.abs(np.fft.rfft(_lowpassed(impulse, zone, rate)))  # a bin is 1 Hz
    assert response[0] == pytest.approx(1)
    assert 20 * np.log10(response[cutoff]) == pytest.approx(decibels - 3.01, abs=0.1)


def vorbis(samples: np.ndarray, rate: int = RECORDED) -> bytes:
    """Samples as an Ogg Vorbis stream."""
    soundfile = pytest.importorskip("soundfile")
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format="OGG", subtype="VORBIS", compression_level=0.0)
    return stream.getvalue()


def test_a_compressed_font_sounds_as_the_same_font_does(tmp_path):
    """Two recordings of the font that pretty_midi brings, looped."""
    real = SoundFont(timgm6mb())
    zone = next(zone for zone in real.file.instruments[real.file.presets[0][0][INSTRUMENT]] if zone.get(LOOPED))
    one, other = (real.file.recording(number) for number in (zone[SAMPLE], zone[SAMPLE] + 1))
    plain, compressed = [], []
    for found in (one, other):
        samples = found.samples[found.start : found.end]
        loop = (found.loop_start - found.start, found.loop_end - found.start)
        plain.append(Recording(samples, loop))
        compressed.append(Recording(samples, loop, kind=1 | COMPRESSED, content=vorbis(samples, found.rate)))
    zones = [{KEYS: 0 | 69 << 8, LOOPED: 1, SAMPLE: 0}, {KEYS: 70 | 127 << 8, LOOPED: 1, SAMPLE: 1}]
    fonts = [font(tmp_path / "a.sf2", *zones, recordings=plain)]
    fonts.append(font(tmp_path / "a.sf3", *zones, recordings=compressed, version=3))
    for key in (65, 72):
        true, found = (played(path, key) for path in fonts)
        assert np.square(true - found).mean() < 0.01 * np.square(true).mean()


def test_a_font_of_version_3_may_have_recordings_that_are_not_compressed(tmp_path):
    recordings = [A, Recording(A.samples, kind=1 | COMPRESSED, content=vorbis(A.samples))]
    path = font(tmp_path / "a.sf3", {SAMPLE: 0}, recordings=recordings[:1], version=3)
    assert np.array_equal(played(path), played(font(tmp_path / "a.sf2", {SAMPLE: 0}, recordings=[A])))


def test_a_recording_that_cannot_be_decoded_is_told_in_one_line(tmp_path):
    pytest.importorskip("soundfile")
    recording = Recording(A.samples, kind=1 | COMPRESSED, content=b"OggS" + bytes(60))
    path = font(tmp_path / "a.sf3", {SAMPLE: 0}, recordings=[recording], version=3)
    with pytest.raises(DataError, match=r"^\S*a.sf3 is damaged: recording 0 cannot be decoded: [^\n]+$"):
        played(path)


REFUSED = [
    (b"", "it does not begin as one"),
    (b"RIFF", "it does not begin as one"),
    (bytes(range(256)), "it does not begin as one"),
    (b"RIFF\x04\0\0\0WAVE", "it does not begin as one"),
    (b"RIFF\x04\0\0\0sfbk", "chunk ifil is missing or of a wrong size"),
]


@pytest.mark.parametrize(("content", "reason"), REFUSED)
def test_other_files_are_refused_in_one_line(tmp_path, content, reason):
    (tmp_path / "a.sf2").write_bytes(content)
    with pytest.raises(DataError, match=rf"^\S*a.sf2 is not a whole SoundFont file \(version 2 or 3\): {reason}$"):
        SoundFont(tmp_path / "a.sf2")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"version": 1}, "it is of version 1"),
        ({"version": 4}, "it is of version 4"),
        ({"preset": [{INSTRUMENT: 1}]}, "a preset names an instrument that is missing"),
        ({"preset": [{INSTRUMENT: 65_535}]}, "a preset names an instrument that is missing"),
        ({"zone": {SAMPLE: 1}}, "an instrument names a recording that is missing"),
        ({"recordings": [Recording(kind=0x8001)]}, "a recording lies in the ROM of a sound card"),
        ({"recordings": [Recording(kind=17)]}, "a recording is of type 17, which version 2 does not have"),
    ],
)
def test_fonts_that_cannot_be_played_are_refused_in_one_line(tmp_path, options, reason):
    zone = options.pop("zone", {SAMPLE: 0})
    with pytest.raises(DataError, match=rf"a.sf2 is not a whole SoundFont file \(version 2 or 3\): {reason}$"):
        SoundFont(font(tmp_path / "a.sf2", zone, **options))


def test_a_font_that_ends_early_is_refused(tmp_path):
    whole = font(tmp_path / "a.sf2", {SAMPLE: 0}).read_bytes()
    for size in (13, 20, 30, 40, 60, 500, 2_100, len(whole) - 92, len(whole) - 1):
        (tmp_path / "b.sf2").write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"^[^\n]+$"):
            SoundFont(tmp_path / "b.sf2")


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_damaged_font_plays_or_is_refused_in_one_line(tmp_path_factory, data):
    """Bytes changed anywhere but in the recordings, and a length cut off."""
    folder = tmp_path_factory.getbasetemp()
    zones = [{KEYS: 0 | 127 << 8, LOOPED: 1, DECAY: 0, DECAY_BY_KEY: 100, SAMPLE: 0}, {COARSE_TUNE: 1, SAMPLE: 1}]
    whole = font(folder / "whole.sf2", *zones, preset=[{ATTENUATION: 10, INSTRUMENT: 0}], recordings=[Recording()] * 2)
    content = bytearray(whole.read_bytes())
    tables = content.index(b"pdta")
    places = st.integers(0, 60) | st.integers(tables, len(content) - 1)
    for place in data.draw(st.lists(places, max_size=6)):
        content[place] = data.draw(st.sampled_from([0, 1, 2, 127, 128, 255]))
    cut = data.draw(st.integers(0, len(content)) | st.just(0))
    damaged = folder / "damaged.sf2"
    damaged.write_bytes(content[: len(content) - cut])
    found = None
    with contextlib.suppress(DataError):
        found = SoundFont(damaged)
    if found is None:
        with pytest.raises(DataError, match=r"^[^\n]+$"):
            SoundFont(damaged)
        return
    for program in (0, 5):
        for key in (0, 69, 127):
            sound = found.play(program, key, 100, 500, RATE)
            assert sound.shape == (500,)
            assert np.isfinite(sound).all()


def test_recordings_of_a_note(tmp_path):
    """The zones that sound name them; overlapping ones, and both sides of a stereo recording, have one number."""
    recordings = [
        Recording(),
        Recording(kind=RIGHT, link=2),
        Recording(kind=LEFT, link=1),
        Recording(kind=LEFT, link=0),
    ]
    zones = [{KEYS: key | key << 8, SAMPLE: sample} for key, sample in ((60, 0), (61, 1), (62, 2), (63, 3), (60, 3))]
    found = SoundFont(font(tmp_path / "a.sf2", *zones, recordings=recordings))
    numbers = [found.recordings(5, key, 100) for key in (60, 61, 62, 63, 64)]
    assert list(map(len, numbers)) == [2, 1, 1, 1, 0]
    assert numbers[1] == numbers[2]
    assert numbers[3] < numbers[0]
    assert not numbers[0] & numbers[1]


def timgm6mb() -> Path:
    found = find_spec("pretty_midi")
    if found is None or found.origin is None:
        pytest.skip("no font")
    return Path(found.origin).with_name("TimGM6mb.sf2")


@pytest.mark.parametrize("program", [0, 24, 40, 56, 68, 73])
def test_a_real_font_sounds_at_its_pitch(program):
    found = SoundFont(timgm6mb())
    for note in (60, 67, 75, 83):
        spectrum = np.abs(np.fft.rfft(found.play(program, note, 100, LENGTH, RATE) * np.hanning(LENGTH)))
        bins = 440 * 2 ** ((note - 69) / 12) * LENGTH / RATE * np.arange(1, 9)  # the first partials
        near = sum(spectrum[max(int(0.98 * at) - 2, 0) : int(1.02 * at) + 3].max() for at in bins)
        off = sum(spectrum[int(1.05 * at + 4) : int(1.06 * at + 6)].max() for at in bins)  # a semitone above
        assert near > 5 * off
