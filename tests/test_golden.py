"""Options, their defaults, what checkpoints say of a run, and the mixtures of each kind of data stay what they were.

`python tests/test_golden.py` stores them anew in tests/same/golden.yaml: only where a change of them is meant.
"""

import contextlib
import json
import math
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from vaebss import MNISTMixtures
from vaebss.commands import fit, remix

STORED = Path(__file__).parent / "same" / "golden.yaml"
COMMANDS = {"fit": fit, "remix": remix}
RATE = 16_000
OURS = ("max_epochs", "reload_dataloaders_every_n_epochs", "num_sanity_val_steps", "precision")  # else Lightning's

KINDS = {
    "digits": ["--data.source=bundled"],
    "mixtures": ["--data.mixtures=mixtures.npy"],
    "singles": ["--data.source=singles", "--data.num_mixed=[1,2]"],
    "recordings": ["--data.mixtures=recordings"],
    "own notes": ["--data.source=own_notes", "--data.gains=[0.5,1.0]"],
    "notes": ["--data.source=notes"],
}
SOUND = ("recordings", "own notes", "notes")
BATCHES = [kind for kind in KINDS if kind != "notes"]  # a font is rendered for minutes
RUNS = [(command, kind) for command in COMMANDS for kind in BATCHES]
needs_audio = pytest.mark.skipif(find_spec("soundfile") is None, reason="needs vaebss[audio]")

SHORT = ["--gpus=0", "--trainer.precision=32-true", "--trainer.enable_progress_bar=false", "--data.batch_size=4"]
SHORT += ["--data.epoch_size=4", "--data.val_mixtures=4", "--trainer.max_epochs=1"]
OWN = {
    "fit": ["--model.hidden_dims=[8]"],
    "remix": ["--data.num_mixtures=8", "--data.keep=[1.0]", "--data.epochs_per_round=1", "--data.refine_steps=0"],
}


