"""A user's own modality, with a metric of its own, trains and is scored without a change of the package."""

import re

import pytest
import torch
from conftest import quiet
from pulses import PulseCorpus, Pulses

import vaebss
from vaebss import VAEBSS, MNISTMixtures
from vaebss.baselines.table import table as compared
from vaebss.commands.test import table
from vaebss.modalities.modality import Modality
from vaebss.modalities.registry import modality_of
from vaebss.training.examples import examples, separate_examples
from vaebss.training.scores import Scores, evaluate


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A separator that was trained for an epoch, as its checkpoint opens again; the data; what was logged."""
    torch.manual_seed(0)
    data = MNISTMixtures(source=PulseCorpus(), epoch_size=64, batch_size=16, val_mixtures=8, test_mixtures=20)
    training = VAEBSS(hidden_dims=(8,), image_shape=data.image_shape, source_scale=data.brightest)
    trainer = quiet(max_epochs=1, callbacks=[Scores()])
    trainer.fit(training, data)
    path = tmp_path_factory.mktemp("pulses") / "pulses.ckpt"
    trainer.save_checkpoint(path)
    return vaebss.load(path), data, trainer.logged_metrics


def test_its_checkpoint_knows_it(trained):
    model, data, _ = trained
    assert modality_of(model) == data.modality == Pulses()
    with pytest.raises(ValueError, match=r"^white is an option for pictures, and this model separates pulses"):
        modality_of(model, white=1.0)


def test_its_own_metric_is_logged_and_shown_in_all_tables(trained):
    model, data, logged = trained
    assert -48 <= logged["val/timing"] < 0
    results = evaluate(model, data.test_dataloader(), data.modality)
    rows = [line.split("  ")[0] for line in table(results, data.modality.metrics).splitlines()]
    assert "timing, samples" in rows
    assert table(results, data.modality.metrics).count("worst decile") == 1
    row = {"method": "vae", "num_sources": 2, "sees_truth": False, "scores": results["masked"]}
    facts = {"kind": "pulses", "num_mixed": 2, "of": "pulses", "test_mixtures": 20, "seconds": 1, "shipped": True}
    text = compared(facts | {"results": [row | {"train_seconds": 1.0, "separate_seconds": 1.0}]})
    assert f"| vae | {results['masked']['timing']:.2f} |" in text


def test_captions_of_examples_have_the_metrics_unit(trained):
    model, data, _ = trained
    batch = examples(data.test_dataloader(), 3)
    shown = separate_examples(model.separate(batch["mixture"]), batch, data.modality, 0.5)
    assert shown.estimates.shape == (3, 2, 48)
    assert all(re.search(r"^-?\d+\.\d samples$", caption, re.MULTILINE) for caption in shown.captions)
    assert data.modality.figure({"mixture": shown.signals}).axes


def test_the_metric_measures_time():
    sources = torch.eye(48)[[10, 30]].unsqueeze(0)
    quality = Pulses().qualities(0.5)["timing"]
    assert quality(torch.eye(48)[[13, 30]].unsqueeze(0), sources).tolist() == [[-3, 0]]


def test_its_shares_add_up_and_its_errors_are_those_of_samples():
    signals, shares = torch.rand(4, 48), torch.rand(4, 2, 1, 1, 48).softmax(1)
    parts = Pulses().apply(shares, signals)
    torch.testing.assert_close(parts.sum(1), signals)
    expected = (parts - parts.flip(1)).square().mean(2, keepdim=True).expand(4, 2, 2) * (1 - torch.eye(2))
    torch.testing.assert_close(Pulses().errors(shares, signals, parts), expected)


def test_two_modalities_cannot_have_one_name():
    with pytest.raises(TypeError, match="the kind 'audio' is that of Audio"):
        type("Other", (Modality,), {"kind": "audio"})


def test_it_has_no_files_until_it_says_so(tmp_path):
    for ask in (Pulses().opened, Pulses().read, lambda path: Pulses().write(torch.zeros(48), path)):
        with pytest.raises(vaebss.errors.FileError, match="pulses cannot be"):
            ask(tmp_path / "file.txt")
    with pytest.raises(ValueError, match="pulses cannot be read from arrays"):
        Pulses().from_user(torch.zeros(48), None)
