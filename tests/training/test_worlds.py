"""How well a shipped model adapts to worlds that it has never seen; by hand: pytest -m soak -n 0 -s this file."""

import os
import time

import pytest
import torch
from worlds import BRIGHTNESS, world

from vaebss import load
from vaebss.data.bank import Bank
from vaebss.metrics.images import qualities
from vaebss.metrics.metric import mean_per_mixture
from vaebss.modalities.images import seen_by
from vaebss.modalities.modality import separate_signals
from vaebss.models.separator import Separator
from vaebss.training import adapting

GIVEN, UNSEEN = int(os.environ.get("VAEBSS_GIVEN", "200")), 300
WORLDS = {"28 pixels": (28, 1), "64 pixels": (64, 1), "96 pixels": (96, 1), "48 pixels, colour": (48, 3)}


@pytest.mark.parametrize("name", ["28 pixels", "48 pixels, colour"])
def test_a_world_is_the_same_each_time_and_as_bright_as_it_says(name):
    size, channels = WORLDS[name]
    sources = world(5, size, 3, channels)
    assert torch.equal(sources, world(5, size, 3, channels))
    assert sources.amax() == BRIGHTNESS
    assert (sources.amax((2, 3, 4)) > 0.9 * BRIGHTNESS).all()  # nobody is missing


@pytest.mark.soak
@pytest.mark.parametrize("name", WORLDS)
def test_adapting_beats_the_teacher(name):
    size, channels = WORLDS[name]
    given, unseen = world(GIVEN, size, 0, channels), world(UNSEEN, size, 1, channels)
    mixtures, teacher = given.sum(1), load("remix-k2")
    half = unseen.sum(1, keepdim=True).expand_as(unseen) / 2
    as_it_is = separate_signals(teacher.separate, seen_by(teacher, mixtures, BRIGHTNESS), unseen.sum(1)).sources
    start = time.process_time()
    adapted = adapting.adapt(mixtures, teacher, progress=False)
    seconds = time.process_time() - start
    row = [psnr(half, unseen), psnr(as_it_is, unseen), score(adapted, unseen), score(ceiling(given), unseen)]
    print(f"\n| {name} | {' | '.join(f'{value:.1f}' for value in row)} | {seconds:.0f} s |")
    assert row[0] < row[1] < row[2]


def ceiling(given: torch.Tensor) -> Separator:
    """The same network, taught as long with remixes of the true sources of the given mixtures."""
    student, data = adapting.build_student(given.sum(1), load("remix-k2"))
    data.banks = lambda number: Bank(given.flatten(0, 1).half(), (2, 2), number)
    return adapting.train_system(student, data, progress=False)


def score(model: Separator, sources: torch.Tensor) -> float:
    return psnr(model.separate(sources.sum(1)).sources, sources)


def psnr(estimates: torch.Tensor, sources: torch.Tensor) -> float:
    """The mean over mixtures, in dB, paper scale."""
    count = torch.full((len(sources),), sources.shape[1])
    return float(mean_per_mixture(qualities(BRIGHTNESS)["psnr_paper"], estimates, sources, count).mean())
