"""Students of user-supplied pictures are chosen, and their runs end, by the estimated gain of held-out mixtures."""

import numpy as np
import pytest
import torch
from conftest import quiet
from worlds import world

import vaebss
from vaebss import MNISTMixtures, RemixSeparator
from vaebss.blind import FEWEST, gain_of
from vaebss.commands import remix
from vaebss.data.corpora.pictures import GivenPictures
from vaebss.training import adapting
from vaebss.training.blind_gain import BLIND_GAIN, CONFIDENCE, BlindGain, monitor_of

SHORT = ("--gpus=0", "--data.epochs_per_round=1", "--data.keep=[0.9]", "--data.epoch_size=16", "--model.widths=[4,6,8]")


def mixtures(number):
    return world(number, 28, 0).sum(1)


def test_few_mixtures_and_known_sources_are_chosen_by_confidence():
    given = {number: GivenPictures(mixtures(number), source_scale=0.5) for number in (10 * FEWEST, 10 * FEWEST - 1)}
    assert {number: monitor_of(corpus) for number, corpus in given.items()} == {200: BLIND_GAIN, 199: CONFIDENCE}
    assert monitor_of(MNISTMixtures(source="bundled").corpus) == CONFIDENCE


def test_black_held_out_pictures_do_not_count():
    given = mixtures(200)
    black = GivenPictures(given, source_scale=0.5).splits.val[0]
    given[(given == black).flatten(1).all(1)] = 0
    assert monitor_of(GivenPictures(given, source_scale=0.5)) == CONFIDENCE


def test_the_blind_gain_of_held_out_mixtures_is_logged():
    corpus = GivenPictures(mixtures(250).half(), source_scale=0.5)
    student = RemixSeparator(widths=(4, 6, 8), bottleneck=8, source_scale=0.5)
    logged = quiet(callbacks=[BlindGain()]).validate(student, MNISTMixtures(source=corpus), verbose=False)[0]
    held_out, model = corpus.splits.val.float(), student.model.eval_copy()
    assert len(held_out) == 25
    assert logged[BLIND_GAIN] == pytest.approx(gain_of(model, corpus.seen_by(model), held_out), abs=1e-4)


@pytest.mark.parametrize(("number", "monitor"), [(200, BLIND_GAIN), (20, CONFIDENCE)])
def test_adapting_ends_by_it(number, monitor, small_students, monkeypatch):
    stopping, made = [], adapting.early_stopping
    monkeypatch.setattr(adapting, "early_stopping", lambda *args: stopping.append(made(*args)) or stopping[-1])
    adapting.adapt(mixtures(number), vaebss.VAE(hidden_dims=(16, 8)).eval(), steps=20, progress=False)
    assert stopping[0].monitor == monitor
    assert torch.isfinite(stopping[0].best_score)


def test_the_best_checkpoint_of_a_run_is_chosen_by_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("mixtures.npy", mixtures(200).numpy())
    assert remix.main(["--data.mixtures=mixtures.npy", *SHORT]) == 0
    best = torch.load(tmp_path / "lightning_logs/version_0/checkpoints/best.ckpt", weights_only=True)
    monitors = [state["monitor"] for state in best["callbacks"].values() if "monitor" in state]
    assert monitors == [BLIND_GAIN]
