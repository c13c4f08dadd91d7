"""Recordings of a user's own: mixtures to be cut into windows, the stems of these, single notes to mix."""

# N windows or notes, M stems, T samples of one, S of all sound

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from vaebss.data.collections import HELD_OUT, Given, Split
from vaebss.data.notes import cut
from vaebss.data.plans import FIXED_SEED, VAL
from vaebss.data.truth import check_sums, paired
from vaebss.errors import FileError
from vaebss.modalities.audio import Audio
from vaebss.modalities.files import KINDS, find
from vaebss.seeding import generator

STEP = 64  # samples between the starts of two windows
QUIET = 0.01  # root mean square, as a share of the loud parts', below which a window is as good as silent


def holds_sounds(path: str | Path) -> bool:
    """Whether a file, or the files of a folder and those below it, are sounds and not pictures, by their suffixes.

    Raises:
        FileError: there are none of either, or some of both.
    """
    files = {file.suffix.lower() in Audio.suffixes: file for file in find(path, True, KINDS + Audio.suffixes)}
    if len(files) > 1:
        raise FileError(f"{path} holds sounds, {files[True].name}, and pictures, {files[False].name}: keep them apart")
    return True in files


@dataclass(frozen=True)
class Windows:
    """Windows of one long sound, to be asked for by number as if they were a tensor (N, T), or (N, M, T) of M sounds.

    Attributes:
        sound: (S,) or (M, S).
        starts: (N,), the first sample of each.
        length: T.
    """

    sound: Tensor
    starts: Tensor
    length: int

    @property
    def ndim(self) -> int:
        """Axes, as of a tensor."""
        return self.sound.ndim + 1

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, numbers: Tensor) -> Tensor:
        return self.sound.unfold(-1, self.length, 1)[..., self.starts[numbers], :].movedim(-2, 0)

    def between(self, first: int, last: int) -> "Windows":
        """Those that lie wholly among the samples from `first` to before `last`."""
        inside = (self.starts >= first) & (self.starts + self.length <= last)
        return replace(self, starts=self.starts[inside])


class Recordings(Given):
    """Given mixtures that are windows of recordings: an even choice of them, or fresh ones."""

    @classmethod
    def of(cls, windows: Windows, source: str, stems: Windows | None = None) -> "Recordings":
        """The last tenth of all sound to validate on, the rest to train on; all to test on."""
        whole = windows.sound.shape[-1]
        place = whole - whole // HELD_OUT
        train, val = windows.between(0, place), windows.between(place, whole)
        if not (len(train) and len(val)):
            raise ValueError(f"{source} holds too little that is not silent to train and to validate on")
        truth = {} if stems is None else {"val": stems.between(place, whole), "test": stems}
        return cls(train, val, windows, source, truth)

    def plan(self, split: Split, number: int | None, counts: tuple[int, int], *address: int) -> Tensor | None:
        """Windows evenly over a split, as many as there are at most; None where all are to be fresh."""
        there = len(getattr(self, split))
        if number is None:
            return None
        return torch.linspace(0, there - 1, min(number, there), dtype=torch.float64).long().unsqueeze(1)


def read_windows(path: str | Path, audio: Audio, stems: Sequence[str] = ()) -> tuple[Windows, Windows | None]:
    """Windows of all recordings of a file, or of a folder and those below it, each recording levelled as a whole.

    No window spans two recordings, or is nearly silent; the order of recordings is drawn. What is shorter than a window
    is filled up with silence.

    Args:
        path: the recordings.
        audio: whose rate, length and loudness they shall have.
        stems: M files or folders; a recording of each was mixed into one of `path`, see `truth.paired`, and is as long.

    Returns:
        The windows (N, T), and those of the stems (N, M, T) where there are any.

    Raises:
        FileError: a file is broken, there is too little sound, or stems are not as many, or not as long, as the
            recordings, or do not add up to them.
    """
    every = [paired(part, path, Audio.suffixes) for part in (path, *stems)]
    sounds = [_sounds(own, audio) for own in every]
    for stem, part in zip(stems, sounds[1:], strict=True):
        if [len(sound) for sound in part] != [len(sound) for sound in sounds[0]]:
            raise FileError(f"{stem} has not as many recordings as {path}, or they are not as long")
    with_stems = [torch.stack(same) for same in zip(*sounds, strict=True)]
    if stems:
        check_sums((path, *stems), every, [(same[0], same[1:]) for same in with_stems], any_gain=True)
    order = torch.randperm(len(with_stems), generator=generator(FIXED_SEED, VAL)).tolist()
    recordings = [_levelled(with_stems[number], audio) for number in order]
    ends = accumulate(recording.shape[1] for recording in recordings)
    starts = [_starts(part[0], audio) + end - part.shape[1] for part, end in zip(recordings, ends, strict=True)]
    whole = Windows(torch.cat(recordings, 1), torch.cat(starts), audio.samples)
    seconds, least = whole.sound.shape[1] / audio.rate, HELD_OUT * audio.samples / audio.rate
    if seconds < least:
        raise FileError(f"{path} holds {seconds:.1f} seconds of sound; {least:.1f} are the least to train on")
    return replace(whole, sound=whole.sound[0]), replace(whole, sound=whole.sound[1:]) if stems else None


def read_sounds(path: str | Path, audio: Audio) -> list[Tensor]:
    """All sounds of a file, or of a folder and those below it, by path: (T',) each, at the rate of `audio`, mono."""
    return _sounds(find(path, True, Audio.suffixes), audio)


def _sounds(files: Sequence[Path], audio: Audio) -> list[Tensor]:
    return [audio.sound(file).mean(0) for file in files]


def read_notes(path: str | Path, audio: Audio) -> Tensor:
    """Single notes of a folder, each cut at its onset, see `notes.cut`: (N, T) of root mean square 1, none silent."""
    notes = torch.stack([cut(sound) for sound in read_sounds(path, audio)])
    return notes[notes.any(1)]


def _levelled(sounds: Tensor, audio: Audio) -> Tensor:
    """A recording and its stems (1 + M, T'), by one gain, the first being at its level; a window long at least."""
    levelled = sounds * audio.levelling(sounds[:1])
    return functional.pad(levelled, (0, max(0, audio.samples - sounds.shape[1])))


def _starts(recording: Tensor, audio: Audio) -> Tensor:
    """Where windows of a recording (T',) begin that are not as good as silent."""
    blocks = functional.avg_pool1d(recording.square()[None], STEP)
    energies = functional.avg_pool1d(blocks, audio.samples // STEP, 1)[0]
    starts = STEP * torch.arange(len(energies))
    return starts[(energies > (QUIET * audio.level) ** 2) & (starts + audio.samples <= len(recording))]
