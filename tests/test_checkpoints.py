import os
import pickle

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vaebss
from vaebss import VAE, VAEBSS, CheckpointError, Masker, RemixSeparator
from vaebss.data.mixtures import MNISTMixtures
from vaebss.models.separator import Separator


def test_a_checkpoint_opens_as_it_was_saved(checkpoint, random_mixture):
    model = vaebss.load(checkpoint)
    assert isinstance(model, VAE)
    assert not model.training
    assert model.hidden_dims == (32, 16)
    expected = VAEBSS.load_from_checkpoint(checkpoint, map_location="cpu").separate(random_mixture).sources
    torch.testing.assert_close(model.separate(random_mixture).sources, expected)


class Trap:
    """A pickle that would leave a folder behind."""

    def __reduce__(self):
        return (os.mkdir, ("trapped",))


def spoil(path, kind, good):
    """Write a bad checkpoint of a kind to `path`; `good` is one that opens."""
    contents = torch.load(good, weights_only=True)
    match kind:
        case "folder":
            path.mkdir()
        case "loop":
            path.symlink_to(path)
        case "empty":
            path.touch()
        case "truncated":
            path.write_bytes(good.read_bytes()[:9_000])
        case "random":
            path.write_bytes(os.urandom(9_000))
        case "pickle":
            path.write_bytes(pickle.dumps(Trap()))
        case "trap":
            torch.save(contents | {"state_dict": Trap()}, path)
        case "list":
            torch.save([1, 2], path)
        case "foreign":
            torch.save({"state_dict": {}, "hyper_parameters": {}}, path)
        case "class":
            torch.save(contents | {"model_class": "os.system"}, path)
        case "options":
            torch.save(contents | {"hyper_parameters": {"hidden_dims": "red"}}, path)
        case "shape":
            torch.save(contents | {"hyper_parameters": contents["hyper_parameters"] | {"num_sources": 5}}, path)
        case "newer":
            torch.save(contents | {"format": 99}, path)
        case "nan":
            contents["state_dict"]["encoder.1.weight"][0, 0] = torch.nan
            torch.save(contents, path)


KINDS = ["missing", "folder", "loop", "empty", "truncated", "random", "pickle", "trap", "list"]
KINDS += ["foreign", "class", "options", "shape", "newer", "nan"]


@pytest.mark.parametrize("kind", KINDS)
def test_bad_checkpoints_are_one_line_and_run_nothing(kind, checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spoil(tmp_path / "bad.ckpt", kind, checkpoint)
    with pytest.raises(CheckpointError) as error:
        vaebss.load("bad.ckpt")
    assert "\n" not in str(error.value)
    assert "bad.ckpt" in str(error.value)
    assert not (tmp_path / "trapped").exists()


WORTHLESS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(torch.zeros(2, 2)),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=5), part, max_size=3),
    max_leaves=5,
)


def tiny(kind: str) -> dict:
    """The contents of a small checkpoint of a kind."""
    torch.manual_seed(0)
    sound = {"kind": "audio", "bands": 128, "window": 1024, "hop": 256}
    model = Masker(2, (2, 2), 2) if kind == "RemixSeparator" else VAE(2, 2, (3,), image_shape=(1, 128, 16))
    contents = {"model_class": kind, "hyper_parameters": model.options, "state_dict": model.state_dict()}
    contents |= {"format": 1, "vaebss": "0.2.0", "datamodule_hyper_parameters": {}}
    return contents | ({"modality": sound} if kind == "VAEBSS" else {})


@pytest.mark.parametrize("kind", ["VAEBSS", "RemixSeparator"])
def test_small_checkpoints_open(kind, tmp_path):
    torch.save(tiny(kind), tmp_path / "tiny.ckpt")
    assert vaebss.load(tmp_path / "tiny.ckpt").num_sources == 2


def opened(path) -> Separator | str:
    """The model of a checkpoint, or the message of its error; no other error is caught."""
    try:
        return vaebss.load(path)
    except CheckpointError as error:
        return str(error)


@pytest.mark.parametrize("kind", ["VAEBSS", "RemixSeparator"])
@given(data=st.data())
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_malformed_contents_raise_a_checkpoint_error_of_one_line(kind, tmp_path, data):
    """One to three parts, or parts of parts, are replaced by anything, or left out."""
    contents = tiny(kind)
    for _ in range(data.draw(st.integers(1, 3))):
        place, name = contents, data.draw(st.sampled_from([*contents, "config", "modality"]))
        if isinstance(place.get(name), dict) and place[name] and data.draw(st.booleans()):
            place = place[name] = dict(place[name])
            name = data.draw(st.sampled_from([*place, "kind", "compression"]))
        if data.draw(st.booleans()):
            place[name] = data.draw(WORTHLESS)
        else:
            place.pop(name, None)
    torch.save(contents, tmp_path / "bad.ckpt")
    found = opened(tmp_path / "bad.ckpt")
    if isinstance(found, str):
        assert "bad.ckpt" in found
        assert len(found.splitlines()) == 1
    else:  # what was replaced does not matter
        assert found.separate(torch.rand(2, *found.image_shape)).sources.shape[2:] == found.image_shape


