"""Lines: windows of melodies that are composed at random from single notes."""

# N notes, L lines, M notes of a line at most, T samples

import torch
from torch import Tensor

LINES = 5_000  # windows that are composed at once
SHORTEST, LONGEST = 0.2, 1.2  # seconds of a note in a line; it never sounds longer than the note itself
FADE = 0.025  # seconds in which a note ends
PAUSE = (0.05, 0.3)  # seconds, shortest and longest
PAUSED = 1 / 8  # share of notes that a pause follows
REACH = 5  # notes that a melody rises or falls by at most


def compose_lines(
    notes: Tensor, instruments: Tensor, number: int, rate: int, random: torch.Generator, reach: int | None = None
) -> Tensor:
    """Compose windows of melodies, (L, T) float16 of root mean square 1, each of one instrument.

    A window begins at any moment of its first note. An instrument is as likely as it has notes.

    Args:
        notes: (N, T), equally loud and not silent. With `reach`, those of each instrument rise in pitch.
        instruments: (N,) int64, the instrument of each note.
        number: L.
        rate: Samples a second.
        random: Source of randomness.
        reach: Largest step from one note to the next, counted in notes of the instrument. By default any of its notes
            follows any other.
    """
    most = 2 + int(notes.shape[1] / (SHORTEST * rate))
    numbers = _melodies(instruments, number, most, random, reach)
    lengths = (rate * _uniform((SHORTEST, LONGEST), (number, most), random)).long().clamp(max=notes.shape[1])
    pauses = (rate * _uniform(PAUSE, (number, most), random)).long()
    pauses *= torch.rand(number, most, generator=random) < PAUSED
    ends = (lengths + pauses).cumsum(1)
    begun = (ends[:, 0] * torch.rand(number, generator=random)).long()
    onsets = ends - lengths - pauses - begun.unsqueeze(1)
    lines = torch.zeros(number, notes.shape[1], dtype=torch.float16)
    for line, own, at, held in zip(lines, numbers, onsets.tolist(), lengths.tolist(), strict=True):
        line.copy_(_played(notes[own], at, held, round(FADE * rate)))
    return lines


def _melodies(instruments: Tensor, number: int, most: int, random: torch.Generator, reach: int | None) -> Tensor:
    """Draw the numbers of the notes of each line, (L, M)."""
    _, instrument, sizes = instruments.unique(return_inverse=True, return_counts=True)
    by_instrument, begin = instrument.argsort(stable=True), sizes.cumsum(0) - sizes
    place = torch.randint(len(instruments), (number,), generator=random)  # among notes in the order of instruments
    own = instrument[by_instrument[place]]
    lowest, highest = begin[own], begin[own] + sizes[own] - 1
    places = [place]
    for draw in torch.rand(most - 1, number, generator=random):
        anywhere = lowest + (draw * sizes[own]).long()
        step = 0 if reach is None else (draw * (2 * reach + 1)).long() - reach
        places.append(anywhere if reach is None else (places[-1] + step).clamp(lowest, highest))
    return by_instrument[torch.stack(places, 1)]


def _played(notes: Tensor, onsets: list[int], lengths: list[int], fade: int) -> Tensor:
    """Play a line of notes (M, T): (T,) of root mean square 1. Onsets below 0 have passed when the window begins."""
    samples, line = notes.shape[1], torch.zeros(notes.shape[1])
    for note, onset, length in zip(notes, onsets, lengths, strict=True):
        start, end = max(onset, 0), min(onset + length, samples)
        if start < end:
            sound = note[:length].float()
            sound[-fade:] *= torch.linspace(1, 0, fade)[-length:]
            line[start:end] = sound[start - onset : end - onset]
    return line / line.square().mean().sqrt().clamp(min=1e-6)


def _uniform(limits: tuple[float, float], shape: tuple[int, ...], random: torch.Generator) -> Tensor:
    low, high = limits
    return low + (high - low) * torch.rand(shape, generator=random)
