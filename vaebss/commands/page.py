"""The demo's page in the browser, where digits are drawn or picked, overlap, and come apart."""

from functools import cache
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vaebss.checkpoints import load
from vaebss.data.digits import load_digits
from vaebss.models.separator import Separator

DIGIT_SHAPE = (1, 28, 28)
CANVAS = 280  # pixels
BOX = 20  # MNIST's digits fill a box of so many pixels, centred by mass
SHOWN = 168  # side of a picture on the page
TITLE = """# Digits on top of each other, taken apart
The model has only ever seen such mixtures: never a digit on its own, never how many there are. Take the pencil beside a
canvas and draw a digit, or pick some that others wrote."""


def as_digit(drawing: np.ndarray) -> Tensor:
    """A drawing, (H, W) from 0 to 255, as MNIST would hold it: (1, 28, 28) from 0 to 1, black if nothing is drawn."""
    digit = torch.zeros(DIGIT_SHAPE)
    rows, columns = np.nonzero(drawing > 32)
    if not len(rows):
        return digit
    ink = Image.fromarray(drawing[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].astype(np.uint8))
    scale = BOX / max(ink.size)
    ink = ink.resize([max(1, round(side * scale)) for side in ink.size], Image.Resampling.BOX)
    pixels = torch.from_numpy(np.asarray(ink).astype(np.float32) / 255)
    height, width = pixels.shape
    mass = pixels.sum().clamp(min=1e-6)
    top = round(DIGIT_SHAPE[1] / 2 - float((pixels.sum(1) * torch.arange(0.5, height)).sum() / mass))
    left = round(DIGIT_SHAPE[2] / 2 - float((pixels.sum(0) * torch.arange(0.5, width)).sum() / mass))
    top, left = min(max(top, 0), DIGIT_SHAPE[1] - height), min(max(left, 0), DIGIT_SHAPE[2] - width)
    digit[0, top : top + height, left : left + width] = pixels
    return digit


def drawn(editor: dict[str, Any] | None) -> np.ndarray:
    """What a canvas of the page holds: ink (H, W) from 0 to 255."""
    if editor is None or editor.get("composite") is None:
        return np.zeros((CANVAS, CANVAS), np.uint8)
    composite = np.asarray(editor["composite"], np.float32)
    return ((255 - composite[..., :3].mean(-1)) * composite[..., 3] / 255).astype(np.uint8)


def picture(image: Tensor) -> np.ndarray:
    """(1, H, W) from 0 to 1 as pixels for the page, enlarged."""
    pixels = Image.fromarray((image[0].clamp(0, 1) * 255).byte().numpy())
    return np.asarray(pixels.resize((SHOWN, SHOWN), Image.Resampling.NEAREST))


def take_apart(model: Separator, digits: list[Tensor]) -> tuple[np.ndarray, np.ndarray | None, str]:
    """The mixture of some digits, the sources found in it side by side, and a line on how many there are."""
    scale = model.source_scale
    mixture = torch.stack(digits).sum(0, keepdim=True) * scale
    separation = model.separate(mixture.clamp(max=model.num_sources))
    sources = separation.sources[0][separation.active[0]] / scale
    strip = np.concatenate([picture(source) for source in sources], 1) if len(sources) else None
    found, there = int(separation.count[0]), sum(bool(digit.any()) for digit in digits)
    line = f"**{found} found**, {there} there; confidence {float(separation.confidence[0]):.3f}"
    return picture(mixture[0] / max(float(mixture.max()), scale)), strip, line


def page(names: list[str]) -> Any:
    """The page, for models of these names or paths."""
    import gradio as gr  # pyright: ignore[reportMissingImports]

    model = cache(load)
    digits = load_digits("bundled", "data").test

    def separate(name: str, *canvases: dict[str, Any]) -> tuple:
        return take_apart(model(name), [as_digit(drawn(canvas)) for canvas in canvases])

    def pick(name: str, number: int) -> tuple:
        chosen = digits[torch.randint(len(digits), (int(number),))] / 255
        return take_apart(model(name), list(chosen))

    with gr.Blocks(title="vaebss", analytics_enabled=False) as blocks:
        gr.Markdown(TITLE)
        name = gr.Dropdown(names, value=names[0], label="Model")
        with gr.Row():
            canvases = [_canvas(gr, f"Digit {number}") for number in (1, 2)]
        with gr.Row():
            button = gr.Button("Take the drawn digits apart", variant="primary", elem_id="separate")
            number = gr.Slider(1, 4, 2, step=1, label="Test digits to pick")
            pick_button = gr.Button("Pick test digits", elem_id="pick")
        line = gr.Markdown(elem_id="count")
        with gr.Row():
            mixture = gr.Image(label="Mixture", height=SHOWN + 40, interactive=False, elem_id="mixture")
            sources = gr.Image(label="Sources", height=SHOWN + 40, interactive=False, elem_id="sources", scale=3)
        outputs = [mixture, sources, line]
        button.click(separate, [name, *canvases], outputs)
        pick_button.click(pick, [name, number], outputs)
    return blocks


def _canvas(gr: Any, label: str) -> Any:
    brush = gr.Brush(default_size=12, colors=["#000000"], color_mode="fixed")
    return gr.Sketchpad(
        label=label, canvas_size=(CANVAS, CANVAS), fixed_canvas=True, brush=brush, layers=False, type="numpy"
    )
