"""The mixtures that separate.py keeps for an estimate of the quality, and the estimate of each of them."""

import pytest
import torch

import vaebss
from vaebss.blind import FEWEST, MOST
from vaebss.commands.seen_mixtures import SeenMixtures
from vaebss.modalities import image_files
from vaebss.modalities.images import Images
from vaebss.modalities.registry import modality_of


def names(number, stem="m"):
    return [f"{stem}{place}" for place in range(number)]


def add(seen, model, modality, signals):
    seen.add(model, modality, names(len(signals)), signals)


def kept(seen, modality):
    return sum(len(windows) for _, windows in seen.kept[None, modality])


def test_large_pictures_are_kept_up_to_a_part_and_one_at_least(monkeypatch):
    monkeypatch.setattr(image_files, "LARGEST_PART", 5 * 64)
    seen, one, huge = SeenMixtures(), Images((1, 8, 8)), Images((1, 8, 8))
    for _ in range(9):
        add(seen, None, one, torch.rand(2, 1, 8, 8))
    assert kept(seen, one) == 5
    add(seen, None, huge, torch.rand(3, 1, 80, 80))
    assert kept(seen, huge) == 1


def test_mixtures_of_another_size_and_more_than_are_evaluated_are_left_out():
    seen, one, other = SeenMixtures(), Images((1, 8, 8)), Images((1, 8, 8))
    add(seen, None, one, torch.rand(MOST - 1, 1, 8, 8))
    add(seen, None, one, torch.rand(3, 1, 9, 8))
    assert kept(seen, one) == MOST - 1
    add(seen, None, one, torch.rand(3, 1, 8, 8))
    add(seen, None, other, torch.rand(3, 1, 9, 8))
    assert (kept(seen, one), kept(seen, other)) == (MOST, 3)


def test_each_mixture_has_the_score_that_evaluate_blind_gives_it():
    model, mixtures = vaebss.load("vae-k2"), torch.rand(FEWEST, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    seen, modality = SeenMixtures(), modality_of(model)
    for number, mixture in enumerate(mixtures):
        seen.add(model, modality, [f"m{number}"], mixture.unsqueeze(0))
    seen.evaluate()
    score = vaebss.blind.evaluate(model, modality, mixtures)
    assert [seen.scores[name] for name in names(FEWEST)] == pytest.approx(score.each.tolist())
    own = [row[~row.isnan()].tolist() for row in score.each_source]
    assert [seen.source_scores[name] for name in names(FEWEST)] == [pytest.approx(each) for each in own]
    assert seen.lines == [score.summary]


def test_recordings_of_different_lengths_have_the_mean_score_of_their_windows():
    model = vaebss.load("vae-notes")
    seen, modality = SeenMixtures(), modality_of(model)
    for name, seconds in {"long": 8, "short": 4}.items():
        time = torch.arange(16_000 * seconds) / 16_000
        sound = sum(torch.sin(2 * torch.pi * hertz * (1 + time / 20) * time) for hertz in (220, 330))
        seen.add(model, modality, [name], 0.1 * sound.unsqueeze(0))
    seen.evaluate()
    assert seen.scores.keys() == {"long", "short"}
    assert seen.source_scores == {}


def test_long_recordings_are_evaluated_whole_up_to_so_many_windows(monkeypatch):
    model, time = vaebss.load("vae-notes"), torch.arange(16_000 * 12) / 16_000
    seen, modality = SeenMixtures(), modality_of(model)
    for name, seconds in {"m0": 12, "m1": 11}.items():
        tones = torch.stack([torch.sin(2 * torch.pi * hertz * (1 + time / 20) * time) for hertz in (220, 330)])
        seen.add(model, modality, [name], 0.1 * tones.sum(0)[None, : 16_000 * seconds], complete=name == "m0")
    monkeypatch.setattr("vaebss.blind.MOST", 30)
    seen.add(model, modality, ["more"], torch.ones(1, 16_000 * 12))
    assert [name for name, _ in seen.recordings[model, modality]] == names(2)
    seen.evaluate()
    score = vaebss.blind.evaluate_recordings(model, modality, [each for _, each in seen.recordings[model, modality]])
    assert [seen.scores[name] for name in names(2)] == pytest.approx(score.each.tolist())
    assert seen.lines == [score.summary]
    assert seen.source_scores == {"m0": pytest.approx(score.each_source[0][~score.each_source[0].isnan()].tolist())}


def test_too_few_mixtures_have_no_score():
    seen, modality = SeenMixtures(), Images((1, 28, 28))
    add(seen, vaebss.load("vae-k2"), modality, torch.rand(FEWEST - 1, 1, 28, 28))
    seen.evaluate()
    assert (seen.scores, seen.lines) == ({}, [])