def write_data() -> None:
    """Each kind of data that a user may have, in the working folder; the same anywhere."""
    draw = np.random.default_rng(0)
    strokes = (draw.random((24, 2, 12, 16)) > 0.8) * 0.5  # two sources of a mixture, of one brightness
    np.save("mixtures.npy", strokes.sum(1).astype(np.float32))
    Path("singles").mkdir()
    np.save("singles/all.npy", (2 * strokes[:, 0]).astype(np.float32))
    if find_spec("soundfile"):
        import soundfile

        time = np.arange(7 * RATE) / RATE
        for folder, number in [("recordings", 2), ("own_notes", 30)]:
            Path(folder).mkdir()
            for place in range(number):
                sound = 0.2 * np.sin(2 * np.pi * 110 * 2 ** (place / 6) * time)
                sound = sound + 0.1 * draw.standard_normal(len(time)) if number == 2 else sound[: 3 * RATE // 2]
                soundfile.write(f"{folder}/{place:02}.wav", sound, RATE)


def flat(options: Any, prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": (1,)}} -> {"a.b": [1]}; of the trainer, what is not Lightning's."""
    found: dict[str, Any] = {}
    for name, value in json.loads(json.dumps(options)).items():
        key = f"{prefix}{name}"
        found |= flat(value, f"{key}.") if isinstance(value, dict) else {key: value}
    kept = {f"trainer.{name}" for name in OURS}
    return {name: value for name, value in found.items() if not name.startswith("trainer.") or name in kept}


def printed(command: str, options: list[str]) -> dict[str, Any]:
    """The configuration that `--print_config` prints."""
    out = Path("printed.yaml")
    with out.open("w") as file, contextlib.redirect_stdout(file), contextlib.suppress(SystemExit):
        COMMANDS[command].main([*options, "--print_config"])
    return flat(yaml.safe_load(out.read_text()))


def run(command: str, kind: str) -> dict[str, Any]:
    """What the checkpoint of a short run says of its options, its model and its data."""
    folder = f"{command} {kind}"
    options = [*SHORT, *KINDS[kind], *OWN[command], f"--trainer.default_root_dir={folder}"]
    if command == "remix" and kind != "mixtures":
        options += ["--teacher=vae-notes" if kind in SOUND else "--teacher=remix-k2"]
    elif kind in SOUND:
        options += ["--model.output=softplus"]
    assert COMMANDS[command].main(options) == 0
    path = Path(folder) / "lightning_logs/version_0/checkpoints/last.ckpt"
    contents = torch.load(path, weights_only=True)
    parts = {name: flat(contents[name]) for name in ("hyper_parameters", "datamodule_hyper_parameters", "modality")}
    return parts | {"config": flat(yaml.safe_load(contents["config"]))}


def batches(kind: str) -> dict[str, list[float]]:
    """The mean energy of each mixture of the first batches of a kind of data, and of its sources where known."""
    options = {name.removeprefix("--data."): yaml.safe_load(value) for name, value in _pairs(KINDS[kind])}
    data = MNISTMixtures(batch_size=4, val_mixtures=4, test_mixtures=4, **options)
    data.prepare_data()
    data.setup()
    loaders = {"train": data.train_dataloader(), "val": data.val_dataloader()}
    loaders |= {"test": data.test_dataloader()} if data.corpus.has_truth else {}
    found: dict[str, list[float]] = {}
    for split, loader in loaders.items():
        batch = next(iter(loader))
        for name in ("mixture", "sources"):
            if name in batch:
                found[f"{split} {name}"] = batch[name].double().square().flatten(1).mean(1).tolist()
    return found


def _pairs(options: list[str]) -> list[list[str]]:
    return [option.split("=", 1) for option in options]


def differing(found: dict[str, Any], expected: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What is not as expected, by name: what was found and what was expected."""
    names = found.keys() | expected.keys()
    pairs = {name: (found.get(name, "missing"), expected.get(name, "missing")) for name in names}
    return {name: pair for name, pair in pairs.items() if not same(*pair)}


def same(one: Any, other: Any) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-5)  # machines round otherwise
    return type(one) is type(other) and one == other


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    with contextlib.chdir(tmp_path_factory.mktemp("golden")):
        write_data()
        yield


@pytest.fixture(scope="module")
def stored() -> dict[str, Any]:
    return yaml.safe_load(STORED.read_text())


def of_sound(*arguments: str) -> Any:
    return pytest.param(*arguments, marks=needs_audio if arguments[-1] in SOUND else ())


@pytest.mark.parametrize("command", COMMANDS)
def test_options_have_the_names_and_defaults_that_they_had(command, stored):
    assert differing(printed(command, []), stored["defaults"][command]) == {}


@pytest.mark.parametrize(("command", "kind"), [(command, kind) for command in COMMANDS for kind in KINDS])
def test_a_printed_configuration_is_the_defaults_and_what_was_typed(command, kind, stored):
    typed = {name.removeprefix("--"): yaml.safe_load(value) for name, value in _pairs(KINDS[kind])}
    assert differing(printed(command, KINDS[kind]), stored["defaults"][command] | typed) == {}


@pytest.mark.parametrize(("command", "kind"), [of_sound(*names) for names in RUNS])
def test_a_checkpoint_says_of_its_run_what_it_said(command, kind, stored):
    expected = stored["checkpoints"][f"{command} {kind}"]
    assert {part: differing(found, expected[part]) for part, found in run(command, kind).items()} == {
        part: {} for part in expected
    }


@pytest.mark.parametrize("kind", [of_sound(kind) for kind in BATCHES])
def test_mixtures_are_those_that_they_were(kind, stored):
    assert differing(batches(kind), stored["batches"][kind]) == {}


def store() -> None:
    with TemporaryDirectory() as made, contextlib.chdir(made):
        write_data()
        golden = {
            "defaults": {command: printed(command, []) for command in COMMANDS},
            "checkpoints": {f"{command} {kind}": run(command, kind) for command, kind in RUNS},
            "batches": {kind: batches(kind) for kind in BATCHES},
        }
    STORED.write_text(yaml.safe_dump(golden, default_flow_style=None, width=118))


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.exit(store())
