"""Duets of a minute, and what adapting to one brings; by hand: pytest -m soak -n 0 -s this file."""

import os
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad

from vaebss import load
from vaebss.commands import remix
from vaebss.data.corpora.notes import RATE, RENDERED_RATE, at_rate, bundled_font
from vaebss.data.corpora.soundfont import SoundFont
from vaebss.matching import match
from vaebss.metrics.audio import si_sdr
from vaebss.modalities.modality import separate_signals
from vaebss.modalities.registry import modality_of
from vaebss.models.separator import Separator

BEGINNING = os.environ.get("VAEBSS_INIT", "remix-lines")  # a checkpoint of remix.py, or a shipped model
OTHER_FONT = os.environ.get("VAEBSS_FONT")  # of other duets
SECONDS = 60
SCALE = (0, 2, 4, 7, 9)  # pentatonic: whatever sounds together is music
DUETS = {  # program and lowest pitch of each
    "violin and piano": ((40, 67), (0, 48)),
    "flute and bassoon": ((73, 72), (70, 48)),
    "clarinet and cello": ((71, 67), (42, 48)),
    "trumpet and guitar": ((56, 65), (24, 50)),
    "flute and piano": ((73, 72), (0, 60)),
    "oboe and violin": ((68, 67), (40, 67)),
    "church organ and saxophone": ((19, 55), (65, 60)),
    "violin and a lower violin": ((40, 72), (40, 57)),
}
DECAY = 0.3  # seconds until a room's echoes are 60 dB down


def evenly(font: SoundFont, program: int, rng: np.random.Generator) -> Callable[[int, int], Tensor]:
    """A way to play notes by their pitch and number of samples: all notes of a pitch are equal."""
    return lambda pitch, length: at_rate(font.play(program, pitch, 100, length * RENDERED_RATE // RATE, RENDERED_RATE))


def line(
    font: SoundFont,
    program: int,
    lowest: int,
    rng: np.random.Generator,
    seconds: int = SECONDS,
    playing: Callable[[SoundFont, int, np.random.Generator], Callable[[int, int], Tensor]] = evenly,
) -> Tensor:
    """A melody of notes from an eighth to a half at 100 beats a minute, (S,) at RATE, of root mean square 0.1."""
    sound, place, step = torch.zeros(seconds * RATE), 0, int(rng.integers(0, 8))
    play = playing(font, program, rng)
    while place < len(sound):
        step = int(np.clip(step + rng.integers(-2, 3), 0, 9))
        length = int(rng.choice([0.3, 0.6, 0.6, 1.2]) * RATE)
        pitch = lowest + 12 * (step // len(SCALE)) + SCALE[step % len(SCALE)]
        note = play(pitch, length)
        end = place + len(note)
        note = note[: len(sound) - place]
        note[-400:] *= torch.linspace(1, 0, 400)[-len(note) :]
        sound[place:end] += note
        place = end
    return 0.1 * sound / sound.square().mean().sqrt()


def in_a_room(sound: Tensor, rng: np.random.Generator) -> Tensor:
    """Sound (S,) with decaying echoes."""
    time = torch.arange(int(DECAY * RATE)) / RATE
    echoes = 0.03 * torch.from_numpy(rng.normal(size=len(time))).float() * 10 ** (-3 * time / DECAY)
    echoes[0] = 1
    length = len(sound) + len(echoes) - 1
    return torch.fft.irfft(torch.fft.rfft(sound, length) * torch.fft.rfft(echoes, length), length)[: len(sound)]


def duet(name: str) -> Tensor:
    """Its stems, (2, S); other lines of another font if the environment names one."""
    font, rng = SoundFont(OTHER_FONT or bundled_font()), np.random.default_rng(int(OTHER_FONT is not None))
    return torch.stack([in_a_room(line(font, *voice, rng), rng) for voice in DUETS[name]])


def score(model: Separator, stems: Tensor) -> float:
    """Mean SI-SDR in dB of what is found in the sum of stems (2, S)."""
    found = separate_signals(model.separate, modality_of(model), stems.sum(0, keepdim=True))
    whole = match(found.sources, stems[None], torch.tensor([2]))
    return float(si_sdr(whole, stems[None]).mean())


def test_lines_differ_and_are_as_long_and_loud_as_they_say():
    pytest.importorskip("pretty_midi")
    font, rng = SoundFont(bundled_font()), np.random.default_rng(0)
    sound = line(font, 73, 72, rng)
    assert sound.shape == (SECONDS * RATE,)
    torch.testing.assert_close(sound.square().mean().sqrt(), torch.tensor(0.1))
    heard = in_a_room(pad(torch.ones(1), (0, 999)), rng)
    assert heard[0] == pytest.approx(1, abs=1e-4)
    assert 0 < heard[1:].abs().max() < 0.2


@pytest.mark.soak
def test_the_voices_of_most_duets_come_apart():
    pytest.importorskip("pretty_midi")
    model = load(BEGINNING)
    scores = {name: score(model, duet(name)) for name in DUETS}
    print("\n" + "\n".join(f"| {name} | {value:.1f} dB |" for name, value in scores.items()))
    assert sum(value > 1 for value in scores.values()) > len(scores) / 2


@pytest.mark.soak
@pytest.mark.parametrize("name", DUETS)
def test_adapting_to_a_duet(name, tmp_path, monkeypatch):
    soundfile = pytest.importorskip("soundfile")
    monkeypatch.chdir(tmp_path)
    stems = duet(name)
    soundfile.write("duet.wav", stems.sum(0).numpy(), RATE, subtype="FLOAT")
    before, start = score(load(BEGINNING), stems), time.process_time()
    assert remix.main(["--init", BEGINNING, "--data.mixtures", "duet.wav", "--gpus", "0"]) == 0
    seconds = time.process_time() - start
    after = score(load("lightning_logs/version_0/checkpoints/last.ckpt"), stems)
    print(f"\n| {name} | {before:.1f} dB as it is | {after:.1f} dB adapted | {seconds:.0f} s |")
    assert after > before + 2
