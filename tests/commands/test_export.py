import shutil

import numpy as np
import pytest
import torch

import vaebss
from vaebss import Masker
from vaebss.commands import export
from vaebss.models import onnx

onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def exported(checkpoint, tmp_path_factory):
    """A VAE and its file."""
    model, path = vaebss.load(checkpoint), tmp_path_factory.mktemp("exported") / "model.onnx"
    assert onnx.export(model, path) < 1e-4
    return model, path


@pytest.fixture
def student(tmp_path):
    """A student and its file."""
    torch.manual_seed(0)
    model, path = Masker(3, (4, 6, 8), 16).eval(), tmp_path / "model.onnx"
    assert onnx.export(model, path) < 1e-4
    return model, path


@pytest.mark.parametrize(("kind", "sizes"), [("exported", [(28, 28)]), ("student", [(28, 28), (33, 38), (25, 27)])])
def test_onnxruntime_gives_the_same_answers_for_any_number_of_mixtures_and_any_size(kind, sizes, request):
    model, path = request.getfixturevalue(kind)
    session = onnxruntime.InferenceSession(path)
    for size in sizes:
        mixture = torch.rand(7, 1, *size) / 2
        sources, active = session.run(None, {"mixture": mixture.numpy()})
        separation = model.separate(mixture)
        np.testing.assert_allclose(sources, separation.sources, atol=1e-4)
        np.testing.assert_array_equal(active, separation.active)


def test_a_link_and_a_file_of_before_stay_where_the_export_fails(tmp_path, monkeypatch, checkpoint, exported, capsys):
    monkeypatch.setattr(torch.onnx, "export", lambda program, mixture, path, **_: shutil.copyfile(exported[1], path))
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
