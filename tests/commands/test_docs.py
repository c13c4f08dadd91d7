"""The commands of README and docs, run as they stand there but for their length."""

import math
import re
import shlex
import shutil
from importlib import import_module

import numpy as np
import pytest
from conftest import REPOSITORY
from PIL import Image

import vaebss
from vaebss.data import remixes
from vaebss.data.corpora import lines, notes
from vaebss.training import presets

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
TYPED = re.compile(r"python scripts/(fit|remix|test|separate|compare)\.py((?:\\\n|[^`\n#|\"]|\"[^\"]*\")*)")
RUN = "lightning_logs/version_0/checkpoints/last.ckpt"
PLACES = {"lightning_logs/version_N/checkpoints/last.ckpt": "vae-1to4", "path": RUN, "NAME": "remix-k2", "$seed": "0"}
PLACES |= {"$last": RUN, "$out": "out", "$SLURM_ARRAY_TASK_ID/16": "1/16"}
FEW = {0: (55, 80), 19: (60, 62), 40: (60, 80)}  # notes of a font
SHORTER = {"30_000": "64", "max_epochs=3": "max_epochs=1", "n_trials=20": "n_trials=1", "steps=300": "steps=20"}
DRY = ["--gpus", "0", "--trainer.fast_dev_run", "true"]
SHORT = {
    "fit": DRY,
    "remix": [*DRY, "--data.num_mixtures", "64", "--teacher_epochs", "1"],
    "test": ["--gpus", "0", "--data.test_mixtures", "8", "--out", "scores"],
    "separate": ["--gpus", "0"],
    "compare": [
        "--gpus",
        "0",
        "--methods",
        "vae",
        "--num-sources",
        "2",
        "--budget",
        "512",
        "--data.test_mixtures",
        "8",
    ],
}


def documented() -> list[str]:
    """Each command once, without its length."""
    found = (match for page in PAGES for match in TYPED.finditer(page.read_text()))
    return sorted({" ".join(f"{match[1]} {match[2]}".replace("\\", " ").split()) for match in found})


def test_the_commands_are_found():
    assert len(documented()) > 20
    assert "fit --gpus 1" in documented()
    assert "remix --data.mixtures my_mixtures" in documented()


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """A folder with few notes of a font, which every command would render anew."""
    pytest.importorskip("pretty_midi")  # whose font stands in for the better one
    folder = tmp_path_factory.mktemp("rendered")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(notes, "RANGES", FEW)
        notes.load_notes(folder)
    return folder


@pytest.fixture
def users_folder(tmp_path, monkeypatch, run_folder, rendered):
    """What a reader of the docs has: the configurations, a run, pictures, recordings and notes of their own."""
    soundfile = pytest.importorskip("soundfile")
    shutil.copytree(REPOSITORY / "configs", tmp_path / "configs")
    shutil.copytree(run_folder / "lightning_logs", tmp_path / "lightning_logs")
    (tmp_path / "my_mixtures").mkdir()
    rng, picture = np.random.default_rng(0), np.zeros((28, 28), np.uint8)
    for number in range(12):
        picture[:] = 0
        picture[rng.integers(4, 24), 4:24], picture[4:24, rng.integers(4, 24)] = 128, 128
        Image.fromarray(picture).save(tmp_path / "my_mixtures" / f"{number}.png")
    (tmp_path / "my_large_pictures").mkdir()
    Image.fromarray(np.tile(picture, (10, 10))).save(tmp_path / "my_large_pictures" / "page.png")
    spectra = np.round(rng.random((24, 6)), 3)
    rows = ["nm,1,2,3,4,5,7", *(f"a{number}," + ",".join(map(str, line)) for number, line in enumerate(spectra))]
    (tmp_path / "spectra.csv").write_text("\n".join(rows))
    vaebss.save(vaebss.Masker(2, (4, 6), 8, view="lines", image_shape=(1, 1, 6), bounded=False), tmp_path / "of_lines")
    (tmp_path / "FluidR3_GM.sf2").symlink_to(notes.bundled_font())
    soundfile.write(tmp_path / "duet.wav", rng.normal(size=12 * 16_000) / 10, 16_000)
    for folder, number, seconds in (("my_recordings", 2, 6), ("my_notes", 20, 1)):
        (tmp_path / folder).mkdir()
        for name in range(number):
            soundfile.write(tmp_path / folder / f"{name}.flac", rng.normal(size=seconds * 22_050) / 10, 22_050)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(notes, "RANGES", FEW)
    (tmp_path / "data").symlink_to(rendered)
    for module, number in ((remixes, "LINES"), (lines, "LINES"), (lines, "HELD_OUT")):
        monkeypatch.setattr(module, number, 100)


@pytest.mark.parametrize("command", documented())
def test_a_documented_command_works(command, users_folder):
    name, *options = shlex.split(command)
    places = PLACES | ({RUN: "of_lines"} if "spectra" in command else {})
    options = [places.get(option, option) for option in options]
    own = any(word in command for word in ("mixtures my", "notes", "lines", "data.source", "spectra"))
    digits = [] if own or name == "separate" else ["--data.source", "bundled"]
    few = ["--data.val_mixtures", "16", "--data.batch_size", "16"]
    few = few if name in ("fit", "remix") and "--data.mixtures" not in options else []
    resumed = name == "fit" and "--ckpt" in options  # with options of its own
    short = [] if resumed else [*SHORT[name], *digits, *few]
    assert import_module(f"vaebss.commands.{name}").main([*options, *short]) == 0


@pytest.mark.parametrize(
    "page", [page for page in PAGES if "```python" in page.read_text()], ids=lambda page: page.name
)
def test_documented_python_works(page, users_folder, small_students, monkeypatch):
    text = page.read_text()
    if "import optuna" in text:
        pytest.importorskip("optuna")
    for long, short in SHORTER.items():
        text = text.replace(long, short)
    monkeypatch.setattr(presets, "STEPS", {math.inf: 4})
    known = {"vaebss": vaebss, "mixtures": np.random.default_rng(0).random((20, 16, 16)) / 2}
    known["model"] = vaebss.load("vae-k2")
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, known)  # noqa: S102  # what readers do
