import numpy as np
import pytest
import torch

import vaebss
from vaebss.commands.page import as_digit, drawn, take_apart


def test_a_drawing_becomes_a_centred_digit():
    drawing = np.zeros((280, 280), np.uint8)
    drawing[20:120, 200:230] = 255  # a stroke in a corner
    digit = as_digit(drawing)
    assert digit.shape == (1, 28, 28)
    rows, columns = digit[0].nonzero().unbind(1)
    assert int(rows.max() - rows.min()) + 1 == 20
    assert abs(float(rows.float().mean()) - 13.5) <= 0.5
    assert abs(float(columns.float().mean()) - 13.5) <= 0.5


@pytest.mark.parametrize("alpha", [0, 255], ids=["transparent", "white"])
def test_ink_is_what_is_dark_whatever_the_paper(alpha):
    composite = np.full((40, 40, 4), (255, 255, 255, alpha), np.uint8)
    composite[10:20, 5:15] = (0, 0, 0, 255)
    ink = drawn({"composite": composite})
    assert (ink[10:20, 5:15] == 255).all()
    assert ink.sum() == 100 * 255


def test_an_empty_canvas_is_silence():
    assert not as_digit(drawn(None)).any()


@pytest.mark.parametrize("number", [1, 2])
def test_what_is_shown_is_what_the_model_finds(number, checkpoint, digits_module):
    model = vaebss.load(checkpoint)
    digits = list(digits_module.collection.test[:number] / 255)
    mixture, sources, line = take_apart(model, digits)
    separation = model.separate(torch.stack(digits).sum(0, keepdim=True) / 2)
    assert sources.shape == (168, 168 * int(separation.count))
    assert f"**{int(separation.count)} found**, {number} there" in line
    assert mixture.shape == (168, 168)
