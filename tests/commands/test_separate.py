import numpy as np
import pytest
import torch
from PIL import Image

from vaebss import api, checkpoints
from vaebss.commands import separate
from vaebss.commands.written import SHEET, Written
from vaebss.errors import FileError
from vaebss.modalities.image_files import read_images
from vaebss.modalities.kinds import modality_of


@pytest.fixture
def mixtures(tmp_path) -> np.ndarray:
    array = np.random.default_rng(0).random((3, 28, 28), dtype=np.float32)
    np.save(tmp_path / "three.npy", array[:, None])
    for number, mixture in enumerate(array):
        Image.fromarray((mixture * 255).astype(np.uint8)).save(tmp_path / f"{number}.png")
    return array


def run(checkpoint, *args) -> int:
    given = () if "--source-max" in args else ("--source-max", "0.5")
    return separate.main(["--ckpt", str(checkpoint), "--gpus", "0", *given, *map(str, args)])


def total(out, name: str) -> np.ndarray:
    """The sum of a mixture's sources as written."""
    return np.sum([np.asarray(Image.open(path)).astype(int) for path in out.glob(f"{name}_source*.png")], 0)


def test_sources_of_every_file_add_up(tmp_path, checkpoint, mixtures, capsys):
    out = tmp_path / "out"
    assert run(checkpoint, tmp_path / "three.npy", tmp_path / "1.png", "--out", out) == 0
    for name in ("three_00001", "1"):
        np.testing.assert_allclose(total(out, name), mixtures[1] * 255, atol=2)
    assert (out / "contact_sheet.png").is_file()
    assert "4 mixtures" in capsys.readouterr().out


def test_other_sizes_are_resized_and_still_add_up(tmp_path, checkpoint, capsys):
    large = (np.random.default_rng(0).random((60, 40)) * 255).astype(np.uint8)
    Image.fromarray(large).save(tmp_path / "large.png")
    assert run(checkpoint, tmp_path / "large.png", "--out", tmp_path / "out") == 0
    np.testing.assert_allclose(total(tmp_path / "out", "large"), large, atol=2)
    assert "resized" in capsys.readouterr().out


def test_dark_on_white_is_inverted(tmp_path, checkpoint, mixtures):
    inverse = 255 - (mixtures[0] * 255).astype(np.uint8)
    Image.fromarray(inverse).save(tmp_path / "dark.png")
    assert run(checkpoint, tmp_path / "dark.png", "--invert", "--out", tmp_path / "out") == 0
    np.testing.assert_allclose(total(tmp_path / "out", "dark"), mixtures[0] * 255, atol=3)


def test_a_bad_file_is_named_and_the_others_go_on(tmp_path, checkpoint, mixtures, capsys):
    (tmp_path / "0.png").write_bytes(b"nothing")
    np.save(tmp_path / "bright.npy", np.full((28, 28), 90, np.float32))
    assert run(checkpoint, tmp_path, tmp_path / "none.png", "--out", tmp_path / "out") == 2
    output = capsys.readouterr()
    errors = [line for line in output.err.splitlines() if line.startswith("separate.py: error")]
    assert len(errors) == 3
    assert all(any(name in line for line in errors) for name in ("0.png", "bright.npy", "none.png"))
    assert "5 mixtures" in output.out


OPTIONS = [
    ["--source-max", "0"],
    ["--ckpt", "none"],
    ["--refine-steps", "-1"],
    ["--ckpt", "remix-k2", "--refine-steps", "1"],
    ["--gpus", "2"],
    ["--what"],
]


@pytest.mark.parametrize("options", OPTIONS)
def test_bad_options_are_one_line(tmp_path, checkpoint, mixtures, capsys, options):
    with pytest.raises(SystemExit) if options == ["--what"] else torch.no_grad() as caught:
        code = run(checkpoint, tmp_path / "0.png", "--out", tmp_path / "out", *options)
    assert (caught.value.code if caught else code) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_files_of_one_name_do_not_overwrite_each_other(tmp_path, checkpoint, mixtures, capsys):
    for number, folder in enumerate(("a", "b")):
        (tmp_path / folder).mkdir()
        (tmp_path / f"{number}.png").rename(tmp_path / folder / "m.png")
    assert run(checkpoint, tmp_path / "a", tmp_path / "b", "--out", tmp_path / "out") == 0
    for number, name in enumerate(("m", "m_2")):
        np.testing.assert_allclose(total(tmp_path / "out", name), mixtures[number] * 255, atol=2)
    assert "written as m_2" in capsys.readouterr().out


def test_a_picture_may_come_through_a_pipe(tmp_path, checkpoint, mixtures, monkeypatch):
    with (tmp_path / "0.png").open("rb") as stream:
        monkeypatch.setattr("sys.stdin", type("Stdin", (), {"buffer": stream}))
        assert run(checkpoint, "-", "--out", tmp_path / "out") == 0
    np.testing.assert_allclose(total(tmp_path / "out", "stdin"), mixtures[0] * 255, atol=2)


def test_estimates_are_those_of_the_model(tmp_path, checkpoint, mixtures):
    model = checkpoints.load(checkpoint)
    (images,) = read_images(tmp_path / "three.npy")
    found = api.through(model.separate, modality_of(model, source_max=0.25), images)
    torch.testing.assert_close(found.sources, model.separate(images * 2).sources / 2)


def test_arrays_may_come_through_a_pipe(tmp_path, checkpoint, mixtures, monkeypatch):
    with (tmp_path / "three.npy").open("rb") as stream:
        monkeypatch.setattr("sys.stdin", type("Stdin", (), {"buffer": stream}))
        assert run(checkpoint, "-", "--out", tmp_path / "out") == 0
    np.testing.assert_allclose(total(tmp_path / "out", "stdin_00002"), mixtures[2] * 255, atol=2)


def test_a_later_run_clears_away_what_an_earlier_one_wrote_and_nothing_else(tmp_path):
    path, out = tmp_path / "m.png", tmp_path / "out"
    with Written(out, [path], ".png") as written:
        for place in written.of(path, "m", 3, 0.5):
            place.touch()
    (out / "m_source4.png").touch()
    (out / "n_source1.png").touch()
    with Written(out, [path], ".png") as written:
        assert written.of(path, "m", 1, 0.5) == [out / "m_source1.png"]
    assert {file.name for file in out.iterdir()} == {"m_source4.png", "n_source1.png", "separations.csv"}


def test_what_somebody_else_wrote_is_not_overwritten(tmp_path):
    path = tmp_path / "m.png"
    for name in ("m_source2.png", SHEET):
        (tmp_path / name).touch()
    with Written(tmp_path, [path], ".png") as written:
        with pytest.raises(FileError, match=r"m_source2\.png is there already"):
            written.of(path, "m", 2, 0.5)
        with pytest.raises(FileError, match="is there already"):
            written.place(SHEET)


def test_an_earlier_result_that_is_now_an_input_stays(tmp_path):
    path, source = tmp_path / "m.png", tmp_path / "m_source1.png"
    with Written(tmp_path, [path], ".png") as written:
        (place,) = written.of(path, "m", 1, 0.5)
        place.touch()
    with Written(tmp_path, [path, source], ".png") as written, pytest.raises(FileError, match="is there already"):
        written.of(path, "m", 1, 0.5)
    assert source.is_file()
