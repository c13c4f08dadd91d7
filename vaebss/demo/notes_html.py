"""The HTML that the tab for notes shows: the mixture of two notes, its separation and the score."""

# N notes, K slots, T samples

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path

import numpy as np
import torch
from scipy.io import wavfile
from torch import Tensor

from vaebss.data.corpora.note_splits import SPLITS, NoteSplits
from vaebss.data.corpora.notes import RATE
from vaebss.demo.html import block, data_url, download, refusal
from vaebss.figures.files import as_png
from vaebss.matching import match
from vaebss.metrics.audio import si_sdr
from vaebss.modalities.modality import Modality, separate_signals
from vaebss.modalities.registry import modality_of
from vaebss.models.separator import Separator
from vaebss.models.vae import VAE
from vaebss.separation import Separation

REFINEMENT = {"refine_steps": 60}  # takes half a second for two notes, and gains 1.5 dB
LEVEL = 0.25  # root mean square of a note in a mixture, as in training
INCHES, DPI = (5, 3.9), 200  # of the figure
BEATS, DUET, FADE = (0.6, 0.75), 6.0, 400  # seconds of a note of each voice, seconds in all, samples in which it ends
WAIT = "<p>Notes are being rendered from a SoundFont. The first time this takes a minute.</p>"

Note = tuple[int, int]  # General MIDI program, counted from 0, and pitch
Track = tuple[str, Tensor]  # a label and a signal (T,)


@dataclass(frozen=True)
class NoteLibrary:
    """The notes that can be chosen, by instrument and pitch."""

    notes: NoteSplits

    @cached_property
    def _sounds(self) -> dict[Note, Tensor]:
        sounds = torch.cat([getattr(self.notes, split) for split in SPLITS])
        labels = torch.cat([self.notes.labels[split] for split in SPLITS]).tolist()
        return {(program, pitch): sound for (program, pitch), sound in zip(labels, sounds, strict=True)}

    def instruments(self) -> list[tuple[str, int]]:
        """Return the names and programs of the instruments."""
        from pretty_midi import program_to_instrument_name

        programs = sorted({program for program, _ in self._sounds})
        return [(program_to_instrument_name(program), program) for program in programs]

    def pitches(self, program: int) -> list[tuple[str, int]]:
        """Return the names and numbers of the pitches that an instrument has here, from the lowest."""
        from pretty_midi import note_number_to_name

        return [(note_number_to_name(pitch), pitch) for _, pitch in sorted(n for n in self._sounds if n[0] == program)]

    def two(self) -> list[Note]:
        """Return two random notes from those that are held out of training."""
        labels = self.notes.labels["test"]
        return [(program, pitch) for program, pitch in labels[torch.randperm(len(labels))[:2]].tolist()]

    def duet(self) -> Tensor:
        """Return two melodies of random notes, held out of training, of two instruments that are drawn, (1, 2, T)."""
        labels = self.notes.labels["test"]
        programs = labels[:, 0].unique()
        melodies = []
        for program, seconds in zip(programs[torch.randperm(len(programs))[:2]], BEATS, strict=True):
            notes = self.notes.test[labels[:, 0] == program].float()
            fade = torch.ones(length := round(seconds * RATE))
            fade[-FADE:] = torch.linspace(1, 0, FADE)
            places = torch.randint(len(notes), (round(DUET / seconds),))
            melodies.append((notes[places, :length] * fade).flatten())
        return torch.stack(melodies).unsqueeze(0) * LEVEL

    def sources(self, chosen: Sequence[Note]) -> Tensor:
        """Return notes at the level that they have in a mixture, (1, N, T)."""
        return torch.stack([self._sounds[note] for note in chosen]).float().unsqueeze(0) * LEVEL


