"""Pictures of mixtures taken apart, as matplotlib figures: for TensorBoard and for files."""

# N mixtures, K slots, M true sources, S the shape of a signal

import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from torch import Tensor

from vaebss.matching import match, with_silence

GAP = 2  # pixels between images
MARGIN, CAPTION = 0.05, 0.45  # inches around a figure, and above its rows
BLOCKS = 6  # of mixtures side by side, on a contact sheet
TEXT = 18  # pixels of its letters
LETTERS = 14  # of a title, in an inch
MODES = {1: "L", 3: "RGB"}  # channels -> Pillow's name
PIXELS_AN_INCH = 36  # of a row, where that makes it neither small nor large
DPI = 120
LOWEST, HIGH, HIGHEST = 0.3, 2.0, 8.0  # inches of a row: of lines, of small pictures, of pictures that are UPRIGHT
UPRIGHT = 3  # times as high as wide, whose rows stand side by side
SHARP = 1_000  # pixels that suffice for a row, and of which larger pictures keep at least so many
QUIET = -60  # dB below the loudest, which is black

Rows = dict[str, Tensor]  # label -> what lies side by side in a row, all of one shape


def channels_first(images: Tensor) -> Tensor:
    """Images (N, H, W), (N, H, W, C) or (N, C, H, W) -> (N, C, H, W); lines (N, L) stay."""
    if images.ndim == 3:
        return images.unsqueeze(1)
    is_last = images.ndim == 4 and images.shape[1] not in MODES and images.shape[3] in MODES
    return images.movedim(3, 1) if is_last else images


def save_image(image: Tensor, path: Path, bits: int = 8) -> None:
    """(C, H, W), (H, W) or (H, W, 3), white being 1, as a file of the kind that its name says.

    Of 8 bits or, where it is grey, 16.

    Raises:
        ValueError: it is no picture.
    """
    image = channels_first(image[None])[0]
    if image.ndim != 3 or len(image) not in MODES:
        raise ValueError(f"only pictures can be saved as images, not {tuple(image.shape)}")
    pixels = image.clamp(0, 1).permute(1, 2, 0).squeeze(2).cpu().numpy() * (2**bits - 1)
    Image.fromarray(pixels.round().astype(np.uint8 if bits == 8 else np.uint16)).save(path)


def as_image(figure: Figure) -> Image.Image:
    """The figure drawn."""
    return Image.open(io.BytesIO(as_png(figure)))


def save_figure(figure: Figure, file: Path | BinaryIO) -> None:
    """As PNG, without empty margins."""
    figure.savefig(file, format="png", bbox_inches="tight", pad_inches=MARGIN)


def as_png(figure: Figure) -> bytes:
    """What a file of the figure would hold."""
    file = io.BytesIO()
    save_figure(figure, file)
    return file.getvalue()


def separation_figure(
    mixture: Tensor,
    estimates: Tensor,
    sources: Tensor | None = None,
    captions: Sequence[str] = (),
    draw: Callable[[Rows], Figure] | None = None,
) -> Figure:
    """A column a mixture: the mixture, the estimate of each slot, their sum and, where known, each slot's true source.

    Args:
        mixture: (N, *S).
        estimates: (N, K, *S).
        sources: (N, M, *S) or None.
        captions: of the columns.
        draw: rows of signals; by default as images, or as curves where they are lines.
    """
    rows = {"mixture": mixture}
    rows |= {f"estimate {k + 1}": estimate for k, estimate in enumerate(estimates.unbind(1))}
    rows["sum of\nestimates"] = estimates.sum(1)
    if sources is not None:
        slots = torch.full((len(sources),), estimates.shape[1], device=sources.device)
        truth = match(sources, estimates, slots)
        rows |= {f"source {k + 1}": source for k, source in enumerate(truth.unbind(1))}
    figure = (draw or (curves_figure if mixture.ndim == 2 else rows_figure))(rows)
    top = figure.axes[0]
    figure.set_figheight(figure.get_figheight() + (CAPTION if captions else 0))
    for number, caption in enumerate(captions):
        place = (number + 0.5) / len(captions)
        top.text(place, 1.05, caption, transform=top.transAxes, ha="center", va="bottom", fontsize=7)
    return figure


class ContactSheet:
    """The first mixtures and what was found in them, in blocks of those of one size that fit side by side.

    Args:
        draw: rows of signals.
        beside: how many such signals fit side by side.
    """

    def __init__(self, draw: Callable[[Rows], Figure], beside: Callable[[Tensor], int]):
        self.draw, self.beside = draw, beside
        self.blocks: list[Image.Image] = []
        self.waiting: list[tuple[str, Tensor, Tensor]] = []
        self.seen = self.shown = 0

    def add(self, names: list[str], mixtures: Tensor, estimates: Tensor, count: Tensor) -> None:
        """Take note of mixtures (N, *S), and of what was found in them, (N, K, *S), the first `count`, (N,), of it."""
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
        """Draw it, if there is anything to draw."""
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
        """Draw those that wait, a column a mixture."""
        names, mixtures, sources = zip(*self.waiting, strict=True)
        most = max(len(found) for found in sources)
        rows = {"mixture": torch.stack(mixtures)}
        for k, row in enumerate(torch.cat([with_silence(found.unsqueeze(0), most) for found in sources]).unbind(1)):
            rows[f"source {k + 1}"] = row
        figure = self.draw(rows)
        figure.suptitle(_fitting(names, int(figure.get_figwidth() * LETTERS)), fontsize=8)
        self.blocks.append(as_image(figure))
        self.shown += len(self.waiting)
        self.waiting = []


