"""`Trainer.predict` separates what a data module or a loader of mixtures gives, without true sources."""

import numpy as np
import pytest
import torch
from conftest import quiet
from torch.utils.data import DataLoader

import vaebss
from vaebss.data.mixtures import MNISTMixtures
from vaebss.separation import Separation
from vaebss.training.vae import VAEBSS


@pytest.fixture
def trainer(tmp_path):
    return quiet(default_root_dir=tmp_path)


def test_the_test_mixtures_of_a_data_module_are_separated(trainer):
    data = MNISTMixtures(source="bundled", test_mixtures=20)
    system = VAEBSS(hidden_dims=(16,), latent_dim=4)
    found = Separation.cat(trainer.predict(system, datamodule=data))
    batch = next(iter(data.test_dataloader()))
    assert len(found) == 20
    torch.testing.assert_close(found.sources.sum(1), batch["signal"], atol=1e-5, rtol=0)
    torch.testing.assert_close(found.sources, system.separate(batch["mixture"]).sources)
    assert "sources" not in next(iter(data.predict_dataloader()))


def test_mixtures_of_a_users_own_whose_sources_are_unknown_are_separated(trainer, tmp_path):
    np.save(tmp_path / "own.npy", np.random.default_rng(0).random((30, 28, 28), dtype=np.float32) / 2)
    data = MNISTMixtures(mixtures=str(tmp_path / "own.npy"))
    found = Separation.cat(trainer.predict(VAEBSS(hidden_dims=(16,), latent_dim=4), datamodule=data))
    assert len(found) == len(data.corpus.splits.test)


def test_a_loader_of_plain_tensors_is_separated(trainer):
    mixtures = torch.rand(6, 1, 28, 28, generator=torch.manual_seed(0)) / 2
    system = VAEBSS(hidden_dims=(16,), latent_dim=4)
    found = Separation.cat(trainer.predict(system, DataLoader(mixtures, batch_size=4)))
    torch.testing.assert_close(
        found.sources, vaebss.separate(mixtures, system.model, source_max=0.5, invert=False).sources
    )
