"""HTML for both tabs of the demo: lines, media in data URLs, and refused files."""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path


def asset(name: str) -> str:
    """Return the text of a style sheet or a script that lies beside this file."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def data_url(content: bytes, kind: str) -> str:
    """Return the content of a file as a data URL, which a browser shows or plays.

    Args:
        content: Content of the file.
        kind: Media type of the file, such as "image/png".
    """
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def block(lines: Sequence[str], media: str, notes: Sequence[str] = (), attributes: str = "") -> str:
    """Return HTML with lines above and notes below pictures or players.

    Args:
        lines: Lines of HTML.
        media: HTML of the pictures or players.
        notes: Notes in HTML.
        attributes: Attributes of the element that holds the media, with a leading space.
    """
    above, below = ("".join(f"<p>{line}</p>" for line in some) for some in (lines, notes))
    return f"{above}<div{attributes}>{media}</div>{below}"


def download(url: str, name: str) -> str:
    """Return the HTML of a link that saves the content of a data URL as a file.

    Args:
        url: Data URL, see `data_url`.
        name: Name of the file, without characters that HTML escapes.
    """
    return f'<a href="{url}" download="{name}" title="Download {name}">&#x2B07;</a>'


def refusal(error: Exception, path: Path) -> str:
    """Return a paragraph of HTML that says what is wrong with a file, without the path of its folder.

    Args:
        error: Error that was raised.
        path: Path of the file, which the message may contain.
    """
    return f"<p>{escape(str(error).replace(str(path), path.name))}</p>"
