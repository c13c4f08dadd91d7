"""How far blind scores agree with true ones, over many pairs of data and separators, among them many failures.

    MNIST_ROOT=/path/to/mnist BLIND_BENCH=FOLDER python tests/blind_bench.py TABLE [--shipped]

prints one of the tables of docs/blind-score.md: tuning, held-out, numbers, more, recordings, counts or unlike. With
--shipped it leaves out separators that are trained for it. What is trained and measured is kept in FOLDER, by default
./blind_bench. The constants of the measure were chosen on the pairs of the table "tuning".
"""

# N mixtures, M sources, K slots, S the shape of a signal

import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
import sound_worlds
import worlds

import vaebss
from vaebss.baselines.trivial import EqualShare, OneSlot
from vaebss.blind import UNSURE, evaluate, verdict_of
from vaebss.data.corpora.digits import load_digits
from vaebss.data.corpora.pictures import GivenPictures
from vaebss.data.mixtures import MNISTMixtures
from vaebss.evidence import ranks
from vaebss.likeness import unlike
from vaebss.metrics.metric import mean_per_mixture
from vaebss.modalities.modality import Modality, separate_signals
from vaebss.modalities.registry import modality_of
from vaebss.models.separator import Separator
from vaebss.training.scores import main_quality
from vaebss.training.trainers import bare_trainer
from vaebss.training.vae import VAEBSS

NUMBER = 100  # mixtures of a world
FEW = 10  # scores, of which no rank correlation is given
FOLDER = Path(os.environ.get("BLIND_BENCH", "blind_bench"))
MNIST = os.environ.get("MNIST_ROOT", "./data")
DIGITS = "mnist" if (Path(MNIST) / "MNIST").is_dir() else "bundled"


def digits(number: int, seed: int, least: int = 2, most: int = 2) -> Tensor:
    """The sources of mixtures of digits, (N, most, 1, 28, 28) up to 0.5; black where a mixture has fewer."""
    rng, images = np.random.default_rng(seed), load_digits(DIGITS, MNIST).test
    sources = images[torch.from_numpy(rng.integers(len(images), size=(number, most)))].float() / 255 * 0.5
    there = torch.from_numpy(np.arange(most) < rng.integers(least, most + 1, (number, 1)))
    return sources * there.view(number, most, 1, 1, 1)


WORLDS: dict[str, Callable[[], Tensor]] = {
    "digits": partial(digits, NUMBER, 1),
    "one to four digits": partial(digits, NUMBER, 2, 1, 4),
    "three digits": partial(digits, NUMBER, 3, 3, 3),
    "single digits": partial(digits, NUMBER, 5, 1, 1),
    "one or two digits": partial(digits, NUMBER, 43, 1, 2),
    "two or three digits": partial(digits, NUMBER, 34, 2, 3),
    "one to three digits": partial(digits, NUMBER, 36, 1, 3),
    "letters over shapes": partial(worlds.world, NUMBER, 28, 1),
    "letters over shapes of 64 pixels": partial(worlds.world, NUMBER, 64, 1),
    "colour letters over shapes": partial(worlds.world, NUMBER, 28, 1, 3),
    "letters over letters": partial(worlds.glyphs, NUMBER, 28, 1),
    "cells": partial(worlds.cells, NUMBER, 64, 1),
    "clouds": partial(worlds.clouds, NUMBER, 28, 1),
    "spectra": partial(worlds.spectra, NUMBER, 1),
    "notes": partial(sound_worlds.notes, NUMBER, 1, FOLDER),
    "unheard notes": partial(sound_worlds.notes, NUMBER, 2, FOLDER, True),
    "one to three notes": partial(sound_worlds.notes, NUMBER, 3, FOLDER, False, 3, 1),
    "single notes": partial(sound_worlds.notes, NUMBER, 4, FOLDER, False, 1, 1),
    "two or three notes": partial(sound_worlds.notes, NUMBER, 15, FOLDER, False, 3, 2),
    "three notes": partial(sound_worlds.notes, NUMBER, 14, FOLDER, False, 3, 3),
    "two lines": partial(sound_worlds.lines, NUMBER, 16, FOLDER),
    "eight notes": partial(sound_worlds.notes, NUMBER, 16, FOLDER, False, 8, 8),
    "duets": partial(sound_worlds.duets, 1, "violin and piano", "flute and bassoon"),
    "strings": partial(sound_worlds.duets, 2, "oboe and violin", "violin and a lower violin"),
    "speakers": partial(sound_worlds.speakers, NUMBER),
    "one speaker": lambda: sound_worlds.speakers(NUMBER)[:, :1],
}
VOICES = {  # program and lowest pitch of both voices of recordings of half a minute
    "viola, guitar": ((41, 60), (24, 48)),
    "trombone, harp": ((57, 48), (46, 60)),
    "vibraphone, cello": ((11, 65), (42, 40)),
    "piccolo, bass": ((72, 76), (32, 40)),
    "horn, English horn": ((60, 48), (69, 60)),
    "soprano saxophone, electric piano": ((64, 67), (4, 48)),
    "pan flute, tuba": ((75, 72), (58, 40)),
    "viola, English horn": ((41, 60), (69, 62)),
}
WORLDS |= {
    name: partial(sound_worlds.duet, np.random.default_rng(100 + number), voices, 30)
    for number, (name, voices) in enumerate(VOICES.items())
}
WORLDS["two speakers"] = lambda: sound_worlds.spoken()[None, :, : 30 * sound_worlds.RATE]


