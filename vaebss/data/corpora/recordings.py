"""Recordings of a user's own: mixtures to be cut into windows, the stems of these, single notes to mix."""

# N windows or notes, M stems, T samples of one, S of all sound

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from vaebss.data.corpora.notes import RATE, cut
from vaebss.data.corpora.sounds import SingleSounds, audio_of
from vaebss.data.corpus import TENTH, Given, Split, Splits, tenth_apart
from vaebss.data.plans import FIXED_SEED, VAL
from vaebss.data.truth import check_sums, paired
from vaebss.errors import FileError
from vaebss.modalities.audio import Audio
from vaebss.seeding import generator

MINUTE = 60  # seconds
STEP = 64  # samples between the starts of two windows
QUIET = 0.01  # root mean square, as a share of the loud parts', below which a window is as good as silent


@dataclass(frozen=True)
class Windows:
    """Windows of one long sound, to be asked for by number as if they were a tensor (N, T), or (N, M, T) of M sounds.

    Attributes:
        sound: (S,) or (M, S).
        starts: (N,), the first sample of each.
        length: T.
        lengths: Numbers of samples of the recordings in `sound`, in their order.
    """

    sound: Tensor
    starts: Tensor
    length: int
    lengths: tuple[int, ...]

    @property
    def ndim(self) -> int:
        """Axes, as of a tensor."""
        return self.sound.ndim + 1

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, numbers: Tensor) -> Tensor:
        return self.sound.unfold(-1, self.length, 1)[..., self.starts[numbers], :].movedim(-2, 0)

    def between(self, first: int, last: int) -> "Windows":
        """Return the windows that lie wholly in a range of samples.

        Args:
            first: First sample of the range.
            last: Sample after the last one of the range.
        """
        inside = (self.starts >= first) & (self.starts + self.length <= last)
        return replace(self, starts=self.starts[inside])


class SingleNotes(SingleSounds):
    """Recorded single notes, from which mixtures are drawn.

    Args:
        notes: (N, T) of root mean square 1, see `read_notes`.
        name: Name for titles and errors, such as the path of their folder.
        options: Keyword arguments of `SingleSounds`.
    """

    kind = "single notes"

    def __init__(self, notes: Tensor, name: str = "the array", **options: Any):
        super().__init__(**options)
        self.notes, self.name = notes, name

    @property
    def title(self) -> str:
        return f"notes of {self.name}"

    def signals(self) -> Splits:
        return tenth_apart(self.notes, self.name, "note")

    @property
    def contents(self) -> dict[str, Any]:
        return {"notes": self.notes, "name": self.name}


class GivenRecordings(Given):
    """Mixtures that are windows of recordings: an even choice of them, or new ones in each epoch.

    Args:
        windows: The windows (N, T) of all recordings, see `read_windows`.
        name: Name for titles and errors, such as the path of their folder.
        stems: The windows (N, M, T) of the true sources.
        level: Root mean square of a sound in a pair.
        spectrogram: Options of `audio_of`.
    """

    kind = "recordings"
    source_scale = math.inf

    def __init__(
        self,
        windows: Windows,
        name: str = "the recordings",
        stems: Windows | None = None,
        level: float = 0.25,
        **spectrogram: Any,
    ):
        self.windows, self.name, self.stems = windows, name, stems
        self.modality = audio_of(level, **spectrogram)

    @property
    def has_truth(self) -> bool:  # type: ignore[override]
        return self.stems is not None

    @property
    def recordings(self) -> Sequence[Tensor]:  # type: ignore[override]
        """The first minute of each recording, (T',), mono and levelled."""
        return [sound[: MINUTE * RATE] for sound in self.windows.sound.split(self.windows.lengths)]

    def signals(self) -> Splits:
        """Validate on the last tenth of all sound, train on the rest, and test on all of it.

        Raises:
            ValueError: A part holds nothing that is not silent.
        """
        whole = self.windows.sound.shape[-1]
        place = whole - whole // TENTH
        train, val = self.windows.between(0, place), self.windows.between(place, whole)
        if not (len(train) and len(val)):
            raise ValueError(f"{self.name} holds too little sound that is not silent to train and validate on")
        if self.stems is not None:
            self.truth = {"val": self.stems.between(place, whole), "test": self.stems}
        return Splits(train, val, self.windows)

    def plan(self, split: Split, number: int | None, counts: tuple[int, int], *address: int) -> Tensor | None:
        """Return a plan of one window for each mixture, or None for training, where each epoch draws new windows.

        Args:
            split: Name of the split.
            number: Number of windows, spread evenly over the split; fewer if the split has fewer. None for new ones
                each epoch.
            counts: Ignored, because each recording is a mixture already.
            address: Ignored, because nothing is drawn.

        Returns:
            Numbers of windows, (N, 1) int64, or None.
        """
        there = len(getattr(self.splits, split))
        if number is None:
            return None
        return torch.linspace(0, there - 1, min(number, there), dtype=torch.float64).long().unsqueeze(1)

    @property
    def contents(self) -> dict[str, Any]:
        return {"windows": self.windows, "name": self.name, "stems": self.stems}


