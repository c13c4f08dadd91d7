import contextlib
import io
import json
import math

import pytest
import torch
from torch.utils.data import DataLoader

import vaebss
from vaebss.baselines import MixIT
from vaebss.baselines import comparison as comparing
from vaebss.baselines.method import Setting
from vaebss.baselines.methods import METHODS, trained
from vaebss.baselines.mixit import MixITTraining
from vaebss.baselines.table import table
from vaebss.commands.compare import main
from vaebss.models import pruning
from vaebss.training.scores import evaluate

QUICK = ("--budget", "512", "--gpus", "0", "--data.source", "bundled", "--data.test_mixtures", "32")


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """The folder of a comparison by every method that is quick to fit, and what it printed."""
    folder = tmp_path_factory.mktemp("compared")
    chosen = "[vae, mixit, equal-share, glo, silence, ideal-ratio-mask]"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert main([*QUICK, "--methods", chosen, "--num-sources", "3", "--out", str(folder / "out")]) == 0
    return folder / "out", printed.getvalue()


def test_a_comparison_leaves_what_was_promised(compared):
    out, printed = compared
    assert (out / "comparison.png").read_bytes().startswith(b"\x89PNG")
    text = (out / "comparison.md").read_text()
    assert text.strip() in printed
    comparison = json.loads((out / "comparison.json").read_text())
    assert comparison["data"] == "bundled"
    assert comparison["test_mixtures"] == 32
    results = {result["method"]: result for result in comparison["results"]}
    assert list(results) == ["silence", "equal-share", "mixit", "vae", "ideal-ratio-mask"]
    for name, result in results.items():
        scores = result["scores"]
        assert f"| {scores['psnr_paper']:.2f} |" in text, name
        assert scores["psnr_paper"] - scores["psnr"] == pytest.approx(6.0206, abs=1e-3)
        assert result["sees_truth"] == METHODS["images"][name].sees_truth
    assert results["vae"]["published"] == {"psnr_paper": 27.68, "ssim": 0.94}
    assert results["ideal-ratio-mask"]["scores"]["psnr_paper"] == pytest.approx(100)
    assert results["silence"]["scores"]["psnr_paper"] < results["equal-share"]["scores"]["psnr_paper"]
    assert results["mixit"]["train_seconds"] > results["silence"]["train_seconds"]


def test_glo_is_left_out_where_it_was_not_published(compared):
    assert "glo is left out for K = 3" in compared[1]


def test_every_method_learns_or_asks_another_or_the_truth():
    for methods in METHODS.values():
        for name, method in methods.items():
            assert method.learn or method.needs or method.sees_truth, name
            assert (method.learn is None) == (method.answer is not None), name


def test_a_method_does_not_depend_on_those_before_it(digits_module, monkeypatch):
    monkeypatch.setattr(Setting, "train", lambda _, training, batches: training.model)  # what is drawn before training
    first = trained("mixit", Setting(2), digits_module).state_dict()
    trained("vae", Setting(2), digits_module)
    for name, value in trained("mixit", Setting(2), digits_module).state_dict().items():
        assert torch.equal(value, first[name]), name


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.fixture
def trainings(monkeypatch):
    """Of each training: the model, its weights before it, its warm-up and what it would learn from."""
    seen = []

    def note(setting, training, batches):
        seen.append((training.model, weights(training.model), training.hparams.warmup_steps, [*batches]))
        return training.model

    monkeypatch.setattr(Setting, "train", note)
    return seen


