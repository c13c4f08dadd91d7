"""The demo's web page, which separates overlapping digits and simultaneous notes."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vaebss.checkpoints import load
from vaebss.demo.digits_tab import digits_tab
from vaebss.demo.html import asset
from vaebss.demo.notes_tab import notes_tab

ABOUT = """
<p><b>vaebss separates mixtures into their sources. Its models learned from mixtures alone.</b></p>
<p>Draw digits or pick them, or choose two notes. Or try an example, or upload your own picture or recording.</p>
<p>It works for strokes and notes that add up. It fails for speech, songs of a band and textures.</p>
"""

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
        gr.HTML(ABOUT, elem_id="about")
        if pictures:
            with gr.Tab("Digits"):
                digits_tab(gr, model, pictures, root)
        if sounds and find_spec("pretty_midi") and find_spec("soundfile"):
            with gr.Tab("Notes") as tab:
                notes_tab(gr, model, sounds, root, tab)
    return blocks