def notes_apart(model: Separator, sources: Tensor, by: str = "") -> tuple[str, str]:
    """Separate a mixture of notes whose true sources are known.

    Args:
        model: Model that separates the mixture.
        sources: Notes (1, M, T) at the model's sample rate, which are added up.
        by: Line of HTML about the model; none if empty.

    Returns:
        HTML with players of the mixture, estimates and true sources, and the score; and HTML of their spectrograms.
    """
    modality, mixture, there = modality_of(model), sources.sum(1), sources.shape[1]
    found = _found(model, modality, mixture)
    estimates = match(found.sources, sources, torch.tensor([there]))
    quality = float(si_sdr(estimates, sources).mean())
    tracks: list[Track] = [("mixture", mixture[0])]
    for number, pair in enumerate(zip(estimates[0], sources[0], strict=True), start=1):
        tracks += zip((f"found {number}", f"truth {number}"), pair, strict=True)
    line = f"<b>{int(found.count)} found</b>, {there} there; SI-SDR {quality:.1f} dB"
    return shown(line, tracks, modality, [by] if by else [])


def sound_apart(model: Separator, path: str | Path, by: str = "") -> tuple[str, str]:
    """Separate the sound of a file.

    Args:
        model: Model that separates the sound.
        path: Path of a sound file. Its channels are averaged.
        by: Line of HTML about the model; none if empty.

    Returns:
        HTML with players of the sound and of the sources that were found, or with what is wrong with the file; and HTML
        of their spectrograms, which is empty for a file that cannot be separated.
    """
    path, modality = Path(path), modality_of(model)
    try:
        signals = next(modality.read(path)).signals.mean(1)  # of its channels
        found = _found(model, modality, signals)[0]
    except ValueError as error:
        return refusal(error, path), ""
    parts = found.sources[found.active]
    tracks: list[Track] = [("mixture", signals[0])]
    tracks += [(f"found {number}", part) for number, part in enumerate(parts, start=1)]
    assumed = f"Assumed: at most {model.num_sources} sources sound together. Channels are averaged, and sound above "
    assumed += f"{modality.options['rate'] / 2000:g} kHz is dropped here; separate.py keeps both."
    line = f"<b>{int(found.count)} found</b> in {escape(path.name)}"
    return shown(line, tracks, modality, [assumed, *([by] if by else [])])


def _found(model: Separator, modality: Modality, signals: Tensor) -> Separation:
    """Separate signals (B, T), with refinement if the model is a VAE."""
    return separate_signals(model.separate, modality, signals, **(REFINEMENT if isinstance(model, VAE) else {}))


def shown(line: str, tracks: Sequence[Track], modality: Modality, notes: Sequence[str] = ()) -> tuple[str, str]:
    """Return HTML of players of signals, and HTML of their spectrograms.

    Args:
        line: Line of HTML above the players.
        tracks: Labels and signals (T,), which are scaled together so that the loudest has a peak of 1.
        modality: Modality of the signals, which draws the spectrograms.
        notes: Notes in HTML below the players.
    """
    loudest = max(float(signal.abs().max()) for _, signal in tracks) or 1.0
    urls = [(label, sound_url(signal / loudest, modality.options["rate"])) for label, signal in tracks]
    players = "".join(
        f'<span>{label} {download(url, label.replace(" ", "") + ".wav")}</span><audio controls src="{url}"></audio>'
        for label, url in urls
    )
    figure = modality.figure({label: signal.unsqueeze(0) for label, signal in tracks})
    figure.set_size_inches(*INCHES)
    figure.set_dpi(DPI)
    spectrograms = f'<img src="{data_url(as_png(figure), "image/png")}" alt="Spectrograms">'
    return block([line], players, notes), spectrograms


def sound_url(signal: Tensor, rate: int) -> str:
    """Return a signal as a WAV file of 16 bits in a data URL.

    Args:
        signal: Samples (T,); those beyond -1 and 1 are clipped.
        rate: Sample rate in Hz.
    """
    file = io.BytesIO()
    wavfile.write(file, rate, (signal.clamp(-1, 1) * np.iinfo(np.int16).max).round().short().numpy())
    return data_url(file.getvalue(), "audio/wav")
