"""Whatever a user gets wrong is one line that names it, exit code 2, and nothing changed on disk."""

import ast
import gzip
import os

import pytest
import torch
from conftest import REPOSITORY

import vaebss
from vaebss.commands import export, fit, remix, separate, ship
from vaebss.commands import test as scoring

MNIST_FILE = "train-images-idx3-ubyte"


class Trap:
    """A pickle that would leave a file behind."""

    def __reduce__(self):
        return (os.mkdir, ("trapped",))


def run(main, args, capsys) -> str:
    """The one line of a refusal; `main` runs in the working directory."""
    before = sorted(map(str, os.scandir(".")))
    try:
        code = main([str(arg) for arg in args])
    except SystemExit as stop:
        code = stop.code
    error = capsys.readouterr().err
    assert code == 2, error
    assert len(error.strip().splitlines()) == 1, error
    assert "Traceback" not in error
    assert sorted(map(str, os.scandir("."))) == before
    return error


OPTIONS = [
    ("--data.batch_size", "0", "batch_size"),
    ("--data.batch_size", "-3", "batch_size"),
    ("--data.batch_size", "many", "batch_size"),
    ("--data.epoch_size", "0", "epoch_size"),
    ("--data.num_mixed", "0", "num_mixed"),
    ("--data.num_mixed", "[3,1]", "num_mixed"),
    ("--data.num_mixed", "[1,2,3]", "num_mixed"),
    ("--data.source_scale", "0", "source_scale"),
    ("--data.source_scale", "nan", "source_scale"),
    ("--data.source", "cifar", "source"),
    ("--data.train_size", "999999999", "train_size"),
    ("--data.num_workers", "-1", "num_workers"),
    ("--data.mixtures", "nowhere", "nowhere"),
    ("--model.num_sources", "0", "num_sources"),
    ("--model.num_sources", "1.5", "num_sources"),
    ("--model.latent_dim", "-2", "latent_dim"),
    ("--model.lr", "0", "lr"),
    ("--model.lr", "inf", "lr"),
    ("--model.beta", "-1", "beta"),
    ("--model.beta", "nan", "beta"),
    ("--model.hidden_dims", "[]", "hidden_dims"),
    ("--model.hidden_dims", "[32,0]", "hidden_dims"),
    ("--model.prior", "cauchy", "prior"),
    ("--model.likelihood_scale", "0", "likelihood_scale"),
    ("--trainer.max_epochs", "soon", "max_epochs"),
    ("--trainer.precision", "3", "precision"),
    ("--gpus", "-1", "gpus"),
    ("--gpus", "99", "gpus"),
    ("--trainer.overfit_batches", "-1", "overfit_batches"),
    ("--seed_everything", "-1", "seed"),
    ("--no-such-option", "1", "no-such-option"),
    ("--ckpt", "none.ckpt", "none.ckpt"),
    ("--init", "none.ckpt", "none.ckpt"),
    ("--config", "none.yaml", "none.yaml"),
]


