"""Quality of a separation in decibels, estimated from the mixtures alone.

Estimates of different mixtures are added up to remixes, whose parts are known. The separator separates them, and its
answers are scored against the parts (the cycle of MixCycle, Karamatli and Kirbiz 2022, as a measure). The same score of
an equal share of the same remixes is subtracted: what is left is the gain. All parts of a remix come from slots of one
number. A separator that always cuts alike, such as into halves, would otherwise know from the cut what belongs where,
and find its own remixes too easy. A recording is remixed with itself: its estimated voices are moved against each other
in time. No true source takes part. See docs/blind-score.md for what this is worth.
"""

# N mixtures, S the shape of a signal

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from vaebss.evidence import Evidence, not_silent
from vaebss.metrics.metric import Metric, Quality
from vaebss.modalities.modality import Modality
from vaebss.models.separator import Separator
from vaebss.recording_evidence import RecordingEvidence

FEWEST = 20  # mixtures, or windows of a recording, of which anything can be said
MOST = 200  # mixtures that a summary evaluates
WORKS, FAILS = 5.0, 1.0  # dB over an equal share, from which on a separation works, and below which it fails
UNSURE = 2.5  # dB on either side of an estimate that held the true mean of 17 of 22 pairs that were held out
CROWDED = 0.12  # `Evidence.crowding` of perfect estimates above which there seem to be more sources than slots
LEFT = 0.2  # what is added to it for each unit of the energy of other sources that is left in estimates
SINGLE = 0.5  # share of mixtures with at most one estimated source, above which nothing is said of the separation

Verdict = Literal["works", "partly", "fails"]
ADVICE: dict[Verdict, str] = {
    "works": "the separation works",
    "partly": "the separation works in part; adapt the model to these mixtures, or adapt it with more of them",
    "fails": "the separation fails; adapt a model to these mixtures, try another model or number of slots, or expect "
    "that such mixtures do not come apart with this tool",
}
MORE_SLOTS = (
    "the separation misses sources: mixtures seem to hold more than {} of them, which the gain does not count; use a "
    "model with more slots"
)


@dataclass(frozen=True, repr=False)
class BlindScore:
    """The quality of a separation, estimated without true sources.

    Attributes:
        decibels: Estimated mean of the main metric: PSNR on the paper's scale for pictures, SI-SDR for sounds.
        interval: The range that held the true mean for 68 of 76 pairs of data and separator, and for 17 of the 22
            pairs by which no constant was chosen.
        gain: Estimated gain in dB over an equal share of the mixture for each source.
        each: (N,), estimates for single mixtures in dB, whose order is surer than their values.
        verdict: "works" from a gain of 5 dB, "fails" below 1 dB, "partly" between. It is at most "partly" if `crowded`.
        metric: The metric that is estimated.
        each_source: (N, K), estimates for the source in each slot in dB. They are NaN for slots that hold no source,
            and for mixtures that are cut into several windows without being long enough to be remixed with themselves.
        crowded: Whether mixtures seem to hold more sources than the model has slots. The gain does not count sources
            that are missed for this reason. It is False for recordings, melodies and gains below 5 dB, which are not
            checked.

    Examples:
        >>> import torch
        >>> from vaebss import BlindScore
        >>> from vaebss.metrics.images import METRICS
        >>> BlindScore(28.7, (26.2, 31.2), 8.1, torch.zeros(50), "works", METRICS[0], torch.zeros(50, 2))
        BlindScore(works: PSNR about 28.7 dB (26.2 to 31.2), +8.1 dB over an equal share, 50 mixtures)
    """

    decibels: float
    interval: tuple[float, float]
    gain: float
    each: Tensor
    verdict: Verdict
    metric: Metric
    each_source: Tensor
    crowded: bool = False

    def __repr__(self) -> str:
        """Show one line: verdict, decibels with their interval, and the gain."""
        low, high = self.interval
        return (
            f"BlindScore({self.verdict}: {self.metric.title} about {self.decibels:.1f} dB ({low:.1f} to {high:.1f}), "
            f"{self.gain:+.1f} dB over an equal share, {len(self.each)} mixtures)"
        )

    @property
    def summary(self) -> str:
        """One line for a person: the estimate, the verdict, and what to do next."""
        low, high = self.interval
        return (
            f"Estimated without true sources: {self.metric.heading} {self.decibels:.1f} dB ({low:.1f} to {high:.1f}), "
            f"{self.gain:+.1f} dB over an equal share of the mixtures: {self.advice}"
        )

    @property
    def advice(self) -> str:
        """The verdict in words, and what to do next."""
        return MORE_SLOTS.format(self.each_source.shape[1]) if self.crowded else ADVICE[self.verdict]


