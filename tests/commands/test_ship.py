import json

import pytest
import torch
from safetensors.torch import load_file

import vaebss
from vaebss import Masker, checkpoints
from vaebss.commands import ship as shipping
from vaebss.commands import test as scoring
from vaebss.commands.ship import BUNDLED, scores
from vaebss.pretrained import catalogue


@pytest.fixture
def shelf(tmp_path, monkeypatch, checkpoint):
    """A folder of shipped models with one in it."""
    monkeypatch.setattr(catalogue, "FOLDER", tmp_path / "shelf")
    catalogue.ship("vae-tiny", checkpoints.read(checkpoint), {"seed": 0}, catalogue.FOLDER)
    return catalogue.FOLDER


def test_a_shipped_model_opens_by_name(shelf, checkpoint, random_mixture):
    assert vaebss.available() == ["vae-tiny"]
    model, original = vaebss.load("vae-tiny"), vaebss.load(checkpoint)
    assert model.options == original.options
    assert {value.dtype for value in model.state_dict().values()} <= {torch.float32, torch.int64}
    torch.testing.assert_close(model(random_mixture), original(random_mixture), atol=5e-3, rtol=0)


def test_weights_are_kept_in_8_bits_and_run_no_code(shelf):
    weights = load_file(shelf / "vae-tiny.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.int8, torch.float32, torch.float16, torch.int64}
    assert {value.dim() for value in weights.values() if value.dtype is torch.float32} == {1}  # scales
    card = json.loads((shelf / "vae-tiny.json").read_text())
    assert card["model_class"] == "VAEBSS"
    assert "root" not in card["datamodule_hyper_parameters"]


def test_a_student_takes_the_room_of_its_average(tmp_path, monkeypatch, random_mixture):
    monkeypatch.setattr(catalogue, "FOLDER", tmp_path)
    student = Masker(2, (4, 6, 8), 64).eval()
    with torch.no_grad():
        for weight in student.network.parameters():
            weight += 0.1
    described = {"model_class": "RemixSeparator", "hyper_parameters": student.options}
    path = catalogue.ship("student", described | {"state_dict": student.state_dict()}, {}, tmp_path)
    assert path.stat().st_size < 1.3 * sum(weight.numel() for weight in student.average.parameters()) + 50_000
    opened = vaebss.load("student")
    torch.testing.assert_close(opened(random_mixture), student(random_mixture), atol=2e-3, rtol=0)
    for weight, average in zip(opened.network.parameters(), opened.average.parameters(), strict=True):
        assert torch.equal(weight, average)


def test_an_unknown_name_lists_the_known_ones(shelf):
    with pytest.raises(vaebss.CheckpointError, match=r"no-such.*vae-tiny"):
        vaebss.load("no-such")


@pytest.mark.parametrize("name", ["", "VAE", "../vae", "a--b", "a.b"])
def test_names_are_words(shelf, checkpoint, name):
    with pytest.raises(ValueError, match="lower-case"):
        catalogue.ship(name, checkpoints.read(checkpoint), {}, shelf)


SHIP = ("--name", "vae-new", "--command", "fit.py")


def test_what_cannot_be_scored_is_not_shipped(shelf, checkpoint, tmp_path, no_network, capsys):
    assert shipping.main(["--ckpt", str(checkpoint), "--root", str(tmp_path), *SHIP]) == 2
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1
    assert "MNIST" in error
    assert vaebss.available() == ["vae-tiny"]


@pytest.mark.parametrize("bits", [8, 16])
def test_a_card_scores_the_weights_as_they_are_kept(bits, shelf, checkpoint, monkeypatch):
    monkeypatch.setattr(shipping, "scores", lambda kept, *_, **__: scores(kept, **BUNDLED))  # MNIST may be out of reach
    assert shipping.main(["--ckpt", str(checkpoint), f"--bits={bits}", *SHIP]) == 0
    card = catalogue.card("vae-new")
    assert card["bits"] == bits
    assert card["command"] == "fit.py"
    again = scores(checkpoints.read("vae-new"), **BUNDLED)
    assert card["scores_on_bundled_digits"] == json.loads(json.dumps(again))


def test_of_several_checkpoints_the_mean_is_shipped(shelf, checkpoint, monkeypatch, tmp_path):
    monkeypatch.setattr(shipping, "scores", lambda kept, *_, **__: scores(kept, **BUNDLED))
    first = checkpoints.read(checkpoint)
    further = {name: value + 1 if value.is_floating_point() else value for name, value in first["state_dict"].items()}
    torch.save(first | {"state_dict": further}, tmp_path / "further.ckpt")
    assert shipping.main(["--ckpt", str(checkpoint), str(tmp_path / "further.ckpt"), "--bits=16", *SHIP]) == 0
    assert catalogue.card("vae-new")["steps_of_the_last_run"] == 2 * first["global_step"]
    shipped_weights = checkpoints.read("vae-new")["state_dict"]
    for name, value in first["state_dict"].items():
        expected = value + 0.5 if value.is_floating_point() else value
        torch.testing.assert_close(shipped_weights[name], expected, atol=2e-3, rtol=1e-3)


def test_weights_of_different_networks_have_no_mean(shelf, checkpoint, tmp_path, capsys):
    torch.save(checkpoints.read(checkpoint) | {"state_dict": {}}, tmp_path / "other.ckpt")
    assert shipping.main(["--ckpt", str(checkpoint), str(tmp_path / "other.ckpt"), *SHIP]) == 2
    assert "must be of one network" in capsys.readouterr().err
    assert vaebss.available() == ["vae-tiny"]


def test_results_of_a_shipped_model_stay_out_of_the_package(shelf, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert scoring.main(["--ckpt", "vae-tiny", "--data.test_mixtures=20", "--gpus=0"]) == 0
    assert (tmp_path / "results" / "vae-tiny" / "results.json").is_file()
    assert {path.name for path in shelf.iterdir()} == {"vae-tiny.safetensors", "vae-tiny.json"}