def _fitting(names: Sequence[str], letters: int) -> str:
    """Names in one line of so many letters, or the first and the last."""
    line = ", ".join(names)
    line = line if len(line) <= letters else f"{names[0]} to {names[-1]}"
    return line if len(line) <= letters else f"{line[: letters // 2 - 1]}...{line[1 - letters // 2 :]}"


def comparison_figure(
    mixture: Tensor, sources: Tensor | None, estimates: dict[str, Tensor], draw: Callable[[Rows], Figure]
) -> Figure:
    """A column a mixture, a row a method, its slots side by side in the order of the sources that they match.

    Args:
        mixture: (N, *S).
        sources: (N, M, *S).
        estimates: method -> (N, K, *S), of these mixtures.
        draw: rows of signals.
    """
    assert sources is not None  # nobody compares without
    slots = max(images.shape[1] for images in (sources, *estimates.values()))
    sources = with_silence(sources, slots)
    every = torch.full((len(sources),), slots, device=sources.device)
    rows = {"mixture": with_silence(mixture.unsqueeze(1), slots), "sources": sources}
    rows |= {label: match(with_silence(images, slots), sources, every) for label, images in estimates.items()}
    return draw({label: torch.cat(images.unbind(1), -1) for label, images in rows.items()})


def confusion_figure(confusion: Sequence[Sequence[int]]) -> Figure:
    """How often each true number of sources was taken for each other, as shares of the true one's mixtures.

    Args:
        confusion: row: true number, column: estimated; rows without mixtures are left out.
    """
    table = torch.tensor(confusion)
    true = table.sum(1).nonzero().flatten()
    shares = table[true] / table[true].sum(1, keepdim=True)
    figure = Figure(figsize=(0.8 * table.shape[1] + 1, 0.8 * len(true) + 1), layout="constrained", dpi=DPI)
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, line in enumerate(shares.tolist()):
        for column, share in enumerate(line):
            colour = "white" if share > 0.5 else "black"
            axes.text(column, row, f"{100 * share:.1f} %", ha="center", va="center", color=colour, fontsize=8)
    axes.set(xlabel="estimated number of sources", ylabel="true number")
    axes.set_xticks(range(table.shape[1]))
    axes.set_yticks(range(len(true)), true.tolist())
    return figure


def slots_figure(scores: dict[str, dict[int, dict[str, float]]]) -> Figure:
    """PSNR, the share of counts that are right and, where a method has one, the ELBO against the number of slots.

    Args:
        scores: method -> K -> "psnr_paper" in dB, "count" from 0 to 1, perhaps "elbo" in nats.
    """
    panels = {"psnr_paper": "PSNR (paper scale), dB", "count": "count right", "elbo": "ELBO, nats per mixture"}
    figure = Figure(figsize=(10, 3), layout="constrained", dpi=DPI)
    for axes, (name, label) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        for method, by_slots in scores.items():
            slots = [k for k in sorted(by_slots) if name in by_slots[k]]
            axes.plot(slots, [by_slots[k][name] for k in slots], marker="o", label=method)
        axes.set(xlabel="K, slots", ylabel=label)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.get_major_locator().set_params(integer=True)
    figure.axes[0].legend(frameon=False, fontsize=8)
    return figure


