"""The tab of the demo on which two notes are chosen, added up and separated."""

from collections.abc import Callable
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from vaebss.data.corpora.notes import load_notes
from vaebss.demo.html import asset
from vaebss.demo.models import for_recordings
from vaebss.demo.notes_html import WAIT, NoteLibrary, notes_apart, sound_apart
from vaebss.models.separator import Separator


def notes_tab(gr: Any, model: Callable[[str], Separator], names: list[str], root: str | Path, tab: Any) -> None:
    """Build the tab: notes to choose at the left, spectrograms at the right. Notes are rendered when it is opened.

    Args:
        gr: The module gradio.
        model: Function that opens a model by its name.
        names: Names of models, the default one first.
        root: Folder for rendered notes.
        tab: The tab that holds the components.
    """
    library = cache(lambda: NoteLibrary(load_notes(root)))

    def answer(name: str, *chosen: int) -> tuple[str, str]:
        return notes_apart(model(name), library().sources([*zip(chosen[::2], chosen[1::2], strict=True)]))

    def best(name: str) -> Separator:
        return model(for_recordings(name))

    def by(name: str) -> str:
        other = ", which is better for recordings" if for_recordings(name) != name else ""
        return f"Separated by {escape(for_recordings(name))}{other}."

    def pitches(program: int) -> Any:
        there = library().pitches(program)
        return gr.Dropdown(there, value=there[len(there) // 2][1])

    def drawn() -> list[Any]:
        choices = []
        for program, pitch in library().two():
            choices.append(gr.Dropdown(library().instruments(), value=program))
            choices.append(gr.Dropdown(library().pitches(program), value=pitch))
        return choices

    chosen, name, draw, duet, upload, answers = _components(gr, names)
    quiet: Any = {"show_progress": "hidden"}
    given: Any = {"inputs": [name, *chosen], "outputs": answers, **quiet}
    gr.on([tab.select, draw.click], drawn, outputs=chosen, **quiet).then(answer, **given)
    for instrument, pitch in (chosen[:2], chosen[2:]):
        instrument.input(pitches, instrument, pitch, **quiet).then(answer, **given)
    gr.on([name.change, chosen[1].input, chosen[3].input], answer, **given)
    recorded: Any = {"outputs": answers, "show_progress": "hidden"}
    duet.click(lambda name: notes_apart(best(name), library().duet(), by(name)), name, **recorded)
    upload.upload(lambda name, path: sound_apart(best(name), path, by(name)), [name, upload], **recorded)


def _components(gr: Any, names: list[str]) -> tuple[Any, ...]:
    """Return the menus of notes, the menu of models, the buttons and the HTML of the answer."""
    chosen = []
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            for label in ("First", "Second"):
                with gr.Row():
                    chosen.append(gr.Dropdown(label=f"{label} note", container=False, min_width=150, scale=2))
                    chosen.append(gr.Dropdown(label=f"{label} pitch", container=False, min_width=80))
            name = gr.Dropdown(names, value=names[0], label="Model", container=False, visible=len(names) > 1)
            with gr.Row():
                draw = gr.Button("Two at random", min_width=100, size="md", elem_id="draw")
                duet = gr.Button("Example duet", min_width=100, size="md", elem_id="duet")
                upload = gr.UploadButton("Your own sound", file_types=["audio"], min_width=100, size="md")
            sounds = gr.HTML(WAIT, css_template=asset("notes.css"), elem_id="sounds")
        with gr.Column(scale=3, min_width=300):
            spectrograms = gr.HTML(css_template="img { width: 100%; margin: 0; }", elem_id="spectrograms")
    return chosen, name, draw, duet, upload, [sounds, spectrograms]
