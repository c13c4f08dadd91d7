"""Charts of scores: counts of sources, and metrics against the number of slots."""

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure

from vaebss.figures.rows import DPI


def confusion_figure(confusion: Sequence[Sequence[int]]) -> Figure:
    """Draw the confusion matrix of true and estimated numbers of sources, each row as shares of its mixtures.

    Args:
        confusion: Number of mixtures by true (row) and estimated (column) number; empty rows are left out.
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


def slots_figure(scores: dict[str, dict[int, dict[str, float]]], main: str, label: str) -> Figure:
    """Draw the main metric, the share of right counts and, where a method has one, the ELBO against the slots.

    Args:
        scores: The main metric, "count" from 0 to 1 and perhaps "elbo" in nats, by method and by K.
        main: Key of the main metric.
        label: Title of the main metric's axis.
    """
    panels = {main: label, "count": "count right", "elbo": "ELBO, nats per mixture"}
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
