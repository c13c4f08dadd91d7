"""Models as folders, here and on the Hub."""

import sys

import pytest
import torch

import vaebss
from vaebss import Masker
from vaebss.pretrained import shared


@pytest.mark.parametrize("name", ["remix-k2", "vae-k2", "vae-notes"])
def test_a_model_is_the_same_after_a_folder(name, tmp_path):
    """What ships is of half precision already, and so nothing is lost."""
    model = vaebss.load(name)
    folder = vaebss.save(model, tmp_path / "mine")
    assert sorted(path.name for path in folder.iterdir()) == [shared.CARD, shared.WEIGHTS]
    again = vaebss.load(folder)
    assert type(again) is type(model)
    assert again.options == model.options
    assert dict(again.modality) == dict(model.modality)
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())


def test_what_half_precision_cannot_hold_is_kept_whole(tmp_path):
    """Variances of a network whose pictures are scaled can be above 65,504."""
    model = Masker(widths=(4, 6), bottleneck=8)
    variances = [name for name in model.state_dict() if name.endswith("running_var")]
    model.load_state_dict({name: 1e6 + torch.zeros_like(model.state_dict()[name]) for name in variances}, strict=False)
    again = vaebss.load(vaebss.save(model, tmp_path)).state_dict()
    assert all((again[name] == 1e6).all() for name in variances)


def test_whoever_may_read_the_card_may_read_the_weights(tmp_path):
    vaebss.save(vaebss.load("vae-k2"), tmp_path)
    assert (tmp_path / shared.WEIGHTS).stat().st_mode == (tmp_path / shared.CARD).stat().st_mode


def test_the_average_of_a_student_is_written_once(tmp_path):
    folder = vaebss.save(vaebss.load("remix-k2"), tmp_path)
    assert (folder / shared.WEIGHTS).stat().st_size < 5e6  # 2.3 million weights of two bytes


def test_a_student_amid_its_training_keeps_its_average(tmp_path):
    torch.manual_seed(0)
    model = Masker(widths=(4, 6), bottleneck=8).eval()
    mixture = torch.rand(2, 1, 28, 28) / 2
    for weight in model.network.parameters():
        weight.data.zero_()  # the network that learns
    found = vaebss.load(vaebss.save(model, tmp_path)).separate(mixture)
    torch.testing.assert_close(found.sources, model.separate(mixture).sources, atol=1e-3, rtol=0)


def test_a_model_of_the_hub_is_fetched_into_a_folder(tmp_path, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    vaebss.save(vaebss.load("vae-k2"), tmp_path)
    asked = []
    monkeypatch.setattr(
        hub, "snapshot_download", lambda name, **options: asked.append((name, options)) or str(tmp_path)
    )
    for address, revision in (("hf://someone/vae-k2", None), ("hf://someone/vae-k2@v1.0", "v1.0")):
        assert vaebss.load(address).num_sources == 2
        files = [shared.WEIGHTS, shared.CARD]
        assert asked.pop() == ("someone/vae-k2", {"revision": revision, "allow_patterns": files})


def test_what_cannot_be_opened_is_a_line(tmp_path):
    with pytest.raises(vaebss.CheckpointError, match=r"^.* holds no card.json and model.safetensors .*$"):
        vaebss.load(tmp_path)
    vaebss.save(vaebss.load("vae-k2"), tmp_path)
    (tmp_path / shared.WEIGHTS).write_bytes(b"damaged")
    with pytest.raises(vaebss.CheckpointError, match="that can be opened"):
        vaebss.load(tmp_path)


def test_without_the_hub_there_is_a_line_that_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"pip install 'vaebss\[hub\]'"):
        vaebss.load("hf://someone/vae-k2")


def test_a_hub_out_of_reach_is_a_line(monkeypatch):
    hub = pytest.importorskip("huggingface_hub")

    def refuse(*_, **__):
        raise OSError("no network\nat all")

    monkeypatch.setattr(hub, "snapshot_download", refuse)
    with pytest.raises(vaebss.CheckpointError, match=r"^hf://a/b cannot be fetched: no network$"):
        vaebss.load("hf://a/b")


def test_weights_and_card_are_written_together_or_not_at_all(tmp_path, monkeypatch):
    def full(*_):
        raise OSError("no space left")

    folder = vaebss.save(vaebss.load("vae-k2"), tmp_path)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr("vaebss.pretrained.catalogue.write_json", full)
    with pytest.raises(OSError, match="no space"):
        vaebss.save(vaebss.load("remix-k2"), tmp_path)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
