import base64
import io
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import wavfile

import vaebss
from vaebss.commands import demo
from vaebss.data.corpora import notes
from vaebss.data.corpora.digits import load_digits
from vaebss.demo import digits_tab, page
from vaebss.demo.digits_html import NOTHING, as_digit, as_digits, digits_apart, file_apart, picture_url
from vaebss.demo.models import for_recordings, offered
from vaebss.demo.notes_html import NoteLibrary, notes_apart, sound_apart
from vaebss.errors import CheckpointError
from vaebss.matching import match
from vaebss.metrics.audio import si_sdr
from vaebss.metrics.images import qualities
from vaebss.metrics.metric import mean_per_mixture
from vaebss.modalities.modality import separate_signals
from vaebss.modalities.registry import modality_of

FEW = {0: (55, 80), 40: (60, 80), 73: (60, 84)}


def url(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "png")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def number(pattern: str, html: str) -> float:
    return float(re.search(pattern, html)[1])


def test_a_drawing_becomes_a_centred_digit():
    drawing = np.zeros((280, 280), np.uint8)
    drawing[20:120, 200:230] = 255  # a stroke in a corner
    digit = as_digit(drawing)
    assert digit.shape == (1, 28, 28)
    rows, columns = digit[0].nonzero().unbind(1)
    assert int(rows.max() - rows.min()) + 1 == 20
    assert abs(float(rows.float().mean()) - 13.5) <= 0.5
    assert abs(float(columns.float().mean()) - 13.5) <= 0.5


def test_a_dot_stays_small():
    drawing = np.zeros((280, 280), np.uint8)
    drawing[100:121, 100:121] = 255
    assert int((as_digit(drawing) > 0.5).sum()) == 6**2


def test_white_ink_is_read_off_a_transparent_layer():
    layer = Image.new("RGBA", (280, 280), (255, 255, 255, 0))
    layer.paste((255, 255, 255, 255), (100, 40, 140, 240))
    (digit,) = as_digits(["", url(layer), url(Image.new("RGBA", (280, 280), (255, 255, 255, 0)))])
    assert (digit[0, 4:24, 12:16] == 1).all()
    assert digit.sum() == 20 * 4


def test_a_picked_digit_comes_back_as_it_was(digits_module):
    digits = digits_module.corpus.splits.test[:3] / 255
    assert (as_digits([*map(picture_url, digits), ""]) == digits).all()


def test_nothing_drawn_is_said_and_not_scored():
    assert digits_apart(vaebss.load("remix-k2"), as_digits([""] * 4)) == NOTHING
    assert "Draw something first" in NOTHING


@pytest.mark.parametrize(("name", "there"), [("remix-1to4", 1), ("remix-1to4", 3), ("vae-k2", 2), ("remix-k2", 3)])
def test_parts_are_shown_above_their_truth_and_scored_on_the_papers_scale(name, there, digits_module):
    model, digits = vaebss.load(name), digits_module.corpus.splits.test[:there] / 255
    html = digits_apart(model, digits)
    sources = digits.unsqueeze(0) / 2
    found = model.separate(sources.sum(1))
    psnr = mean_per_mixture(qualities(0.5)["psnr_paper"], found.sources, sources, torch.tensor([there]))
    assert number(r"PSNR ([\d.]+) dB", html) == pytest.approx(float(psnr), abs=0.051)
    assert f"<b>{int(found.count)} found</b>, {there} there" in html
    assert html.count("truth") == there
    assert all(picture_url(digit) in html for digit in digits)
    assert html.count("not found") == there - int(found.count)
    assert ("This model has 2 slots: it cannot hold 3 digits." in html) == (there > model.num_sources)


def test_each_score_stands_above_its_own_truth(digits_module):
    model, digits = vaebss.load("remix-k2"), digits_module.corpus.splits.test[:2] / 255
    for shown in (digits, digits.flip(0)):
        html = digits_apart(model, shown)
        pictures = re.findall(r'src="([^"]+)"', html)
        assert [pictures[2], pictures[4]] == [picture_url(digit) for digit in shown]
        for estimate, digit in ((pictures[1], shown[0]), (pictures[3], shown[1])):
            assert float((as_digits([estimate])[0] - digit).square().mean()) < 0.01


