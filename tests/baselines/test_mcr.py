"""MCR-ALS by pyMCR: exact where spectra are rigid, and named by whoever compares it."""

import sys

import pytest
import torch
from worlds import BRIGHTNESS, spectra

from vaebss.baselines.comparison import ComparisonPlan
from vaebss.baselines.mcr import MCR
from vaebss.baselines.method import Setting
from vaebss.baselines.methods import estimator, trained
from vaebss.data.corpora.pictures import GivenPictures
from vaebss.data.mixtures import MNISTMixtures
from vaebss.metrics.images import METRICS
from vaebss.metrics.metric import mean_per_mixture
from vaebss.modalities.images import Images

SHAPE = (1, 1, 256)
QUALITY = {metric.name: metric.quality for metric in METRICS}


@pytest.mark.parametrize(("shift", "least", "most"), [(0.0, 50, 101), (2.0, 5, 40)])
def test_rigid_spectra_are_resolved_and_shifted_ones_less_well(shift, least, most):
    pytest.importorskip("pymcr")
    known, other = spectra(150, 0, shift, 0.0), spectra(40, 1, shift, 0.0)
    data = MNISTMixtures(source=GivenPictures(known.sum(1), source_scale=BRIGHTNESS))
    data.setup()
    setting = Setting(2, source_scale=BRIGHTNESS, modality=Images(SHAPE))
    models = {"mcr": trained("mcr", setting, data)}
    found = estimator("mcr", setting, models)({"mixture": other.sum(1)})
    torch.testing.assert_close(found.sources.sum(1), other.sum(1), atol=1e-5, rtol=0)
    scores = mean_per_mixture(QUALITY["si_sdr"], found.sources, other, torch.full((40,), 2))
    assert least < scores.median() < most


def test_it_is_for_lines_and_says_what_it_needs(monkeypatch):
    with pytest.raises(ValueError, match=r"mcr is for lines \(1, 1, L\), such as spectra, not for pictures"):
        MCR(image_shape=(1, 28, 28))
    monkeypatch.setitem(sys.modules, "pymcr.mcr", None)
    with pytest.raises(ValueError, match=r"pip install 'vaebss\[spectra\]'"):
        MCR().fit(torch.rand(20, 256).numpy())


def test_it_is_compared_only_where_it_is_named():
    corpus = GivenPictures(spectra(20, 0).sum(1), source_scale=BRIGHTNESS)
    assert "mcr" not in ComparisonPlan(corpus).chosen
    assert ComparisonPlan(corpus, ["mcr"], [2]).chosen == ["mcr"]
