"""Figures as files, and as what these hold."""

import io
from pathlib import Path
from typing import BinaryIO

from matplotlib.figure import Figure
from PIL import Image

MARGIN = 0.05  # inches around a figure


def save_figure(figure: Figure, file: Path | BinaryIO) -> None:
    """As PNG, without empty margins."""
    figure.savefig(file, format="png", bbox_inches="tight", pad_inches=MARGIN)


def as_png(figure: Figure) -> bytes:
    """What a file of the figure would hold."""
    file = io.BytesIO()
    save_figure(figure, file)
    return file.getvalue()


def as_image(figure: Figure) -> Image.Image:
    """The figure drawn."""
    return Image.open(io.BytesIO(as_png(figure)))
