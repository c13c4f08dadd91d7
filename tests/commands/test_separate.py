import csv
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from vaebss import checkpoints, load
from vaebss.commands import separate
from vaebss.commands.file_separator import FileSeparator, Notes
from vaebss.commands.output_folder import OutputFolder
from vaebss.figures.contact_sheet import ContactSheet
from vaebss.modalities.image_files import read_images
from vaebss.modalities.modality import separate_signals
from vaebss.modalities.registry import modality_of
from vaebss.separation import Separation
from vaebss.signals import NOTICES


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
    """The sum of a mixture's sources as written in pictures."""
    return np.sum([np.asarray(Image.open(path)).astype(float) for path in out.glob(f"{name}_source*")], 0)


def arrays(out, name: str) -> np.ndarray:
    """Sources as written in arrays, (K, ...), by number."""
    return np.stack([np.load(path) for path in sorted(out.glob(f"{name}_source*.npy"))])


def listed(out) -> list[dict[str, str]]:
    return list(csv.DictReader((out / "separations.csv").open()))


def test_sources_of_every_file_add_up(tmp_path, checkpoint, mixtures, capsys):
    out = tmp_path / "out"
    assert run(checkpoint, tmp_path / "three.npy", tmp_path / "1.png", "--out", out) == 0
    np.testing.assert_allclose(arrays(out, "three").sum(0)[:, 0], mixtures, atol=1e-5)
    np.testing.assert_allclose(total(out, "1"), mixtures[1] * 255, atol=2)
    assert (out / "contact_sheet.png").is_file()
    assert "4 mixtures" in capsys.readouterr().out


@pytest.mark.parametrize("number", NOTICES)
def test_a_scheduler_that_ends_a_run_leaves_a_list_of_what_is_written(
    number, tmp_path, checkpoint, mixtures, monkeypatch
):
    """So that the next run may go on in the same folder."""
    out, typed, separate_part = tmp_path / "out", [tmp_path / f"{k}.png" for k in range(3)], FileSeparator.separate_part

    def ended(self, path, part):
        if path.stem == "1":
            os.kill(os.getpid(), number)
        return separate_part(self, path, part)

    with monkeypatch.context() as patch:
        patch.setattr(FileSeparator, "separate_part", ended)
        with pytest.raises(SystemExit) as stop:
            run(checkpoint, *typed, "--out", out)
    assert stop.value.code == 128 + number
    assert [row["name"] for row in listed(out)] == ["0"]
    assert {path.name.partition("_")[0] for path in out.iterdir()} == {"0", "separations.csv"}
    assert run(checkpoint, *typed, "--out", out) == 0
    assert [row["name"] for row in listed(out)] == ["0", "1", "2"]


