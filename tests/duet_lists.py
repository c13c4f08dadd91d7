"""Scores models of recordings on lists of random duets of FluidR3, 45 seconds each, in a room.

python tests/duet_lists.py --ckpt remix-lines
python tests/duet_lists.py --ckpt remix-lines --windows

The list "random" has two different instruments that training knows; in every other duet both play in one register.
"one" has one instrument with itself, its lines 8 to 19 semitones apart. In "varied" and "one-varied" no two notes are
equal: their loudness, their pitch and their length differ. `--windows` leaves out the templates of recordings. SI-SDR
is the mean of both voices; the mixture has 0 dB.
"""

import argparse
from collections.abc import Callable
from unittest.mock import patch

import numpy as np
import sound_worlds
import torch
from torch import Tensor
from training.test_duet import evenly, in_a_room, line, score

from vaebss import load
from vaebss.data.corpora.note_splits import UNHEARD
from vaebss.data.corpora.notes import RANGES, RATE, RENDERED_RATE, at_rate
from vaebss.data.corpora.soundfont import SoundFont
from vaebss.modalities import templates

SECONDS = 45
LISTS = {"random": (100, 32), "one": (200, 16), "varied": (300, 12), "one-varied": (400, 6)}  # first seed, duets
ROOM = 20  # semitones above the lowest pitch that a line may reach
CENTS = 25.0  # by which notes are out of tune at most
VIBRATO = 20.0, 5.5, 0.2  # cents, hertz, seconds until it is full; in every other line or so

Voice = tuple[int, int]  # program and lowest pitch


def voices_of(seed: int, one: bool) -> tuple[Voice, Voice, np.random.Generator]:
    """Draw both voices of a duet, and return them with the generator that goes on from there."""
    rng, programs = np.random.default_rng(seed), [program for program in RANGES if program not in UNHEARD]
    while True:
        first, second = (int(program) for program in rng.choice(programs, 2, replace=False))
        second = first if one else second
        ranges = RANGES[first], RANGES[second]
        if min(high - low for low, high in ranges) < ROOM + 2:
            continue
        lowest = [int(rng.integers(low, high - ROOM)) for low, high in ranges]
        if one and not 8 <= abs(lowest[0] - lowest[1]) <= 19:
            continue
        if not one and seed % 2:  # one register
            lowest[1] = int(np.clip(lowest[0], ranges[1][0], ranges[1][1] - ROOM))
        return (first, lowest[0]), (second, lowest[1]), rng


def varied(font: SoundFont, program: int, rng: np.random.Generator) -> Callable[[int, int], Tensor]:
    """A way to play notes by their pitch and number of samples, see `line`: no two of them are equal."""
    vibrato = rng.random() < 0.5

    def play(pitch: int, length: int) -> Tensor:
        length, velocity = int(length * rng.uniform(0.85, 1.15)), int(rng.integers(50, 121))
        samples = int(length * 1.1) * RENDERED_RATE // RATE
        note = at_rate(font.play(program, pitch, velocity, samples, RENDERED_RATE)) * velocity / 100
        return out_of_tune(note, length, rng, vibrato)

    return play


def out_of_tune(note: Tensor, length: int, rng: np.random.Generator, vibrato: bool) -> Tensor:
    """Play a note (T,) at another pitch, for `length` samples."""
    time, (depth, hertz, rise) = np.arange(length) / RATE, VIBRATO
    cents = np.full(length, rng.uniform(-CENTS, CENTS))
    if vibrato:
        cents += depth * np.sin(2 * np.pi * hertz * time + rng.uniform(0, 6)) * np.clip(time / rise, 0, 1)
    return torch.from_numpy(np.interp(np.cumsum(2 ** (cents / 1200)), np.arange(len(note)), note.numpy())).float()


def stems_of(name: str, number: int) -> Tensor:
    """The voices (2, S) of a duet of a list, by its number from 0."""
    first, second, rng = voices_of(LISTS[name][0] + number, name.startswith("one"))
    playing, font = varied if name.endswith("varied") else evenly, SoundFont(sound_worlds.FONT)
    return torch.stack([in_a_room(line(font, *voice, rng, SECONDS, playing), rng) for voice in (first, second)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt", default="remix-lines", help="Checkpoint or shipped model.")
    parser.add_argument("--lists", nargs="+", choices=LISTS, default=[*LISTS], help="Lists to score.")
    parser.add_argument("--number", type=int, help="Number of duets of each list, by default all.")
    parser.add_argument("--windows", action="store_true", help="Windows alone, without templates.")
    options = parser.parse_args()
    model = load(options.ckpt)
    shortest = float("inf") if options.windows else templates.SHORTEST
    with torch.inference_mode(), patch.object(templates, "SHORTEST", shortest):
        for name in options.lists:
            scores = []
            for number in range(min(LISTS[name][1], options.number or LISTS[name][1])):
                scores.append(score(model, stems_of(name, number)))
                print(name, number, f"{scores[-1]:.2f}", flush=True)
            print(name, "mean", f"{np.mean(scores):.2f}", flush=True)


if __name__ == "__main__":
    main()