def read_windows(
    path: str | Path, files: Iterable[Path], audio: Audio, stems: Sequence[str] = ()
) -> tuple[Windows, Windows | None]:
    """Read windows of all recordings of a file or a folder tree; each recording is levelled as a whole.

    No window spans two recordings, or is nearly silent; the order of recordings is drawn. What is shorter than a window
    is filled up with silence.

    Args:
        path: Path of the file or folder of the recordings, for errors.
        files: Paths of the recordings.
        audio: Modality whose rate, length and loudness the windows get.
        stems: M files or folders; a recording of each was mixed into one of `path`, see `truth.paired`, and is as long.

    Returns:
        The windows (N, T), and those of the stems (N, M, T) where there are any.

    Raises:
        FileError: A file is broken, there is too little sound, or stems are not as many, or not as long, as the
            recordings, or do not add up to them.
    """
    every = [list(files), *(paired(part, path, Audio.suffixes) for part in stems)]
    sounds = [read_sounds(own, audio) for own in every]
    for stem, part in zip(stems, sounds[1:], strict=True):
        if [len(sound) for sound in part] != [len(sound) for sound in sounds[0]]:
            raise FileError(f"{stem} must hold as many recordings as {path}, of the same lengths")
    with_stems = [torch.stack(same) for same in zip(*sounds, strict=True)]
    if stems:
        check_sums((path, *stems), every, [(same[0], same[1:]) for same in with_stems], any_gain=True)
    order = torch.randperm(len(with_stems), generator=generator(FIXED_SEED, VAL)).tolist()
    recordings = [_levelled(with_stems[number], audio) for number in order]
    ends = accumulate(recording.shape[1] for recording in recordings)
    starts = [_starts(part[0], audio) + end - part.shape[1] for part, end in zip(recordings, ends, strict=True)]
    lengths = tuple(recording.shape[1] for recording in recordings)
    whole = Windows(torch.cat(recordings, 1), torch.cat(starts), audio.samples, lengths)
    seconds, least = whole.sound.shape[1] / audio.rate, TENTH * audio.samples / audio.rate
    if seconds < least:
        raise FileError(f"{path} holds {seconds:.1f} seconds of sound: training needs {least:.1f} or more")
    return replace(whole, sound=whole.sound[0]), replace(whole, sound=whole.sound[1:]) if stems else None


def read_sounds(files: Iterable[Path], audio: Audio) -> list[Tensor]:
    """Read sound files as one channel each, (T',), at the sample rate of a modality.

    Args:
        files: Paths of sound files of any rate and number of channels, which are averaged.
        audio: Modality that reads them.
    """
    return [audio.sound(file).mean(0) for file in files]


def read_notes(files: Iterable[Path], audio: Audio) -> Tensor:
    """Read single notes, each cut at its onset (see `notes.cut`) to one length.

    Args:
        files: Paths of sound files with one note each.
        audio: Modality that reads them.

    Returns:
        Notes (N, T) with a root mean square of 1. Silent files are left out.
    """
    notes = torch.stack([cut(sound) for sound in read_sounds(files, audio)])
    return notes[notes.any(1)]


def _levelled(sounds: Tensor, audio: Audio) -> Tensor:
    """Scale a recording and its stems (1 + M, T') by one gain that brings the recording to its level. Shorter ones are
    padded to one window."""
    levelled = sounds * audio.levelling(sounds[:1])
    return functional.pad(levelled, (0, max(0, audio.samples - sounds.shape[1])))


def _starts(recording: Tensor, audio: Audio) -> Tensor:
    """Return the starts of the windows of a recording (T',) that are not nearly silent."""
    blocks = functional.avg_pool1d(recording.square()[None], STEP)
    energies = functional.avg_pool1d(blocks, audio.samples // STEP, 1)[0]
    starts = STEP * torch.arange(len(energies))
    return starts[(energies > (QUIET * audio.level) ** 2) & (starts + audio.samples <= len(recording))]