def evaluate(separator: Separator, modality: Modality, mixtures: Tensor) -> BlindScore:
    """Estimate how well a separator separates mixtures, from these alone, in four passes over them.

    A fifth pass is taken if the gain is 5 dB or more and every slot holds a source in most mixtures, except for
    melodies. It checks whether there are more sources than slots.

    Args:
        separator: Any separator.
        modality: How it sees the mixtures.
        mixtures: (N, *S). Recordings of twenty windows or more are left to `evaluate_recordings`. Shorter ones are cut
            into windows, of which silent ones do not count.

    Raises:
        ValueError: There are too few mixtures, or their main metric is not in dB, or in most of them no more than one
            source is found.
    """
    if is_recording(modality, mixtures[0]):
        return evaluate_recordings(separator, modality, list(mixtures))
    evidence, heard = evidence_of(separator, modality, mixtures)
    check_several(evidence.found.count)
    each = torch.full(heard.shape, evidence.decibels).masked_scatter(heard, evidence.each)
    each_source = torch.full((len(mixtures), evidence.slots), math.nan)
    if len(heard) == len(mixtures):
        each_source[heard] = evidence.each_source()
    each = each.unflatten(0, (len(mixtures), -1)).mean(1)
    checked = evidence.gain >= WORKS and evidence.full and not evidence.melodic
    crowded = checked and is_crowded(evidence.crowding, evidence.gain)
    return _score(evidence.gain, evidence.decibels, each, each_source, modality.metrics[0], crowded)


def evaluate_recordings(separator: Separator, modality: Modality, recordings: Sequence[Tensor]) -> BlindScore:
    """Estimate how well a separator separates recordings, from these alone, in four passes over each.

    Args:
        separator: Any separator.
        modality: How it sees the recordings.
        recordings: Recordings (*S), of different lengths, see `is_recording`.

    Raises:
        ValueError: Their main metric is not in dB, or in most of them no more than one voice is found.
    """
    quality = quality_of(separator, modality)
    evidence = [RecordingEvidence(separator, modality, recording.unsqueeze(0), quality) for recording in recordings]
    check_several(torch.cat([one.found.count for one in evidence]))
    gains, each = torch.tensor([one.gain for one in evidence]), torch.cat([one.each for one in evidence])
    each_source = torch.cat([one.each_source() for one in evidence])
    return _score(float(gains.mean()), float(each.mean()), each, each_source, modality.metrics[0])


def is_crowded(crowding: float, gain: float) -> bool:
    """Return whether estimates are divided so much that they hold several sources each.

    Estimates of two sources in two slots are divided a little, by what is left of the other source.

    Args:
        crowding: See `Evidence.crowding`.
        gain: Estimated gain over an equal share in dB.
    """
    return crowding > CROWDED + LEFT * 10 ** (-gain / 10)


def is_recording(modality: Modality, mixture: Tensor) -> bool:
    """Return whether a mixture is a sound that is long enough to be remixed with itself, and not silent.

    Args:
        modality: Modality of the mixture, which cuts it into windows.
        mixture: One mixture (*S).
    """
    return windows_of(modality, mixture) > 0


def windows_of(modality: Modality, mixture: Tensor) -> int:
    """Return the number of windows of a mixture if it is a recording, see `is_recording`, else 0.

    Args:
        modality: Modality of the mixture, which cuts it into windows.
        mixture: One mixture (*S).
    """
    number = len(modality.split(mixture.unsqueeze(0))) if modality.audible else 0  # tiles of a picture follow no time
    return number if number >= FEWEST and mixture.any() else 0


def check_several(count: Tensor) -> None:
    """Raise a ValueError if at most one source was found in most mixtures; `count` (N,) is how many in each."""
    single = int((count < 2).sum())
    if single > SINGLE * len(count):
        raise ValueError(
            f"at most one source was found in {single} of {len(count)} mixtures: they hold single sources, "
            "or the model does not separate them"
        )


