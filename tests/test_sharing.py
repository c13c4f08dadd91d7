"""Models as folders, here and on the Hub."""

import json
import sys

import pytest
import torch
from safetensors.torch import load_file

import vaebss
from vaebss import VAE, Masker
from vaebss.pretrained import catalogue, shared, weights


@pytest.mark.parametrize("name", ["remix-k2", "vae-k2", "vae-notes"])
def test_a_model_is_the_same_after_a_folder(name, tmp_path):
    """What ships is of 8 bits already, and so nothing is lost."""
    model = vaebss.load(name)
    folder = vaebss.save(model, tmp_path / "mine", bits=8)
    assert sorted(path.name for path in folder.iterdir()) == [shared.CARD, shared.WEIGHTS]
    again = vaebss.load(folder)
    assert type(again) is type(model)
    assert again.options == model.options
    assert dict(again.modality) == dict(model.modality)
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", vaebss.available())
def test_a_shipped_model_in_8_bits_is_the_file_that_ships(name, tmp_path):
    folder = vaebss.save(vaebss.load(name), tmp_path, bits=8)
    assert (folder / shared.WEIGHTS).read_bytes() == (catalogue.FOLDER / f"{name}.safetensors").read_bytes()


ROWS = {
    "a matrix": torch.randn(300, 40),
    "kernels": torch.randn(24, 6, 3, 3),
    "rows of every size": torch.randn(90, 16) * torch.logspace(-44, 37, 90)[:, None],
    "a row of zeros": torch.randn(3, 5) * torch.tensor([[1], [0], [1]]),
    "double precision": torch.randn(3, 5, dtype=torch.float64),
}


@pytest.mark.parametrize("weight", ROWS.values(), ids=ROWS)
def test_a_weight_in_8_bits_is_a_scale_times_whole_numbers(weight):
    """Its error is at most half a step of its row, whose largest number is 127, and nothing is lost a second time."""
    numbers, scales = weights.quantised(weight)
    assert (numbers.dtype, scales.dtype) == (torch.int8, torch.float32)
    assert (numbers.shape, scales.shape) == (weight.shape, weight.shape[:1])
    step = scales.double().view(-1, *[1] * (weight.dim() - 1))
    restored = weights.dequantised(numbers, scales)
    assert restored.dtype == torch.float32
    assert torch.equal(restored.double(), step * numbers.double())
    assert ((restored.double() - weight.double()).abs() <= step * (0.5 + 1e-6)).all()
    is_large = weight.abs().flatten(1).amax(1) > 1e-35  # a step is no smaller than the smallest float
    assert (numbers.int().abs().flatten(1).amax(1) == 127)[is_large].all()
    for first, second in zip((numbers, scales), weights.quantised(restored), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize(("name", "bits"), [("vae-k2", 16), ("vae-k2", 8), ("ae-k2", 8), ("vae-notes", 8)])
def test_a_folder_takes_the_room_of_its_bits(name, bits, tmp_path):
    """Refined estimates of pictures need the output layer of a VAE in 16 bits."""
    model = vaebss.load(name)
    assert isinstance(model, VAE)
    folder = vaebss.save(model, tmp_path, bits)
    kept = load_file(folder / shared.WEIGHTS)
    matrices = {key: weight for key, weight in model.named_parameters() if weight.dim() > 1}
    in_16_bits = {key for key in matrices if bits == 16}
    if name == "vae-k2":
        in_16_bits |= {key for key in matrices if matrices[key] is model.decoder.layers[-2].weight}
    assert {key for key in matrices if kept[key].dtype == torch.float16} == in_16_bits
    assert {key for key in matrices if kept[key].dtype == torch.int8} == set(matrices) - in_16_bits
    room = sum(weight.numel() * (2 if key in in_16_bits else 1) for key, weight in matrices.items())
    assert (folder / shared.WEIGHTS).stat().st_size == pytest.approx(room, rel=0.04)
    vectors = {name for name, value in model.state_dict().items() if value.dim() == 1}
    assert {kept[name].dtype for name in vectors} == {torch.float16}


def test_other_bits_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"^bits must be 16 or 8, not 4$"):
        vaebss.save(vaebss.load("vae-k2"), tmp_path / "mine", bits=4)
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize("bits", [16, 8])
def test_a_folder_of_a_newer_version_says_so(bits, tmp_path):
    """A version that knows half precision alone reads format 1; it refuses weights in 8 bits in plain words."""
    card = vaebss.save(vaebss.load("vae-k2"), tmp_path, bits) / shared.CARD
    facts = json.loads(card.read_text())
    assert facts["format"] == {16: 1, 8: 2}[bits]
    card.write_text(json.dumps(facts | {"format": 3, "vaebss": "9.0"}))
    with pytest.raises(vaebss.CheckpointError, match=r"was written by vaebss 9\.0: this version cannot read it"):
        vaebss.load(tmp_path)


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


def test_a_class_of_ones_own_is_refused_in_one_line(tmp_path):
    class Own(vaebss.VAE):
        pass

    with pytest.raises(ValueError, match=r"^only a VAE or a Masker itself can be saved, not a Own: use torch\.save$"):
        vaebss.save(Own(num_sources=2, hidden_dims=(8,)), tmp_path / "mine")
    assert not (tmp_path / "mine").exists()
