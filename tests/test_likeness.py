"""Mixtures unlike those that a shipped model was trained on are told in one line; like ones are not."""

import logging

import numpy as np
import pytest
import torch
import worlds
from blind_bench import digits
from PIL import Image

import vaebss
from vaebss.commands import separate
from vaebss.likeness import UNLIKE, distance, features, look_of, unlike
from vaebss.modalities.registry import modality_of

NUMBER = 20
TIME = torch.arange(16_128) / 16_000


def notes(random):
    """A mixture of two tones with harmonics that die away, (T,)."""
    pitches = random.uniform(100, 800, 2)
    tones = [
        sum(np.exp(-k / 2) * np.sin(2 * np.pi * k * pitch * TIME.numpy()) for k in range(1, 9)) for pitch in pitches
    ]
    return torch.from_numpy(0.1 * sum(tones) * np.exp(-2 * TIME.numpy())).float()


def photographs():
    """Smooth pictures without a dark background, (N, 1, 28, 28)."""
    return 0.25 + worlds.clouds(NUMBER, 28, 0).sum(1) / 2


LIKE = {
    "digits": lambda: digits(NUMBER, 0).sum(1),
    "one to four digits": lambda: digits(NUMBER, 1, 1, 4).sum(1),
    "letters over shapes": lambda: worlds.world(NUMBER, 28, 0).sum(1),
    "letters over letters": lambda: worlds.glyphs(NUMBER, 28, 0).sum(1),
}
FOREIGN = {
    "photographs": photographs,
    "noise": lambda: torch.rand(NUMBER, 1, 28, 28, generator=torch.Generator().manual_seed(0)),
    "dim": lambda: 0.01 * LIKE["digits"](),
    "inverted": lambda: 1 - LIKE["digits"](),
}


@pytest.mark.parametrize("name", ["remix-1to4", "remix-k2"])
@pytest.mark.parametrize("kind", [*LIKE, *FOREIGN])
def test_foreign_pictures_are_told_and_others_are_not(kind, name):
    model = vaebss.load(name)
    assert unlike(model, modality_of(model), (LIKE | FOREIGN)[kind]()) == (UNLIKE if kind in FOREIGN else "")


def test_foreign_sounds_are_told_and_notes_are_not():
    model, random = vaebss.load("remix-notes"), np.random.default_rng(0)
    tones = torch.stack([notes(random) for _ in range(NUMBER)])
    noise = 0.1 * torch.randn(NUMBER, len(TIME), generator=torch.Generator().manual_seed(0))
    assert not unlike(model, modality_of(model), tones)
    assert unlike(model, modality_of(model), noise) == UNLIKE


def test_nothing_is_said_of_silence_nor_of_models_that_know_no_look():
    model, foreign = vaebss.load("remix-k2"), photographs()
    assert not unlike(model, modality_of(model), torch.zeros(3, 1, 28, 28))
    own = vaebss.Masker(num_sources=2, widths=(8, 16), bottleneck=16)
    assert not unlike(own, modality_of(own), foreign)


def test_features_follow_their_definitions():
    flat, stripes = torch.full((1, 1, 8, 8), 0.5), torch.zeros(1, 1, 8, 8)
    stripes[..., ::2] = 1
    dark, bright, down, across = features(torch.cat([flat, stripes])).T
    assert dark.tolist() == [0, 0.5]
    assert bright.exp().tolist() == pytest.approx([0.5, 0.5], abs=1e-3)
    assert down.exp().tolist() == pytest.approx([0, 0], abs=1e-3)
    assert across.exp().tolist() == pytest.approx([0, 56 / 64], abs=1e-3)
    some = torch.rand(50, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert distance(some, look_of(some)) < 0.1


def test_separating_says_it_once(tmp_path, capsys, caplog, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, picture in enumerate(photographs()[:5]):
        Image.fromarray((255 * picture[0]).byte().numpy()).save(tmp_path / f"{number}.png")
    assert separate.main([".", "--ckpt=vae-k2", "--gpus=0", "--out=out"]) == 0
    assert capsys.readouterr().out.count(UNLIKE) == 1
    with caplog.at_level(logging.WARNING, "vaebss"):
        vaebss.separate([tmp_path], "vae-k2")
        vaebss.separate(photographs(), "vae-k2")
        vaebss.separate(LIKE["digits"](), "vae-k2")
    assert [record.getMessage() for record in caplog.records].count(UNLIKE) == 2
