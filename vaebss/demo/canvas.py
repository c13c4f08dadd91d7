"""What the demo draws on: black squares in the browser, each a layer, which take a mouse, a pen or a finger at once."""

from typing import Any

from vaebss.demo.html import asset

LAYERS = 4
SIDE = 280  # pixels of a layer's drawing

TEMPLATE = "".join(
    f'<div><canvas width="{SIDE}" height="{SIDE}" aria-label="Layer {number}"></canvas>'
    f'<button aria-label="Clear layer {number}" title="Clear">&times;</button></div>'
    for number in range(1, LAYERS + 1)
)


def canvases(gr: Any) -> Any:
    """The squares as a component of Gradio's, whose value is a list of LAYERS data URLs, "" where there is nothing."""
    looks = {"html_template": TEMPLATE, "css_template": asset("canvas.css"), "js_on_load": asset("canvas.js")}
    return gr.HTML(empty(), **looks, elem_id="layers")


def empty() -> list[str]:
    """What they hold when nothing is drawn."""
    return [""] * LAYERS
