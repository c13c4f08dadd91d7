"""True sources are read by scores and examples alone: everything else works on batches whose sources cannot be read."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SHORT_RUN, quiet
from pytorch_lightning import Callback

from vaebss import VAE, VAEBSS, MNISTMixtures, Scores
from vaebss.blind import summary_of
from vaebss.commands import fit, remix, teacher, train
from vaebss.data.batches import GivenMixtures, MixtureDataset, RemixDataset
from vaebss.training import adapting
from vaebss.training.examples import examples, separate_examples
from vaebss.training.vae import mean_nats

SMALL: dict[str, Any] = {"source": "bundled", "epoch_size": 64, "batch_size": 32, "val_mixtures": 16}
SHORT = ["--gpus=0", "--data.source=bundled", *SHORT_RUN[1:], "--trainer.enable_progress_bar=false"]


class Touched(BaseException):
    """The truth was read; no handler of errors may hide it."""


class Untouchable:
    """Stands for true sources, or their number; it can be passed on, and whatever else is done with it raises."""

    def __getattribute__(self, name: str) -> Any:
        if name == "__class__":
            return Untouchable
        raise Touched(name)

    def _raise(self, *_: Any) -> Any:
        raise Touched

    __add__ = __radd__ = __sub__ = __mul__ = __eq__ = __lt__ = __getitem__ = __len__ = __bool__ = __float__ = _raise
    __hash__ = None  # type: ignore[assignment]


@pytest.fixture
def untouchable(monkeypatch) -> None:
    """Batches of all kinds, for training too, whose `sources` and `count` raise when they are read."""
    for kind in (MixtureDataset, RemixDataset, GivenMixtures):

        def spoiled(dataset: Any, plan: Any, honest: Any = kind.__getitem__) -> dict[str, Any]:
            return honest(dataset, plan) | {"sources": Untouchable(), "count": Untouchable()}

        monkeypatch.setattr(kind, "__getitem__", spoiled)


@pytest.fixture
def unwatched(untouchable, monkeypatch, tmp_path) -> None:
    """Training commands without the callbacks that log scores and examples."""
    monkeypatch.chdir(tmp_path)
    for module in (train, teacher):
        for name in ("Scores", "SeparationPictures"):
            monkeypatch.setattr(module, name, Callback)
    monkeypatch.setattr(remix, "BankReport", Callback)
    monkeypatch.setattr(remix, "BankScores", lambda *_: None)


def test_a_run_of_fit_reads_no_true_source(unwatched):
    assert fit.main([*SHORT, "--trainer.max_epochs=2"]) == 0


def test_a_run_of_remix_and_its_teacher_read_no_true_source(unwatched):
    Path("teacher.yaml").write_text("{model: {hidden_dims: [32, 16]}, data: {epoch_size: 512}}")
    rounds = ["--data.keep=[0.5,0.5]", "--data.epochs_per_round=1", "--data.num_mixtures=32", "--data.consistent=true"]
    short = [option for option in SHORT if "hidden_dims" not in option]
    trained = ["--teacher=teacher.yaml", "--teacher_epochs=1", "--model.widths=[4,6,8]"]
    assert remix.main([*short, *rounds, *trained]) == 0


def test_adapting_reads_no_true_source(untouchable, small_students):
    mixtures = torch.rand(20, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    adapting.adapt(mixtures, VAE(hidden_dims=(16, 8)).eval(), steps=20, progress=False)


def test_a_blind_score_reads_no_true_source(untouchable):
    data, model = MNISTMixtures(**SMALL | {"val_mixtures": 30}), VAE(hidden_dims=(16, 8)).eval()
    data.setup()
    assert "over an equal share" in summary_of(model, data.corpus.seen_by(model), data.held_out())


def test_the_elbo_of_test_mixtures_reads_no_true_source(untouchable):
    data = MNISTMixtures(**SMALL, test_mixtures=16)
    data.setup()
    assert mean_nats(VAE(hidden_dims=(16, 8)), data.test_dataloader())["elbo"] < 0


def test_scores_and_examples_read_true_sources(untouchable):
    data, system = MNISTMixtures(**SMALL), VAEBSS(hidden_dims=(16, 8))
    with pytest.raises(Touched):
        quiet(callbacks=[Scores()]).validate(system, data, verbose=False)
    batch = next(iter(data.val_dataloader()))
    with pytest.raises(Touched):
        separate_examples(system.separate(batch["mixture"]), batch, data.modality, 0.5)
    with pytest.raises(Touched):
        examples([batch], 4)
