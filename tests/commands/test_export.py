import numpy as np
import pytest
import torch

import vaebss
from vaebss import Masker
from vaebss.commands import export
from vaebss.models import onnx

onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture(params=["VAE", "student"])
def model(request, checkpoint):
    torch.manual_seed(0)
    return vaebss.load(checkpoint) if request.param == "VAE" else Masker(3, (4, 6, 8), 16).eval()


def test_onnxruntime_gives_the_same_answers_for_any_number_of_mixtures(model, tmp_path):
    assert onnx.export(model, tmp_path / "model.onnx") < 1e-4
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    mixture = torch.rand(7, 1, 28, 28) / 2
    sources, active = session.run(None, {"mixture": mixture.numpy()})
    separation = model.separate(mixture)
    np.testing.assert_allclose(sources, separation.sources, atol=1e-4)
    np.testing.assert_array_equal(active, separation.active)


def test_a_link_and_a_file_of_before_stay_where_the_export_fails(tmp_path, monkeypatch, checkpoint, capsys):
    (tmp_path / "theirs").write_text("kept")
    (tmp_path / "model.onnx").symlink_to("theirs")
    args = ["--ckpt", str(checkpoint), "--out", str(tmp_path / "model.onnx")]
    with monkeypatch.context() as patch:
        patch.setattr(onnx, "TOLERANCE", -1)
        assert export.main(args) == 2
    assert "differ from" in capsys.readouterr().err
    assert (tmp_path / "model.onnx").read_text() == "kept"
    assert export.main(args) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "theirs"]
    assert (tmp_path / "theirs").read_text() == "kept"


@pytest.mark.parametrize("name", ["vae-k3", "remix-notes"])
def test_the_printed_example_runs(name, tmp_path, capsys):
    assert export.main(["--ckpt", name, "--out", str(tmp_path / "model.onnx")]) == 0
    exec(capsys.readouterr().out.split("To use it:")[1], {})  # noqa: S102  what users do
    model = vaebss.load(name)
    assert capsys.readouterr().out.startswith(str((5, model.num_sources, *model.image_shape)))
