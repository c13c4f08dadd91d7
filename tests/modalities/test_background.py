"""Noise and background of mixtures: estimated, subtracted, and given back as the residual."""

import numpy as np
import pytest
import torch
from PIL import Image
from worlds import cells, clouds, world

import vaebss
from vaebss.commands import separate
from vaebss.data.corpora.open import open_corpus, revised
from vaebss.modalities.appearance import (
    above,
    estimated_background,
    estimated_background_noise,
    estimated_noise,
    on_black,
)
from vaebss.training import adapting
from vaebss.training.adapting import corpus_of


def noisy(mixtures: torch.Tensor, sigma: float) -> torch.Tensor:
    return mixtures + sigma * torch.randn(mixtures.shape, generator=torch.Generator().manual_seed(0))


CLEAN = {"strokes": world(100, 28, 0).sum(1), "cells": cells(20, 64, 0).sum(1), "clouds": clouds(20, 64, 0).sum(1)}


@pytest.mark.parametrize("name", ["strokes", "cells"])
@pytest.mark.parametrize("sigma", [0.005, 0.02, 0.1])
def test_noise_is_estimated_whether_or_not_it_was_cut_off_at_0(name, sigma):
    mixtures = noisy(CLEAN[name], sigma)
    assert estimated_noise(mixtures.clamp(min=0)) == pytest.approx(sigma, rel=0.05)
    assert estimated_noise(mixtures + 0.5) == pytest.approx(sigma, rel=0.05)


@pytest.mark.parametrize("name", CLEAN)
def test_clean_mixtures_have_neither_noise_nor_background(name):
    for channels in (1, 3):
        mixtures = CLEAN[name].expand(-1, channels, -1, -1)
        assert estimated_noise(mixtures) < 0.003
        assert estimated_background(mixtures) == 0


@pytest.mark.parametrize("sigma", [0, 0.005, 0.02])
def test_a_background_is_found_under_noise(sigma):
    for name in ("strokes", "cells"):
        assert estimated_background(noisy(CLEAN[name], sigma) + 0.1) == pytest.approx(0.1, abs=0.004)
        assert estimated_background(noisy(CLEAN[name], sigma).clamp(min=0)) == 0


def test_the_offset_of_a_camera_of_16_bits_is_found():
    counts = torch.poisson(3_000 * CLEAN["cells"], torch.Generator().manual_seed(0)) + 100
    counts = noisy(counts, 5).round()
    assert estimated_background(counts / 65_535) == pytest.approx(100 / 65_535, rel=0.05)


@pytest.mark.parametrize("shape", [(20, 1, 28, 28), (20, 3, 5, 5), (20, 1, 1, 60)])
def test_what_is_all_noise_or_small_or_a_line_has_no_background(shape):
    values = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    for mixtures in (values, 0.5 + values / 2, torch.zeros(shape), torch.full(shape, 0.3)):
        assert estimated_background(mixtures) == 0


SPARSE = {name: CLEAN[name] for name in ("strokes", "cells")} | {"colour": world(60, 28, 0, 3).sum(1)}


@pytest.mark.parametrize("name", SPARSE)
@pytest.mark.parametrize("sigma", [0.005, 0.02, 0.05])
def test_noise_of_an_empty_background_is_removed_and_nothing_else(name, sigma):
    clean = SPARSE[name]
    for offset in (0, 6 * sigma) if sigma > 0.01 else (0,):  # a background is found within 0.004
        pictures, background, noise = on_black((noisy(clean, sigma) + offset).clamp(min=0))
        assert noise == pytest.approx(sigma, rel=0.3 if offset else 0.1)
        left = above((noisy(clean, sigma) + offset).clamp(min=0), background)
        removed = (pictures == 0) & (left > 0)
        assert torch.equal(pictures[~removed], left[~removed])
        assert left[removed].max() <= 3 * noise
        empty = clean == 0
        assert removed[empty & (left > 0)].float().mean() > 0.55  # the neighbours of ink keep their noise
        assert clean[removed].sum() < 0.01 * clean.sum()


