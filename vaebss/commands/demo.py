"""The command line of the demo: a page in the browser."""

import sys
from typing import Any

from vaebss.commands.terminal import OneLineErrors, program, run_cleanly
from vaebss.demo.models import offered


def parse(args: list[str]) -> Any:
    """Parse the options of `args`."""
    about = (
        "A page in the browser: draw digits on top of each other, or choose two notes, and see and hear the estimates."
    )
    parser = OneLineErrors(prog=program("demo"), description=about)
    parser.add_argument("--ckpt", type=str | None, help="Checkpoint to add to the shipped models.")
    root = "Folder for MNIST, whose test digits are picked, and for rendered notes; filled where they are missing."
    parser.add_argument("--data.root", type=str, default="data", help=root)
    parser.add_argument("--port", type=int | None, help="Port of the page; by default a free one from 7860.")
    parser.add_argument("--share", type=bool, default=False, help="Public address of the page, from Gradio.")
    return parser.parse_args(args)


def run(args: list[str]) -> None:
    """Serve the page with the options, until it is stopped.

    Raises:
        ValueError: gradio is not installed, or there is no model to show.
    """
    options = parse(args)
    try:
        import gradio  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ValueError("gradio is missing: pip install 'vaebss[demo]'") from error
    names = offered(options.ckpt)
    from vaebss.demo.page import STYLE, page  # only now, so that options are refused at once

    page(*names, options.data.root).launch(server_port=options.port, share=options.share, css=STYLE)


def main(args: list[str] | None = None) -> int:
    """Entry point of scripts/demo.py.

    Examples:
        >>> main(["--ckpt", "vae-k9"])  # there is no such model: one line on stderr, and exit code 2
        2
    """
    return run_cleanly("demo", lambda: run(sys.argv[1:] if args is None else args))
