from vaebss.figures.scores import slots_figure


def test_quality_counts_and_bound_are_drawn_against_the_slots():
    scores = {
        "vae": {
            3: {"psnr_paper": 22.0, "count": 0.5, "elbo": -9.0},
            2: {"psnr_paper": 23.0, "count": 1.0, "elbo": -8.0},
        },
        "mixit": {2: {"psnr_paper": 22.5, "count": 1.0}},
    }
    quality, counts, bound = slots_figure(scores, "psnr_paper", "PSNR, dB").axes
    assert quality.get_ylabel() == "PSNR, dB"
    assert quality.lines[0].get_xydata().tolist() == [[2, 23], [3, 22]]
    assert counts.lines[0].get_xydata().tolist() == [[2, 1], [3, 0.5]]
    assert bound.lines[0].get_xydata().tolist() == [[2, -8], [3, -9]]
    assert len(bound.lines[1].get_xydata()) == 0
    assert quality.lines[1].get_label() == "mixit"
