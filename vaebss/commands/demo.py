"""The command line of the demo: a page in the browser."""

import sys

from vaebss.commands.terminal import OneLineErrors, program, run_cleanly
from vaebss.pretrained.shelf import DEFAULT_MODEL, available


def run(args: list[str]) -> None:
    """Serve the page until it is stopped."""
    parser = OneLineErrors(prog=program("demo"), description="A page to see digits overlap and come apart.")
    parser.add_argument("--ckpt", type=str | None, help="Checkpoint to add to the shipped models.")
    parser.add_argument("--port", type=int | None, help="Of the page; by default a free one from 7860.")
    parser.add_argument("--share", type=bool, default=False, help="Ask Gradio for a public address.")
    options = parser.parse_args(args)
    from vaebss.checkpoints import load  # only now, so that options are refused at once

    try:
        import gradio  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ValueError("gradio is missing: pip install 'vaebss[demo]'") from error
    names = sorted(available(), key=lambda name: name != DEFAULT_MODEL)
    if options.ckpt:
        load(options.ckpt)  # or refuse at once
        names = [options.ckpt, *names]
    if not names:
        raise ValueError("no model is shipped with this version: give one with --ckpt")
    from vaebss.commands.page import page

    page(names).launch(server_port=options.port, share=options.share)


def main(args: list[str] | None = None) -> int:
    """Entry point of scripts/demo.py."""
    return run_cleanly("demo", lambda: run(sys.argv[1:] if args is None else args))
