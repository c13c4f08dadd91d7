"""Figures of separated mixtures, with a column for each mixture, by one separator or by several."""

# N mixtures, K slots, M true sources, S the shape of a signal

from collections.abc import Callable, Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

from vaebss.figures.rows import Rows, curves_figure, rows_figure
from vaebss.matching import match, with_silence

CAPTION = 0.45  # inches above the rows of a figure


def separation_figure(
    mixture: Tensor,
    estimates: Tensor,
    sources: Tensor | None = None,
    captions: Sequence[str] = (),
    draw: Callable[[Rows], Figure] | None = None,
) -> Figure:
    """Draw a column for each mixture: the mixture, the estimates, their sum and, where known, the true sources.

    Args:
        mixture: Mixtures, (N, *S).
        estimates: Estimated sources, (N, K, *S).
        sources: (N, M, *S) or None.
        captions: Captions of the columns.
        draw: Function that draws rows of signals; by default images, or curves for lines.
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
        place = ((number + 0.5) / len(captions), 1)
        top.annotate(caption, place, (0, 3), "axes fraction", "offset points", ha="center", va="bottom", fontsize=7)
    return figure


def comparison_figure(
    mixture: Tensor, sources: Tensor | None, estimates: dict[str, Tensor], draw: Callable[[Rows], Figure]
) -> Figure:
    """Draw a column for each mixture and a row for each method, with estimates in the order of the sources.

    Args:
        mixture: Mixtures, (N, *S).
        sources: True sources, (N, M, *S).
        estimates: Estimates (N, K, *S) of these mixtures by method.
        draw: Function that draws rows of signals.
    """
    assert sources is not None  # comparisons always have true sources

    slots = max(images.shape[1] for images in (sources, *estimates.values()))
    sources = with_silence(sources, slots)
    every = torch.full((len(sources),), slots, device=sources.device)
    rows = {"mixture": with_silence(mixture.unsqueeze(1), slots), "sources": sources}
    rows |= {label: match(with_silence(images, slots), sources, every) for label, images in estimates.items()}
    return draw({label: torch.cat(images.unbind(1), -1) for label, images in rows.items()})