def test_a_vae_of_three_slots_begins_with_five_and_keeps_the_busiest(digits_module, trainings, monkeypatch):
    monkeypatch.setattr(pruning, "usage", lambda *_: torch.tensor([0.0, 0.9, 0.3, 0.1, 0.8]))
    model = trained("vae", Setting(3, steps=4), digits_module)
    (many, _, warmup, first), (fewer, at_first, second_warmup, second) = trainings
    assert (many.num_sources, fewer.num_sources, warmup, second_warmup) == (5, 3, len(first) // 2, 0)
    for name, value in pruning.pruned(many, [1, 2, 4]).state_dict().items():
        assert torch.equal(value, at_first[name]), name
    assert fewer is model
    whole = list(digits_module.train_dataloader())
    assert len(first) == len(whole) // 2
    for batch, expected in zip([*first, *second], whole, strict=True):
        assert torch.equal(batch["mixture"], expected["mixture"])


@pytest.mark.parametrize(("num_sources", "begin_with"), [(2, 5), (3, 0), (5, 5), (6, 5)])
def test_other_vaes_begin_with_k(num_sources, begin_with, digits_module, trainings):
    trained("vae", Setting(num_sources, begin_with=begin_with), digits_module)
    ((model, *_, batches),) = trainings
    assert model.num_sources == num_sources
    assert len(batches) == len(digits_module.train_dataloader())


def test_shipped_models_are_scored_in_place_of_training(digits_module, tmp_path, monkeypatch):
    monkeypatch.setattr(Setting, "train", lambda *_: pytest.fail("trained"))
    assert main([*QUICK, "--shipped", "--data.test_mixtures", "8", "--out", str(tmp_path)]) == 0
    comparison = json.loads((tmp_path / "comparison.json").read_text())
    found = {(result["method"], result["num_sources"]): result for result in comparison["results"]}
    assert list(found) == [(method, k) for k in (2, 3) for method in ("ae", "vae", "vae-refined")]
    for name, k in (("ae", 2), ("vae", 3)):
        scores = evaluate(vaebss.load(f"{name}-k{k}"), few_pairs(), digits_module.modality)["masked"]
        assert found[name, k]["scores"]["psnr_paper"] == pytest.approx(scores["psnr_paper"], abs=1e-3)
    assert found["vae-refined", 2]["scores"]["psnr_paper"] > found["vae", 2]["scores"]["psnr_paper"]
    assert found["vae", 3]["published"] == {"psnr_paper": 27.68, "ssim": 0.94}
    text = (tmp_path / "comparison.md").read_text()
    assert "models that come with the package" in text
    assert "every method trained" not in text


def few_pairs():
    data = vaebss.MNISTMixtures(source="bundled", test_mixtures=8)
    data.setup()
    return data.test_dataloader()


def test_training_that_goes_astray_is_said(digits_module):
    training = MixITTraining(MixIT(hidden_dims=(4,)), lr=math.inf)
    batches = [next(iter(digits_module.train_dataloader()))]
    with pytest.raises(ValueError, match=r"^the training of MixITTraining diverged"):
        Setting(2).train(training, DataLoader(batches, batch_size=None))


@pytest.mark.parametrize("num_mixed", [2, 3])
def test_published_figures_stand_beside_pairs_alone(num_mixed, tmp_path):
    options = ["--methods", "nmf", "--num-mixed", str(num_mixed), "--num-sources", "3", "--out", str(tmp_path)]
    assert main([*QUICK, *options]) == 0
    comparison = json.loads((tmp_path / "comparison.json").read_text())
    assert ("published" in comparison["results"][0]) == (num_mixed == 2)
    assert ("18.27" in table(comparison)) == (num_mixed == 2)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--budget", "0"], "--budget"),
        (["--budget", "300"], "--budget"),
        (["--begin-with", "-1"], "--begin-with"),
        (["--begin-with", "9"], "--begin-with"),
        (["--shipped", "--methods", "nmf"], "--shipped"),
        (["--shipped", "--num-sources", "[2, 5]"], "vae-k5"),
        (["--shipped", "--data.source", "notes"], "of digits"),
        (["--data.test_mixtures", "0"], "test_mixtures"),
        (["--num-mixed", "0"], "--num-mixed"),
        (["--num-sources", "0"], "--num-sources"),
        (["--num-sources", "[]"], "--num-sources"),
        (["--num-sources", "[2, 9]"], "--num-sources"),
        (["--num-mixed", "7", "--num-sources", "3"], "too bright"),
        (["--methods", "magic"], "magic"),
        (["--methods", "[vae, magic]"], "magic"),
        (["--methods", "[]"], "--methods"),
        (["--methods", "oracle-latents"], "vae"),
        (["--methods", "vae-refined"], "vae"),
        (["--methods", "glo", "--num-sources", "3"], "glo"),
        (["--gpus", "2"], "--gpus"),
        (["--seed", "-1"], "seed"),
        (["--unknown", "1"], "--unknown"),
        (["--out", "file"], "file"),
        (["--out", "/proc/nowhere"], "/proc/nowhere"),
    ],
)
def test_bad_options_are_one_line_before_any_training(options, reason, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(comparing, "trained", lambda *args: pytest.fail("trained"))
    (tmp_path / "file").touch()
    try:
        code = main([*QUICK, *options])
    except SystemExit as error:
        code = error.code
    assert code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert reason in lines[0]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_help_explains(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    printed = capsys.readouterr().out
    for option in (
        "--shipped",
        "--begin-with",
        "--methods",
        "--num-mixed",
        "--num-sources",
        "--budget",
        "--out",
        "--gpus",
        "--data.root",
    ):
        assert option in printed


def test_slots_are_compared_without_the_truth(tmp_path):
    options = ["--methods", "vae", "--num-sources", "[2, 3]", "--out", str(tmp_path / "out")]
    assert main([*QUICK, *options]) == 0
    assert (tmp_path / "out" / "slots.png").read_bytes().startswith(b"\x89PNG")
    results = json.loads((tmp_path / "out" / "comparison.json").read_text())["results"]
    assert all(result["scores"]["elbo"] < -271 for result in results)  # the likelihood of 784 pixels without an error