def textures() -> dict[str, torch.Tensor]:
    """Pictures without an empty background, with and without noise, and noiseless ones that have one."""
    random = torch.Generator().manual_seed(0)
    fading = torch.empty(20, 1, 28, 28).exponential_(10, generator=random).clamp(max=1)
    dots = (torch.rand(50, 1, 28, 28, generator=random) < 0.3).float()
    rough = CLEAN | SPARSE | {"fading": fading, "dots": dots, "dark clouds": CLEAN["clouds"] ** 4}
    kept = {name: rough[name] for name in ("clouds", "fading", "dots", "dark clouds")}
    return rough | {f"noisy {name}": noisy(each, 0.02).clamp(min=0) for name, each in kept.items()}


@pytest.mark.parametrize("name", textures())
def test_textures_and_clean_mixtures_stay_as_they_are(name):
    pictures = textures()[name]
    same, background, noise = on_black(pictures)
    assert (background, noise) == (0, 0)
    assert torch.equal(same, pictures)


def test_a_thin_line_and_a_point_are_kept_if_they_exceed_the_noise():
    drawn = torch.zeros(40, 1, 28, 28)
    drawn[:, :, 4], drawn[:, :, 20, 20], drawn[:, :, 10:14, 3:9] = 0.1, 0.12, 1.0
    pictures, _, noise = on_black(noisy(drawn, 0.02).clamp(min=0))
    assert noise == pytest.approx(0.02, rel=0.05)
    assert (pictures[drawn > 0] > 0).float().mean() > 0.99


def test_lines_keep_their_noise():
    assert estimated_background_noise(noisy(torch.zeros(50, 1, 1, 100), 0.02).clamp(min=0)) == 0


@pytest.fixture
def model():
    """A mask network for mixtures with a background of 0.25."""
    network = vaebss.Masker(widths=(4, 8), bottleneck=8, bounded=False).eval()
    network.modality = {"kind": "images", "background": 0.25}
    return network


def test_sources_and_residual_add_up_to_an_array_of_any_layout(model):
    mixtures = 0.2 + 0.7 * torch.rand(20, 28, 28, 1, generator=torch.Generator().manual_seed(0))
    found = vaebss.separate(mixtures, model, invert=False, blind_score=True)
    assert found.residual is not None
    assert found.residual.shape == mixtures.shape
    torch.testing.assert_close(found.sources.sum(1) + found.residual, mixtures)
    torch.testing.assert_close(found.residual, mixtures.clamp(max=0.25))
    assert torch.equal(found[3].residual, vaebss.separate(mixtures[3, ..., 0], model, invert=False).residual[..., None])
    assert vaebss.Separation.cat([found[:2], found[2:]]).residual.shape == mixtures.shape
    assert vaebss.separate(mixtures, vaebss.Masker(widths=(4, 8), bottleneck=8)).residual is None


@pytest.mark.parametrize("background", [0.0, 0.25])
def test_noise_that_is_removed_is_residual_in_python_and_in_files(tmp_path, monkeypatch, model, background):
    monkeypatch.chdir(tmp_path)
    model.modality = {"kind": "images", "background_noise": 0.02} | ({"background": background} if background else {})
    mixtures = background + noisy(CLEAN["strokes"][:20, 0], 0.02).clamp(min=0)
    found = vaebss.separate(mixtures, vaebss.load(vaebss.save(model, "model")), invert=False)
    assert found.residual is not None
    torch.testing.assert_close(found.sources.sum(1) + found.residual, mixtures)
    bright = above(mixtures.unsqueeze(1), background, 0.02).squeeze(1)
    torch.testing.assert_close(found.residual, mixtures - bright)
    assert (bright == 0).float().mean() > (mixtures <= background).float().mean() + 0.1
    np.save("a.npy", mixtures.numpy())
    assert separate.main(["a.npy", "--ckpt", "model", "--invert", "false"]) == 0
    parts = {path.stem: np.load(path) for path in (tmp_path / "separated").glob("a_*.npy")}
    assert len(parts) == 3
    np.testing.assert_allclose(sum(parts.values()), mixtures, atol=1e-5)
    np.testing.assert_allclose(parts["a_residual"], found.residual, atol=1e-6)


