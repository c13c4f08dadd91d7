from vaebss.figures.scores import slots_figure, starts_figure


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
