"""Files and slots of a separator whose slots are classes of sources: each class keeps its place in every mixture."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import vaebss
from vaebss.blind import FEWEST
from vaebss.commands import separate
from vaebss.figures.contact_sheet import ContactSheet
from vaebss.modalities.images import Images
from vaebss.models.masker import Masker
from vaebss.pretrained import catalogue
from vaebss.separation import sharpness

SIZE = 16
LINE = "Each class of sources has its slot: files NAME_class1, NAME_class2, empty where a class is absent"
BOTH, FIRST, SECOND, NONE = 0, 1, 2, 3  # rows of `mixtures`
COUNTS = [2, 1, 1, 0]


def by_halves(separator: Masker, mixture: Tensor) -> tuple[Tensor, Tensor]:
    """An estimate by a rule: class 1 is what lies in the left half of a picture, and class 2 is the rest."""
    left = (torch.arange(mixture.shape[3]) < mixture.shape[3] // 2).float()
    estimates = torch.stack([mixture * left, mixture * (1 - left)], 1)
    return estimates, sharpness(estimates, mixture)


@pytest.fixture
def model(here, monkeypatch) -> Masker:
    """A separator of classes that separates by a rule, also once it is saved and loaded, in an empty folder."""
    monkeypatch.setattr(Masker, "_estimate", by_halves)
    separator = Masker(num_sources=2, widths=(4, 6), bottleneck=8, image_shape=(1, SIZE, SIZE), source_scale=1.0)
    separator.modality = Images((1, SIZE, SIZE)).with_voices().options
    return separator.eval()


@pytest.fixture
def folder(model) -> Path:
    return vaebss.save(model, "model")


@pytest.fixture
def mixtures() -> np.ndarray:
    """Mixtures of both classes, of one of them and of none, (4, 1, SIZE, SIZE), with values of 8-bit pictures."""
    found = np.random.default_rng(0).integers(60, 200, (4, 1, SIZE, SIZE)) / np.float32(255)
    found[FIRST, ..., SIZE // 2 :] = 0
    found[SECOND, ..., : SIZE // 2] = 0
    found[NONE] = 0
    return found


def sources_of(mixtures: np.ndarray) -> np.ndarray:
    """The source of each class, (N, 2, 1, SIZE, SIZE)."""
    sources = np.stack([mixtures, mixtures], 1)
    sources[:, 0, ..., SIZE // 2 :] = sources[:, 1, ..., : SIZE // 2] = 0
    return sources


def run(*typed: str | Path) -> list[dict[str, str]]:
    """The list of the folder `out` after a run."""
    options = ["--gpus=0", "--source-max=1", "--invert=false", "--out=out"]
    assert separate.main([*map(str, typed), *options]) == 0
    with Path("out/separations.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def written() -> set[str]:
    return {path.name for path in Path("out").iterdir()} - {"separations.csv", "contact_sheet.png"}


def test_an_array_has_a_file_for_each_class_with_a_row_for_each_mixture(folder, mixtures, capsys):
    np.save("m.npy", mixtures)
    rows = run("--ckpt", folder, "m.npy")
    assert capsys.readouterr().out.splitlines().count(LINE) == 1
    assert written() == {"m_class1.npy", "m_class2.npy"}
    found = np.stack([np.load(f"out/m_class{k}.npy") for k in (1, 2)], 1)
    np.testing.assert_allclose(found, sources_of(mixtures), atol=1e-6)
    assert [int(row["count"]) for row in rows] == COUNTS
    assert {row["written"] for row in rows} == {"m_class{1..2}.npy"}


def test_pictures_have_a_file_for_each_class_and_later_runs_replace_it(folder, mixtures):
    for number, mixture in enumerate(mixtures):
        Image.fromarray((255 * mixture[0]).round().astype(np.uint8)).save(f"{number}.png")
    pictures = [f"{number}.png" for number in range(4)]
    rows: list[dict[str, str]] = []
    for _ in range(2):
        rows = run("--ckpt", folder, *pictures)
        assert written() == {f"{number}_class{k}.png" for number in range(4) for k in (1, 2)}
    for number, sources in enumerate(sources_of(mixtures)):
        found = np.stack([np.asarray(Image.open(f"out/{number}_class{k}.png")) for k in (1, 2)])
        np.testing.assert_allclose(found / 255, sources[:, 0], atol=0.5 / 255 + 1e-6)
    assert [(int(row["count"]), row["written"]) for row in rows] == [
        (count, f"{number}_class{{1..2}}.png") for number, count in enumerate(COUNTS)
    ]
    Path("out/0_class3.png").touch()  # by hand
    run("--ckpt", folder, *pictures, "--format=tiff")
    expected = {f"{number}_class{k}.tiff" for number in range(4) for k in (1, 2)}
    assert written() == expected | {"0_class3.png"}


def test_a_model_of_free_slots_replaces_files_of_classes(folder, model, mixtures):
    np.save("m.npy", mixtures)
    run("--ckpt", folder, "m.npy")
    model.modality = {"kind": "images"}
    run("--ckpt", vaebss.save(model, "free"), "m.npy")
    assert written() == {"m_source1.npy", "m_source2.npy"}
    np.testing.assert_allclose(np.load("out/m_source1.npy")[SECOND], mixtures[SECOND], atol=1e-6)


def test_sources_of_classes_and_the_residual_add_up(model, mixtures):
    model.modality |= {"background": 0.1}
    seen = mixtures + np.float32(0.1)
    np.save("m.npy", seen)
    rows = run("--ckpt", vaebss.save(model, "with-background"), "m.npy")
    assert written() == {"m_class1.npy", "m_class2.npy", "m_residual.npy"}
    assert {row["written"] for row in rows} == {"m_{class{1..2},residual}.npy"}
    found = np.stack([np.load(f"out/m_class{k}.npy") for k in (1, 2)], 1)
    np.testing.assert_allclose(found, sources_of(mixtures), atol=1e-6)
    np.testing.assert_allclose(found.sum(1) + np.load("out/m_residual.npy"), seen, atol=1e-6)
    model.modality = Images((1, SIZE, SIZE)).with_voices().options
    run("--ckpt", vaebss.save(model, "without"), "m.npy")
    assert written() == {"m_class1.npy", "m_class2.npy"}


def test_scores_are_those_of_their_classes_on_the_list_and_on_the_sheet(folder, mixtures, monkeypatch):
    many = np.concatenate([mixtures[[FIRST, SECOND]], np.tile(mixtures[[BOTH]], (FEWEST, 1, 1, 1))])
    np.save("m.npy", many)
    sheets: list[tuple[list, dict]] = []
    monkeypatch.setattr(
        ContactSheet,
        "save",
        lambda self, path, scores, of_sources: (
            path.touch() or sheets.append(([found for _, _, found in self.waiting], of_sources))
        ),
    )
    rows = run("--ckpt", folder, "m.npy")
    names = ["blind_score_source1", "blind_score_source2"]
    assert [[bool(row[name]) for name in names] for row in rows[:3]] == [[True, False], [False, True], [True, True]]
    known = {"source_max": 1.0, "invert": False, "blind_score": True}
    expected = vaebss.separate(many, folder, **known).source_blind_score
    listed = torch.tensor([[float(row[name] or "nan") for name in names] for row in rows])
    torch.testing.assert_close(listed, expected, atol=0.006, rtol=0, equal_nan=True)
    ((waiting, of_sources),) = sheets
    assert [math.isnan(score) for score in of_sources["m[1]"]] == [True, False]
    assert {len(found) for found in waiting} == {2}


@pytest.mark.parametrize("bits", [16, 8])
def test_classes_keep_their_slots_in_python(bits, model, mixtures):
    loaded = vaebss.load(vaebss.save(model, "model", bits=bits))
    assert loaded.modality == model.modality
    found = vaebss.separate(mixtures, loaded, source_max=1.0, invert=False)
    np.testing.assert_allclose(found.numpy(), sources_of(mixtures), atol=1e-6)
    assert found.active.tolist() == [[True, True], [True, False], [False, True], [False, False]]
    names = ["00000_source1.png", "00000_source2.png", "00001_source1.png", "00002_source2.png"]
    assert [path.name for path in found.save("saved")] == names


def test_a_shipped_model_of_classes_is_one_still(model, tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "FOLDER", tmp_path)
    facts = {"model_class": "RemixSeparator", "hyper_parameters": model.options, "modality": model.modality}
    catalogue.ship("of-classes", facts | {"state_dict": model.state_dict()}, {}, tmp_path)
    assert vaebss.load("of-classes").modality == {"kind": "images", "voices": True}
