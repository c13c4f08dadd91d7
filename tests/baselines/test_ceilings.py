import pytest
import torch
from conftest import quiet
from pytorch_lightning import seed_everything

from vaebss import VAE, RemixSeparator
from vaebss.baselines.ceilings import TrueRemixes, ideal_binary_mask, ideal_ratio_mask, oracle_latents
from vaebss.metrics.images import qualities
from vaebss.metrics.metric import LARGEST
from vaebss.metrics.separation import SeparationMetrics


@pytest.fixture
def batch(digits_module):
    return next(iter(digits_module.test_dataloader()))


def psnr(estimates, batch) -> float:
    metrics = SeparationMetrics(estimates.shape[1], qualities(0.5))
    active = torch.ones(estimates.shape[:2], dtype=torch.bool)
    metrics.update(estimates, active, batch["sources"], batch["count"])
    return metrics.compute()["psnr_paper"]


def equal_share(batch) -> torch.Tensor:
    return (batch["mixture"] / 2).unsqueeze(1).expand_as(batch["sources"])


def test_the_ratio_mask_is_exact_for_sums_of_images(batch):
    estimates = ideal_ratio_mask(batch["mixture"], batch["sources"])
    torch.testing.assert_close(estimates, batch["sources"])
    assert psnr(estimates, batch) == pytest.approx(LARGEST)


def test_the_binary_mask_gives_every_pixel_to_its_brightest_source(batch):
    mixture, sources = batch["mixture"], batch["sources"]
    estimates = ideal_binary_mask(mixture, sources)
    torch.testing.assert_close(estimates.sum(1), mixture)
    assert ((estimates > 0).sum(1) <= 1).all()
    assert (sources[estimates > 0] >= (mixture.unsqueeze(1) / 2).expand_as(sources)[estimates > 0] - 1e-6).all()
    assert psnr(estimates, batch) > psnr(equal_share(batch), batch)


def test_oracle_latents_find_what_the_decoder_drew():
    seed_everything(0, verbose=False)
    model = VAE(hidden_dims=(32, 16), bounded=False)
    for layer in model.decoder.layers:  # an untrained decoder is flat around the prior's mean
        if isinstance(layer, torch.nn.BatchNorm1d):
            torch.nn.init.normal_(layer.bias)
    drawn = model.sample(40).unflatten(0, (20, 2))
    batch = {"mixture": drawn.sum(1), "sources": drawn, "count": torch.full((20,), 2)}
    few, many = (oracle_latents(model, batch["mixture"], drawn, steps) for steps in (1, 100))
    torch.testing.assert_close(many.sum(1), batch["mixture"])
    assert psnr(many, batch) > psnr(few, batch) + 3
    assert all(parameter.grad is None for parameter in model.parameters())


def test_true_remixes_are_of_training_digits():
    data = TrueRemixes(source="bundled", num_mixtures=10, epoch_size=32, batch_size=16, epochs_per_round=1)
    model = RemixSeparator(widths=(4, 6, 8), bottleneck=16)
    quiet(max_epochs=2, reload_dataloaders_every_n_epochs=1, limit_val_batches=1).fit(model, data)
    digits = {tuple(image) for image in data.corpus.splits.train.flatten(1).tolist()}
    for batch in data.train_dataloader():
        sources = (batch["targets"] * 510).round().flatten(0, 1).flatten(1)
        assert all(tuple(source) in digits for source in sources.int().tolist())
        torch.testing.assert_close(batch["mixture"], batch["targets"].sum(1))
