"""The command line of the demo: a page in the browser."""

import sys
from typing import Any

from vaebss.commands.terminal import OneLineErrors, program, run_cleanly
from vaebss.pretrained.catalogue import DEFAULT_MODEL, available, card, is_of_sound


def parse(args: list[str]) -> Any:
    """Options."""
    about = "A page in the browser: draw digits on top of each other, or choose two notes, and see and hear them apart."
    parser = OneLineErrors(prog=program("demo"), description=about)
    parser.add_argument("--ckpt", type=str | None, help="Checkpoint to add to the shipped models.")
    root = "Folder for MNIST, whose test digits are picked, and for rendered notes; filled where they are missing."
    parser.add_argument("--data.root", type=str, default="data", help=root)
    parser.add_argument("--port", type=int | None, help="Of the page; by default a free one from 7860.")
    parser.add_argument("--share", type=bool, default=False, help="Ask Gradio for a public address.")
    return parser.parse_args(args)


def offered(ckpt: str | None) -> tuple[list[str], list[str]]:
    """Names of models of pictures and of sound, the one to begin with first: `ckpt`, and shipped ones that separate.

    Raises:
        CheckpointError: `ckpt` is none.
    """
    cards = {name: card(name) for name in sorted(available(), key=lambda name: name != DEFAULT_MODEL)}
    models = {name: known for name, known in cards.items() if separates(known)}
    if ckpt:
        from vaebss.checkpoints import load, read

        load(ckpt)  # or refuse at once
        models = {ckpt: read(ckpt)} | models
    if not models:
        raise ValueError("no model is shipped with this version: give one with --ckpt")
    sounds = [name for name, known in models.items() if is_of_sound(known)]
    return [name for name in models if name not in sounds], sounds


def separates(card: dict[str, Any]) -> bool:
    """Whether a model is more than the paper's baseline, an auto-encoder, in whose slots sources stay mixed."""
    return card["hyper_parameters"].get("variational", True)


def run(args: list[str]) -> None:
    """Serve the page until it is stopped."""
    options = parse(args)
    try:
        import gradio  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ValueError("gradio is missing: pip install 'vaebss[demo]'") from error
    names = offered(options.ckpt)
    from vaebss.commands.page import STYLE, page  # only now, so that options are refused at once

    page(*names, options.data.root).launch(server_port=options.port, share=options.share, css=STYLE)


def main(args: list[str] | None = None) -> int:
    """Entry point of scripts/demo.py."""
    return run_cleanly("demo", lambda: run(sys.argv[1:] if args is None else args))
