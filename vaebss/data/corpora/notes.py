"""Single notes of musical instruments to mix, rendered once from a SoundFont and kept."""

# N notes, T samples

import csv
import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.signal import resample_poly
from torch import Tensor
from torch.nn import functional

from vaebss.atomic import atomic_write
from vaebss.data.corpora.note_splits import NoteSplits, groups, split_notes
from vaebss.data.corpora.soundfont import Sound, SoundFont
from vaebss.data.corpora.sounds import SingleSounds
from vaebss.data.corpus import Splits
from vaebss.errors import DataError

RATE = 16_000  # samples a second
SAMPLES = 16_128  # T, just over a second
RENDERED_RATE = 48_000  # at which notes are rendered, so that little aliases
RENDERED = 76_800  # samples: longer than T, since some notes begin late
VELOCITY = 100  # one for all: two are nearly one sound once both are as loud
ONSET, LEAD = 0.02, 80  # a note begins so many samples before it first reaches this share of its peak
SILENT = 1e-4  # root mean square of a rendering with nothing in it
ALIKE = 0.85  # correlation from which on two notes of one pitch are one recording
KEPT = ("sounds", "labels", "recordings")  # arrays of a cache
RENDERER = 2  # raised whenever notes are rendered or kept in another way

with Path(__file__).with_name("note_ranges.csv").open(newline="") as file:  # lowest and highest pitch of an instrument
    RANGES = {int(row["program"]): (int(row["lowest"]), int(row["highest"])) for row in csv.DictReader(file)}


class Notes(SingleSounds):
    """Notes of the instruments of a SoundFont.

    Args:
        root: Folder for the rendered notes.
        soundfont: File of the notes; by default the font that comes with pip install 'vaebss[audio]'.
        unheard: Whether test mixtures are of instruments of which no note was trained on.
        options: Keyword arguments of `SingleSounds`.
    """

    kind = "notes"
    name = "notes"

    def __init__(self, root: str = "./data", soundfont: str | None = None, unheard: bool = False, **options: Any):
        super().__init__(**options)
        self.source = self.name
        self.root, self.soundfont, self.unheard = root, soundfont, unheard

    @property
    def title(self) -> str:
        font = f" of {Path(self.soundfont).stem}" if self.soundfont else ""
        return f"{self.name}{font}, of instruments never heard" if self.unheard else f"{self.name}{font}"

    def signals(self) -> Splits:
        notes = load_notes(self.root, self.soundfont)
        return Splits(notes.train, notes.val, notes.unheard if self.unheard else notes.test)

    @property
    def contents(self) -> dict[str, Any]:
        return {}


def load_notes(root: str | Path, soundfont: str | Path | None = None) -> NoteSplits:
    """Load the notes of a SoundFont, which are rendered once and cached in `root` under the font's checksum.

    Args:
        root: Folder for rendered notes; it is created if it does not exist.
        soundfont: Path of a .sf2 or .sf3 file; by default the TimGM6mb that pretty_midi brings.

    Raises:
        DataError: The font does not exist, or cannot be read.
    """
    font = Path(soundfont) if soundfont else bundled_font()
    cache = Path(root) / f"notes-{_checksum(font)}.npz"
    return split_notes(*(_kept(cache) or _keep(cache, *render(font))))


def render(font: Path) -> tuple[Tensor, Tensor, Tensor]:
    """Render notes (N, T) float16, without those that are silent or have been heard from another program.

    Beside them are labels (N, 2) and `groups` of notes that share recordings (N,).
    """
    played = SoundFont(font)
    every = [(program, pitch) for program, (low, high) in RANGES.items() for pitch in range(low, high + 1)]
    sounds = torch.stack([cut(at_rate(played.play(*note, VELOCITY, RENDERED, RENDERED_RATE))) for note in every])
    labels = torch.tensor(every)
    new = distinct(sounds, labels[:, 1])
    recordings = groups([played.recordings(program, pitch, VELOCITY) for program, pitch in labels[new].tolist()])
    return sounds[new].half(), labels[new], recordings


def at_rate(sound: Sound) -> Tensor:
    """Resample sound from RENDERED_RATE to RATE."""
    return torch.from_numpy(resample_poly(sound, RATE, RENDERED_RATE)).float()


def cut(sound: Tensor) -> Tensor:
    """Return the first T samples of a sound (T',) from just before its onset, with mean 0 and root mean square 1; or
    silence."""
    loud = (sound.abs() > ONSET * sound.abs().max()).nonzero()
    start = max(int(loud[0]) - LEAD, 0) if len(loud) else 0
    note = functional.pad(sound[start : start + SAMPLES], (0, SAMPLES))[:SAMPLES]
    note = note - note.mean()
    loudness = note.square().mean().sqrt()
    return note / loudness if loudness > SILENT else torch.zeros(SAMPLES)


def distinct(sounds: Tensor, pitches: Tensor) -> Tensor:
    """Return which notes are neither silent nor like an earlier note of the same pitch.

    Programs of a font share recordings, and filter, detune or start them differently. Such notes correlate at some lag.

    Args:
        sounds: Notes (N, T) with a root mean square of 1; silent ones are 0.
        pitches: MIDI pitch of each note, (N,).

    Returns:
        (N,) bool.
    """
    new = torch.zeros(len(sounds), dtype=torch.bool)
    audible, length = sounds.any(1), sounds.shape[1]
    for pitch in pitches[audible].unique():
        places = (audible & (pitches == pitch)).nonzero()[:, 0]
        spectra = torch.fft.rfft(sounds[places].float())
        heard = [0]
        for number, spectrum in enumerate(spectra[1:], start=1):
            correlations = torch.fft.irfft(spectra[heard] * spectrum.conj(), length) / length
            if not (correlations.abs() > ALIKE).any():
                heard.append(number)
        new[places[heard]] = True
    return new


def bundled_font() -> Path:
    """Return the path of the SoundFont that comes with pretty_midi.

    Raises:
        DataError: pretty_midi is not installed.
    """
    found = find_spec("pretty_midi")
    if found is None or found.origin is None:
        raise DataError("the default SoundFont comes with pretty_midi: pip install 'vaebss[audio]'")
    return Path(found.origin).with_name("TimGM6mb.sf2")


def _checksum(font: Path) -> str:
    """Return a checksum of the font and of the way it is rendered."""
    lengths = (RATE, SAMPLES, RENDERED_RATE, RENDERED)
    recipe = repr((lengths, VELOCITY, ONSET, LEAD, SILENT, ALIKE, RANGES, RENDERER)).encode()
    try:
        return hashlib.sha256(font.read_bytes() + recipe).hexdigest()[:16]
    except OSError as error:
        raise DataError(f"{font} cannot be read: {error.strerror}") from error


def _kept(cache: Path) -> tuple[Tensor, Tensor, Tensor] | None:
    """Read what was kept, if it is there and whole: an archive's own checksums are verified as it is read."""
    try:
        with np.load(cache, allow_pickle=False) as kept:
            sounds, labels, recordings = (torch.from_numpy(kept[name]) for name in KEPT)
            return sounds, labels, recordings
    except Exception:  # missing, or damaged, in any way it likes
        return None


def _keep(cache: Path, *rendered: Tensor) -> tuple[Tensor, ...]:
    """Write the cache whole or not at all, and return what it holds."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(cache) as part, part.open("wb") as file:  # by its name NumPy would call it otherwise
        arrays: Any = {name: tensor.numpy() for name, tensor in zip(KEPT, rendered, strict=True)}
        np.savez(file, **arrays)
    return rendered
