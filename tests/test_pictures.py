import pytest
import torch
from PIL import Image

from vaebss.modalities.images import Images
from vaebss.pictures import ContactSheet, separation_figure, slots_figure, starts_figure


def labels(figure):
    return [axes.get_ylabel().replace("\n", " ") for axes in figure.axes]


def estimates(num_slots: int) -> torch.Tensor:
    return torch.rand(4, num_slots, 1, 28, 28)


def test_rows_are_named(random_mixture):
    figure = separation_figure(random_mixture[:4], estimates(2), torch.rand(4, 2, 1, 28, 28))
    assert labels(figure) == ["mixture", "estimate 1", "estimate 2", "sum of estimates", "source 1", "source 2"]
    assert labels(separation_figure(random_mixture[:4], estimates(1))) == ["mixture", "estimate 1", "sum of estimates"]


def test_the_truth_is_drawn_in_the_order_of_the_slots(random_mixture):
    answer = estimates(3)
    figure = separation_figure(random_mixture[:4], answer, answer[:, [2, 0]])
    drawn = {axes.get_ylabel(): axes.images[0].get_array() for axes in figure.axes}
    assert (drawn["source 1"] == drawn["estimate 1"]).all()
    assert (drawn["source 3"] == drawn["estimate 3"]).all()
    assert drawn["source 2"].max() == 0


def test_quality_counts_and_bound_are_drawn_against_the_slots():
    scores = {
        "vae": {
            3: {"psnr_paper": 22.0, "count": 0.5, "elbo": -9.0},
            2: {"psnr_paper": 23.0, "count": 1.0, "elbo": -8.0},
        },
        "mixit": {2: {"psnr_paper": 22.5, "count": 1.0}},
    }
    quality, counts, bound = slots_figure(scores).axes
    assert quality.lines[0].get_xydata().tolist() == [[2, 23], [3, 22]]
    assert counts.lines[0].get_xydata().tolist() == [[2, 1], [3, 0.5]]
    assert bound.lines[0].get_xydata().tolist() == [[2, -8], [3, -9]]
    assert len(bound.lines[1].get_xydata()) == 0
    assert quality.lines[1].get_label() == "mixit"


def test_starts_are_drawn_with_their_rank_correlation():
    (axes,) = starts_figure([-3.0, -1.0, -2.0], [20.0, 26.0, 21.0], ["7", "8", "9"]).axes
    assert axes.collections[0].get_offsets().tolist() == [[-3, 20], [-1, 26], [-2, 21]]
    assert [text.get_text() for text in axes.texts] == ["7", "8", "9"]
    assert axes.get_title() == "rank correlation 1.00"
    assert starts_figure([-3.0, -1.0, -2.0], [20.0, 19.0, 21.0], ["7", "8", "9"]).axes[0].get_title().endswith("-0.50")


def test_a_rank_correlation_takes_three_points():
    assert starts_figure([-3.0, -1.0], [20.0, 26.0], ["7", "8"]).axes[0].get_title() == ""


def test_columns_are_captioned_over_their_middle(random_mixture):
    figure = separation_figure(random_mixture[:4], estimates(2), captions=["a", "b", "c", "d"])
    texts = figure.axes[0].texts
    assert [text.get_text() for text in texts] == ["a", "b", "c", "d"]
    assert [text.get_position()[0] for text in texts] == [0.125, 0.375, 0.625, 0.875]


def sheet(path, *shapes: tuple[int, ...]) -> tuple[list[int], Image.Image]:
    """How many mixtures each block of a contact sheet has, and the sheet; two sources in each mixture of a shape."""
    modality, blocks = Images((1, 28, 28)), []

    def draw(rows):
        assert list(rows) == ["mixture", "source 1", "source 2"]
        blocks.append(len(rows["mixture"]))
        return modality.figure(rows)

    made = ContactSheet(draw, modality.beside)
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


def test_empty_contact_sheets_are_not_written(tmp_path):
    ContactSheet(lambda _: pytest.fail("drawn"), lambda _: 1).save(tmp_path / "sheet.png")
    assert not (tmp_path / "sheet.png").exists()
