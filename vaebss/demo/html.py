"""HTML for both tabs of the demo: lines, media in data URLs, and refused files."""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path


def asset(name: str) -> str:
    """Return the text of a style sheet or a script that lies beside this file."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def data_url(content: bytes, kind: str) -> str:
    """Return the content of a file as a data URL, which a browser shows or plays; `kind` is its media type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def block(lines: Sequence[str], media: str) -> str:
    """Return HTML with lines as paragraphs above pictures or players; all of them are HTML already."""
    return "".join(f"<p>{line}</p>" for line in lines) + f"<div>{media}</div>"


def refusal(error: Exception, path: Path) -> str:
    """Return a paragraph that says what is wrong with a file, without the path of its folder."""
    return f"<p>{escape(str(error).replace(str(path), path.name))}</p>"
