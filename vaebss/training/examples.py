"""Separated mixtures beside their true sources, where these are known, for pictures and sounds alone."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from torch import Tensor

from vaebss.data.batches import Batch
from vaebss.metrics.metric import mean_per_mixture
from vaebss.modalities.modality import Modality
from vaebss.separation import Separation
from vaebss.training.scores import main_quality


class SeparatedExamples(NamedTuple):
    """Separated mixtures, to be looked at and listened to.

    Attributes:
        signals: Signals of the mixtures, (B, *S).
        estimates: Estimate of each slot, (B, K, *S).
        sources: True sources, (B, M, *S), or None where they are unknown.
        captions: Caption of each mixture: number of sources found, confidence and, with true sources, the score.
    """

    signals: Tensor
    estimates: Tensor
    sources: Tensor | None
    captions: list[str]

    def named(self) -> Iterator[tuple[int, str, Tensor]]:
        """Yield all signals with their mixture's number, from 1, and names: "mixture", "estimate 1", "source 1"."""
        for number, mixture in enumerate(self.signals, 1):
            yield number, "mixture", mixture
            for kind, signals in (("estimate", self.estimates), ("source", self.sources)):
                for slot, signal in enumerate(() if signals is None else signals[number - 1], 1):
                    yield number, f"{kind} {slot}", signal


def separate_examples(found: Separation, batch: Batch, modality: Modality, source_scale: float) -> SeparatedExamples:
    """Return a batch beside its separation, with captions.

    Args:
        found: Separation of the pictures of the batch.
        batch: Batch of mixtures; their scores are in the captions if it has true sources.
        modality: Modality of the mixtures.
        source_scale: Brightest pixel of a source; infinity if it is unknown.
    """
    heard = modality.to_signals(found, batch["mixture"], batch["signal"])
    found_here = [f"{count} found" for count in found.count.tolist()]
    lines = [found_here, [f"sure {confidence:.2f}" for confidence in found.confidence.tolist()]]
    if "sources" in batch:
        lines[0] = [f"{here} of {count}" for here, count in zip(found_here, batch["count"].tolist(), strict=True)]
        _, quality = main_quality(modality, source_scale)
        scores = mean_per_mixture(quality, heard.float(), batch["sources"].float(), batch["count"])
        lines.append([f"{score:.1f} {modality.metrics[0].unit}".rstrip() for score in scores.tolist()])
    return SeparatedExamples(
        batch["signal"], heard, batch.get("sources"), ["\n".join(column) for column in zip(*lines, strict=True)]
    )


def examples(batches: Iterable[Batch], number: int) -> Batch:
    """Return the first mixtures of a data set, with all that is known about them.

    Args:
        batches: Batches of the data set; only the first is read.
        number: Most mixtures; no more than the first batch has.
    """
    return {name: value[:number] for name, value in next(iter(batches)).items()}
