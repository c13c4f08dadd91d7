"""Signals in labelled rows, side by side: as images, as curves, as spectrograms."""

# N mixtures

import math
from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

GAP = 2  # pixels between images
PIXELS_AN_INCH = 36  # of a row, within limits on its width
DPI = 120  # of every figure
WIDEST = 12.0  # width in inches of a row of curves or spectrograms, and of images at most
LOWEST, HIGH, HIGHEST = 0.3, 2.0, 8.0  # height in inches of a row of lines, of small pictures, of upright pictures
BETWEEN = 1 / 12  # inches between rows
UPRIGHT = 3  # ratio of height to width above which rows are drawn as columns
SHARP = 1_000  # pixels of a row that are enough; larger pictures are downscaled, but to no fewer
MOST_TICKS = 10  # below a single spectrogram
QUIET = -60  # dB relative to the loudest, drawn black

Rows = dict[str, Tensor]  # label -> the images or signals of a row, all of one shape


def rows_figure(rows: Rows) -> Figure:
    """Draw labelled rows of images (N, C, H, W) in one scale: black is 0, white the brightest pixel of all.

    Args:
        rows: Images of one shape by label.
    """
    brightest = max(float(visible(images).max()) for images in rows.values())
    strips = {label: _strip(_shrunk(visible(images))) for label, images in rows.items()}
    height, pixels = next(iter(strips.values())).shape[:2]
    if height > UPRIGHT * pixels:
        return _upright(strips, brightest or 1)
    width = min(max(pixels / PIXELS_AN_INCH, 7.0), WIDEST)
    row_height = min(max(width * height / pixels, LOWEST), min(max(height / DPI, HIGH), 2 * HIGH))
    width = max(min(width, row_height * pixels / height), 4.0)
    figure = Figure(figsize=(width + 1, row_height * len(rows)), layout="constrained", dpi=DPI)
    pitch = height * row_height / (row_height - BETWEEN)
    axes = _bare(figure.subplots())  # one for all rows: six of their own take 1.5 times as long
    for row, strip in enumerate(strips.values()):
        _show(axes, strip, brightest or 1, (0, pixels, row * pitch + height, row * pitch))
    axes.set(xlim=(0, pixels), ylim=((len(rows) - 1) * pitch + height, 0))
    axes.set_aspect("auto" if row_height == LOWEST else "equal")
    axes.set_yticks([row * pitch + height / 2 for row in range(len(rows))], list(strips), fontsize=9)
    axes.tick_params(length=0)
    return figure


def visible(images: Tensor) -> Tensor:
    """Return images (N, C, H, W) in grey or colour: the mean of channels that are neither."""
    return images if images.shape[1] in (1, 3) else images.mean(1, keepdim=True)


def _upright(strips: Rows, brightest: float) -> Figure:
    """Draw rows of images (H, W, C) that are much higher than wide as columns."""
    height, pixels = next(iter(strips.values())).shape[:2]
    width = max(HIGHEST * pixels / height + 0.2, 1.0)
    figure = Figure(figsize=(width * len(strips), HIGHEST), layout="constrained", dpi=DPI)
    for axes, (label, strip) in zip(figure.subplots(1, len(strips), squeeze=False)[0], strips.items(), strict=True):
        _show(_bare(axes), strip, brightest, (0, pixels, height, 0))
        axes.set_title(label, fontsize=9)
    return figure


def _show(axes: Any, strip: Tensor, brightest: float, extent: tuple[float, float, float, float]) -> None:
    shown = (strip / brightest).clamp(0, 1).squeeze(-1)
    axes.imshow(shown, "gray", vmin=0, vmax=1, interpolation="nearest", extent=extent)


def _bare(axes: Any) -> Any:
    """Return axes without ticks and frame."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return axes


def curves_figure(rows: Rows) -> Figure:
    """Draw labelled rows of lines (N, T), side by side, in one scale."""
    figure = Figure(figsize=(WIDEST, 0.9 * len(rows)), layout="constrained", dpi=DPI)
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


def spectrograms_figure(rows: Rows, pitches: dict[int, str], frames_per_second: float) -> Figure:
    """Draw labelled rows of spectrograms, side by side, in one scale of decibels, with seconds below them.

    Args:
        rows: Magnitudes (N, 1, H, W) by label, the lowest band first.
        pitches: Labels of bands by their index.
        frames_per_second: Frames W in a second.
    """
    loudest = max(float(images.max()) for images in rows.values()) or 1.0
    figure = Figure(figsize=(WIDEST, 1.3 * len(rows)), layout="constrained", dpi=DPI)
    panels = figure.subplots(len(rows), squeeze=False, sharex=True)[:, 0]
    for axes, (label, images) in zip(panels, rows.items(), strict=True):
        decibels = 20 * (images / loudest).clamp(min=10 ** (QUIET / 20)).log10()
        strip = _strip(decibels, QUIET)[..., 0]
        axes.imshow(strip, cmap="magma", vmin=QUIET, vmax=0, origin="lower", aspect="auto", interpolation="nearest")
        axes.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
        axes.set_yticks(list(pitches), list(pitches.values()), fontsize=6)
        axes.spines[:].set_visible(False)
    columns, *_, frames = next(iter(rows.values())).shape
    seconds = frames / frames_per_second
    marked = MaxNLocator(MOST_TICKS, steps=[1, 2, 5, 10]).tick_values(0, seconds) if columns == 1 else (0, seconds / 2)
    starts = [GAP + number * (frames + 2 * GAP) for number in range(columns)]
    ticks = {start + at * frames_per_second: f"{at:.1f} s" for start in starts for at in marked if at < seconds}
    panels[-1].set_xticks(list(ticks), list(ticks.values()), fontsize=6)
    return figure


def _shrunk(images: Tensor) -> Tensor:
    """Downscale images (N, C, H, W) to no more pixels than a figure shows."""
    factor = max(len(images) * images.shape[3], images.shape[2]) // SHARP
    if factor < 2:
        return images
    size = (max(1, images.shape[2] // factor), max(1, images.shape[3] // factor))
    return torch.nn.functional.interpolate(images.detach().float().cpu(), size, mode="area")


def _strip(images: Tensor, between: float = 0.0) -> Tensor:
    """Place images (N, C, H, W) side by side: (H, W', C)."""
    padded = torch.nn.functional.pad(images.detach().float().cpu(), (GAP, GAP), value=between)
    return padded.permute(2, 0, 3, 1).flatten(1, 2)