def test_a_part_that_is_not_there_is_called_so(digits_module):
    model, digit = vaebss.load("vae-k4"), digits_module.corpus.splits.test[2:3] / 255
    spare = int(model.separate(digit / 2).count) - 1
    assert spare > 0  # this model shares a digit out
    assert digits_apart(model, digit).count("not there") == spare


@pytest.mark.parametrize("dark_on_white", [False, True])
def test_ones_own_picture_comes_apart(dark_on_white, digits_module, tmp_path):
    mixture = digits_module.corpus.splits.test[:2].sum(0).float()[0] / 2
    pixels = (255 - mixture if dark_on_white else mixture).byte().numpy()
    Image.fromarray(pixels).resize((56, 56), Image.Resampling.NEAREST).save(tmp_path / "two.png")
    html = file_apart(vaebss.load("remix-1to4"), tmp_path / "two.png")
    assert "<b>2 found</b> in two.png" in html
    assert "resized to 28 x 28 pixels" in html
    assert html.count("<img") == 3


@pytest.mark.parametrize("file", digits_tab.EXAMPLES.values())
def test_an_example_comes_with_what_is_assumed_and_files_to_keep(file):
    html = file_apart(vaebss.load("remix-1to4"), Path(digits_tab.__file__).with_name(file))
    found = 1 if "nuclei" in file else 2  # the model leaves nuclei and filaments together
    assert f"<b>{found} found</b>" in html
    assert "Taken as bright on black, single sources as up to " in html
    assert "resized to 28 x 28 pixels" in html
    kept = re.findall(r'href="([^"]+)" download="([^"]+)"', html)
    assert [name for _, name in kept] == ["mixture.png", "source1.png", "source2.png"][: 1 + found]
    pictures = [np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))), float) for url, _ in kept]
    assert sum(pictures[1:]) == pytest.approx(pictures[0], abs=len(kept))  # rounded
    assert 'class="from-file"' in html


def test_drawn_digits_say_what_is_assumed(digits_module):
    html = digits_apart(vaebss.load("remix-k2"), digits_module.corpus.splits.test[:2] / 255)
    assert "Assumed: each square holds one digit." in html
    assert "from-file" not in html


def test_a_broken_picture_is_a_line(tmp_path):
    (tmp_path / "<b>.png").write_bytes(b"broken")
    html = file_apart(vaebss.load("remix-k2"), tmp_path / "<b>.png")
    assert html.startswith("<p>&lt;b&gt;.png cannot be read")
    assert str(tmp_path) not in html


def test_models_that_separate_are_offered(checkpoint):
    pictures, sounds = offered(None)
    assert (pictures[0], sounds[0]) == ("remix-1to4", "remix-notes")
    assert {*pictures} | {*sounds} | {"ae-k2", "ae-k3", "ae-k4"} == {*vaebss.available()}
    assert not [name for name in pictures if name.startswith("ae-")]
    assert {*sounds} == {"vae-notes", "remix-lines", "remix-notes", "remix-notes-1to3"}
    assert offered(str(checkpoint))[0] == [str(checkpoint), *pictures]


def test_recordings_go_to_their_own_default():
    assert for_recordings("remix-notes") == "remix-lines"
    assert for_recordings("vae-notes") == "vae-notes"


