"""Lines: windows of melodies that are composed at random from single notes."""

# N notes, L lines, M notes of a line at most, T samples

import math

import torch
from torch import Tensor

LINES = 5_000  # windows that are composed at once
SHORTEST, LONGEST = 0.2, 1.2  # seconds of a note in a line; it never sounds longer than the note itself
FADE = 0.025  # seconds in which a note ends
PAUSE = (0.05, 0.3)  # seconds, shortest and longest
PAUSED = 1 / 8  # share of notes that a pause follows
REACH = 5  # notes that a melody rises or falls by at most
ROOMS = 0.5  # share of lines that sound in a room
DECAY = (0.1, 0.6)  # seconds until the echoes of a room are 60 dB down
ECHOES = (-20.0, 0.0)  # energy of a room's echoes to that of the direct sound, in dB


def compose_lines(
    notes: Tensor,
    instruments: Tensor,
    number: int,
    rate: int,
    random: torch.Generator,
    reach: int | None = None,
    rooms: float = 0.0,
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
        rooms: Share of lines that sound in a room, each in one of its own.
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
    roomy = (torch.rand(number, generator=random) < rooms).tolist()
    for line, own, at, held, echoes in zip(lines, numbers, onsets.tolist(), lengths.tolist(), roomy, strict=True):
        sound = _played(notes[own], at, held, round(FADE * rate))
        sound = in_a_room(sound, rate, random) if echoes else sound
        line.copy_(sound / sound.square().mean().sqrt().clamp(min=1e-6))
    return lines


def in_a_room(sound: Tensor, rate: int, random: torch.Generator) -> Tensor:
    """Return a sound (T,) with the echoes of a random room: Gaussian noise that decays exponentially.

    The decay to -60 dB and the energy of the echoes, in dB, are uniform in `DECAY` and `ECHOES`.

    Args:
        sound: (T,), dry.
        rate: Samples a second.
        random: Source of randomness.
    """
    decay, decibels = _uniform(DECAY, (), random).item(), _uniform(ECHOES, (), random).item()
    seconds = torch.arange(int(decay * rate)) / rate
    falling = 10 ** (-3 * seconds / decay)
    level = math.sqrt(10 ** (decibels / 10) / falling.square().sum().item())
    room = level * falling * torch.randn(len(seconds), generator=random)
    room[0] = 1.0
    length = 1 << (len(sound) + len(room) - 1).bit_length()  # a power of 2, which is fast to transform
    return torch.fft.irfft(torch.fft.rfft(sound, length) * torch.fft.rfft(room, length), length)[: len(sound)]


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
    """Play a line of notes (M, T), (T,). Onsets below 0 have passed when the window begins."""
    samples, line = notes.shape[1], torch.zeros(notes.shape[1])
    for note, onset, length in zip(notes, onsets, lengths, strict=True):
        start, end = max(onset, 0), min(onset + length, samples)
        if start < end:
            sound = note[:length].float()
            sound[-fade:] *= torch.linspace(1, 0, fade)[-length:]
            line[start:end] = sound[start - onset : end - onset]
    return line


def _uniform(limits: tuple[float, float], shape: tuple[int, ...], random: torch.Generator) -> Tensor:
    low, high = limits
    return low + (high - low) * torch.rand(shape, generator=random)
