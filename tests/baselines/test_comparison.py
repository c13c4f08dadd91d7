"""A comparison from Python: of a user's own corpus and modality, and what is saved when it breaks off."""

import pytest
from chirps import Chirps
from pulses import PulseCorpus

from vaebss.baselines import comparison as comparing
from vaebss.baselines.comparison import ComparisonPlan, run_comparison

FEW = {"budget": 64, "data": {"batch_size": 16, "val_mixtures": 8, "test_mixtures": 20}, "model": {"hidden_dims": (8,)}}


@pytest.mark.parametrize(("corpus", "main"), [(Chirps(), "psnr_paper"), (PulseCorpus(), "timing")])
def test_methods_are_compared_on_a_corpus_of_ones_own(corpus, main):
    methods = ["equal-share", "silence", "vae", "oracle-latents"]
    found = run_comparison(ComparisonPlan(corpus, methods, [2, 3], **FEW))
    results = [(result["num_sources"], result["method"]) for result in found.facts["results"]]
    assert results == [(k, name) for k in (2, 3) for name in ("silence", "equal-share", "vae", "oracle-latents")]
    title = corpus.modality.metrics[0].heading
    assert found.table.count(f"| method | {title} |") == 2
    for result in found.facts["results"]:
        assert f"{result['scores'][main]:.2f}" in found.table
    assert list(found.figures()) == ["comparison", "slots"]
    assert found.examples["vae, K = 2"].estimates.shape[:2] == (8, 2)


def test_what_was_found_before_a_method_fails_has_been_handed_over(monkeypatch):
    def failing(name, setting, data):
        if name == "vae":
            raise ValueError("went astray")
        return trained(name, setting, data)

    trained, saved = comparing.trained, []
    monkeypatch.setattr(comparing, "trained", failing)
    plan = ComparisonPlan(PulseCorpus(), ["silence", "equal-share", "vae"], **FEW)
    with pytest.raises(ValueError, match="went astray"):
        run_comparison(plan, lambda found: saved.append([result["method"] for result in found.facts["results"]]))
    assert saved == [["silence"], ["silence", "equal-share"]]


def test_methods_for_another_modality_are_refused():
    with pytest.raises(ValueError, match=r"--methods must be among .*, not ideal-ratio-mask-bins"):
        ComparisonPlan(PulseCorpus(), ["ideal-ratio-mask-bins"], **FEW)
