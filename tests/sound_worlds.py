"""Sounds of two voices to measure on: notes, duets of instruments, and pairs of speakers."""

# N mixtures of a second or recordings, T samples of a mixture, S samples of a recording

import os
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from scipy.io import wavfile
from scipy.signal import resample_poly
from torch import Tensor
from training.test_duet import DUETS, SECONDS, in_a_room, line

from vaebss.data.corpora.lines import SOFTER, Lines
from vaebss.data.corpora.notes import RATE, SAMPLES, load_notes
from vaebss.data.corpora.soundfont import SoundFont

FONT = Path(os.environ.get("VAEBSS_SOUNDFONT", "/usr/share/sounds/sf2/FluidR3_GM.sf2"))
QUIET = 0.03  # of the energy of a recording's mean window, below which a voice is silent in a window
NOTE = 0.25  # root mean square
SENTENCES = (
    "The river rose over its banks in the night, and by morning the lower fields were under water.",
    "She counted the coins twice, put them back into the tin, and said that it would have to do.",
    "Nobody on the train looked up when the lights went out, for it happened every day at noon.",
    "A good carpenter measures twice and cuts once; a poor one measures once and buys more wood.",
    "They had painted the door green, then blue, and finally left it as bare as it had been.",
    "Seven grey geese flew above the harbour while the ferry waited for the fog to lift.",
)


def notes(number: int, seed: int, root: Path, unheard: bool = False, most: int = 2, least: int = 2) -> Tensor:
    """The sources of mixtures of held-out notes, (N, most, T); silence where a mixture has fewer."""
    found = load_notes(root, FONT)
    signals = (found.unheard if unheard else found.test).float() * NOTE
    rng = np.random.default_rng(seed)
    mixed = drawn(signals, number, most, rng)
    there = torch.from_numpy(np.arange(most) < rng.integers(least, most + 1, (number, 1)))
    return mixed * there.unsqueeze(2)


def drawn(signals: Tensor, number: int, each: int, rng: np.random.Generator) -> Tensor:
    """Different signals (N, T) for each of `number` mixtures, (number, each, T)."""
    return signals[torch.from_numpy(np.array([rng.choice(len(signals), each, replace=False) for _ in range(number)]))]


def lines(number: int, seed: int, root: Path) -> Tensor:
    """The sources of mixtures of two held-out lines, up to 6 dB apart, (N, 2, T)."""
    signals, rng = Lines(str(root), FONT).signals().test.float() * NOTE, np.random.default_rng(seed)
    mixed = drawn(signals, number, 2, rng)
    gains = torch.from_numpy(rng.uniform(SOFTER[0], SOFTER[1], (number, 2, 1))).float()
    return mixed * gains


def duets(seed: int, *names: str) -> Tensor:
    """The stems of duets of a minute each, (N, 2, S)."""
    rng = np.random.default_rng(seed)
    return torch.cat([duet(rng, DUETS[name]) for name in names])


def duet(rng: np.random.Generator, voices: tuple[tuple[int, int], ...], seconds: int = SECONDS) -> Tensor:
    """The stems of a duet, (1, 2, S), given the program and the lowest pitch of each voice."""
    font = SoundFont(FONT)
    return torch.stack([in_a_room(line(font, *voice, rng, seconds), rng) for voice in voices]).unsqueeze(0)


def speakers(number: int) -> Tensor:
    """The voices in windows of two speakers, (N, 2, T)."""
    return windows(spoken(), number)


def spoken(voices: tuple[str, str] = ("en-gb+m3", "en-us+f4")) -> Tensor:
    """The voices of two speakers of espeak-ng who read different sentences at once, (2, S)."""
    orders = SENTENCES, SENTENCES[3:] + SENTENCES[:3]
    read = [torch.cat([said(text, voice) for text in order]) for voice, order in zip(voices, orders, strict=True)]
    samples = min(map(len, read))
    return torch.stack([voice[:samples] for voice in read])


def said(text: str, voice: str) -> Tensor:
    """A sentence as a voice of espeak-ng reads it, (S,) at RATE, of root mean square 0.1."""
    program = shutil.which("espeak-ng")
    assert program, "two speakers need espeak-ng"
    with TemporaryDirectory() as folder:
        path = Path(folder) / "said.wav"
        subprocess.run([program, "-v", voice, "-w", path, text], check=True)
        rate, samples = wavfile.read(path)
    sound = torch.from_numpy(resample_poly(samples / 32768, RATE, rate)).float()
    return 0.1 * sound / sound.square().mean().sqrt()


def windows(stems: Tensor, number: int) -> Tensor:
    """Cut stems (2, S) into windows in which both sound, (N, 2, T), the first `number`, evenly spread."""
    cut = stems.unfold(1, SAMPLES, SAMPLES // 2).transpose(0, 1)
    energies = cut.square().mean(2)
    cut = cut[(energies > QUIET * energies.mean(0)).all(1)]
    return cut[torch.linspace(0, len(cut) - 1, min(number, len(cut))).long()]
