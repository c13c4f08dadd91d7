import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from vaebss.figures.contact_sheet import TEXT, ContactSheet
from vaebss.modalities.images import Images


def sheet(path, *shapes: tuple[int, ...]) -> tuple[list[int], Image.Image]:
    """How many mixtures each block of a contact sheet has, and the sheet; two sources in each mixture of a shape."""
    modality, blocks = Images((1, 28, 28)), []

    def draw(rows):
        assert list(rows) == ["mixture", "source 1", "source 2"]
        blocks.append(len(rows["mixture"]))
        return modality.figure(rows)

    made = ContactSheet()
    made.draw_with(draw, modality.columns_per_page)
    for number, (many, *shape) in enumerate(shapes):
        sources = torch.rand(many, 3, *shape)
        names = [f"{number}[{place}]" for place in range(many)]
        made.add(names, sources[:, :2].sum(1), sources, torch.full((many,), 2))
    made.save(path)
    assert (made.shown, made.seen) == (sum(blocks), sum(many for many, *_ in shapes))
    return blocks, Image.open(path)


def test_a_contact_sheet_of_many_shows_the_first(tmp_path):
    blocks, image = sheet(tmp_path / "sheet.png", (500, 1, 28, 28))
    assert blocks == [12] * 6
    assert max(image.size) < 2_500


def test_a_contact_sheet_shows_mixtures_of_every_size(tmp_path):
    blocks, _ = sheet(tmp_path / "sheet.png", (1, 1, 28, 28), (2, 3, 40, 30), (1, 1, 28, 28))
    assert blocks == [1, 2, 1]


@pytest.mark.parametrize(
    ("shape", "blocks", "size"),
    [
        ((1, 1, 28, 28), [1], (340, 760)),
        ((2, 3, 2_000, 2_000), [2], (1_080, 1_480)),
        ((5, 1, 1, 256), [4, 1], (1_440, 700)),
        ((2, 1, 28, 1_120), [1, 1], (1_560, 250)),
        ((1, 1, 1_120, 28), [1], (320, 1_000)),
    ],
    ids=["one", "large", "lines", "wide", "tall"],
)
def test_a_contact_sheet_is_as_large_as_what_it_shows_needs(tmp_path, shape, blocks, size):
    found, image = sheet(tmp_path / "sheet.png", shape)
    assert found == blocks
    assert all(least * 0.8 <= side <= least * 1.2 for side, least in zip(image.size, size, strict=True)), image.size


def test_classes_are_drawn_in_their_slots_and_an_absent_one_has_no_score(tmp_path):
    drawn, written, modality = [], [], Images((1, 28, 28))
    made = ContactSheet()
    made.draw_with(lambda rows: drawn.append(rows) or modality.figure(rows), lambda signal: 3, "class")
    sources = torch.rand(2, 2, 1, 28, 28)
    sources[0, 0] = 0
    made.add(["m", "k"], sources.sum(1), sources, torch.tensor([2, 2]))
    with pytest.MonkeyPatch.context() as patch:
        text = ImageDraw.ImageDraw.text
        patch.setattr(
            ImageDraw.ImageDraw, "text", lambda self, at, t, *a, **k: written.append(t) or text(self, at, t, *a, **k)
        )
        made.save(tmp_path / "sheet.png", {"m": 9.0, "k": 8.0}, {"m": [math.nan, 9.0], "k": [8.0, 8.0]})
    assert list(drawn[0]) == ["mixture", "class 1", "class 2"]
    assert torch.equal(torch.stack([drawn[0]["class 1"], drawn[0]["class 2"]], 1), sources)
    assert written[-2:] == ["-  9.0", "8.0  8.0"]


def test_empty_contact_sheets_are_not_written(tmp_path):
    ContactSheet().save(tmp_path / "sheet.png")
    assert not (tmp_path / "sheet.png").exists()


def test_scores_stand_above_the_columns_of_their_mixtures(tmp_path):
    sources = torch.rand(3, 2, 1, 28, 28)
    made = ContactSheet()
    made.draw_with(Images((1, 28, 28)).figure, lambda signal: 3)
    made.add(["a", "b", "c"], sources.sum(1), sources, torch.full((3,), 2))
    for name, scores in {"with": {"a": 21.5, "c": 30.0}, "without": {}, "others": {"d": 3.0}}.items():
        made.save(tmp_path / f"{name}.png", scores)
    with_scores, without = (Image.open(tmp_path / f"{name}.png").convert("L") for name in ("with", "without"))
    assert (tmp_path / "without.png").read_bytes() == (tmp_path / "others.png").read_bytes()
    added, top = with_scores.height - without.height, 2 * TEXT
    assert added == TEXT
    line = torch.from_numpy(np.array(with_scores))[top : top + added]
    block = torch.from_numpy(np.array(with_scores))[top + added :]
    assert torch.equal(block, torch.from_numpy(np.array(without))[top:])
    dark, pictures = (line < 128).any(0).nonzero().flatten(), made.blocks[0].centres
    assert {int(min(range(3), key=lambda k: abs(pictures[k] - float(x)))) for x in dark} == {0, 2}
    gaps = (block[block.shape[0] // 3] == 0).nonzero().flatten()  # black between the pictures and around them
    edges = [float(gaps.min()), float(gaps.max())]
    expected = [edges[0] + (k + 0.5) * (edges[1] - edges[0]) / 3 for k in range(3)]
    assert pictures == pytest.approx(expected, abs=3)


def test_scores_of_sources_stand_below_their_mixtures_where_they_fit(tmp_path):
    sources = torch.rand(3, 2, 1, 28, 28)
    made = ContactSheet()
    made.draw_with(Images((1, 28, 28)).figure, lambda signal: 3)
    made.add(["a", "b", "c"], sources.sum(1), sources, torch.full((3,), 2))
    of_sources = {"a": [21.5, 20.0], "c": [30.0] * 40}
    for name, own in {"with": of_sources, "without": {}}.items():
        made.save(tmp_path / f"{name}.png", {"a": 1.0}, own)
    with_scores, without = (
        torch.from_numpy(np.array(Image.open(tmp_path / f"{name}.png").convert("L"))) for name in ("with", "without")
    )
    assert len(with_scores) - len(without) == TEXT
    assert torch.equal(with_scores[: len(without)], without)
    dark, pictures = (with_scores[len(without) :] < 128).any(0).nonzero().flatten(), made.blocks[0].centres
    assert {int(min(range(3), key=lambda k: abs(pictures[k] - float(x)))) for x in dark} == {0}
