"""The drawing areas of the demo: black squares in the browser, each a layer, for a mouse, a pen or a finger."""

from typing import Any

from vaebss.demo.html import asset

LAYERS = 4
SIDE = 280  # side of a layer's drawing, pixels

TEMPLATE = "".join(
    f'<div><canvas width="{SIDE}" height="{SIDE}" aria-label="Layer {number}"></canvas>'
    f'<button aria-label="Clear layer {number}" title="Clear">&times;</button></div>'
    for number in range(1, LAYERS + 1)
)


def canvases(gr: Any) -> Any:
    """Return the squares as a Gradio component, whose value is a list of LAYERS data URLs, "" for an empty one."""
    looks = {"html_template": TEMPLATE, "css_template": asset("canvas.css"), "js_on_load": asset("canvas.js")}
    return gr.HTML(empty(), **looks, elem_id="layers")


def empty() -> list[str]:
    """Return the value of the squares when nothing is drawn."""
    return [""] * LAYERS
