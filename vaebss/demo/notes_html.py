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
from vaebss.demo.html import block, data_url, refusal
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
INCHES, DPI = (5, 0.62), 200  # width of the figure, height of each spectrogram
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

    def sources(self, chosen: Sequence[Note]) -> Tensor:
        """Return notes at the level that they have in a mixture, (1, N, T)."""
        return torch.stack([self._sounds[note] for note in chosen]).float().unsqueeze(0) * LEVEL


def notes_apart(model: Separator, sources: Tensor) -> tuple[str, str]:
    """Return HTML with the mixture of notes (1, N, T), estimates, true sources and score; and HTML of spectrograms."""
    modality, mixture, there = modality_of(model), sources.sum(1), sources.shape[1]
    found = _found(model, modality, mixture)
    estimates = match(found.sources, sources, torch.tensor([there]))
    quality = float(si_sdr(estimates, sources).mean())
    tracks: list[Track] = [("mixture", mixture[0])]
    for number, pair in enumerate(zip(estimates[0], sources[0], strict=True), start=1):
        tracks += zip((f"found {number}", f"truth {number}"), pair, strict=True)
    return shown(f"<b>{int(found.count)} found</b>, {there} there; SI-SDR {quality:.1f} dB", tracks, modality)


def sound_apart(model: Separator, path: str | Path) -> tuple[str, str]:
    """Return HTML with the sound of a file and the sources that are found in it; and HTML of their spectrograms."""
    path, modality = Path(path), modality_of(model)
    try:
        signals = next(modality.read(path)).signals.mean(1)  # of its channels
        found = _found(model, modality, signals)[0]
    except ValueError as error:
        return refusal(error, path), ""
    parts = found.sources[found.active]
    tracks: list[Track] = [("mixture", signals[0])]
    tracks += [(f"found {number}", part) for number, part in enumerate(parts, start=1)]
    return shown(f"<b>{int(found.count)} found</b> in {escape(path.name)}", tracks, modality)


def _found(model: Separator, modality: Modality, signals: Tensor) -> Separation:
    """Separate signals (B, T), with refinement if the model is a VAE."""
    return separate_signals(model.separate, modality, signals, **(REFINEMENT if isinstance(model, VAE) else {}))


def shown(line: str, tracks: Sequence[Track], modality: Modality) -> tuple[str, str]:
    """Return HTML of a line above players of signals, all in one scale; and HTML of their spectrograms."""
    loudest = max(float(signal.abs().max()) for _, signal in tracks) or 1.0
    urls = [(label, sound_url(signal / loudest, modality.options["rate"])) for label, signal in tracks]
    players = "".join(f'<span>{label}</span><audio controls src="{url}"></audio>' for label, url in urls)
    figure = modality.figure({label: signal.unsqueeze(0) for label, signal in tracks})
    figure.set_size_inches(INCHES[0], INCHES[1] * len(tracks))
    figure.set_dpi(DPI)
    spectrograms = f'<img src="{data_url(as_png(figure), "image/png")}" alt="Spectrograms">'
    return block([line], players), spectrograms


def sound_url(signal: Tensor, rate: int) -> str:
    """Return a signal (T,) from -1 to 1 as a WAV file in a data URL."""
    file = io.BytesIO()
    wavfile.write(file, rate, (signal.clamp(-1, 1) * np.iinfo(np.int16).max).round().short().numpy())
    return data_url(file.getvalue(), "audio/wav")
