"""A page of separated mixtures of any sizes."""

# N mixtures, K slots, S the shape of a signal

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from torch import Tensor

from vaebss.figures.files import MARGIN, as_image
from vaebss.figures.rows import Rows
from vaebss.matching import with_silence
from vaebss.paths import printable

BLOCKS = 6  # blocks of mixtures on a contact sheet
TEXT, SMALL = 18, 14  # size of its letters, pixels
GAP = 6  # pixels between scores of neighbouring mixtures
LETTERS = 14  # letters of a title in an inch
ABSENT = "-"  # in place of the score of an absent class
UNKNOWN: Mapping[str, Any] = MappingProxyType({})


class Block(NamedTuple):
    """A drawing of mixtures side by side.

    Attributes:
        image: The drawing.
        names: Names of the mixtures, from left to right.
        centres: Middle of each mixture's column, in pixels from the left.
    """

    image: Image.Image
    names: Sequence[str]
    centres: Sequence[float]


class ContactSheet:
    """A page of the first mixtures and their estimated sources, in blocks of mixtures of one size side by side.

    Call `draw_with` before the first mixture is added.
    """

    draw: Callable[[Rows], Figure]
    beside: Callable[[Tensor], int]
    word: str

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.waiting: list[tuple[str, Tensor, Tensor]] = []
        self.seen = self.shown = 0

    def draw_with(self, draw: Callable[[Rows], Figure], beside: Callable[[Tensor], int], word: str = "source") -> None:
        """Set how the mixtures that are added next are drawn.

        Args:
            draw: Function that draws rows of signals.
            beside: Function that returns how many signals like one (*S) fit side by side.
            word: Word for a row of estimates, before its number: "source", or "class" if slots are classes.
        """
        if self.waiting and draw != self.draw:
            self._block()
        self.draw, self.beside, self.word = draw, beside, word

    def add(self, names: list[str], mixtures: Tensor, estimates: Tensor, count: Tensor) -> None:
        """Add mixtures with their estimates.

        Args:
            names: Names of the mixtures.
            mixtures: Mixtures (N, *S).
            estimates: Estimates of their sources (N, K, *S), of which the first are drawn.
            count: Number of estimates that are drawn for each mixture, (N,).
        """
        self.seen += len(names)
        for name, mixture, found, number in zip(names, mixtures, estimates, count.tolist(), strict=True):
            if self.waiting and self.waiting[0][1].shape != mixture.shape:
                self._block()
            if len(self.blocks) == BLOCKS:
                return
            self.waiting.append((name, mixture, found[:number]))
            if len(self.waiting) == self.beside(mixture):
                self._block()

    def save(
        self, path: Path, scores: Mapping[str, float] = UNKNOWN, of_sources: Mapping[str, Sequence[float]] = UNKNOWN
    ) -> None:
        """Write the page to a file, unless no mixture was added.

        Args:
            path: Path of the file.
            scores: Estimated quality of mixtures in dB, by name, to write above them.
            of_sources: Estimated quality of their sources in dB, by name, to write below them where it fits; NaN for a
                class that is absent.
        """
        if self.waiting:
            self._block()
        if not self.blocks:
            return
        top, scored = 2 * TEXT, any(name in scores for block in self.blocks for name in block.names)
        images = [block.image for block in self.blocks]
        width, above = max(image.width for image in images), TEXT if scored else 0
        below = TEXT if any(name in of_sources for block in self.blocks for name in block.names) else 0
        height = sum(above + image.height + below for image in images)
        sheet = Image.new("RGB", (width, top + height), "white")
        line = f"mixtures: {self.shown} of {self.seen}" + (", with their estimated quality" if scored else "")
        pen = ImageDraw.Draw(sheet)
        pen.text((TEXT / 2, TEXT / 2), line, "black", font_size=TEXT)
        for image, names, centres in self.blocks:
            for name, centre in zip(names, centres, strict=True):
                if name in scores:
                    pen.text((centre, top), f"{scores[name]:.1f} dB", "black", font_size=SMALL, anchor="ma")
            sheet.paste(image, (0, top + above))
            top += above + image.height + below
            room = (centres[1] - centres[0] if len(centres) > 1 else image.width) - GAP
            for name, centre in zip(names, centres, strict=True):
                line = "  ".join(ABSENT if math.isnan(score) else f"{score:.1f}" for score in of_sources.get(name, ()))
                if pen.textlength(line, font_size=SMALL) <= room:
                    pen.text((centre, top - below), line, "black", font_size=SMALL, anchor="ma")
        sheet.save(path)

    def _block(self) -> None:
        """Draw the waiting mixtures as a block, with a column for each."""
        names, mixtures, sources = zip(*self.waiting, strict=True)
        most = max(len(found) for found in sources)
        rows = {"mixture": torch.stack(mixtures)}
        for k, row in enumerate(torch.cat([with_silence(found.unsqueeze(0), most) for found in sources]).unbind(1)):
            rows[f"{self.word} {k + 1}"] = row
        figure = self.draw(rows)
        title = printable(_fitting(names, int(figure.get_figwidth() * LETTERS)))
        figure.suptitle(title, fontsize=8, parse_math=False)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .+ missing")  # names in scripts that the font lacks
            self.blocks.append(Block(as_image(figure), names, _centres(figure, len(names))))
        self.shown += len(self.waiting)
        self.waiting = []


def _centres(figure: Figure, number: int) -> list[float]:
    """Return the middles of the columns of a figure's first row, in pixels of its image, which lacks margins."""
    figure.draw_without_rendering()
    row = figure.axes[0].get_window_extent()
    left = row.x0 - (figure.get_tightbbox().x0 - MARGIN) * figure.dpi
    return [left + (column + 0.5) * row.width / number for column in range(number)]


def _fitting(names: Sequence[str], letters: int) -> str:
    """Join names to a line of at most `letters` letters; name the first and the last if they are too many."""
    line = ", ".join(names)
    line = line if len(line) <= letters else f"{names[0]} to {names[-1]}"
    return line if len(line) <= letters else f"{line[: letters // 2 - 1]}...{line[1 - letters // 2 :]}"