@pytest.mark.parametrize(
    "change",
    [
        {"hyper_parameters": []},
        {"model_class": ["VAEBSS"]},
        {"format": "9"},
        {"modality": {"bands": 128}},
        {"modality": {"kind": "smells"}},
        {"modality": {"kind": "audio", "bands": 130}},
        {"state_dict": {"encoder": 3}},
        {"state_dict": {"encoder": torch.eye(2).to_sparse()}},
        {"state_dict": {"encoder": torch.eye(2) + 0j}},
        {"datamodule_hyper_parameters": {"source": {"class_path": "a.Module"}}},
        {"datamodule_hyper_parameters": {"source": None}},
        {"config": 3},
    ],
)
def test_a_part_of_a_wrong_type_is_named(change, tmp_path):
    torch.save(tiny("VAEBSS") | change, tmp_path / "bad.ckpt")
    with pytest.raises(CheckpointError) as error:
        vaebss.load(tmp_path / "bad.ckpt")
    (name,) = change
    named = {"modality": ("kind", "pictures"), "state_dict": ("state_dict",)}
    named["datamodule_hyper_parameters"] = ("source of",)
    assert any(word in str(error.value) for word in named.get(name, (name,)))


def test_memory_is_not_taken_for_weights_that_a_checkpoint_lacks(tmp_path, monkeypatch):
    """Options may ask for a network of a terabyte, while the weights in the file are few."""
    monkeypatch.chdir(tmp_path)
    contents = tiny("VAEBSS")
    torch.save(contents | {"hyper_parameters": contents["hyper_parameters"] | {"hidden_dims": [10**9]}}, "bad.ckpt")
    with pytest.raises(CheckpointError, match=r"encoder.*must be"):
        vaebss.load("bad.ckpt")


@pytest.mark.parametrize("kind", [VAEBSS, RemixSeparator])
def test_lightnings_own_call_imports_nothing_that_a_checkpoint_names(kind, tmp_path, monkeypatch):
    """An `_instantiator` is what Lightning itself imports and calls; a leading underscore is its sign."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "trap.py").write_text("import os; os.mkdir('trapped'); make = print")
    monkeypatch.chdir(tmp_path)
    contents = tiny(kind.__name__)
    for named in ("trap.make", "pytorch_lightning.cli.instantiate_module"):
        hidden = {"_instantiator": named, "_class_path": "trap.make"}
        changed = contents | {"hyper_parameters": contents["hyper_parameters"] | hidden, "hparams_name": "lr"}
        torch.save(changed | {"hparams_type": "trap.make", "hparams": hidden}, "named.ckpt")
        module = kind.load_from_checkpoint("named.ckpt", map_location="cpu", strict=True, lr=0.25)
        assert module.hparams.lr == 0.25
        for name, weight in contents["state_dict"].items():
            torch.testing.assert_close(module.model.state_dict()[name], weight, rtol=0, atol=0)
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_lightnings_own_call_refuses_bad_checkpoints_as_load_does(kind, checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spoil(tmp_path / "bad.ckpt", kind, checkpoint)
    for module in (VAEBSS, MNISTMixtures):
        with pytest.raises(CheckpointError, match=r"bad\.ckpt"):
            module.load_from_checkpoint("bad.ckpt")
    assert not (tmp_path / "trapped").exists()


def test_lightnings_own_call_refuses_another_module(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="holds a VAEBSS, not a RemixSeparator"):
        RemixSeparator.load_from_checkpoint(checkpoint)
    torch.save(tiny("VAEBSS") | {"datamodule_hyper_parameters": {"_instantiator": "trap.make"}}, "named.ckpt")
    assert MNISTMixtures.load_from_checkpoint("named.ckpt", source="bundled").hparams.source == "bundled"


def test_a_model_that_is_loaded_in_inference_mode_refines_and_trains():
    with torch.inference_mode():
        model = vaebss.load("vae-k2")
        mixture = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0)) / 2
        refined = model.separate(mixture, refine_steps=2).sources
    torch.testing.assert_close(refined, vaebss.load("vae-k2").separate(mixture.clone(), refine_steps=2).sources)
    assert all(torch.isfinite(weight.sum()) and not weight.is_inference() for weight in model.parameters())
