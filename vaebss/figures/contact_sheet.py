"""A page of separated mixtures of any sizes."""

# N mixtures, K slots, S the shape of a signal

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from torch import Tensor

from vaebss.figures.files import as_image
from vaebss.figures.rows import Rows
from vaebss.matching import with_silence
from vaebss.paths import printable

BLOCKS = 6  # blocks of mixtures on a contact sheet
TEXT = 18  # size of its letters, pixels
LETTERS = 14  # letters of a title in an inch


class ContactSheet:
    """A page of the first mixtures and their estimated sources, in blocks of mixtures of one size side by side.

    Call `draw_with` before the first mixture is added.
    """

    draw: Callable[[Rows], Figure]
    beside: Callable[[Tensor], int]

    def __init__(self) -> None:
        self.blocks: list[Image.Image] = []
        self.waiting: list[tuple[str, Tensor, Tensor]] = []
        self.seen = self.shown = 0

    def draw_with(self, draw: Callable[[Rows], Figure], beside: Callable[[Tensor], int]) -> None:
        """Set how the mixtures that are added next are drawn.

        Args:
            draw: Function that draws rows of signals.
            beside: Function that returns how many signals like one (*S) fit side by side.
        """
        if self.waiting and draw != self.draw:
            self._block()
        self.draw, self.beside = draw, beside

    def add(self, names: list[str], mixtures: Tensor, estimates: Tensor, count: Tensor) -> None:
        """Add mixtures (N, *S) with their estimates (N, K, *S), of which the first `count` (N,) are drawn."""
        self.seen += len(names)
        for name, mixture, found, number in zip(names, mixtures, estimates, count.tolist(), strict=True):
            if self.waiting and self.waiting[0][1].shape != mixture.shape:
                self._block()
            if len(self.blocks) == BLOCKS:
                return
            self.waiting.append((name, mixture, found[:number]))
            if len(self.waiting) == self.beside(mixture):
                self._block()

    def save(self, path: Path) -> None:
        """Write the page to a file, unless no mixture was added."""
        if self.waiting:
            self._block()
        if not self.blocks:
            return
        top = 2 * TEXT
        width, height = max(block.width for block in self.blocks), sum(block.height for block in self.blocks)
        sheet = Image.new("RGB", (width, top + height), "white")
        line = f"mixtures: {self.shown} of {self.seen}"
        ImageDraw.Draw(sheet).text((TEXT / 2, TEXT / 2), line, "black", font_size=TEXT)
        for block in self.blocks:
            sheet.paste(block, (0, top))
            top += block.height
        sheet.save(path)

    def _block(self) -> None:
        """Draw the waiting mixtures as a block, with a column for each."""
        names, mixtures, sources = zip(*self.waiting, strict=True)
        most = max(len(found) for found in sources)
        rows = {"mixture": torch.stack(mixtures)}
        for k, row in enumerate(torch.cat([with_silence(found.unsqueeze(0), most) for found in sources]).unbind(1)):
            rows[f"source {k + 1}"] = row
        figure = self.draw(rows)
        title = printable(_fitting(names, int(figure.get_figwidth() * LETTERS)))
        figure.suptitle(title, fontsize=8, parse_math=False)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .+ missing")  # names in scripts that the font lacks
            self.blocks.append(as_image(figure))
        self.shown += len(self.waiting)
        self.waiting = []


def _fitting(names: Sequence[str], letters: int) -> str:
    """Join names to a line of at most `letters` letters; name the first and the last if they are too many."""
    line = ", ".join(names)
    line = line if len(line) <= letters else f"{names[0]} to {names[-1]}"
    return line if len(line) <= letters else f"{line[: letters // 2 - 1]}...{line[1 - letters // 2 :]}"
