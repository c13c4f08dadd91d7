"""Notes of musical instruments through the commands, as a user would: train, score, look, listen, separate."""

import contextlib
import json

import numpy as np
import pytest
import torch

from vaebss import load
from vaebss.commands import fit, separate, test
from vaebss.data.corpora import notes
from vaebss.modalities.audio import Audio

pytest.importorskip("pretty_midi")
soundfile = pytest.importorskip("soundfile")

FEW = {0: (55, 80), 40: (60, 80), 73: (60, 84)}
SMALL = ("--data.source", "notes", "--data.batch_size", "8", "--data.epoch_size", "16", "--data.val_mixtures", "8")
SMALL += ("--model.hidden_dims", "[16]", "--model.output", "softplus", "--data.detune", "1", "--gpus", "0")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The working folder of a short run on a few notes, whose figures and sounds lie beside a CSV file."""
    folder = tmp_path_factory.mktemp("sound")
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(folder):
        patch.setattr(notes, "RANGES", FEW)
        logger = ("--trainer.logger", "CSVLogger", "--trainer.logger.save_dir", "logs")
        assert fit.main([*SMALL, *logger, "--trainer.max_epochs", "2"]) == 0
        (checkpoint,) = folder.rglob("last.ckpt")
        score = ["--ckpt", str(checkpoint), "--gpus", "0", "--data.test_mixtures", "12", "--out", "scores"]
        assert test.main(score) == 0
    return folder, checkpoint


def test_a_run_shows_and_plays_the_same_mixtures(trained):
    folder, _ = trained
    names = {str(path.relative_to(path.parents[2])) for path in folder.glob("logs/**/val/*/*.wav")}
    kinds = {f"{number}/{kind}" for number in range(1, 9) for kind in ("mixture", "source_1", "source_2")}
    for kind in kinds:  # once
        assert len([name for name in names if name.startswith(f"val/{kind}_")]) == 1
    assert len([name for name in names if name.startswith("val/1/estimate_2_")]) == 2  # at the first and the last epoch
    assert [*folder.glob("logs/**/val/separations_*.png")]
    assert [*folder.glob("logs/**/val/prior_samples_*.png")]


def test_scores_are_of_sound_with_eight_examples_to_listen_to(trained):
    folder, _ = trained
    results = json.loads((folder / "scores/results.json").read_text())
    assert {"si_sdr", "si_sir", "si_sar", "si_sdr_worst_decile"} <= set(results["masked"])
    assert (folder / "scores/separations.png").is_file()
    assert len([*(folder / "scores/examples").iterdir()]) == 8 * 5
    sounds = [soundfile.read(folder / f"scores/examples/3_{name}.wav") for name in ("mixture", "source1", "source2")]
    assert {rate for _, rate in sounds} == {16_000}
    assert abs(sounds[0][0] - sounds[1][0] - sounds[2][0]).max() < 1e-5


def test_a_file_is_taken_apart_into_files_that_add_up(trained, tmp_path):
    _, checkpoint = trained
    sound = 0.3 * torch.sin(torch.arange(40_000) / 16_000 * 2 * torch.pi * 440)
    soundfile.write(tmp_path / "duet.wav", sound.numpy(), 16_000, subtype="FLOAT")
    assert separate.main([str(tmp_path / "duet.wav"), "--ckpt", str(checkpoint), "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out/contact_sheet.png").is_file()
    found = [soundfile.read(path)[0] for path in sorted((tmp_path / "out").glob("duet_source*.wav"))]
    np.testing.assert_allclose(sum(found), sound.numpy(), atol=1e-4, rtol=0)


def test_the_checkpoint_says_that_it_is_of_sound(trained):
    _, checkpoint = trained
    model = load(checkpoint)
    assert model.modality["kind"] == "audio"
    assert model.exponent == Audio().exponent
    assert model.image_shape == Audio().shape


TONES = [220, 331, 9_000]
HELD = {"8 bits": "PCM_U8", "16 bits": "PCM_16", "24 bits": "PCM_24", "floats": "FLOAT"}


def chord(rate: int, channels: int) -> torch.Tensor:
    """(T, channels), each with its own mixture of tones, one of them above what the model hears."""
    tones = torch.stack([torch.sin(torch.arange(rate) / rate * 2 * torch.pi * hertz) for hertz in TONES], 1)
    return tones @ torch.rand(len(TONES), channels, generator=torch.Generator().manual_seed(channels)) / 4


@pytest.mark.parametrize(("rate", "channels"), [(44_100, 2), (96_000, 3), (8_000, 1)])
@pytest.mark.parametrize("held", HELD)
def test_sources_have_the_rate_and_the_channels_of_their_file_and_add_up(trained, tmp_path, rate, channels, held):
    _, checkpoint = trained
    soundfile.write(tmp_path / "a.wav", chord(rate, channels).numpy(), rate, subtype=HELD[held])
    whole, _ = soundfile.read(tmp_path / "a.wav", always_2d=True)
    assert separate.main([str(tmp_path / "a.wav"), "--ckpt", str(checkpoint), "--out", str(tmp_path / "out")]) == 0
    paths = [*(tmp_path / "out").glob("a_source*.wav")]
    assert {(soundfile.info(path).samplerate, soundfile.info(path).subtype) for path in paths} == {(rate, "FLOAT")}
    assert sum(soundfile.read(path, always_2d=True)[0] for path in paths) == pytest.approx(whole, abs=1e-4)


def test_a_recording_gets_a_spectrogram_beside_its_sources(tmp_path):
    soundfile.write(tmp_path / "a.wav", chord(16_000, 1).repeat(3, 1).numpy(), 16_000)
    soundfile.write(tmp_path / "short.wav", chord(16_000, 1)[:16_000].numpy(), 16_000)
    out = tmp_path / "out"
    for kind in ("wav", "flac"):
        options = ["--ckpt", "vae-notes", "--out", str(out), "--format", kind]
        assert separate.main([str(tmp_path / "a.wav"), str(tmp_path / "short.wav"), *options]) == 0
        assert [path.name for path in out.glob("*_spectrogram.png")] == ["a_spectrogram.png"]
        assert [*out.glob(f"a_source*.{kind}")] == [*out.glob("a_source*")]


def test_flac_may_be_asked_for_and_pictures_not(trained, tmp_path, capsys):
    _, checkpoint = trained
    soundfile.write(tmp_path / "a.wav", chord(44_100, 2).numpy(), 44_100)
    whole, _ = soundfile.read(tmp_path / "a.wav")
    options = [str(tmp_path / "a.wav"), "--ckpt", str(checkpoint), "--out", str(tmp_path / "out")]
    assert separate.main([*options, "--format", "flac"]) == 0
    paths = [*(tmp_path / "out").glob("a_source*.flac")]
    assert sum(soundfile.read(path)[0] for path in paths) == pytest.approx(whole, abs=1e-4)
    assert separate.main([*options, "--format", "png"]) == 2
    assert "--format png is not for audio, but .wav, .flac are" in capsys.readouterr().err


def test_files_without_sound_are_a_line_each_and_the_others_go_on(trained, tmp_path, capsys):
    _, checkpoint = trained
    soundfile.write(tmp_path / "empty.wav", torch.zeros(0).numpy(), 44_100)
    (tmp_path / "broken.wav").write_bytes(b"RIFF and nothing else")
    soundfile.write(tmp_path / "silent.wav", torch.zeros(9_000, 2).numpy(), 44_100)
    soundfile.write(tmp_path / "short.wav", chord(44_100, 1)[:3].numpy(), 44_100)
    soundfile.write(tmp_path / "clipped.wav", (9 * chord(44_100, 1)).clamp(-1, 1).numpy(), 44_100)
    assert separate.main([str(tmp_path), "--ckpt", str(checkpoint), "--out", str(tmp_path / "out")]) == 2
    output = capsys.readouterr()
    errors = [line for line in output.err.splitlines() if "error:" in line]
    assert len(errors) == 2
    assert all(any(name in line for line in errors) for name in ("empty.wav is empty", "broken.wav cannot be read"))
    assert "silent.wav: no source was found" in output.out
    for name in ("short", "clipped"):
        found = [soundfile.read(path)[0] for path in (tmp_path / "out").glob(f"{name}_source*.wav")]
        np.testing.assert_allclose(sum(found), soundfile.read(tmp_path / f"{name}.wav")[0], atol=1e-4, rtol=0)
    assert not [*(tmp_path / "out").glob("silent_source*")]


def test_a_new_run_starts_from_a_model_of_sound_and_sees_what_it_saw(trained, tmp_path, monkeypatch):
    _, checkpoint = trained
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(notes, "RANGES", FEW)
    assert fit.main([*SMALL, "--init", str(checkpoint), "--trainer.max_epochs", "1", "--data.root", str(tmp_path)]) == 0
    assert load(tmp_path / "lightning_logs/version_0/checkpoints/last.ckpt").modality == load(checkpoint).modality
