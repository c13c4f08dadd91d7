"""Laws of every model that a user can have: the shipped ones, what training commands write, and a shared folder."""

import contextlib
import copy
import io
import pickle
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import pytest
import torch
from conftest import prepared

import vaebss
from vaebss import checkpoints
from vaebss.commands import export, fit, remix
from vaebss.commands.ship import BUNDLED, scores
from vaebss.data.corpora import lines, notes
from vaebss.models.separator import Separator
from vaebss.pretrained import catalogue

OF_SOUND = tuple(name for name in vaebss.available() if catalogue.kind_of(catalogue.card(name)) == "audio")
OF_PICTURES = tuple(name for name in vaebss.available() if name not in OF_SOUND)
FEW_NOTES = {0: (55, 80), 40: (60, 80), 73: (60, 84)}
LENGTH = ("--gpus=0", "--data.batch_size=8", "--data.epoch_size=16", "--data.val_mixtures=8", "--data.test_mixtures=8")
ONCE = (*LENGTH, "--trainer.max_epochs=1", "--model.hidden_dims=[16]")
REMIXED = ("--data.num_mixtures=20", "--data.keep=[0.5]", "--data.epochs_per_round=1")
REMIXED += ("--model.widths=[6,8]", "--model.bottleneck=8")
DIGITS, NOTES = "--data.source=bundled", ("--data.source=notes", "--data.bands=80")
RUNS = {
    "fit": (fit.main, *ONCE, DIGITS),
    "remix": (remix.main, *LENGTH, *REMIXED, DIGITS, "--teacher=vae-k2"),
    "remix that counts": (remix.main, *LENGTH, *REMIXED, DIGITS, "--teacher=vae-k2", "--model.counting=true"),
    "fit on notes": (fit.main, *ONCE, *NOTES, "--model.output=softplus"),
    "remix on notes": (remix.main, *LENGTH, *REMIXED, *NOTES, "--model.view=bands", "--teacher={fit on notes}"),
}
OTHERS = (*RUNS, "folder")
EXPORTED = ("ae-k2", "vae-1to4", "remix-k2", "vae-notes", "remix-notes")  # of each kind of graph


