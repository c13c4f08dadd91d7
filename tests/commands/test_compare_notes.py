"""Table III: methods and ceilings on notes, with fit.py's configuration."""

import json
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY

from vaebss.baselines.methods import METHODS
from vaebss.baselines.published import PUBLISHED, published
from vaebss.commands.compare import main, parse
from vaebss.data.corpora import notes

CONFIG = REPOSITORY / "configs" / "notes.yaml"
FEW = {0: (55, 80), 40: (60, 80), 73: (60, 84)}
TABLE_III = {  # SI-SDR, SIR, SAR as the paper prints them
    "nmf": (5.40, 16.93, 7.96),
    "mixit": (6.64, 17.59, 8.26),
    "vae-unmasked": (14.33, 29.92, 14.87),
    "vae": (17.10, 29.55, 18.20),
    "ideal-binary-mask-bins": (23.97, 48.89, 24.06),
    "ideal-ratio-mask-bins": (22.66, 34.39, 23.23),
}


@pytest.fixture(scope="module")
def compared(tmp_path_factory) -> Path:
    """The folder of a comparison by every method, on a few notes, of networks too small to learn anything."""
    pytest.importorskip("pretty_midi")
    folder = tmp_path_factory.mktemp("notes")
    config = yaml.safe_load(CONFIG.read_text())
    config["model"] |= {"hidden_dims": [16], "latent_dim": 4}
    config["data"] |= {"batch_size": 8, "root": str(folder)}
    (folder / "small.yaml").write_text(yaml.safe_dump(config))
    options = ["--config", str(folder / "small.yaml"), "--budget", "16", "--gpus", "0", "--out", str(folder / "out")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(notes, "RANGES", FEW)
        assert main([*options, "--data.test_mixtures", "12"]) == 0
    return folder / "out"


@pytest.fixture(scope="module")
def results(compared) -> dict[str, dict]:
    comparison = json.loads((compared / "comparison.json").read_text())
    return {result["method"]: result for result in comparison["results"]}


def test_every_method_is_in_the_table_with_what_was_published_of_it(compared, results):
    assert list(results) == list(METHODS["audio"])
    text = (compared / "comparison.md").read_text()
    assert "Mixtures of 2 notes;" in text
    assert "other notes" in text
    for name, result in results.items():
        scores, figures = result["scores"], result.get("published", {})
        assert tuple(figures.values()) == TABLE_III.get(name, ()), name
        (row,) = [line for line in text.splitlines() if line.startswith((f"| {name} ", f"| *{name}* "))]
        cells = [cell.strip() for cell in row.split("|")[2:-1]]
        assert cells[0] == f"{scores['si_sdr']:.2f}"
        assert cells[1] == (f"{figures['si_sdr']:.2f}" if figures else "")
        assert cells[2:4] == [f"{scores[f'si_sdr_{part}']:.2f}" for part in ("median", "worst_decile")]
    assert (compared / "comparison.png").read_bytes().startswith(b"\x89PNG")
    assert not (compared / "slots.png").exists()


def test_the_ceilings_are_in_their_order(results):
    def quality(mask: str) -> float:
        return results[mask]["scores"]["si_sdr"]

    for mask in ("ideal-binary-mask", "ideal-ratio-mask", "wiener-mask"):
        assert 10 < quality(f"{mask}-bands") < quality(f"{mask}-bins")
    for place in ("bands", "bins"):
        assert quality(f"ideal-ratio-mask-{place}") < quality(f"wiener-mask-{place}")
    for name, result in results.items():
        assert result["sees_truth"] == name.startswith(("oracle", "ideal", "wiener"))


def test_the_floors_are_what_they_must_be(results):
    assert results["equal-share"]["scores"]["si_sdr"] == pytest.approx(0, abs=0.5)
    assert results["equal-share"]["scores"]["si_sar"] == pytest.approx(100)
    assert results["silence"]["scores"]["si_sdr"] == -100
    assert results["silence"]["scores"]["count"] == 0


@pytest.mark.parametrize("kind", METHODS)
def test_only_methods_that_there_are_were_published_and_only_of_pairs(kind):
    assert set(PUBLISHED[kind]) < set(METHODS[kind])
    assert published(kind, "mixit", 2, 2)
    assert not published(kind, "mixit", 2, 3)
    assert not published(kind, "vae-refined", 2, 2)


def test_a_configuration_of_training_is_understood():
    options = parse(["--config", str(CONFIG), "--gpus", "0"])
    wanted = yaml.safe_load(CONFIG.read_text())
    for section in ("data", "model"):
        for name, value in wanted[section].items():
            if name not in ("epoch_size", "val_mixtures"):  # a comparison's own
                found = options[section][name]
                assert (list(found) if isinstance(found, tuple) else found) == value, name
    assert options.plan.slots == [2]
    assert options.plan.chosen == list(METHODS["audio"])


def test_what_is_typed_holds_before_the_configuration(tmp_path):
    config = tmp_path / "three.yaml"
    config.write_text("model: {num_sources: 3, latent_dim: 7, seed: 4}\ndata: {source: notes, num_mixed: 3}\n")
    options = parse(["--config", str(config), "--model.latent_dim", "9", "--gpus", "0"])
    assert (options.plan.slots, options.num_mixed, options.model.latent_dim) == ([3], 3, 9)


@pytest.mark.parametrize(
    ("config", "typed", "reason"),
    [
        ("model: {latentdim: 3}", [], "latentdim"),
        ("model: {latent_dim: much}", [], "latent_dim"),
        ("data: {num_mixed: [1, 4]}", [], "num_mixed"),
        ("data: [", [], "not a configuration of fit.py"),
        ("just words", [], "not a configuration of fit.py"),
        ("data: {source: notes}", ["--methods", "ideal-ratio-mask"], "ideal-ratio-mask-bins"),
        ("data: {source: notes}", ["--methods", "vae-unmasked"], "Add vae"),
        ("data: {source: notes}", ["--methods", "glo", "--num-sources", "3"], "glo is not for K"),
        ("data: {source: notes, soundfont: none.sf2}", [], "none.sf2"),
        ("data: {source: bundled}", ["--methods", "wiener-mask-bins"], "wiener-mask-bins"),
        (None, [], "config"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(config, typed, reason, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if config:
        Path("config.yaml").write_text(config)
    try:
        code = main(["--config", "config.yaml", *typed, "--gpus", "0"])
    except SystemExit as error:
        code = error.code
    assert code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert reason in line
    assert not Path("comparison").exists()