def starts_figure(elbo: Sequence[float], psnr: Sequence[float], labels: Sequence[str]) -> Figure:
    """Whether the ELBO, by which a start is chosen, agrees with the PSNR, which nothing but this picture knows.

    Args:
        elbo: of each start, in nats per mixture.
        psnr: of each start, in dB, paper scale.
        labels: of each start.
    """
    from torchmetrics.functional import spearman_corrcoef  # seconds to import, which no other picture should wait for

    figure = Figure(figsize=(5, 4), layout="constrained", dpi=DPI)
    axes = figure.subplots()
    axes.scatter(elbo, psnr)
    for point in zip(labels, zip(elbo, psnr, strict=True), strict=True):
        axes.annotate(*point, xytext=(3, 3), textcoords="offset points", fontsize=7)
    axes.set(xlabel="ELBO on validation mixtures, nats", ylabel="PSNR (paper scale), dB")
    if len(elbo) > 2:  # of two points it is 1 or -1 whatever they are
        correlation = float(spearman_corrcoef(torch.tensor(elbo), torch.tensor(psnr)))
        axes.set_title(f"rank correlation {correlation:.2f}", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def rows_figure(rows: Rows) -> Figure:
    """Labelled rows of images (N, C, H, W), all in one scale: black is 0, white the brightest pixel of all.

    Args:
        rows: label -> images, all of one shape.
    """
    brightest = max(float(images.max()) for images in rows.values())
    strips = {label: _strip(_shrunk(images)) for label, images in rows.items()}
    height, pixels = next(iter(strips.values())).shape[:2]
    if height > UPRIGHT * pixels:
        return _upright(strips, brightest or 1)
    width = min(max(pixels / PIXELS_AN_INCH, 7.0), 12.0)
    row_height = min(max(width * height / pixels, LOWEST), min(max(height / DPI, HIGH), 2 * HIGH))
    width = max(min(width, row_height * pixels / height), 4.0)
    figure = Figure(figsize=(width + 1, row_height * len(rows)), layout="constrained", dpi=DPI)
    aspect = "auto" if row_height == LOWEST else "equal"
    for axes, (label, strip) in zip(figure.subplots(len(rows), squeeze=False)[:, 0], strips.items(), strict=True):
        _show(axes, strip, brightest or 1, aspect)
        axes.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
    return figure


def _upright(strips: Rows, brightest: float) -> Figure:
    """Rows of images (H, W, C) much higher than wide, as columns."""
    height, pixels = next(iter(strips.values())).shape[:2]
    width = max(HIGHEST * pixels / height + 0.2, 1.0)
    figure = Figure(figsize=(width * len(strips), HIGHEST), layout="constrained", dpi=DPI)
    for axes, (label, strip) in zip(figure.subplots(1, len(strips), squeeze=False)[0], strips.items(), strict=True):
        _show(axes, strip, brightest, "equal")
        axes.set_title(label, fontsize=9)
    return figure


def _show(axes: Any, strip: Tensor, brightest: float, aspect: str) -> None:
    axes.imshow((strip / brightest).clamp(0, 1).squeeze(-1), "gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_aspect(aspect)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def curves_figure(rows: Rows, width: float = 12) -> Figure:
    """Labelled rows of lines (N, T), side by side, all in one scale.

    Args:
        rows: label -> lines.
        width: of a row, in inches.
    """
    figure = Figure(figsize=(width, 0.9 * len(rows)), layout="constrained", dpi=DPI)
    panels = figure.subplots(len(rows), squeeze=False, sharex=True, sharey=True)[:, 0]
    for axes, (label, lines) in zip(panels, rows.items(), strict=True):
        gapped = torch.nn.functional.pad(
            lines.detach().float().cpu(), (0, max(1, lines.shape[1] // 20)), value=math.nan
        )
        axes.plot(gapped.flatten(), linewidth=0.6, color="black")
        axes.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    return figure


def spectrograms_figure(rows: Rows, pitches: dict[int, str], frames_per_second: float, width: float = 12) -> Figure:
    """Labelled rows of spectrograms, side by side, all in one scale of decibels.

    Args:
        rows: label -> magnitudes (N, 1, H, W), the lowest band first.
        pitches: place of a band -> its label.
        frames_per_second: W in a second.
        width: of a row, in inches.
    """
    loudest = max(float(images.max()) for images in rows.values()) or 1.0
    figure = Figure(figsize=(width, 1.3 * len(rows)), layout="constrained", dpi=DPI)
    panels = figure.subplots(len(rows), squeeze=False, sharex=True)[:, 0]
    for axes, (label, images) in zip(panels, rows.items(), strict=True):
        decibels = 20 * (images / loudest).clamp(min=10 ** (QUIET / 20)).log10()
        strip = _strip(decibels, QUIET)[..., 0]
        axes.imshow(strip, cmap="magma", vmin=QUIET, vmax=0, origin="lower", aspect="auto", interpolation="nearest")
        axes.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
        axes.set_yticks(list(pitches), list(pitches.values()), fontsize=6)
        axes.spines[:].set_visible(False)
    columns, *_, frames = next(iter(rows.values())).shape
    starts = [GAP + number * (frames + 2 * GAP) for number in range(columns)]
    ticks = {
        start + frames * share: f"{frames * share / frames_per_second:.1f} s" for start in starts for share in (0, 0.5)
    }
    panels[-1].set_xticks(list(ticks), list(ticks.values()), fontsize=6)
    return figure


def _shrunk(images: Tensor) -> Tensor:
    """(N, C, H, W) with no more pixels than a figure shows."""
    factor = max(len(images) * images.shape[3], images.shape[2]) // SHARP
    if factor < 2:
        return images
    size = (max(1, images.shape[2] // factor), max(1, images.shape[3] // factor))
    return torch.nn.functional.interpolate(images.detach().float().cpu(), size, mode="area")


def _strip(images: Tensor, between: float = 0.0) -> Tensor:
    """(N, C, H, W) -> (H, W', C), side by side."""
    padded = torch.nn.functional.pad(images.detach().float().cpu(), (GAP, GAP), value=between)
    return padded.permute(2, 0, 3, 1).flatten(1, 2)