@pytest.mark.parametrize(("option", "value", "named"), OPTIONS)
def test_options(option, value, named, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = () if option == "--data.source" else ("--data.source", "bundled")
    assert named in run(fit.main, [*data, option, value, "--trainer.max_epochs=1"], capsys)


YAML = {
    "broken": "model: [1, 2",
    "unknown key": "model:\n  colour: red\n",
    "no mapping": "- 1\n- 2\n",
    "no options": "model: 3\n",
    "no options of the trainer": "trainer: 3\n",
    "code": "model: !!python/object/apply:os.mkdir [trapped]\n",
}


TOLD = {
    "broken": "line 1, column 8",
    "unknown key": "'colour'",  # the words around it differ between versions of jsonargparse
    "no mapping": "- 1 - 2",
    "no options": "`model` must be a mapping",
    "no options of the trainer": "`trainer` must be a mapping",
    "code": "os.mkdir",
}


@pytest.mark.parametrize("kind", YAML)
def test_configurations(kind, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.yaml").write_text(YAML[kind])
    assert TOLD[kind] in run(fit.main, ["--config", "bad.yaml"], capsys)
    assert not (tmp_path / "trapped").exists()


RECIPES = YAML | {
    "unknown key of the data": "data:\n  colour: red\n",
    "wrong type": "model:\n  latent_dim: many\n",
    "empty": "",
}


@pytest.mark.parametrize("kind", RECIPES)
def test_files_that_a_teacher_is_trained_by(kind, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.yaml").write_text(RECIPES[kind])
    told = run(remix.main, ["--teacher", "bad.yaml", "--data.source=bundled"], capsys)
    assert "bad.yaml" in told
    assert ("colour" in told) == ("unknown key" in kind)
    assert ("latent_dim" in told) == (kind == "wrong type")
    assert not (tmp_path / "trapped").exists()


def test_a_missing_file_that_a_teacher_is_trained_by(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert "none.yaml" in run(remix.main, ["--teacher", "none.yaml", "--data.source=bundled"], capsys)


@pytest.mark.parametrize("option", ["--data.remix_gains=[0.5]", "--teacher_epochs=0"])
def test_options_of_remix_are_refused_by_their_names(option, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert option.split("=")[0].removeprefix("--") in run(remix.main, [option, "--data.source=bundled"], capsys)


def test_what_only_the_teacher_refuses_is_told_of_its_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.yaml").write_text("model:\n  lr: 0\n")
    assert remix.main(["--teacher=bad.yaml", "--data.source=bundled", "--data.num_mixtures=64", "--gpus=0"]) == 2
    assert "bad.yaml: model.lr must be above 0" in capsys.readouterr().err


COMMANDS = {
    "test": (scoring.main, "--data.source=bundled", "--ckpt"),
    "fit": (fit.main, "--data.source=bundled", "--init"),
    "remix": (remix.main, "--data.source=bundled", "--teacher"),
    "resumed": (fit.main, "--gpus=0", "--ckpt"),
    "separate": (separate.main, "x.png", "--ckpt"),
    "export": (export.main, "--out=x.onnx", "--ckpt"),
    "ship": (ship.main, "--name=vae", "--command=fit.py", "--ckpt"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_refuses_what_is_no_checkpoint(command, tmp_path, monkeypatch, capsys):
    """What kinds there are is a matter of `vaebss.load`."""
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Trap()}, tmp_path / "bad.ckpt")
    main, *args = COMMANDS[command]
    assert "bad.ckpt" in run(main, [*args, "bad.ckpt"], capsys)
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_the_home_of_nobody_is_a_line(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main, *args = COMMANDS[command]
    assert "~nosuchuser/x names the home folder of an unknown user" in run(main, [*args, "~nosuchuser/x"], capsys)


@pytest.mark.parametrize("command", [scoring, separate, export])
def test_an_empty_name_is_no_default_model(command, tmp_path, monkeypatch, capsys):
    """Such as of a variable of a shell that is not set."""
    monkeypatch.chdir(tmp_path)
    inputs = ["x.png"] if command is separate else []
    assert "is empty" in run(command.main, [*inputs, "--ckpt="], capsys)


@pytest.mark.parametrize("command", [scoring, separate, export])
def test_results_in_the_home_of_nobody_are_a_line(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    inputs = ["x.png"] if command is separate else []
    arguments = [*inputs, "--ckpt=vae-k2", "--out=~nosuchuser/x"]
    assert "~nosuchuser/x names the home folder of an unknown user" in run(command.main, arguments, capsys)


@pytest.mark.parametrize("command", ["test", "fit", "remix"])
def test_weights_that_are_not_numbers_show_before_there_is_a_run(command, checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    contents = torch.load(checkpoint, weights_only=True)
    contents["state_dict"]["encoder.1.weight"][0, 0] = torch.nan
    torch.save(contents, tmp_path / "bad.ckpt")
    main, *args = COMMANDS[command]
    assert "NaN" in run(main, [*args, "bad.ckpt"], capsys)


def spoil(raw, kind):
    file = raw / f"{MNIST_FILE}.gz"
    match kind:
        case "corrupt archive":
            file.write_bytes(os.urandom(500))
        case "truncated archive":
            file.write_bytes(gzip.compress(bytes(2_000))[:-9])
        case "wrong checksum":
            file.write_bytes(gzip.compress(bytes(2_000)))
        case "wrong magic":
            (raw / MNIST_FILE).write_bytes(bytes(20))
        case "no digits":
            (raw / MNIST_FILE).write_bytes(b"\0\0\x08\x03" + bytes(12))
        case "symlink loop":
            file.symlink_to(file)


IMAGE_SETS = ["corrupt archive", "truncated archive", "wrong checksum", "wrong magic", "no digits", "symlink loop"]


@pytest.mark.parametrize("kind", IMAGE_SETS)
def test_image_sets(kind, no_network, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    spoil(raw, kind)
    files = sorted(path.name for path in raw.iterdir())
    message = run(fit.main, ["--data.source", "mnist", "--data.root", "data"], capsys)
    assert "mnist" in message.lower()
    assert sorted(path.name for path in raw.iterdir()) == files


BAD_TENSORS = {
    "not a tensor": [[0.0]],
    "wrong shape": torch.zeros(2, 28, 28),
    "other size": torch.zeros(2, 1, 32, 32),
    "integers": torch.zeros(2, 1, 28, 28, dtype=torch.uint8),
    "complex": torch.zeros(2, 1, 28, 28, dtype=torch.complex64),
    "too bright": torch.full((2, 1, 28, 28), 9.0),
    "negative": torch.full((2, 1, 28, 28), -1.0),
    "NaN": torch.full((2, 1, 28, 28), torch.nan),
    "infinite": torch.full((2, 1, 28, 28), torch.inf),
    "no mixtures": torch.zeros(0, 1, 28, 28),
}


@pytest.mark.parametrize("kind", BAD_TENSORS)
def test_tensors(kind, checkpoint):
    with pytest.raises(ValueError, match="mixture") as caught:
        vaebss.load(checkpoint).separate(BAD_TENSORS[kind])
    assert "\n" not in str(caught.value)


def test_tensors_that_are_not_contiguous_are_welcome(checkpoint):
    mixture = torch.rand(28, 28, 1, 3).permute(3, 2, 0, 1)
    model = vaebss.load(checkpoint)
    torch.testing.assert_close(model.separate(mixture).sources, model.separate(mixture.contiguous()).sources)


def test_a_folder_that_cannot_be_written_is_named(checkpoint, tmp_path, capsys):
    (tmp_path / "file").touch()
    arguments = ["--ckpt", checkpoint, "--out", tmp_path / "file" / "out", "--data.test_mixtures=4"]
    assert scoring.main(list(map(str, arguments))) == 2
    assert "file" in capsys.readouterr().err


def test_no_file_is_read_in_a_way_that_could_run_it():
    """The linter sees to pickle, eval, exec and YAML; these it does not know."""
    safe = {"torch.load": "weights_only=True", "np.load": "allow_pickle=False"}
    found = set()
    for path in (REPOSITORY / "vaebss").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and (name := ast.unparse(node.func)) in safe:
                found.add(name)
                assert safe[name] in map(ast.unparse, node.keywords), f"{path}:{node.lineno}"
    assert found == set(safe)
