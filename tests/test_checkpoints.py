import os
import pickle

import pytest
import torch

import vaebss
from vaebss import VAE, VAEBSS, CheckpointError


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
