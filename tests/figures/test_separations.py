import torch

from vaebss.figures.separations import separation_figure


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


def test_columns_are_captioned_over_their_middle(random_mixture):
    figure = separation_figure(random_mixture[:4], estimates(2), captions=["a", "b", "c", "d"])
    texts = figure.axes[0].texts
    assert [text.get_text() for text in texts] == ["a", "b", "c", "d"]
    assert [text.get_position()[0] for text in texts] == [0.125, 0.375, 0.625, 0.875]
