"""Melodies of single instruments to mix, composed from the notes of a SoundFont."""

from typing import Any

from vaebss.data.corpora.note_splits import NoteSplits
from vaebss.data.corpora.notes import RATE, Notes, load_notes
from vaebss.data.corpus import Splits
from vaebss.data.lines import LINES, REACH, ROOMS, compose_lines
from vaebss.data.plans import FIXED_SEED, TEST, TRAIN, VAL
from vaebss.seeding import generator

HELD_OUT = 1_000  # lines of a split that is not trained on
SOFTER = [0.5, 1.0]  # gains with which lines are up to 6 dB apart


class Lines(Notes):
    """Lines, windows of melodies of one instrument each, of the notes of a SoundFont.

    Lines of a split have notes of that split alone, so that recordings of test lines are never heard in training.

    Args:
        root: Folder for the rendered notes.
        soundfont: File of the notes; by default the font that comes with pip install 'vaebss[audio]'.
        unheard: Whether test lines are of instruments of which no note was trained on.
        gains: Least and most that a line is multiplied by; by default [0.5, 1.0].
        options: Keyword arguments of `SingleSounds`.

    Attributes:
        single_notes: The corpus of the notes from which lines are composed.
    """

    kind = "lines"
    name = "lines"

    def __init__(
        self,
        root: str = "./data",
        soundfont: str | None = None,
        unheard: bool = False,
        gains: list[float] | None = None,
        **options: Any,
    ):
        super().__init__(root, soundfont, unheard, gains=gains or SOFTER, **options)
        self.single_notes = Notes(root, soundfont, unheard, **options)

    def signals(self) -> Splits:
        notes, test = load_notes(self.root, self.soundfont), "unheard" if self.unheard else "test"
        parts = (("train", LINES, TRAIN), ("val", HELD_OUT, VAL), (test, HELD_OUT, TEST))
        return Splits(*(lines_of(notes, *part) for part in parts))


def lines_of(notes: NoteSplits, split: str, number: int, address: int) -> Any:
    """Compose lines of the notes of one split.

    Args:
        notes: Notes of all splits, with their programs.
        split: Name of the split, such as "train".
        number: Number of lines.
        address: Number from which, with a fixed seed, the random numbers are drawn.

    Returns:
        Lines, (number, T) float16, at the sample rate `RATE`.
    """
    programs = notes.labels[split][:, 0]
    return compose_lines(getattr(notes, split), programs, number, RATE, generator(FIXED_SEED, address), REACH, ROOMS)
