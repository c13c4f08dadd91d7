import pytest
import torch
from conftest import quiet
from pytorch_lightning import seed_everything

from vaebss import MNISTMixtures
from vaebss.baselines import GLO, NMF, EqualShare, MixIT, OneSlot, Silence
from vaebss.baselines.glo import GLOTraining
from vaebss.baselines.mixit import MixITTraining
from vaebss.metrics.images import qualities
from vaebss.metrics.separation import SeparationMetrics

NETWORK = {"hidden_dims": (64, 48)}
GLO_OPTIONS = NETWORK | {"latent_dim": 8, "starts": 2, "start_steps": 5, "fit_steps": 20}


def untrained(name: str, num_sources: int = 2):
    seed_everything(0, verbose=False)
    match name:
        case "silence":
            return Silence(num_sources)
        case "one-slot":
            return OneSlot(num_sources)
        case "equal-share":
            return EqualShare(num_sources)
        case "nmf":
            model = NMF(num_sources, num_components=8)
            model.dictionary.partial_fit(torch.rand(20, 784, generator=torch.Generator().manual_seed(0)).numpy())
            return model
        case "glo":
            return GLO(num_sources, **GLO_OPTIONS)
        case _:
            return MixIT(num_sources, **NETWORK)


NAMES = ("silence", "one-slot", "equal-share", "nmf", "glo", "mixit")


@pytest.fixture(scope="module")
def data() -> MNISTMixtures:
    data = MNISTMixtures(source="bundled", epoch_size=8_192, batch_size=64, test_mixtures=100)
    data.setup()
    return data


def trained(model, batches):
    quiet(max_epochs=1).fit(model, batches)
    return model


def scores(model, data) -> dict:
    metrics = SeparationMetrics(2, qualities(0.5))
    for batch in data.test_dataloader():
        separation = model.separate(batch["mixture"])
        metrics.update(separation.sources, separation.active, batch["sources"], batch["count"])
    return metrics.compute()


def psnr(model, data) -> float:
    return scores(model, data)["psnr_paper"]


