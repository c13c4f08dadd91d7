"""Baselines and ceilings where pictures of sources add up by an exponent; on made-up tones."""

import pytest
import torch
from conftest import quiet
from pytorch_lightning import seed_everything
from torch.utils.data import DataLoader

from vaebss.baselines import GLO, EqualShare, MixIT, OneSlot, Silence
from vaebss.baselines.ceilings import answer, ideal_binary_mask, ideal_ratio_mask
from vaebss.baselines.mixit import MixITTraining
from vaebss.baselines.spectral_nmf import SpectralNMF
from vaebss.metrics.audio import si_sdr
from vaebss.modalities.audio import Audio
from vaebss.separation import add_up

AUDIO = Audio(samples=4_000)
BINS = Audio(samples=4_000, bands=512, pooled=1, compression=1.0, add="magnitudes")
SEEN = {"image_shape": AUDIO.shape, "source_scale": torch.inf, "exponent": AUDIO.exponent}
NETWORK = {"hidden_dims": (16,)}
MAKE = {
    "silence": lambda: Silence(**SEEN),
    "one-slot": lambda: OneSlot(**SEEN),
    "equal-share": lambda: EqualShare(**SEEN),
    "nmf": lambda: SpectralNMF(**SEEN),
    "glo": lambda: GLO(**SEEN, **NETWORK, output="softplus", start_steps=2, fit_steps=2),
    "mixit": lambda: MixIT(**SEEN, **NETWORK),
}


def made(name: str):
    seed_everything(0, verbose=False)
    return MAKE[name]()


@pytest.fixture(scope="module")
def batch() -> dict[str, torch.Tensor]:
    """Tones with overtones that fade fast or slowly, two at a time."""
    time = torch.arange(AUDIO.samples) / AUDIO.rate

    def tone(hertz: float, fading: float) -> torch.Tensor:
        return sum(torch.sin(2 * torch.pi * n * hertz * time) / n for n in (1, 2, 3)) * torch.exp(-fading * time)

    pairs = [(220, 660), (330, 740), (262, 494), (555, 830)]
    sources = torch.stack([torch.stack([tone(low, 2), tone(high, 15)]) for low, high in pairs])
    sources = 0.25 * sources / sources.square().mean(2, keepdim=True).sqrt()
    signal = sources.sum(1)
    return {"signal": signal, "mixture": AUDIO.picture(signal), "sources": sources}


def heard(found, batch, modality=AUDIO) -> torch.Tensor:
    return modality.to_signals(found, modality.picture(batch["signal"]), batch["signal"])


@pytest.mark.parametrize("name", MAKE)
def test_estimates_add_up_by_the_exponent_and_so_do_their_sounds(name, batch):
    found = made(name).separate(batch["mixture"])
    nothing = name == "silence"
    whole = torch.zeros_like(batch["mixture"]) if nothing else batch["mixture"]
    torch.testing.assert_close(add_up(found.sources, AUDIO.exponent), whole, atol=1e-4, rtol=1e-3)
    signal = torch.zeros_like(batch["signal"]) if nothing else batch["signal"]
    torch.testing.assert_close(heard(found, batch).sum(1), signal, atol=1e-4, rtol=0)


def test_the_mixture_in_both_slots_is_half_of_it_and_scores_0_db(batch):
    halves = heard(made("equal-share").separate(batch["mixture"]), batch)
    torch.testing.assert_close(halves[:, 0], batch["signal"] / 2, atol=1e-5, rtol=0)
    quality = si_sdr(halves, batch["sources"])
    mixtures = batch["signal"].unsqueeze(1).expand_as(halves)
    torch.testing.assert_close(quality, si_sdr(mixtures, batch["sources"]), atol=1e-3, rtol=0)
    assert quality.mean().item() == pytest.approx(0, abs=0.6)  # the tones have a little in common


def test_nmf_tells_notes_apart_that_sound_at_different_times(batch):
    first, last = torch.ones(2, AUDIO.samples)
    first[-1_600:], last[:1_600] = 0, 0
    sources = batch["sources"] * torch.stack([first, last])
    signal = sources.sum(1)
    found = SpectralNMF(image_shape=BINS.shape, exponent=BINS.exponent).separate(BINS.picture(signal))
    sounds = heard(found, {"signal": signal}, BINS)
    either = torch.stack([si_sdr(order, sources).mean(1) for order in (sounds, sounds.flip(1))])
    assert either.amax(0).min() > 6


def test_glo_explains_a_mixture_by_powers(batch):
    model = made("glo").eval()
    latents = model.drawn(4, 0)
    explained = add_up(model.decoder(latents), AUDIO.exponent)
    torch.testing.assert_close(model.error(latents, explained), torch.zeros(4))
    assert (model.error(latents, model.decoder(latents).sum(1)) > 1).all()


def test_mixits_gradients_are_finite_however_sure_it_is(batch):
    model = made("mixit")
    with torch.no_grad():
        model.network[1].output.weight.mul_(1e5)
    first = batch["mixture"]
    both = AUDIO.picture(batch["signal"] + batch["signal"].roll(1, 0))
    MixITTraining(model).loss(model(both), first, first.roll(1, 0)).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_mixits_loss_is_the_least_over_assignments_of_powers():
    model, drawn = made("mixit"), torch.rand(6, 6, *AUDIO.shape, generator=torch.Generator().manual_seed(0))
    outputs, first, second = drawn[:, :4], drawn[:, 4], drawn[:, 5]
    errors = []
    for chosen in range(2**4):
        to_first = [k for k in range(4) if chosen >> k & 1]
        to_second = [k for k in range(4) if k not in to_first]
        remixed = [outputs[:, some].pow(4).sum(1).pow(0.25) for some in (to_first, to_second)]
        both = zip(remixed, (first, second), strict=True)
        errors.append(sum((one - other).flatten(1).square().sum(1) / 2 for one, other in both))
    torch.testing.assert_close(MixITTraining(model).loss(outputs, first, second), torch.stack(errors).amin(0))


def test_mixit_learns_from_sums_of_waveforms_alone(batch):
    blind, pictured = {name: batch[name] for name in ("signal", "mixture")}, []

    def picture(signals):
        pictured.append(signals)
        return AUDIO.picture(signals)

    model = made("mixit")
    before = [parameter.clone() for parameter in model.parameters()]
    quiet(max_epochs=1).fit(MixITTraining(model, picture=picture), DataLoader([blind], batch_size=None))
    torch.testing.assert_close(pictured[0], batch["signal"] + batch["signal"].roll(1, 0))
    assert not all(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("ceiling", [ideal_binary_mask, ideal_ratio_mask])
def test_ideal_masks_of_sound_are_better_at_bins(ceiling, batch):
    quality = []
    for modality in (Audio(samples=4_000, compression=1.0, add="magnitudes"), BINS):
        pictured = batch | {"mixture": modality.picture(batch["signal"])}
        found = answer(ceiling, modality, torch.inf, pictured)
        assert found.active.all()
        quality.append(si_sdr(heard(found, batch, modality), batch["sources"]).mean())
    assert 10 < quality[0] < quality[1]