class RandomMask(OneSlot):
    """Gives every slot a random share of every pixel, which depends on the mixture."""

    def _estimate(self, mixture: Tensor) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(int(1e6 * mixture.double().sum()))
        shares = torch.rand(len(mixture), self.num_sources, *mixture.shape[1:], generator=generator)
        shares = shares / shares.sum(1, keepdim=True)
        return shares.pow(1 / self.exponent) * mixture.unsqueeze(1), torch.zeros(len(mixture))


class Checkers(OneSlot):
    """Gives each row of a picture, or band of a sound, to one of the slots, in turns of so many rows."""

    rows = 1

    def _estimate(self, mixture: Tensor) -> tuple[Tensor, Tensor]:
        turn = torch.arange(mixture.shape[2]) // self.rows % self.num_sources
        mine = turn.view(1, 1, 1, -1, 1) == torch.arange(self.num_sources).view(1, -1, 1, 1, 1)
        return mine * mixture.unsqueeze(1), torch.zeros(len(mixture))


class Halves(Checkers):
    """Gives the upper half of a picture, or of the bands, to one slot and the lower half to the other."""

    def _estimate(self, mixture: Tensor) -> tuple[Tensor, Tensor]:
        self.rows = mixture.shape[2] // 2
        return super()._estimate(mixture)


class Brighter(OneSlot):
    """Gives the brighter half of the lit pixels of each mixture to one slot and the others to the other."""

    def _estimate(self, mixture: Tensor) -> tuple[Tensor, Tensor]:
        lit = torch.where(mixture > 0.02 * mixture.amax(), mixture, torch.nan).flatten(1)
        bright = mixture > lit.nanmedian(1).values.nan_to_num().view(-1, 1, 1, 1)
        return torch.stack([bright, ~bright], 1) * mixture.unsqueeze(1), torch.zeros(len(mixture))


SIMPLE = {"equal": EqualShare, "random": RandomMask, "rows": Checkers, "halves": Halves, "brighter": Brighter}


def simple(kind: str, like: str) -> Separator:
    """A separator that takes no learning, for pictures that the model `like` sees."""
    known = vaebss.load(like)
    sizes = {"image_shape": known.image_shape, "source_scale": known.source_scale, "exponent": known.exponent}
    separator = SIMPLE[kind](num_sources=2, **sizes)
    separator.modality = known.modality
    return separator


