"""The tab of the demo on which digits are drawn or picked, added up and separated."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from vaebss.data.corpora.digits import load_digits
from vaebss.demo.canvas import LAYERS, canvases, empty
from vaebss.demo.digits_html import NOTHING, as_digits, digits_apart, file_apart, picture_url
from vaebss.demo.html import asset
from vaebss.models.separator import Separator

EXAMPLES = {"Letter over shape": "letter-over-shape.png", "Nuclei over filaments (fails)": "nuclei-over-filaments.png"}


def digits_tab(gr: Any, model: Callable[[str], Separator], names: list[str], root: str | Path) -> None:
    """Build the tab: layers to draw on at the left, the sources found in their mixture at the right.

    Args:
        gr: The module gradio.
        model: Function that opens a model by its name.
        names: Names of models, the default one first.
        root: Folder for MNIST, whose test digits can be picked.
    """
    digits = load_digits("auto", root).test
    model(names[0])  # so that the first answer does not wait for it

    def answer(name: str, layers: list[str], path: str | None) -> str:
        drawn = as_digits(layers)
        return file_apart(model(name), path) if path and not len(drawn) else digits_apart(model(name), drawn)

    def picked(number: int) -> list[str]:
        chosen = digits[torch.randint(len(digits), (number,))] / 255
        return [*map(picture_url, chosen), *empty()[number:]]

    layers, picks, clear, parts, name, examples, upload = _components(gr, names)
    chosen = gr.State()  # path of a picture, an example or the user's
    quiet: Any = {"show_progress": "hidden"}
    for number, pick in enumerate(picks, start=1):
        pick.click(lambda number=number: picked(number), outputs=layers, **quiet)
    given: Any = {"inputs": [name, layers, chosen], "outputs": parts, **quiet}
    clear.click(None, outputs=layers, js=f"() => [{empty()}]")  # at once, before the next stroke
    clear.click(lambda: None, outputs=chosen, **quiet).then(answer, **given)
    gr.on([name.change, layers.change], answer, trigger_mode="always_last", **given)
    for button, file in zip(examples, EXAMPLES.values(), strict=True):
        path = str(Path(__file__).with_name(file))
        button.click(lambda path=path: (empty(), path), outputs=[layers, chosen], **quiet).then(answer, **given)
    upload.upload(lambda path: (empty(), path), upload, [layers, chosen], **quiet).then(answer, **given)


def _components(gr: Any, names: list[str]) -> tuple[Any, ...]:
    """Return the layers, buttons to pick and to clear, the answer, the menu of models, the examples, the upload."""
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            layers = canvases(gr)
            with gr.Row():
                numbers = range(1, LAYERS + 1)
                picks = [gr.Button(f"Pick {n}", min_width=40, size="sm", elem_id=f"pick{n}") for n in numbers]
                clear = gr.Button("Clear", min_width=40, size="sm", elem_id="clear")
        with gr.Column(scale=3, min_width=300):
            parts = gr.HTML(NOTHING, css_template=asset("digits.css"), elem_id="parts")
            with gr.Row():
                examples = [gr.Button(title, min_width=100, size="sm") for title in EXAMPLES]
            with gr.Row(equal_height=True):
                name = gr.Dropdown(names, value=names[0], label="Model", container=False, min_width=150)
                upload = gr.UploadButton("Your own picture", file_types=["image"], min_width=100, size="md")
    return layers, picks, clear, parts, name, examples, upload