def _score(
    gain: float, decibels: float, each: Tensor, each_source: Tensor, metric: Metric, crowded: bool = False
) -> BlindScore:
    interval = decibels - UNSURE, decibels + UNSURE
    verdict = "partly" if crowded else verdict_of(gain)
    return BlindScore(decibels, interval, gain, each, verdict, metric, each_source, crowded)


def gain_of(separator: Separator, modality: Modality, mixtures: Tensor) -> float:
    """Return the estimated gain over an equal share alone, in dB. It takes three passes over the mixtures; see
    `evaluate`.

    Args:
        separator: Any separator.
        modality: Modality through which it sees the mixtures.
        mixtures: Mixtures (N, *S).

    Raises:
        ValueError: There are too few mixtures, or their main metric is not in dB.
    """
    return evidence_of(separator, modality, mixtures)[0].gain


def evidence_of(separator: Separator, modality: Modality, mixtures: Tensor) -> "tuple[Evidence, Tensor]":
    """Return the evidence of the windows of mixtures that are not silent.

    Args:
        separator: Any separator.
        modality: Modality through which it sees the mixtures.
        mixtures: Mixtures (N, *S).

    Returns:
        The evidence, and which windows of all mixtures are not silent, a tensor of bool.

    Raises:
        ValueError: There are too few, or their main metric is not in dB.
    """
    windows, quality = modality.split(mixtures), quality_of(separator, modality)
    heard = not_silent(windows)
    if heard.sum() < FEWEST:
        raise ValueError(f"a blind score needs {FEWEST} mixtures that are not silent, or more, not {int(heard.sum())}")
    return Evidence(separator, modality, windows[heard], quality), heard


def quality_of(separator: Separator, modality: Modality) -> Quality:
    """Return the function of the main metric of a modality.

    Args:
        separator: Separator, which knows the brightest pixel of a source.
        modality: Modality through which it sees mixtures.

    Raises:
        ValueError: The metric is not in dB.
    """
    metric = modality.metrics[0]
    if metric.unit != "dB":
        raise ValueError(f"a blind score is in dB, and the main metric of {modality.plural} is {metric.title}")
    return modality.qualities(separator.source_scale / modality.gain)[metric.name]


def verdict_of(gain: float) -> Verdict:
    """Return the verdict on a gain in dB over an equal share."""
    return "works" if gain >= WORKS else "fails" if gain < FAILS else "partly"


def summary_of(
    separator: Separator, modality: Modality, mixtures: Any, most: int = MOST, recordings: Sequence[Tensor] = ()
) -> str:
    """Evaluate some mixtures, evenly spread, and return one line: the summary, or why there is none.

    Args:
        separator: Any separator.
        modality: How it sees the mixtures.
        mixtures: (N, *S), a tensor or what is asked for by numbers as one is.
        most: Number of mixtures to evaluate at most; never more than `MOST`.
        recordings: Recordings (*S) that the mixtures are windows of. If some of them are long enough, the first of
            these are evaluated instead.
    """
    some = evenly_spread(len(mixtures), min(MOST, most))
    try:
        if long := first_recordings(modality, recordings):
            return evaluate_recordings(separator, modality, long).summary
        return evaluate(separator, modality, mixtures[some].float()).summary
    except ValueError as error:
        return no_estimate(error)


def first_recordings(modality: Modality, recordings: Sequence[Tensor]) -> list[Tensor]:
    """Return the first recordings that are long enough, as many as have `MOST` windows together, but at least one.

    Args:
        modality: Modality of the recordings, which cuts them into windows.
        recordings: Recordings (*S) of any lengths.

    Returns:
        The recordings; none if all are too short or silent.
    """
    long: list[Tensor] = []
    windows = 0
    for recording in recordings:
        number = windows_of(modality, recording)
        windows += number
        if long and windows > MOST:
            break
        long += [recording] if number else []
    return long


def evenly_spread(number: int, most: int = MOST) -> Tensor:
    """Return indices of mixtures that are evenly spread over all.

    Args:
        number: Number of all mixtures, 1 or more.
        most: Largest number of indices.

    Returns:
        (n,) int64, n being the smaller of both numbers; the first is 0 and, of several, the last is `number` - 1.
    """
    return torch.linspace(0, number - 1, min(most, number)).long()


def no_estimate(error: ValueError) -> str:
    """Return one line that says why there is no estimate."""
    return f"No estimate of the quality: {error}"
