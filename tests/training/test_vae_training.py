import math

import pytest
import torch
from conftest import quiet

from vaebss import VAEBSS, MNISTMixtures, Scores


@pytest.fixture
def model() -> VAEBSS:
    torch.manual_seed(0)
    return VAEBSS(num_sources=3, hidden_dims=(32, 16)).eval()


def test_the_loss_sees_mixtures_alone(model, digits_module):
    batch = next(iter(digits_module.train_dataloader()))
    model.log = model.log_dict = lambda *args, **kwargs: None
    model.trainer = quiet()
    loss = model.training_step(batch, 0)
    assert torch.equal(model.training_step({"mixture": batch["mixture"]}, 0), loss)
    address = "train", 1000
    loss, _ = model.loss(batch["mixture"], *address)
    assert torch.equal(model.loss(batch["mixture"], *address)[0], loss)
    assert not torch.equal(model.loss(batch["mixture"], "train", 1001)[0], loss)  # other posterior noise


@pytest.mark.parametrize(
    "options",
    [
        {"prior": "laplace", "prior_scale": 0.7},
        {"likelihood": "normal", "likelihood_scale": 0.3},
        {"likelihood": "bernoulli"},
        {"variational": False},
        {"lr_schedule": "exponential"},
        {"lr_schedule": "constant"},
        {"num_sources": 4, "latent_dim": 5},
    ],
)
def test_every_option_trains(options):
    data = MNISTMixtures(source="bundled", epoch_size=640, batch_size=32, val_mixtures=16, num_mixed=[1, 2])
    model = VAEBSS(hidden_dims=(64, 32), **options)
    losses = []
    model.on_train_batch_end = lambda outputs, *_: losses.append(outputs["loss"].item())
    quiet(max_epochs=1).fit(model, data)
    assert sum(losses[-5:]) < sum(losses[:5])
    if not model.model.variational:
        assert model.trainer.callback_metrics["val/rate"] == 0


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.soak)])
def test_every_seed_separates(seed):
    """The warm-up by default is the safe one: digits do not fall into parts that all slots share."""
    torch.manual_seed(seed)
    data = MNISTMixtures(source="bundled", epoch_size=320 * 128, batch_size=128, seed=seed)
    model = VAEBSS(seed=seed)
    trainer = quiet(max_epochs=1, callbacks=[Scores()])
    trainer.fit(model, data)
    assert trainer.callback_metrics["val/psnr_paper"] > 21.5


def test_truth_never_reaches_training():
    weights = []
    for corrupt in (False, True):
        torch.manual_seed(0)
        data = MNISTMixtures(source="bundled", epoch_size=128, batch_size=64, val_mixtures=16)
        if corrupt:
            data.on_after_batch_transfer = lambda batch, _: batch | {"sources": torch.rand(len(batch["mixture"]), 2)}
        model = VAEBSS(hidden_dims=(32, 16))
        trainer = quiet(max_epochs=1)
        trainer.fit(model, data)
        weights.append(model.state_dict() | {"chosen by": trainer.callback_metrics["val/elbo"]})
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name


SCHEDULES = {
    "cosine": lambda done, step: 1e-4 + (1e-2 - 1e-4) * 0.5 * (1 + math.cos(math.pi * done)),
    "exponential": lambda done, step: max(1e-4, 1e-2 * 0.05 ** (step // 10)),
    "constant": lambda done, step: 1e-2,
}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_learning_rate_follows_its_schedule(schedule):
    data = MNISTMixtures(source="bundled", epoch_size=160, batch_size=16)
    model, rates = VAEBSS(hidden_dims=(8, 6), lr=1e-2, lr_min=1e-4, lr_decay=0.05, lr_schedule=schedule), []
    model.on_before_optimizer_step = lambda optimizer: rates.append(optimizer.param_groups[0]["lr"])
    quiet(max_epochs=3, limit_val_batches=0).fit(model, data)
    assert rates == pytest.approx([SCHEDULES[schedule](step / 30, step) for step in range(30)])


def test_the_rate_warms_up():
    mixture = torch.rand(8, 1, 28, 28)
    model = VAEBSS(hidden_dims=(8, 6), warmup_steps=10)
    for step, beta in ((0, 0.0), (5, 0.25), (10, 0.5), (99, 0.5)):
        loss, bound = model.loss(mixture, "train", step)
        torch.testing.assert_close(loss, (bound.distortion + beta * bound.rate.sum(1)).mean())