def vae_of(mixtures: Tensor, epochs: int, variational: bool = True, batch: int = 64) -> Separator:
    """A VAE trained on mixtures (N, C, H, W) for some epochs."""
    from vaebss.training.statistics import vae_options

    corpus = GivenPictures(mixtures.half(), "the array", source_scale=0.5)
    options = vae_options(mixtures, 0.5, 2)
    data = MNISTMixtures(source=corpus, batch_size=batch, epoch_size=len(mixtures) * 9 // 10, seed=0)
    torch.manual_seed(0)
    shapes = {"image_shape": data.image_shape, "variational": variational, "bounded": False}
    system = VAEBSS(num_sources=2, seed=0, source_scale=0.5, **shapes, **options["model"])
    bare_trainer(max_epochs=epochs, enable_progress_bar=False, num_sanity_val_steps=0).fit(system, data)
    return system.model.cpu().eval()


def vae_of_digits(epochs: int, variational: bool = True, size: int = 30_000) -> Separator:
    """A VAE as fit.py trains it on digits, stopped early."""
    torch.manual_seed(0)
    data, system = MNISTMixtures(root=MNIST, epoch_size=size, seed=0), VAEBSS(seed=0, variational=variational)
    bare_trainer(max_epochs=epochs, enable_progress_bar=False, num_sanity_val_steps=0).fit(system, data)
    return system.model.cpu().eval()


def adapted(mixtures: Tensor, steps: int, teacher: str = "remix-k2") -> Separator:
    """A student that `vaebss.adapt` trains for so many steps in all its rounds."""
    return vaebss.adapt(mixtures, teacher, steps=steps)


TRAINED: dict[str, Callable[[], Separator]] = {
    "vae-digits-small": lambda: vae_of_digits(1, size=3_000),
    "vae-digits-1": lambda: vae_of_digits(1),
    "vae-digits-4": lambda: vae_of_digits(4),
    "ae-digits-2": lambda: vae_of_digits(2, variational=False),
    "shapes-100": lambda: adapted(worlds.world(600, 28, 0).sum(1), 100),
    "shapes-600": lambda: adapted(worlds.world(600, 28, 0).sum(1), 600),
    "cells-200": lambda: adapted(worlds.cells(200, 64, 0).sum(1), 200),
    "letters-400": lambda: adapted(worlds.glyphs(600, 28, 0).sum(1), 400),
    "clouds-200": lambda: adapted(worlds.clouds(300, 28, 0).sum(1), 200),
    "spectra-vae": lambda: vae_of(worlds.spectra(4_000, 0).sum(1), 40),
    "spectra-vae-3": lambda: vae_of(worlds.spectra(4_000, 0).sum(1), 3),
    "shapes-vae": lambda: vae_of(worlds.world(4_000, 28, 0).sum(1), 30),
}


@cache
def model(name: str) -> Separator:
    """A separator by its name: a shipped one, one without learning as "random like remix-k2", or one trained here."""
    if name in vaebss.available():
        return vaebss.load(name)
    if " like " in name:
        return simple(*name.split(" like "))
    kept = FOLDER / "models" / name
    if not kept.is_dir():
        vaebss.save(TRAINED[name](), kept)
    return vaebss.load(kept)


TUNING = {
    "digits": "remix-k2 remix-1to4 vae-k2 vae-k3 vae-k4 vae-1to4 ae-k2 ae-k3 vae-digits-small vae-digits-1 "
    "vae-digits-4 ae-digits-2 equal random rows halves brighter",
    "letters over shapes": "remix-k2 remix-1to4 vae-k2 ae-k2 shapes-100 shapes-600 shapes-vae equal random brighter",
    "cells": "remix-k2 vae-k2 cells-200 equal random",
    "notes": "vae-notes remix-notes remix-notes-1to3 equal-notes random-notes rows-notes halves-notes",
    "speakers": "vae-notes remix-notes remix-notes-1to3 equal-notes random-notes",
}
HELD_OUT = {
    "three digits": "remix-1to4 vae-k3 vae-1to4",
    "letters over letters": "remix-k2 vae-k2 ae-k2 letters-400 halves",
    "colour letters over shapes": "remix-k2 vae-k2 equal",
    "clouds": "remix-k2 vae-k2 clouds-200",
    "spectra": "spectra-vae spectra-vae-3",
    "unheard notes": "vae-notes remix-notes",
    "duets": "vae-notes remix-notes remix-notes-1to3 halves-notes",
}
MORE = {
    "one to four digits": "remix-1to4 vae-1to4 vae-k4 remix-k2",
    "one to three notes": "remix-notes-1to3 vae-notes",
    "strings": "vae-notes remix-notes",
}
NUMBERS = {
    "one or two digits": "remix-1to4 remix-k2 vae-k2",
    "two or three digits": "remix-k2 vae-k2",
    "one to three digits": "remix-k2 vae-k2",
    "one to three notes": "remix-notes vae-notes",
    "two or three notes": "vae-notes",
    "three notes": "remix-notes-1to3 remix-notes vae-notes",
    "two lines": "remix-lines",
}
RECORDINGS = dict.fromkeys([*VOICES, "two speakers"], "remix-lines") | {
    "horn, English horn": "remix-lines halves-notes"
}
TABLES = {"tuning": TUNING, "held-out": HELD_OUT, "numbers": NUMBERS, "more": MORE, "recordings": RECORDINGS}
PICTURES = (
    "digits, one to four digits, single digits, letters over shapes, letters over shapes of 64 pixels, "
    "colour letters over shapes, letters over letters, cells, clouds"
)
NOTES = "notes, unheard notes, three notes, eight notes, single notes, speakers, one speaker"
UNLIKE = dict.fromkeys(PICTURES.split(", "), "remix-1to4 remix-k2")
UNLIKE |= dict.fromkeys(NOTES.split(", "), "vae-notes remix-notes")
COUNTED = "remix-k2 remix-1to4 vae-k2 vae-k3 vae-k4 vae-1to4"


@dataclass(frozen=True)
class Pair:
    """A separator on a world."""

    world: str
    separator: str

    @property
    def model(self) -> Separator:
        kind, *sound = self.separator.split("-")
        if kind in SIMPLE:
            return model(f"{kind} like {'vae-notes' if sound else 'remix-k2'}")
        return model(self.separator)


def pairs(worlds: dict[str, str]) -> list[Pair]:
    return [Pair(world, name) for world, names in worlds.items() for name in names.split()]


@cache
def sources_of(world: str) -> Tensor:
    return WORLDS[world]()


def modality_for(separator: Separator) -> Modality:
    """How a separator sees the mixtures of a world, whose sources of pictures reach 0.5."""
    return modality_of(separator, **({"source_max": 0.5} if separator.modality["kind"] == "images" else {}))


def true_scores(separator: Separator, sources: Tensor) -> tuple[Tensor, Tensor]:
    """The main metric in dB of a separator and of an equal share among the true number of sources, (N,) each.

    Mixtures of a single source, which have nothing to separate and score up to 100 dB, are not a number.
    """
    modality, count, mixtures = modality_for(separator), sources.flatten(2).any(2).sum(1), sources.sum(1)
    _, quality = main_quality(modality, 0.5)
    found = separate_signals(separator.separate, modality, mixtures)
    share = mixtures / count.view(-1, *[1] * (mixtures.ndim - 1))
    answers = found.sources, share.unsqueeze(1).expand(sources.shape)
    true, equal = (mean_per_mixture(quality, answer, sources, count) for answer in answers)
    return true.where(count > 1, torch.nan), equal.where(count > 1, torch.nan)


def source_correlation(separator: Separator, sources: Tensor, estimated: Tensor) -> float:
    """Rank correlation of the estimated scores (N, K) of single sources with true ones; not a number for few.

    Each slot is compared with the source that an assignment of least squared error gives to it.
    """
    modality, there = modality_for(separator), sources.flatten(2).any(2)
    _, quality = main_quality(modality, 0.5)
    found, scores = separate_signals(separator.separate, modality, sources.sum(1)), torch.zeros(2, 0)
    for estimates, own, blind in zip(
        found.sources, [some[it] for some, it in zip(sources, there, strict=True)], estimated, strict=True
    ):
        errors = (estimates.unsqueeze(1) - own).flatten(2).square().sum(2)
        slots, matched = linear_sum_assignment(errors.numpy())
        true = quality(estimates[slots].unsqueeze(0), own[matched].unsqueeze(0))[0].float()
        pair = torch.stack([true.reshape(len(slots), -1).mean(1), blind[slots]])
        scores = torch.cat([scores, pair[:, ~pair[1].isnan()]], 1) if len(own) > 1 else scores
    return rank_correlation(*scores)


def measured(pair: Pair) -> dict[str, Any]:
    """True and blind scores of a pair, computed once and kept."""
    kept = FOLDER / "pairs" / f"{pair.world}--{pair.separator}.pt"
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        sources = sources_of(pair.world)
        true, equal = true_scores(pair.model, sources)
        score = evaluate(pair.model, modality_for(pair.model), sources.sum(1))
        blind = {"gain": score.gain, "decibels": score.decibels, "each": score.each, "verdict": score.verdict}
        of_sources = source_correlation(pair.model, sources, score.each_source)
        torch.save({"true": true, "equal": equal, "sources": of_sources, **blind}, kept)
    return torch.load(kept)


def rank_correlation(first: Tensor, second: Tensor) -> float:
    """Spearman's; not a number for few."""
    if len(first) < FEW:
        return math.nan
    return float(torch.corrcoef(torch.stack([ranks(first), ranks(second)]))[0, 1])


def row(pair: Pair) -> dict[str, Any]:
    """What the table says of a pair."""
    found = measured(pair)
    gain, scored = float((found["true"] - found["equal"]).nanmean()), ~found["true"].isnan()
    return {
        "pair": f"{pair.world}, {pair.separator}",
        "true": float(found["true"].nanmean()),
        "blind": found["decibels"],
        "true gain": gain,
        "blind gain": found["gain"],
        "true verdict": verdict_of(gain),
        "blind verdict": found["verdict"],
        "single": rank_correlation(found["true"][scored], found["each"][scored]),
        "sources": found["sources"],
    }


def shown(cell: Any) -> str:
    """The text of a cell, which is empty for what is not a number."""
    return str(cell) if not isinstance(cell, float) else "" if math.isnan(cell) else f"{cell:.2f}"


def print_table(rows: list[dict[str, Any]]) -> None:
    """A line for each pair, and the figures over all."""
    print("| data, separator | dB | blind | gain | blind | verdict | blind | single mixtures | single sources |")
    print("|---|" + "---|" * 8)
    for one in rows:
        print("|", " | ".join(map(shown, one.values())), "|")
    true, blind = (torch.tensor([one[name] for one in rows]) for name in ("true gain", "blind gain"))
    decibels = torch.tensor([one["true"] - one["blind"] for one in rows])
    within = int((decibels.abs() <= UNSURE).sum())
    order = ["fails", "partly", "works"]
    off = [abs(order.index(one["true verdict"]) - order.index(one["blind verdict"])) for one in rows]
    right = sum(1 - 0.5 * min(each, 2) for each in off)
    false = [one["pair"] for one in rows if (one["true verdict"], one["blind verdict"]) == ("fails", "works")]
    print(f"\n{len(rows)} pairs, {sum(one['true verdict'] == 'fails' for one in rows)} of them failures")
    print(f"rank correlation of gains {rank_correlation(true, blind):.3f}")
    print(f"mean absolute error: gain {(true - blind).abs().mean():.2f} dB, score {decibels.abs().mean():.2f} dB")
    print(f"verdicts right {right} of {len(rows)}, failures that are called works: {false or 'none'}")
    print(f"true score within the interval of {UNSURE} dB: {within} of {len(rows)}")


def print_counts() -> None:
    """The estimated dB of mixtures of two, three and four digits, and how often `remix-1to4` counts right."""
    names = COUNTED.split()
    print(f"| digits in each mixture | {' | '.join(names)} | counts of remix-1to4 that are right |\n|---|" + "---|" * 7)
    for count in (2, 3, 4):
        mixtures = digits(NUMBER, count, count, count).sum(1)
        scores = [f"{evaluate(model(name), modality_for(model(name)), mixtures).decibels:.1f}" for name in names]
        right = (
            separate_signals(model("remix-1to4").separate, modality_for(model("remix-1to4")), mixtures).count == count
        ).sum()
        print(f"| {count} | {' | '.join(scores)} | {int(right)} |")


def share_unlike(pair: Pair, size: int, draws: int) -> float:
    """The share of draws of so many mixtures that are said to look unlike the training mixtures of a separator."""
    rng, mixtures = np.random.default_rng(0), sources_of(pair.world).sum(1)
    drawn = [torch.from_numpy(rng.choice(len(mixtures), size, replace=False)) for _ in range(draws)]
    return float(np.mean([bool(unlike(pair.model, modality_for(pair.model), mixtures[some])) for some in drawn]))


def print_unlike() -> None:
    """How often single mixtures and twenty mixtures are said to look unlike the training mixtures of a separator."""
    print("| mixtures | model | single | twenty |\n|---|---|---|---|")
    for pair in pairs(UNLIKE):
        single, twenty = share_unlike(pair, 1, 100), share_unlike(pair, 20, 20)
        print(f"| {pair.world} | {pair.separator} | {single:.0%} | {twenty:.0%} |")


if __name__ == "__main__":
    (table, *options) = sys.argv[1:]
    if table == "counts":
        print_counts()
    elif table == "unlike":
        print_unlike()
    else:
        print_table([row(pair) for pair in pairs(TABLES[table]) if not (options and pair.separator in TRAINED)])
