"""Mixtures that separate.py has seen, from which it estimates how well they are separated."""

# N mixtures, S the shape of a signal

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from vaebss.modalities.modality import Modality
    from vaebss.models.separator import Separator


class SeenMixtures:
    """The first mixtures of each separator, from whose windows of one size the quality is estimated.

    Attributes:
        scores: Name of a mixture -> its estimated quality in dB.
        lines: One line for each separator with enough mixtures.
    """

    def __init__(self) -> None:
        self.kept: dict[tuple[Separator, Modality], list[tuple[str, Tensor]]] = {}
        self.scores: dict[str, float] = {}
        self.lines: list[str] = []

    def add(self, separator: "Separator", modality: "Modality", names: list[str], signals: "Tensor") -> None:
        """Keep the windows of mixtures (N, *S) if they are as large as those before, and those are not enough yet.

        At most `MOST` mixtures of each separator are kept, and no more than `LARGEST_PART` numbers, but at least one
        window.
        """
        from vaebss.blind import MOST
        from vaebss.modalities.image_files import LARGEST_PART

        kept = self.kept.setdefault((separator, modality), [])
        for name, signal in zip(names, signals, strict=True):
            windows = modality.split(signal.unsqueeze(0))
            if kept and windows.shape[1:] != kept[0][1].shape[1:]:
                return
            room = max(1, LARGEST_PART // windows[0].numel()) - sum(len(each) for _, each in kept)
            if room <= 0 or len(kept) == MOST:
                return
            kept.append((name, windows[:room]))

    def evaluate(self) -> None:
        """Estimate the quality of what was kept of each separator, where it is enough for an estimate."""
        import torch

        from vaebss.blind import FEWEST, evaluate, evenly_spread, no_estimate

        for (separator, modality), kept in self.kept.items():
            windows = torch.cat([each for _, each in kept])
            if len(windows) < FEWEST:
                continue
            names, some = [name for name, each in kept for _ in each], evenly_spread(len(windows))
            try:
                score = evaluate(separator, modality, windows[some])
            except ValueError as error:
                self.lines.append(no_estimate(error))
                continue
            self.lines.append(score.summary)
            found: dict[str, list[float]] = {}
            for number, decibels in zip(some.tolist(), score.each.tolist(), strict=True):
                found.setdefault(names[number], []).append(decibels)
            self.scores |= {name: sum(each) / len(each) for name, each in found.items()}
