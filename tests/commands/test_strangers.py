"""Checkpoints of strangers: what they name is not imported, unless it is of a fixed list or typed by the user."""

import contextlib
import importlib
import sys
from pathlib import Path

import pytest
import torch
import yaml
from conftest import SHORT_RUN
from hypothesis import given, settings
from hypothesis import strategies as st

from vaebss import CheckpointError
from vaebss.commands import fit, remix
from vaebss.commands.fit import FitCLI
from vaebss.commands.resuming import CLASSES, MOVED, importable, trusted_options
from vaebss.commands.teacher_config import TeacherCLI
from vaebss.data.corpora.digits import Digits

MINE = """
from pytorch_lightning.profilers import PassThroughProfiler

class Mine(PassThroughProfiler):
    pass
"""
TRAP = "from pathlib import Path\nPath(__file__).with_name('imported').touch()\nclass Module: ...\ndef hook(*_): ...\n"
SINGLE = "pytorch_lightning.strategies.SingleDeviceStrategy"
OWN = "--trainer.profiler=my_profiler.Mine"
SIMPLE = {"class_path": "pytorch_lightning.profilers.SimpleProfiler", "init_args": {"extended": True}}


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """The checkpoint of a run with a class of the user's own and one of Lightning's."""
    folder = tmp_path_factory.mktemp("begun")
    (folder / "my_profiler.py").write_text(MINE)
    run = ["--gpus=0", "--data.source=bundled", *SHORT_RUN, "--trainer.max_epochs=1"]
    run += [f"--trainer.strategy={{class_path: {SINGLE}}}"]
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(folder):
        patch.syspath_prepend(folder)
        assert fit.main([*run, OWN]) == 0
    sys.modules.pop("my_profiler")
    return folder / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt"


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A module that leaves a file beside it when it is imported; the working folder is its own."""
    (tmp_path / "trap_of_a_stranger.py").write_text(TRAP)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not (tmp_path / "imported").exists()
    assert "trap_of_a_stranger" not in sys.modules


def doctored(begun, **changes) -> str:
    """The path of a copy whose options are changed: nested by `__`, as in trainer__profiler."""
    contents = torch.load(begun, weights_only=True)
    config = yaml.safe_load(contents["config"])
    for name, value in ({"trainer__profiler": None} | changes).items():
        section, _, option = name.rpartition("__")
        (config[section] if section else config)[option] = value
    torch.save(contents | {"config": yaml.dump(config)}, "doctored.ckpt")
    return "doctored.ckpt"


def test_a_trap_can_be_sprung(tmp_path, monkeypatch):
    (tmp_path / "sprung.py").write_text(TRAP)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("sprung")
    assert (tmp_path / "imported").exists()


MODULE = {"class_path": "trap_of_a_stranger.Module"}
HOOK = {
    "class_path": "pytorch_lightning.strategies.DDPStrategy",
    "init_args": {"ddp_comm_hook": "trap_of_a_stranger.hook"},
}
DOCTORED = {
    "plugins": {"trainer__plugins": [MODULE]},
    "a name": {"trainer__profiler": "trap_of_a_stranger.Module"},
    "a name in a list": {"trainer__plugins": ["trap_of_a_stranger.Module"]},
    "YAML in a string": {"trainer__profiler": "{class_path: trap_of_a_stranger.Module}"},
    "within another": {"trainer__profiler": {**SIMPLE, "init_args": {"dirpath": MODULE}}},
    "a function": {"trainer__strategy": HOOK},
    "a key": {"trainer__profiler": {"trap_of_a_stranger.Module": 1}},
    "a full name": {"trainer.profiler": MODULE},
    "half a name": {"trainer__profiler.class_path": "trap_of_a_stranger.Module"},
    "a file": {"trainer__profiler": "evil.yaml"},
    "a file that is called like a word": {"trainer__profiler": "simple"},
    "a file of a section": {"trainer": "evil.yaml"},
    "of an option that takes no class": {"trainer__max_time": MODULE},
    "of the data": {"data__root": "x", "data__source": MODULE},
    "the source of data": {"data__source": "trap_of_a_stranger.Module"},
    "the source of data, YAML in a string": {"data__source": "{class_path: trap_of_a_stranger.Module}"},
    "of the model": {"model__beta": MODULE},
    "of torch": {"trainer__plugins": [{"class_path": "torch.utils.cpp_extension.BuildExtension"}]},
    "of torch, a function": {"trainer__profiler": "torch.hub.load"},
}


@pytest.mark.parametrize("kind", DOCTORED)
def test_what_a_checkpoint_names_is_refused_before_it_is_imported(kind, begun, trap, capsys):
    for name in ("evil.yaml", "simple"):
        Path(name).write_text(yaml.dump(MODULE))
    before = set(sys.modules)
    assert code(["--gpus=0", "--ckpt", doctored(begun, **DOCTORED[kind])]) == 2
    assert capsys.readouterr().err.strip().count("\n") == 0
    assert not {name for name in set(sys.modules) - before if "trap" in name or "cpp_extension" in name}


def code(args: list[str]) -> int:
    """The exit code of fit.py, also where its parser ends it."""
    try:
        return fit.main(args)
    except SystemExit as end:
        return int(end.code or 0)


@pytest.mark.parametrize("option", ["callbacks", "logger", "accelerator"])
def test_options_of_its_place_are_not_read_from_a_checkpoint(option, begun, trap):
    assert fit.main(["--gpus=0", "--ckpt", doctored(begun, **{f"trainer__{option}": [MODULE]})]) == 0


def test_a_class_of_the_users_own_must_be_typed_again(begun, monkeypatch, capsys):
    assert fit.main(["--gpus=0", "--ckpt", str(begun)]) == 2
    error = capsys.readouterr().err
    assert "'my_profiler.Mine' in --trainer.profiler" in error
    assert error.count("\n") == 1
    assert "my_profiler" not in sys.modules
    monkeypatch.syspath_prepend(begun.parents[3])
    assert fit.main(["--gpus=0", "--ckpt", str(begun), OWN]) == 0
    assert fit.main(["--gpus=0", "--ckpt", str(begun), "--config", str(begun.parents[1] / "config.yaml")]) == 0


def test_a_class_of_lightning_need_not_be_typed_again(begun, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert fit.main(["--gpus=0", "--ckpt", doctored(begun, trainer__profiler=SIMPLE)]) == 0


def test_all_classes_of_the_list_exist():
    for path in CLASSES:
        module, _, name = path.rpartition(".")
        assert isinstance(getattr(importlib.import_module(module), name), type)


WORDS = st.text("abcdefghijklmnopqrstuvwxyz0123456789_-", max_size=8)
PLAIN = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | WORDS | st.sampled_from(sorted(CLASSES))
)
VALUES = st.recursive(
    PLAIN, lambda part: st.lists(part, max_size=3) | st.dictionaries(WORDS, part, max_size=3), max_leaves=8
)
EVIL = st.from_regex(r"[a-z]{1,5}(\.[A-Za-z_]{1,5}){1,3}", fullmatch=True) | st.sampled_from(
    [
        "torch.hub.load",
        "torch.utils.cpp_extension.load",
        "os.system",
        "pytorch_lightning.cli.LightningCLI",
        "/tmp/x.yaml",
    ]
)


@st.composite
def hidden(draw, evil: str) -> object:
    """A value that holds a string somewhere: as itself, in a list, as a key or below a key."""
    value: object = evil
    for _ in range(draw(st.integers(0, 4))):
        word = draw(WORDS | st.sampled_from(["class_path", "init_args", "dict_kwargs"]))
        value = draw(st.sampled_from([[draw(VALUES), value], {word: value}, {"class_path": draw(PLAIN), word: value}]))
    return draw(st.sampled_from([value, {evil: draw(VALUES)}]))


@given(value=VALUES)
@settings(deadline=None)
def test_words_and_classes_of_the_list_are_set(value):
    saved = {
        "trainer.plugins": value,
        "data.mixtures": "./a.b/c.d",
        "data.source": str(Path(__file__)),
        "teacher": "my.yaml",
    }
    assert trusted_options(saved, {}, "x.ckpt") == saved


@given(data=st.data(), name=st.sampled_from(["trainer.plugins", "trainer.of_a_later_version", "trainer", "config"]))
@settings(deadline=None)
def test_a_name_is_found_wherever_it_is_hidden(data, name):
    evil = data.draw(EVIL)
    saved = {name: data.draw(hidden(evil)), "trainer.max_epochs": 3}
    assert importable(saved) == {name: evil}
    with pytest.raises(CheckpointError) as error:
        trusted_options(saved, {"trainer.max_epochs": 3}, "x.ckpt")
    assert f"--{name}" in str(error.value)
    assert trusted_options(saved, saved, "x.ckpt") == {"trainer.max_epochs": 3}


@given(data=st.data(), name=st.sampled_from(["data.source", "model.beta"]))
@settings(deadline=None)
def test_below_a_key_a_name_is_found_in_any_option(data, name):
    evil = data.draw(EVIL)
    assert importable({name: [1, {"class_path": data.draw(hidden(evil))}]}) == {name: evil}


class Parsed(FitCLI):
    """Options alone; nothing is made of them."""

    def before_instantiate_classes(self) -> None: ...

    def instantiate_classes(self) -> None: ...


def test_every_option_that_takes_classes_is_of_the_trainer():
    """Elsewhere strings may be paths; but for the source of data, jsonargparse reads no class from them."""
    cli = Parsed(["--seed_everything=false"])
    classes = [action.dest for action in cli.parser._actions if getattr(action, "_enable_path", False)]
    assert "trainer.plugins" in classes
    others = [name for name in classes if not name.startswith("trainer.")]
    assert others == ["data.source"]  # which `importable` knows


@pytest.mark.parametrize(
    "change",
    [
        {"config": "[1, 2"},
        {"config": "3"},
        {"config": "a: &a [*a]"},
        {"loops": []},
        {"optimizer_states": [{}]},
        {"lr_schedulers": [3]},
        {"loops": {"fit_loop": 3}},
        {"pytorch-lightning_version": 3},
        {"callbacks": 3},
    ],
    ids=str,
)
def test_a_malformed_run_is_refused_in_one_line(change, begun, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.save(torch.load(doctored(begun), weights_only=True) | change, "bad.ckpt")
    assert code(["--gpus=0", "--ckpt=bad.ckpt"]) == 2
    assert capsys.readouterr().err.strip().count("\n") == 0


def test_the_file_of_a_teacher_is_judged_where_a_checkpoint_names_it(trap):
    """The file lies there, but the user has not asked for it."""
    Path("teacher.yaml").write_text(yaml.dump({"trainer": {"callbacks": [MODULE]}}))
    cli = object.__new__(remix.RemixCLI)
    cli.config = TeacherCLI(None, Digits(source="bundled")).config
    cli.config.ckpt, cli.config.teacher, cli.typed = "last.ckpt", "teacher.yaml", {"teacher": None}
    with pytest.raises(CheckpointError, match=r"teacher\.yaml.*trap_of_a_stranger\.Module.*--teacher"):
        _ = cli.teacher_config


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_a_run_of_before_a_class_was_moved_goes_on(old, new, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = ["--gpus=0", "--data.source=bundled", *SHORT_RUN, "--trainer.max_epochs=1"]
    assert fit.main([*run, f"--trainer.plugins={{class_path: {new}}}"]) == 0
    checkpoint = Path("lightning_logs/version_0/checkpoints/last.ckpt")
    contents = torch.load(checkpoint, weights_only=True)
    assert new in contents["config"]
    torch.save(contents | {"config": contents["config"].replace(new, old)}, checkpoint)
    assert fit.main(["--gpus=0", f"--ckpt={checkpoint}"]) == 0


@pytest.mark.parametrize("way", ["--init", "--ckpt"])
@pytest.mark.parametrize(
    "change",
    [
        {"hyper_parameters": {"hidden_dims": [10**9]}},
        {"hyper_parameters": {"beta": "x"}},
        {"state_dict": {}},
    ],
)
def test_weights_that_do_not_fit_their_options_are_refused_before_a_network_is_built(change, way, begun, trap, capsys):
    contents = torch.load(begun, weights_only=True)
    for part, values in change.items():
        contents[part] = contents[part] | values if values else {}
    torch.save(contents, "unfit.ckpt")
    assert code(["--gpus=0", "--data.source=bundled", "--trainer.max_steps=1", OWN, way, "unfit.ckpt"]) == 2
    assert "unfit.ckpt does not fit its own model" in (error := capsys.readouterr().err)
    assert error.count("\n") == 1


@pytest.mark.parametrize("version", [5, "5.x", "", None])
def test_a_version_that_is_none_is_told_with_its_file(version, begun, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.save(torch.load(begun, weights_only=True) | {"pytorch-lightning_version": version}, "odd.ckpt")
    assert code(["--gpus=0", "--ckpt", "odd.ckpt"]) == 2
    assert "odd.ckpt has" in (error := capsys.readouterr().err)
    assert "as pytorch-lightning_version, which is no version" in error
    assert error.count("\n") == 1
