from itertools import pairwise

import pytest
import torch

from vaebss.figures.separations import separation_figure


def labels(figure):
    (axes,) = figure.axes
    return [label.get_text().replace("\n", " ") for label in axes.get_yticklabels()]


def estimates(num_slots: int) -> torch.Tensor:
    return torch.rand(4, num_slots, 1, 28, 28)


def test_rows_are_named(random_mixture):
    figure = separation_figure(random_mixture[:4], estimates(2), torch.rand(4, 2, 1, 28, 28))
    assert labels(figure) == ["mixture", "estimate 1", "estimate 2", "sum of estimates", "source 1", "source 2"]
    assert labels(separation_figure(random_mixture[:4], estimates(1))) == ["mixture", "estimate 1", "sum of estimates"]


def test_the_truth_is_drawn_in_the_order_of_the_slots(random_mixture):
    answer = estimates(3)
    figure = separation_figure(random_mixture[:4], answer, answer[:, [2, 0]])
    images = figure.axes[0].images
    drawn = {label: image.get_array() for label, image in zip(labels(figure), images, strict=True)}
    assert (drawn["source 1"] == drawn["estimate 1"]).all()
    assert (drawn["source 3"] == drawn["estimate 3"]).all()
    assert drawn["source 2"].max() == 0


def test_columns_are_captioned_over_their_middle(random_mixture):
    figure = separation_figure(random_mixture[:4], estimates(2), captions=["a", "b", "c", "d"])
    texts = figure.axes[0].texts
    assert [text.get_text() for text in texts] == ["a", "b", "c", "d"]
    assert [text.xy[0] for text in texts] == [0.125, 0.375, 0.625, 0.875]


def test_rows_stand_apart_beside_their_labels(random_mixture):
    (axes,) = separation_figure(random_mixture[:4], estimates(2)).axes
    shown = [image.get_extent() for image in axes.images]
    assert [round((bottom + top) / 2, 6) for _, _, bottom, top in shown] == axes.get_yticks().round(6).tolist()
    assert all(bottom - top == pytest.approx(28) for _, _, bottom, top in shown)
    assert all(above < top for (_, _, above, _), (_, _, _, top) in pairwise(shown))
    assert axes.get_ylim() == (shown[-1][2], shown[0][3])