@pytest.fixture
def interruptible() -> Iterator[None]:
    """A shell starts what runs in the background with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGINT, *NOTICES])
@pytest.mark.parametrize("name", ["1.png", "three.npy"])
def test_a_signal_between_two_files_of_a_mixture_waits_until_both_are_listed(
    number, name, tmp_path, checkpoint, mixtures, interruptible, monkeypatch
):
    out, replace = tmp_path / "out", Path.replace

    def signalled(self, target):
        if "_source" in str(target):
            os.kill(os.getpid(), number)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", signalled)
    if number == signal.SIGINT:
        assert run(checkpoint, tmp_path / name, "--out", out) == 130
    else:
        with pytest.raises(SystemExit, match=str(128 + number)):
            run(checkpoint, tmp_path / name, "--out", out)
    (pattern,) = {row["written"] for row in listed(out)}
    count = max(int(row["count"]) for row in listed(out))
    written = {pattern.replace("*", str(k + 1)) for k in range(count)}
    assert count > 1
    assert {path.name for path in out.iterdir()} == {*written, "separations.csv"}


def test_pixels_that_are_too_bright_are_told_once_for_all_mixtures(tmp_path, checkpoint, capsys):
    """There are enough mixtures for an estimate of their quality, which separates them again."""
    np.save(tmp_path / "bright.npy", np.random.default_rng(0).uniform(0, 1.5, (24, 1, 28, 28)).astype(np.float32))
    assert run(checkpoint, tmp_path / "bright.npy", "--out", tmp_path / "out") == 0
    printed = capsys.readouterr()
    assert "Estimated without true sources" in printed.out
    assert (printed.out + printed.err).count("Some pixels exceed") == 1


def test_a_component_table_of_somebody_else_is_refused_as_often_as_it_is_asked_for(tmp_path, checkpoint, mixtures):
    out = tmp_path / "out"
    out.mkdir()
    (out / "component_spectra.csv").write_text("mine")
    for _ in range(2):
        assert run(checkpoint, tmp_path / "three.npy", "--out", out, "--components") == 2
    assert {path.name: path.read_text() for path in out.iterdir()} == {"component_spectra.csv": "mine"}


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
    number = len([*(tmp_path / "out").glob("dark_source*")])
    ink = 255 * number - total(tmp_path / "out", "dark")  # what is written is dark on white too
    np.testing.assert_allclose(ink, mixtures[0] * 255, atol=3)


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
    (["--source-max", "0"], "source-max must be above 0, not 0"),
    (["--ckpt", "none"], "no checkpoint at none"),
    (["--refine-steps", "-1"], "0 or more, not -1"),
    (["--ckpt", "remix-k2", "--refine-steps", "1"], "refine_steps must be 0"),
    (["--gpus", "2"], "--gpus must be 0 or 1, not 2"),
    (["--axes", "HWX"], "axes must be distinct letters of N, C, H and W, with a W, such as NHW, not 'HWX'"),
    (["--what"], "nrecognized arguments: --what"),
]


@pytest.mark.parametrize(("options", "told"), OPTIONS, ids=[" ".join(options) for options, _ in OPTIONS])
def test_bad_options_are_one_line(tmp_path, checkpoint, mixtures, capsys, options, told):
    with pytest.raises(SystemExit) if options == ["--what"] else torch.no_grad() as caught:
        code = run(checkpoint, tmp_path / "0.png", "--out", tmp_path / "out", *options)
    assert (caught.value.code if caught else code) == 2
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1
    assert told in error


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
    found = separate_signals(model.separate, modality_of(model, source_max=0.25), images)
    torch.testing.assert_close(found.sources, model.separate(images * 2).sources / 2)


def test_arrays_may_come_through_a_pipe(tmp_path, checkpoint, mixtures, monkeypatch):
    with (tmp_path / "three.npy").open("rb") as stream:
        monkeypatch.setattr("sys.stdin", type("Stdin", (), {"buffer": stream}))
        assert run(checkpoint, "-", "--out", tmp_path / "out") == 0
    np.testing.assert_allclose(arrays(tmp_path / "out", "stdin").sum(0)[2, 0], mixtures[2], atol=1e-5)


HELD = {  # file of mixtures up to 1 -> how they are held there, and what white is
    "grey": ("a.npy", lambda m: m, 1),
    "grey, half": ("a.npy", lambda m: m.astype(np.float16), 1),
    "one": ("a.npy", lambda m: m[0], 1),
    "channel": ("a.npy", lambda m: m[:, None], 1),
    "colour": ("a.npy", lambda m: np.stack([m, m / 2, 0 * m], 1), 1),
    "channels last": ("a.npy", lambda m: np.stack([m, m / 2, 0 * m], -1), 1),
    "8 bits": ("a.npy", lambda m: (m * 255).astype(np.uint8), 255),
    "16 bits": ("a.npy", lambda m: (m * 65_535).astype(np.uint16), 65_535),
    "archive": ("a.npz", lambda m: m, 1),
}


@pytest.mark.parametrize("case", HELD)
def test_arrays_come_back_in_the_shape_and_the_scale_of_what_came_in(tmp_path, checkpoint, mixtures, case):
    name, held, white = HELD[case]
    array = held(np.concatenate([mixtures, mixtures]))  # three alone might be one in colour
    np.save(tmp_path / name, array) if name == "a.npy" else np.savez(tmp_path / name, x=array)
    assert run(checkpoint, tmp_path / name, "--out", tmp_path / "out") == 0
    found = arrays(tmp_path / "out", "a")
    assert found.dtype == np.float32
    assert found.shape[1:] == array.shape
    np.testing.assert_allclose(found.sum(0), array, atol=2e-5 * white)


def test_axes_of_arrays_may_be_stated(tmp_path, checkpoint, mixtures, capsys):
    np.save(tmp_path / "a.npy", np.moveaxis(np.concatenate([mixtures, mixtures]), 0, -1))
    assert run(checkpoint, tmp_path / "a.npy", "--out", tmp_path / "out") == 2
    assert "a.npy has shape (28, 28, 6), which may be NHW or HWN; name its axes by --axes" in capsys.readouterr().err
    assert run(checkpoint, tmp_path / "a.npy", "--axes", "HWN", "--out", tmp_path / "out") == 0
    found = arrays(tmp_path / "out", "a")
    assert [row["name"] for row in listed(tmp_path / "out")] == [f"a[{number}]" for number in range(6)]
    np.testing.assert_allclose(found.sum(0), np.load(tmp_path / "a.npy"), atol=1e-5)


def test_rows_of_arrays_are_silent_beyond_their_count(tmp_path, checkpoint, mixtures):
    np.save(tmp_path / "a.npy", np.stack([0 * mixtures[0], *mixtures])[:, None])
    assert run(checkpoint, tmp_path / "a.npy", "--out", tmp_path / "out") == 0
    found, rows = arrays(tmp_path / "out", "a"), listed(tmp_path / "out")
    assert [row["name"] for row in rows] == ["a[0]", "a[1]", "a[2]", "a[3]"]
    assert [int(row["count"]) for row in rows] == [int((row != 0).any((1, 2, 3)).sum()) for row in found.swapaxes(0, 1)]
    assert rows[0]["count"] == "0"


def test_arrays_of_an_archive_are_inputs_of_their_own(tmp_path, checkpoint, mixtures, capsys):
    np.savez(tmp_path / "a.npz", x=mixtures[:, None], y=np.ones((1, 40, 30)) / 2, labels=np.arange(3))
    assert run(checkpoint, tmp_path / "a.npz", "--out", tmp_path / "out") == 2
    assert "a.npz[labels] has shape" in capsys.readouterr().err
    np.testing.assert_allclose(arrays(tmp_path / "out", "a_x").sum(0)[:, 0], mixtures, atol=1e-5)
    assert arrays(tmp_path / "out", "a_y").shape[1:] == (1, 40, 30)


def test_numbers_whose_white_is_stated_come_back_in_their_scale(tmp_path, checkpoint, mixtures):
    array = (mixtures[0] * 1_000).astype(np.int64)
    np.save(tmp_path / "a.npy", array)
    assert run(checkpoint, tmp_path / "a.npy", "--white", 1_000, "--out", tmp_path / "out") == 0
    np.testing.assert_allclose(arrays(tmp_path / "out", "a").sum(0), array, atol=0.02)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_pictures_of_16_bits_stay_so(tmp_path, checkpoint, mixtures, suffix):
    fine = (mixtures[0] * 65_535).astype(np.uint16)
    Image.fromarray(fine).save(tmp_path / f"fine.{suffix}")
    assert run(checkpoint, tmp_path / f"fine.{suffix}", "--out", tmp_path / "out") == 0
    (first, *_) = (tmp_path / "out").glob("fine_source*.png")
    assert first.read_bytes()[24] == 16  # the bit depth in a header of PNG
    np.testing.assert_allclose(total(tmp_path / "out", "fine"), fine, atol=4)


def test_pictures_of_floats_stay_so_beyond_white_too(tmp_path, checkpoint, mixtures):
    Image.fromarray(1.5 * mixtures[0]).save(tmp_path / "a.tif")
    assert run(checkpoint, tmp_path / "a.tif", "--source-max", "1", "--out", tmp_path / "out") == 0
    assert [*(tmp_path / "out").glob("a_source*.tiff")]
    np.testing.assert_allclose(total(tmp_path / "out", "a"), 1.5 * mixtures[0], atol=1e-5)


@pytest.mark.parametrize(("white", "dtype", "atol"), [(65_535, np.uint16, 4), (1.5, np.float32, 1e-5)])
def test_fine_colour_stays_fine(tmp_path, checkpoint, mixtures, white, dtype, atol):
    colour = (white * mixtures[:3].transpose(1, 2, 0)).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", colour, photometric="rgb", planarconfig="contig")
    assert run(checkpoint, tmp_path / "a.tif", "--source-max", "1", "--out", tmp_path / "out") == 0
    sources = [tifffile.imread(path) for path in (tmp_path / "out").glob("a_source*.tiff")]
    assert {source.dtype for source in sources} == {np.dtype(dtype)}
    np.testing.assert_allclose(np.sum(sources, 0, dtype=float), colour, atol=atol)


@pytest.mark.parametrize(
    ("kind", "name", "white", "atol"), [("png", "three_00001", 255, 2), ("tiff", "three_00001", 1, 1e-5)]
)
def test_arrays_may_be_asked_for_as_pictures(tmp_path, checkpoint, mixtures, kind, name, white, atol):
    assert run(checkpoint, tmp_path / "three.npy", "--format", kind, "--out", tmp_path / "out") == 0
    np.testing.assert_allclose(total(tmp_path / "out", name), mixtures[1] * white, atol=atol)


def test_pictures_may_be_asked_for_as_arrays(tmp_path, checkpoint, mixtures):
    assert run(checkpoint, tmp_path / "0.png", "--format", "npy", "--out", tmp_path / "out") == 0
    found = arrays(tmp_path / "out", "0")
    assert found.shape[1:] == (28, 28)
    np.testing.assert_allclose(found.sum(0), np.asarray(Image.open(tmp_path / "0.png")), atol=1e-2)


def test_a_format_of_sound_is_refused_for_pictures(tmp_path, checkpoint, mixtures, capsys):
    assert run(checkpoint, tmp_path / "0.png", "--format", "flac", "--out", tmp_path / "out") == 2
    assert "--format flac is not for images, but .png, .tiff, .npy, .csv are" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "ckpt", "advice"),
    [
        ("a.wav", "remix-k2", "for these files leave out --ckpt, or name a model such as remix-lines"),
        ("0.png", "vae-notes", "for these files leave out --ckpt, or name a model such as remix-1to4"),
        ("a.csv", "remix-lines", "for these lines train a model: fit.py --data.mixtures"),
    ],
)
def test_a_model_of_another_kind_is_told_with_what_fits(tmp_path, name, ckpt, advice, capsys):
    (tmp_path / name).write_bytes(b"what is in it does not matter")
    assert run(ckpt, tmp_path / name, "--out", tmp_path / "out") == 2
    assert advice in capsys.readouterr().err


def test_a_source_has_one_number_in_names_on_the_list_and_on_the_sheet(tmp_path, mixtures, monkeypatch):
    """Where it is found in a later slot than one that holds nothing."""
    active = torch.tensor([[False, True, True], [True, False, True], [False, False, True]])
    sources = torch.rand(3, 3, 1, 28, 28) / 3
    model = load("vae-k3")
    monkeypatch.setattr(type(model), "separate", lambda self, x, **_: Separation(sources, active, torch.ones(3)))
    modality, drawn = modality_of(model), []
    separator = FileSeparator(model, modality, {}, ".png", Notes())
    signals = torch.from_numpy(mixtures)[:, None]
    with OutputFolder(tmp_path / "out", []) as written:
        ((names, _, found),) = separator.separate(tmp_path / "three.npy", "three", written)
        sheet = ContactSheet()
        sheet.draw_with(lambda rows: drawn.append(rows) or modality.figure(rows), modality.columns_per_page)
        sheet.add(names, signals, found.sources, found.count)
        sheet.save(tmp_path / "sheet.png")
    assert list(drawn[0]) == ["mixture", "source 1", "source 2"]
    assert [row["count"] for row in listed(tmp_path / "out")] == ["2", "2", "1"]
    for number, counted in enumerate([2, 2, 1]):
        slots = active[number].nonzero().flatten()
        for k in range(2):
            path = tmp_path / "out" / f"three_{number:05d}_source{k + 1}.png"
            assert path.is_file() == (k < counted)
            shown = drawn[0][f"source {k + 1}"][number, 0]
            if k < counted:
                np.testing.assert_allclose(
                    np.asarray(Image.open(path)) / 255, shown.clamp(max=1), atol=0.5 / 255 + 1e-6
                )
                share = sources[number, slots[k]] / sources[number, slots].sum(0)
                torch.testing.assert_close(shown, (share * signals[number])[0], atol=1e-5, rtol=0)
            else:
                assert not shown.any()


def test_every_mixture_is_on_the_list(tmp_path, checkpoint, mixtures):
    out = tmp_path / "out"
    assert run(checkpoint, tmp_path / "0.png", tmp_path / "three.npy", "--out", out) == 0
    rows = listed(out)
    assert list(rows[0]) == ["file", "name", "count", "confidence", "blind_score", "picture", "written"]
    assert [row["name"] for row in rows] == ["0", "three[0]", "three[1]", "three[2]"]
    assert [row["file"] for row in rows] == [str(tmp_path / "0.png"), *[str(tmp_path / "three.npy")] * 3]
    assert len([*out.glob(rows[0]["written"])]) == int(rows[0]["count"])
    assert len([*out.glob(rows[1]["written"])]) == max(int(row["count"]) for row in rows[1:])
    model = load(checkpoint)
    images = torch.from_numpy(mixtures)[:, None]
    confidence = separate_signals(model.separate, modality_of(model, source_max=0.5), images).confidence
    assert [float(row["confidence"]) for row in rows[1:]] == pytest.approx(confidence.tolist(), abs=1e-4)


def test_shares_of_many_files_add_up_to_what_one_run_finds(tmp_path, checkpoint, mixtures, capsys, monkeypatch):
    """Pictures are looked at, and files of one name numbered, as if no file were left out."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "more").mkdir()
    np.save(tmp_path / "more" / "0.npy", mixtures[::-1, None])
    inputs = [".", "more", "--ckpt", str(checkpoint), "--gpus=0"]
    assert separate.main([*inputs, "--out=whole"]) == 0
    for share in ("2/3", "3/3", "1/3", "2/3"):
        assert separate.main([*inputs, "--out=shares", f"--shard={share}"]) == 0
    assert f"files are in share {share}; a share has no contact sheet" in capsys.readouterr().out
    assert (tmp_path / "shares" / "separations.csv").read_text() == (tmp_path / "whole" / "separations.csv").read_text()
    whole = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    del whole["contact_sheet.png"]
    shares = {path.name: path.read_bytes() for path in (tmp_path / "shares").iterdir()}
    assert shares == whole | {".separations.lock": b""}


def test_a_share_without_files_leaves_an_empty_list(tmp_path, checkpoint, mixtures):
    assert run(checkpoint, tmp_path / "0.png", "--shard=2/2", "--out", tmp_path / "out") == 0
    assert not listed(tmp_path / "out")


@pytest.mark.parametrize("share", ["0/3", "4/3", "3", "a/b", "1/0", "-1/3", "1/3/4", "/", ""])
def test_a_share_that_is_none_is_refused(share, tmp_path, checkpoint, mixtures, capsys):
    assert run(checkpoint, tmp_path / "0.png", f"--shard={share}", "--out", tmp_path / "out") == 2
    assert capsys.readouterr().err.endswith(f"--shard must be I/N with I from 1 to N, such as 3/16, not {share!r}\n")
    assert not (tmp_path / "out").exists()