def test_what_is_no_checkpoint_is_refused_at_once(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        offered(str(tmp_path / "missing.ckpt"))


@pytest.mark.parametrize("has_audio", [True, False])
def test_there_is_a_tab_for_notes_where_the_extra_is_installed(has_audio, monkeypatch, tmp_path):
    pytest.importorskip("gradio")
    monkeypatch.setattr(page, "find_spec", lambda name: has_audio)
    monkeypatch.setattr(digits_tab, "load_digits", lambda *_: load_digits("bundled", tmp_path))
    blocks = page.page(["remix-k2"], ["vae-notes"], tmp_path).blocks.values()
    tabs = [block.label for block in blocks if block.get_block_name() == "tabitem"]
    assert tabs == ["Digits", "Notes"][: 1 + has_audio]


def test_a_missing_gradio_is_a_line(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert demo.main([]) == 2
    assert capsys.readouterr().err.endswith("gradio is missing: pip install 'vaebss[demo]'\n")


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    pytest.importorskip("pretty_midi")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(notes, "RANGES", FEW)
        return NoteLibrary(notes.load_notes(tmp_path_factory.mktemp("notes")))


def heard(html: str) -> list[np.ndarray]:
    sounds = re.findall(r"src=\"data:audio/wav;base64,([^\"]+)", html)
    return [wavfile.read(io.BytesIO(base64.b64decode(sound)))[1].astype(float) for sound in sounds]


def test_notes_are_chosen_by_instrument_and_pitch(library):
    assert library.instruments() == [("Acoustic Grand Piano", 0), ("Violin", 40), ("Flute", 73)]
    names = dict(library.pitches(40))
    assert names["A4"] == 69
    assert min(names.values()) >= 60
    assert max(names.values()) <= 80
    sources = library.sources([(40, 69), (0, 60)])
    assert sources.shape == (1, 2, notes.SAMPLES)
    assert sources.square().mean(2).sqrt().numpy() == pytest.approx(0.25, abs=1e-3)
    strongest = int(torch.fft.rfft(sources[0, 0]).abs().argmax()) * notes.RATE / notes.SAMPLES
    assert strongest / 440 == pytest.approx(max(1, round(strongest / 440)), abs=0.02)  # a partial of A4


def test_notes_at_random_are_held_out_and_two(library):
    held_out = {tuple(note) for note in library.notes.labels["test"].tolist()}
    for _ in range(20):
        first, second = library.two()
        assert {first, second} <= held_out
        assert first != second


def test_notes_are_heard_apart_and_scored(library):
    model, sources = vaebss.load("vae-notes"), library.sources([(40, 69), (0, 60)])
    html, spectrograms = notes_apart(model, sources)
    found = separate_signals(model.separate, modality_of(model), sources.sum(1), refine_steps=60)
    quality = si_sdr(match(found.sources, sources, torch.tensor([2])), sources).mean()
    assert number(r"SI-SDR ([-\d.]+) dB", html) == pytest.approx(float(quality), abs=0.051)
    mixture, *parts = heard(html)
    assert parts[0] + parts[2] == pytest.approx(mixture, abs=3)  # what is found adds up, and so does the truth
    assert parts[1] + parts[3] == pytest.approx(mixture, abs=3)
    assert spectrograms.startswith('<img src="data:image/png;base64,')


def test_ones_own_sound_comes_apart(library, tmp_path):
    pytest.importorskip("soundfile")
    sound = library.sources([(40, 69), (0, 60)]).sum(1)[0]
    wavfile.write(tmp_path / "duet.wav", notes.RATE, torch.cat([sound, sound]).numpy())
    html, spectrograms = sound_apart(vaebss.load("vae-notes"), tmp_path / "duet.wav")
    assert "<b>2 found</b> in duet.wav" in html
    assert "Assumed: at most 2 sources sound together. Channels are averaged, and sound above 8 kHz is dropped" in html
    mixture, first, second = heard(html)
    assert len(mixture) == 2 * notes.SAMPLES
    assert first + second == pytest.approx(mixture, abs=3)
    assert spectrograms


def test_an_example_duet_is_of_two_instruments_and_says_what_separated_it(library):
    torch.manual_seed(0)
    duet = library.duet()
    assert duet.shape == (1, 2, 6 * notes.RATE)
    assert duet.square().mean(2).sqrt().numpy() == pytest.approx(0.25, abs=0.05)
    html, _ = notes_apart(vaebss.load("remix-lines"), duet, "Separated by remix-lines.")
    assert html.endswith("<p>Separated by remix-lines.</p>")
    assert len(heard(html)) == 5
    assert re.findall(r'download="([^"]+)"', html) == [
        f"{name}.wav" for name in ("mixture", "found1", "truth1", "found2", "truth2")
    ]


def test_a_broken_sound_is_a_line(tmp_path):
    pytest.importorskip("soundfile")
    (tmp_path / "duet.wav").write_bytes(b"broken")
    html, spectrograms = sound_apart(vaebss.load("vae-notes"), tmp_path / "duet.wav")
    assert html.startswith("<p>duet.wav cannot be read as sound")
    assert not spectrograms