@pytest.fixture(scope="module")
def path_of(tmp_path_factory):
    """The path or name of a model by what it is called here; runs are made when they are first asked for."""

    @cache
    def path(name: str) -> str:
        if name == "folder":
            return str(vaebss.save(vaebss.load("vae-1to4"), tmp_path_factory.mktemp("shared")))
        return trained(name) if name in RUNS else name

    def trained(name: str) -> str:
        if "notes" in name:
            pytest.importorskip("pretty_midi")
        main, *typed = RUNS[name]
        typed = [path(option[11:-1]).join(["--teacher=", ""]) if "{" in option else option for option in typed]
        folder = tmp_path_factory.mktemp("run")
        with pytest.MonkeyPatch.context() as patch, contextlib.chdir(folder):
            patch.setattr(notes, "RANGES", FEW_NOTES)
            assert main(typed) == 0
        return str(folder / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt")

    return path


@pytest.fixture(params=[*vaebss.available(), *OTHERS])
def model(request, path_of) -> Separator:
    return vaebss.load(path_of(request.param))


@cache
def pairs() -> torch.Tensor:
    """Mixtures (8, 1, 28, 28) of two digits."""
    return next(iter(prepared(source="bundled", val_mixtures=8).val_dataloader()))["mixture"]


def mixtures_of(model: Separator, number: int = 4) -> torch.Tensor:
    """Pairs of digits for a model of pictures, and coarse noise as the spectrograms of a model of sound."""
    if model.modality["kind"] == "images":
        return pairs()[:number]
    return torch.rand(number, *model.image_shape, generator=torch.Generator().manual_seed(0)).square()


def assert_same(found: Separator, model: Separator, atol: float = 0.0) -> None:
    """Check that two models are of one kind, have the same options and give the same answers."""
    mixture = mixtures_of(model)
    assert type(found) is type(model)
    assert found.options == model.options
    assert found.modality == model.modality
    torch.testing.assert_close(found.separate(mixture).sources, model.separate(mixture).sources, atol=atol, rtol=0)


def test_it_can_be_copied(model):
    for again in (copy.copy(model), copy.deepcopy(model)):
        assert_same(again, model)


def test_it_can_be_pickled(model):
    assert_same(pickle.loads(pickle.dumps(model)), model)


def test_it_can_be_saved_by_torch(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    assert_same(torch.load(file, weights_only=False), model)


def test_it_can_be_saved_and_loaded(model, tmp_path):
    """Weights are halved, so that answers of networks that were never halved may differ a little."""
    again = vaebss.load(vaebss.save(model, tmp_path))
    assert_same(again, model, atol=0.01 * float(mixtures_of(model).max()))
    assert_same(vaebss.load(vaebss.save(again, tmp_path / "again")), again)


def test_in_train_mode_it_answers_as_in_eval_mode_and_stays_in_it(model):
    mixture = mixtures_of(model)
    expected = model.separate(mixture).sources
    model.train()
    torch.testing.assert_close(model.separate(mixture).sources, expected)
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("precision", ["half", "bfloat16", "double"])
def test_in_other_precisions_its_answers_are_right(model, precision):
    """The mean error is bounded by a share of the mixture, and the model keeps its precision."""
    mixture = mixtures_of(model)
    expected = model.separate(mixture).sources
    other = getattr(model, precision)()
    types = {value.dtype for value in other.state_dict().values()}
    found = other.separate(mixture).sources
    assert {value.dtype for value in other.state_dict().values()} == types
    assert found.dtype == torch.float32
    limit = {"half": 1e-3, "bfloat16": 0.03, "double": 1e-6}[precision]
    assert float((found - expected).abs().mean()) <= limit * float(mixture.mean())


def test_two_threads_get_the_answers_of_one(model):
    mixtures = mixtures_of(model, 8).split(2)
    alone = [model.separate(mixture).sources for mixture in mixtures]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda mixture: model.separate(mixture).sources, mixtures))
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("model", EXPORTED, indirect=True)
def test_onnxruntime_gives_its_answers(model, request, tmp_path, capsys):
    """The example that the command prints runs, too."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from vaebss.models import onnx

    mixture = mixtures_of(model, 5)
    assert export.main(["--ckpt", request.node.callspec.params["model"], "--out", str(tmp_path / "model.onnx")]) == 0
    exec(capsys.readouterr().out.split("To use it:")[1], {})  # noqa: S102  # what users do
    assert capsys.readouterr().out.startswith(str((5, model.num_sources, *model.image_shape)))
    sources, active = onnxruntime.InferenceSession(tmp_path / "model.onnx").run(None, {"mixture": mixture.numpy()})
    found = model.separate(mixture)
    torch.testing.assert_close(torch.from_numpy(sources), found.sources, atol=onnx.TOLERANCE, rtol=0)
    assert torch.equal(torch.from_numpy(active), found.active)


@pytest.mark.parametrize("name", OF_PICTURES)
def test_a_card_tells_what_the_weights_give(name):
    card = catalogue.card(name)
    assert card["scores_on_mnist_test_mixtures"]["n"] == 5_000
    assert card["command"]
    assert card["licence_of_the_data"].startswith("MNIST")
    before, today = card["scores_on_bundled_training_digits"], scores(checkpoints.read(name), **BUNDLED)
    assert today["n"] == before["n"]
    assert today["masked"]["psnr_paper"] == pytest.approx(before["masked"]["psnr_paper"], abs=0.1)
    assert today["masked"]["count"] == pytest.approx(before["masked"]["count"], abs=0.01)


@pytest.mark.parametrize("name", OF_SOUND)
def test_a_model_of_sound_separates_notes_of_another_font(name, tmp_path, monkeypatch):
    """The mixture itself has an SI-SDR of about 0 dB."""
    pytest.importorskip("pretty_midi")
    card = catalogue.card(name)
    assert card["scores_on_held_out_notes"]["n"] == card["scores_on_instruments_never_heard"]["n"] == 1_000
    assert card["command"]
    assert card["licence_of_the_data"].startswith("FluidR3")
    monkeypatch.setattr(notes, "RANGES", {0: (40, 80), 40: (60, 80), 73: (60, 84)})
    for number in ("LINES", "HELD_OUT"):
        monkeypatch.setattr(lines, number, 100)
    today = scores(checkpoints.read(name), root=str(tmp_path), test_mixtures=40)
    assert today["masked"]["si_sdr"] > 8


def test_there_are_models_of_both_kinds_of_data():
    assert (len(OF_PICTURES), len(OF_SOUND)) == (9, 4)
