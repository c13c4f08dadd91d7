"""The demo's web page, which separates overlapping digits and simultaneous notes."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vaebss.checkpoints import load
from vaebss.demo.digits_tab import digits_tab
from vaebss.demo.html import asset
from vaebss.demo.notes_tab import notes_tab

TITLE = '<b style="font-size: 17px">Separation of mixtures by models that were trained on mixtures alone</b>'

STYLE = asset("page.css")


def page(pictures: list[str], sounds: list[str], root: str | Path) -> Any:
    """Build the page. Launch it with STYLE as its css.

    Args:
        pictures: Names or paths of models of pictures, the default one first.
        sounds: Names or paths of models of sound, the default one first.
        root: Folder for MNIST and for rendered notes.
    """
    import gradio as gr  # pyright: ignore[reportMissingImports]

    model = cache(load)
    with gr.Blocks(title="vaebss", analytics_enabled=False, fill_width=True) as blocks:
        gr.HTML(TITLE)
        if pictures:
            with gr.Tab("Digits"):
                digits_tab(gr, model, pictures, root)
        if sounds and find_spec("pretty_midi") and find_spec("soundfile"):
            with gr.Tab("Notes") as tab:
                notes_tab(gr, model, sounds, root, tab)
    return blocks
