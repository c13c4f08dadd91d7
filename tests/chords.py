"""Scores models of notes on chords of Bach's chorales, played by piano, violin and flute.

    pip install music21
    python tests/chords.py --fonts TimGM6mb.sf2 sf_GMbank.sf2

The chords resemble those of MusicSlots (Gha, Herrmann, Grewe, Schmidhuber, Gopalakrishnan 2023, arXiv 2311.07534), the
three instruments too; the chorales come from music21. As shipped models have at most three slots for notes, chords have
two voices (soprano and bass) or three (soprano, alto and bass) of the four. Each note is played by an instrument that
is drawn at random. All notes begin together and are equally loud, as in training.
"""

import argparse
from functools import cache
from typing import Any

import torch
from music21 import corpus as scores  # type: ignore[import-not-found]
from torch import Tensor

import vaebss
from vaebss.data.corpora.note_splits import SPLITS
from vaebss.data.corpora.notes import Notes, load_notes
from vaebss.data.corpus import Splits
from vaebss.seeding import generator
from vaebss.training.scores import evaluate

PROGRAMS = (0, 40, 73)  # piano, violin, flute
CHORALES = 60  # of the 400, evenly spread
VOICES = {2: (0, 3), 3: (0, 1, 3)}  # of soprano, alto, tenor and bass
MODELS = {"remix-notes": (2,), "vae-notes": (2,), "remix-notes-1to3": (2, 3)}  # and numbers of voices


@cache
def chords(chorales: int) -> list[tuple[int, ...]]:
    """Return the pitches of the four voices at each quarter note of some chorales, without repetitions."""
    paths = [path for path in scores.getComposer("bach") if str(path).endswith(".mxl")]
    found: set[tuple[int, ...]] = set()
    for path in paths[:: max(1, len(paths) // chorales)]:
        parts = scores.parse(path).parts
        if len(parts) == 4:
            found |= quarters(parts)
    return sorted(found)


def quarters(parts: Any) -> set[tuple[int, ...]]:
    """Return the pitches that sound in all of the parts at quarter notes."""
    lines = []
    for part in parts:
        notes = part.flatten().notes
        lines.append({float(note.offset): note.pitches[-1].midi for note in notes if note.offset % 1 == 0})
    together = set.intersection(*map(set, lines))
    return {tuple(line[offset] for line in lines) for offset in together}


class Chords(Notes):
    """Mixtures of notes of a SoundFont that are chords of some voices; all of its notes are test notes."""

    def __init__(self, root: str, soundfont: str, voices: int, chorales: int):
        super().__init__(root, soundfont)
        self.voices, self.chorales = voices, chorales

    def signals(self) -> Splits:
        notes = load_notes(self.root, self.soundfont)
        every = torch.cat([getattr(notes, split) for split in SPLITS])
        labels = torch.cat([notes.labels[split] for split in SPLITS]).tolist()
        self.places = {tuple(label): number for number, label in enumerate(labels)}
        return Splits(every, every, every)

    def plan(self, split: Any, number: int | None, counts: tuple[int, int], *address: int) -> Tensor:
        """Return chords whose notes differ and can be played, (number, voices), in random order."""
        assert self.splits
        random, rows = generator(*address), []
        for chord in (tuple(chord[voice] for voice in VOICES[self.voices]) for chord in chords(self.chorales)):
            players = [[self.places[p, pitch] for p in PROGRAMS if (p, pitch) in self.places] for pitch in chord]
            if len(set(chord)) == len(chord) and all(players):
                rows.append([some[int(torch.randint(len(some), (), generator=random))] for some in players])
        return torch.tensor(rows)[torch.randperm(len(rows), generator=random)[:number]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt", nargs="+", default=list(MODELS), help="Shipped models of notes.")
    parser.add_argument("--fonts", nargs="+", required=True, help="SoundFont files.")
    parser.add_argument("--root", default="./data", help="Folder for rendered notes.")
    parser.add_argument("--mixtures", type=int, default=500, help="Chords of each number of voices.")
    options = parser.parse_args()
    for font, ckpt in ((font, ckpt) for font in options.fonts for ckpt in options.ckpt):
        model = vaebss.load(ckpt)
        for voices in MODELS[ckpt]:
            source = Chords(options.root, font, voices, CHORALES)
            data = vaebss.MNISTMixtures(source=source, num_mixed=voices, test_mixtures=options.mixtures)
            data.modality = data.corpus.seen_by(model)
            data.setup("test")
            with torch.inference_mode():
                found = evaluate(model, data.test_dataloader(), data.modality)["masked"]
            figures = f"SI-SDR {found['si_sdr']:.2f} dB, counts {100 * found['count']:.1f} % right"
            print(f"{source.title}, chords of {voices} voices, {ckpt}: {figures}", flush=True)


if __name__ == "__main__":
    main()
