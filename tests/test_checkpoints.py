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


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize(
    "kind", ["missing", "folder", "empty", "truncated", "random", "malicious", "foreign", "other", "nan"]
)
def test_bad_checkpoints_are_one_line_and_run_nothing(kind, checkpoint, tmp_path):
    path, trap = tmp_path / "bad.ckpt", tmp_path / "trap"
    contents = torch.load(checkpoint, weights_only=True)
    match kind:
        case "folder":
            path.mkdir()
        case "empty":
            path.touch()
        case "truncated":
            path.write_bytes(checkpoint.read_bytes()[:5000])
        case "random":
            path.write_bytes(bytes(range(256)) * 40)
        case "malicious":
            path.write_bytes(pickle.dumps({"state_dict": Malicious(str(trap))}))
        case "foreign":
            torch.save({"state_dict": {}, "hyper_parameters": {}}, path)
        case "other":
            torch.save(contents | {"hyper_parameters": contents["hyper_parameters"] | {"num_sources": 5}}, path)
        case "nan":
            contents["state_dict"]["encoder.1.weight"][0, 0] = torch.nan
            torch.save(contents, path)
    with pytest.raises(CheckpointError) as error:
        vaebss.load(path)
    assert "\n" not in str(error.value)
    assert "bad.ckpt" in str(error.value)
    assert not trap.exists()
