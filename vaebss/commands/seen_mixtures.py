"""Mixtures that separate.py has seen, from which it estimates how well they are separated."""

# N mixtures, S the shape of a signal

import warnings
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from vaebss.blind import BlindScore
    from vaebss.modalities.modality import Modality
    from vaebss.models.separator import Separator


class SeenMixtures:
    """The first mixtures of each separator, of one size, and its first recordings; their quality is estimated.

    Attributes:
        scores: Name of a mixture -> its estimated quality in dB.
        source_scores: Name of a mixture -> the estimated quality of each of its sources in dB, if it is known. If slots
            are classes, it is that of each class, and NaN for an absent one.
        lines: One line for each separator with enough mixtures.
    """

    def __init__(self) -> None:
        self.kept: dict[tuple[Separator, Modality], list[tuple[str, Tensor]]] = {}
        self.recordings: dict[tuple[Separator, Modality], list[tuple[str, Tensor]]] = {}
        self.scores: dict[str, float] = {}
        self.source_scores: dict[str, list[float]] = {}
        self.unordered: set[str] = set()  # mixtures whose sources may be in another order than those in their files
        self.lines: list[str] = []

    def add(
        self, separator: "Separator", modality: "Modality", names: list[str], signals: "Tensor", complete: bool = True
    ) -> None:
        """Keep the windows of mixtures if they are as large as those before, and those are not enough yet.

        At most `MOST` mixtures of each separator are kept, and no more than `LARGEST_PART` numbers, but at least one
        window. Recordings that are long enough to be evaluated by themselves are kept whole, see `first_recordings`.
        Sources of mixtures that are cut into windows have no scores of their own.

        Args:
            separator: Model that separates the mixtures.
            modality: Modality through which it sees them.
            names: Names of the mixtures.
            signals: Mixtures (N, *S).
            complete: Whether the signals are whole. Sources of mixtures of which only the beginning is given have no
                scores.
        """
        from vaebss.blind import MOST, first_recordings, is_recording
        from vaebss.modalities.image_files import LARGEST_PART

        self.unordered |= set() if complete else set(names)
        kept = self.kept.setdefault((separator, modality), [])
        for name, signal in zip(names, signals, strict=True):
            windows = modality.split(signal.unsqueeze(0))
            if is_recording(modality, signal):
                recordings = self.recordings.setdefault((separator, modality), [])
                if len(first_recordings(modality, [*(each for _, each in recordings), signal])) > len(recordings):
                    recordings.append((name, signal))
                continue
            if kept and windows.shape[1:] != kept[0][1].shape[1:]:
                return
            room = max(1, LARGEST_PART // windows[0].numel()) - sum(len(each) for _, each in kept)
            if room <= 0 or len(kept) == MOST:
                return
            kept.append((name, windows[:room]))
            self.unordered |= {name} if len(windows) > 1 else set()

    def evaluate(self) -> None:
        """Estimate the quality of what was kept of each separator, where it is enough for an estimate."""
        import torch

        from vaebss.blind import FEWEST, evaluate, evaluate_recordings, evenly_spread

        for model, kept in self.kept.items():
            if sum(len(each) for _, each in kept) < FEWEST:
                continue
            windows = torch.cat([each for _, each in kept])
            names, some = [name for name, each in kept for _ in each], evenly_spread(len(windows))
            in_place = model[1].has_classes
            self._note([names[number] for number in some.tolist()], partial(evaluate, *model, windows[some]), in_place)
        for model, recordings in self.recordings.items():
            names, signals = zip(*recordings, strict=True)
            self._note(names, partial(evaluate_recordings, *model, signals))

    def _note(self, names: "Sequence[str]", evaluate: "Callable[[], BlindScore]", in_place: bool = False) -> None:
        """Keep the mean score of the mixtures of each name, and the line about all of them.

        Args:
            names: Names of the mixtures.
            evaluate: Function that returns their blind score.
            in_place: Whether scores of sources stay in the places of their slots. Otherwise empty slots are left out.
        """
        from vaebss.blind import no_estimate

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # about mixtures, whose files were noted before
                score = evaluate()
        except ValueError as error:
            self.lines.append(no_estimate(error))
            return
        self.lines.append(score.summary)
        found: dict[str, list[float]] = {}
        for name, decibels, of_sources in zip(names, score.each.tolist(), score.each_source, strict=True):
            found.setdefault(name, []).append(decibels)
            known = ~of_sources.isnan()
            if name not in self.unordered and (known.any() or not in_place):
                self.source_scores[name] = (of_sources if in_place else of_sources[known]).tolist()
        self.scores |= {name: sum(each) / len(each) for name, each in found.items()}