@pytest.mark.parametrize("num_sources", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_every_baseline_answers_as_the_vae_does(name, num_sources, random_mixture):
    model = untrained(name, num_sources)
    separation = model.separate(random_mixture.double())
    assert separation.sources.shape == (5, num_sources, 1, 28, 28)
    assert separation.sources.dtype == torch.float32
    assert not separation.sources.requires_grad
    assert (separation.sources >= 0).all()
    assert separation.active.shape == (5, num_sources)
    assert separation.confidence.shape == (5,)
    total = torch.zeros_like(random_mixture) if name == "silence" else random_mixture
    torch.testing.assert_close(separation.sources.sum(1), total, atol=1e-5, rtol=0)
    assert torch.equal(model.separate(random_mixture).sources, separation.sources)


@pytest.mark.parametrize("name", NAMES)
def test_every_baseline_hears_silence_in_silence(name):
    separation = untrained(name).separate(torch.zeros(2, 1, 28, 28))
    assert (separation.sources == 0).all()
    assert (separation.count == 0).all()
    assert torch.isfinite(separation.confidence).all()


@pytest.mark.parametrize("name", NAMES)
def test_every_baseline_refuses_a_bad_mixture(name, random_mixture):
    model = untrained(name)
    for bad in (random_mixture[0], random_mixture * 9, random_mixture * torch.nan, random_mixture[:, :, 1:]):
        with pytest.raises(ValueError, match="mixture"):
            model.separate(bad)


def test_trivial_answers_are_what_they_say(random_mixture):
    assert (Silence(3).separate(random_mixture).count == 0).all()
    one = OneSlot(3).separate(random_mixture)
    assert torch.equal(one.sources[:, 0], random_mixture)
    assert (one.count == 1).all()
    equal = EqualShare(3).separate(random_mixture)
    for slot in equal.sources.unbind(1):
        torch.testing.assert_close(slot, random_mixture / 3)


@pytest.mark.parametrize(
    ("model", "expected", "similarity", "right"),
    [(Silence(), 15.67, 0.25, 0), (OneSlot(), 16.59, 0.49, 0), (EqualShare(), 20.89, 0.63, 1)],
)
def test_trivial_answers_score_what_they_always_do_on_bundled_digits(model, expected, similarity, right):
    data = MNISTMixtures(source="bundled", test_mixtures=1_000)
    data.setup()
    found = scores(model, data)
    assert found["psnr_paper"] == pytest.approx(expected, abs=0.01)
    assert found["ssim"] == pytest.approx(similarity, abs=0.01)
    assert found["count"] == right


def test_nmf_learns_to_tell_strokes_apart(data):
    model = NMF(num_components=30)
    model.fit(data)
    assert set(model.groups) == {0, 1}
    assert psnr(model, data) > psnr(OneSlot(), data)


def test_glo_finds_latents_that_explain_mixtures(data):
    model = untrained("glo")
    mixture = next(iter(data.test_dataloader()))["mixture"]
    before = model.separate(mixture, ranked=True).confidence.mean()
    training = GLOTraining(model, num_mixtures=256)
    drawn = training.latents.clone()
    trained(training, training.batches(data))
    assert model.separate(mixture, ranked=True).confidence.mean() > before / 2  # minus the squared error
    assert not torch.equal(training.latents, drawn)
    assert training.latents.norm(dim=-1).max() <= 8**0.5 + 1e-4
    assert psnr(model, data) > psnr(OneSlot(), data)


def test_glo_sees_a_list_of_mixtures_as_often_as_the_budget_allows(data):
    numbers = torch.cat([numbers for numbers, _ in GLOTraining(untrained("glo"), num_mixtures=256).batches(data)])
    assert len(numbers) == data.hparams.epoch_size
    assert torch.equal(numbers.bincount(), torch.full((256,), 8_192 // 256))
    assert not torch.equal(numbers[:256], numbers[256:512])


def test_mixit_separates_better_than_before_and_than_an_equal_share(data):
    model = untrained("mixit")
    before = psnr(model, data)
    trained(MixITTraining(model), data.train_dataloader())
    assert psnr(model, data) > max(before, psnr(EqualShare(), data))


def test_mixit_outputs_add_up_and_its_loss_is_the_least_over_assignments():
    model = untrained("mixit")
    first, second = torch.rand(2, 6, 1, 28, 28, generator=torch.Generator().manual_seed(0)).unbind(0)
    outputs = model.eval()(first + second)
    assert outputs.shape == (6, 4, 1, 28, 28)
    torch.testing.assert_close(outputs.sum(1), first + second)
    errors = []
    for chosen in range(2**4):
        to_first = [k for k in range(4) if chosen >> k & 1]
        to_second = [k for k in range(4) if k not in to_first]
        errors.append((outputs[:, to_first].sum(1) - first).flatten(1).square().sum(1))
        error = (outputs[:, to_second].sum(1) - second).flatten(1).square().sum(1)
        torch.testing.assert_close(error, errors[-1], atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(
        MixITTraining(model).loss(outputs, first, second), torch.stack(errors).amin(0), atol=1e-3, rtol=1e-4
    )


def test_mixit_is_content_with_the_true_sources():
    sources = torch.rand(6, 4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    for order in ([0, 1, 2, 3], [2, 0, 3, 1]):
        mixtures = sources[:, :2].sum(1), sources[:, 2:].sum(1)
        loss = MixITTraining(untrained("mixit")).loss(sources[:, order], *mixtures)
        torch.testing.assert_close(loss, torch.zeros(6), atol=1e-3, rtol=0)


def test_mixit_training_does_not_see_the_sources(data):
    batch = next(iter(data.val_dataloader()))
    models = untrained("mixit"), untrained("mixit")
    for model, sources in zip(models, (batch["sources"], torch.full_like(batch["sources"], torch.nan)), strict=True):
        trained(MixITTraining(model), torch.utils.data.DataLoader([batch | {"sources": sources}], batch_size=None))
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(one, other)


def test_glo_is_given_mixtures_alone(data):
    assert [part.shape for part in next(iter(GLOTraining(untrained("glo"), num_mixtures=256).batches(data)))] == [
        (64,),
        (64, 1, 28, 28),
    ]