@pytest.mark.parametrize("invert", [False, True])
def test_a_file_has_its_residual_beside_its_sources(tmp_path, monkeypatch, model, invert):
    monkeypatch.chdir(tmp_path)
    pixels = (255 * (0.2 + 0.7 * np.random.default_rng(0).random((28, 28)))).astype(np.uint8)
    Image.fromarray(255 - pixels if invert else pixels).save("m.png")
    np.save("a.npy", np.stack([pixels, pixels]) / np.float32(255))
    folder = str(vaebss.save(model, "model"))
    assert separate.main(["m.png", "--ckpt", folder, "--invert", str(invert).lower()]) == 0
    read = [np.asarray(Image.open(path)).astype(int) for path in sorted((tmp_path / "separated").glob("m_*.png"))]
    light = [255 - picture if invert else picture for picture in read]
    assert len(light) == 3  # residual, and two sources
    np.testing.assert_allclose(sum(light), pixels, atol=2)
    np.testing.assert_allclose(light[0], pixels.clip(max=64), atol=1)
    assert separate.main(["a.npy", "--ckpt", folder, "--invert", "false"]) == 0
    parts = [np.load(path) for path in sorted((tmp_path / "separated").glob("a_*.npy"))]
    np.testing.assert_allclose(sum(parts), np.load("a.npy"), atol=1e-5)


def test_a_residual_is_replaced_by_a_later_run_and_one_of_somebody_else_never(tmp_path, monkeypatch, model, capsys):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.full((28, 28), 200, np.uint8)).save("m.png")
    with_residual, plain = str(vaebss.save(model, "with")), "remix-k2"
    residual = tmp_path / "separated" / "m_residual.png"
    for ckpt, there in ((with_residual, True), (with_residual, True), (plain, False)):
        assert separate.main(["m.png", "--ckpt", ckpt]) == 0
        assert residual.is_file() == there
    residual.write_text("mine")
    assert separate.main(["m.png", "--ckpt", plain]) == 0
    assert separate.main(["m.png", "--ckpt", with_residual]) == 2
    assert "choose another --out" in capsys.readouterr().err
    assert residual.read_text() == "mine"


def test_a_model_adapted_by_a_teacher_with_a_background_has_that_of_its_own_mixtures(model, monkeypatch):
    monkeypatch.setattr(adapting, "adapt", lambda images, *_, **__: corpora.append(corpus_of(images)) or model)
    corpora: list = []
    vaebss.adapt(CLEAN["strokes"] / 2 + 0.3, model)
    assert corpora[0].modality.options["background"] == pytest.approx(0.3, abs=1e-3)
    model.modality["background_noise"] = 0.1
    vaebss.adapt(noisy(CLEAN["strokes"] / 2, 0.02).clamp(min=0), model)
    assert corpora[1].modality.options == {"kind": "images", "background_noise": pytest.approx(0.02, rel=0.1)}


def test_mixtures_are_trained_on_without_their_background_and_the_model_knows_it(tmp_path, capsys):
    mixtures = 0.1 + 0.8 * CLEAN["strokes"]
    np.save(tmp_path / "m.npy", mixtures[:, 0].numpy())
    named = {"mixtures": str(tmp_path / "m.npy"), "invert": False}
    for corpus in (open_corpus(**named), open_corpus(**named, background=0.1), corpus_of(mixtures)):
        torch.testing.assert_close(corpus.mixtures.float(), 0.8 * CLEAN["strokes"], atol=1e-3, rtol=0)
        assert corpus.modality.options == {"kind": "images", "background": 0.1}
        assert corpus.note == "A background of 0.1 is subtracted, and is the residual (--data.background)"
    assert open_corpus(**named, background=0).modality.options == {"kind": "images"}
    np.save(tmp_path / "m.npy", noisy(CLEAN["strokes"][:, 0], 0.02).clamp(min=0).numpy())
    corpus = open_corpus(**named)
    assert corpus.modality.options == {"kind": "images", "background_noise": pytest.approx(0.02, rel=0.05)}
    noise = f"Noise of {corpus.background_noise:.3g} is removed where nothing else is"
    assert corpus.note == f"{noise}, and is the residual (--data.background)"
    assert (corpus.mixtures == 0).float().mean() > 0.5
    assert revised(corpus, {}).modality.options == corpus.modality.options
    assert open_corpus(**named, background=0).modality.options == {"kind": "images"}
    np.save(tmp_path / "m.npy", mixtures[:, 0].numpy())
    vaebss.MNISTMixtures(**named, background=0.05)
    assert "background of 0.05" in capsys.readouterr().out
    for wrong in (-0.1, 2, float("nan")):
        with pytest.raises(ValueError, match=r"data\.background must be at least 0 and below"):
            open_corpus(**named, background=wrong)
