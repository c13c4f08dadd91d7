"""Figures as files, as their content, and as images."""

import io
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from vaebss.atomic import atomic_write

MARGIN = 0.05  # inches around a figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG without empty margins, see `atomic_write`.

    Args:
        figure: The figure.
        path: Path of the file, whatever its suffix.

    Raises:
        OSError: The file cannot be written.
    """
    with atomic_write(path) as part:
        part.write_bytes(as_png(figure))


def as_png(figure: Figure) -> bytes:
    """Return the content of a PNG file of the figure."""
    file = io.BytesIO()
    figure.savefig(file, format="png", bbox_inches="tight", pad_inches=MARGIN)
    return file.getvalue()


def as_image(figure: Figure) -> Image.Image:
    """Render the figure as an image."""
    return Image.open(io.BytesIO(as_png(figure)))
