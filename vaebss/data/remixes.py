"""The second stage's lessons: remixes of a separator's own confident estimates.

A trained separator, the teacher, takes training mixtures apart. Its most confident estimates, pseudo-sources, make a
bank. A student learns to take remixes of the bank apart, whose answers are known; then it separates the training
mixtures anew, which makes a better bank, and learns on. The errors of an estimate have nothing to do with what it is
remixed with, so the student averages them away. No true source takes part. Kin of RemixIT (Tzinis et al. 2022),
MixCycle (Karamatli and Kirbiz 2022) and noisy-student training (Xie et al. 2020).
"""

# B mixtures, K slots, N pseudo-sources, S the shape of a signal

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from vaebss.atomic import atomic_write
from vaebss.data.collections import Batch, MixtureDataset
from vaebss.data.detuning import detuned
from vaebss.data.mixtures import EVALUATION_BATCH, MNISTMixtures, conditions_of
from vaebss.data.plans import TRAIN, FixedPlan, FreshPlan, draw_voices
from vaebss.errors import check_at_least
from vaebss.modalities.modality import Modality, through
from vaebss.models.separator import Separator
from vaebss.separation import Separation

COMMON = 0.05  # share of mixtures with a count from which on remixes have it too


@dataclass(frozen=True)
class Bank:
    """Pseudo-sources to remix.

    Attributes:
        sources: (N, *S) float16, in the mixtures' scale.
        counts: fewest and most sources of a remix, as the separator found them in the mixtures.
        round: how many students have made banks before.
        voices: (N,) int64, whose slot each was found in, where slots are voices.
    """

    sources: Tensor
    counts: tuple[int, int]
    round: int
    voices: Tensor | None = None

    def save(self, path: Path) -> None:
        """Write the bank whole or not at all."""
        with atomic_write(path) as part:
            torch.save(asdict(self), part)

    @classmethod
    def load(cls, path: Path) -> "Bank":
        """A bank that `save` wrote; nothing in the file is run."""
        return cls(**torch.load(path, weights_only=True))


def make_bank(separation: Separation, share: float, number: int, voices: bool = False) -> Bank:
    """The active slots of the most confident separations.

    Args:
        separation: of all training mixtures.
        share: of the mixtures to keep, above 0 and at most 1.
        number: the bank's round.
        voices: whether its slots are voices.
    """
    best = separation.confidence.topk(max(1, round(share * len(separation)))).indices
    active = separation.active[best]
    sources = separation.sources[best][active].half()
    if not len(sources):
        raise ValueError("the bank is empty: no slot of any kept mixture is active")
    shares = separation.count.clamp(min=1).bincount() / len(separation)
    common = (shares >= COMMON).nonzero().flatten().tolist()
    return Bank(sources, (common[0], common[-1]), number, active.nonzero()[:, 1] if voices else None)


def consistency(separator: Separator, modality: Modality, found: Separation) -> Tensor:
    """Of how many groups of a mixture's sources, but for all of them, the number is found again: a share, (B,).

    Two notes in one slot come apart once they are alone, and two halves of a note, put together, are one again. Kin of
    MixCycle (Karamatli and Kirbiz 2022).

    Args:
        separator: that found them.
        modality: as it sees signals.
        found: (B, K, *S), masked.
    """
    right, asked = torch.zeros_like(found.confidence), torch.zeros_like(found.confidence)
    slots = range(found.active.shape[1])
    for group in [list(some) for size in slots[1:] for some in combinations(slots, size)]:
        rows = (found.active[:, group].all(1) & (found.count > len(group))).nonzero().flatten()
        if len(rows):
            again = through(separator.separate, modality, found.sources[rows][:, group].sum(1))
            right[rows] += (again.count == len(group)).to(right.dtype)
            asked[rows] += 1
    return torch.where(asked > 0, right / asked.clamp(min=1), 1.0)


class Remixes(MNISTMixtures):
    """Training batches are remixes of a bank; validation and test mixtures are MNISTMixtures'.

    Args:
        num_mixtures: Length of the fixed list of training mixtures that make the banks.
        keep: Share of the mixtures, the most confident ones, that make each round's bank; its length is the number of
            rounds.
        epochs_per_round: Epochs that a student learns from one bank.
        refine_steps: Refinement of the teacher's latents, if it has any, for the first bank.
        restarts: Other starts of that refinement.
        remix_gains: Least and most that a pseudo-source is multiplied by in a remix, such as [0.25, 1.0].
        remix_detune: Semitones by which pseudo-sources of sound are played lower at most, each anew in every epoch.
        consistent: Whether mixtures are trusted less where groups of their sources, mixed anew, are counted wrongly.
        voices: Whether the same voices sound in all of given recordings: then each has a slot of its own, and remixes
            are of one voice each.
        batch_size: Remixes in a training step, on each device.
        epoch_size: Remixes in an epoch, rounded down to whole batches.
        options: Those of MNISTMixtures.

    Attributes:
        teacher: to be set: asked for only where the first bank has yet to be made.
        watch: may be set: sees every batch that a bank is made of, and what was found in it.
    """

    def __init__(
        self,
        num_mixtures: int = 30_000,
        keep: tuple[float, ...] = (0.7, 0.5, 0.6, 0.7),
        epochs_per_round: int = 6,
        refine_steps: int = 20,
        restarts: int = 0,
        remix_gains: list[float] | None = None,
        remix_detune: float = 0.0,
        consistent: bool = False,
        voices: bool = False,
        batch_size: int = 96,
        epoch_size: int = 24_000,
        **options: Any,
    ):
        super().__init__(num_mixtures=num_mixtures, batch_size=batch_size, epoch_size=epoch_size, **options)
        own = {"keep": list(keep), "epochs_per_round": epochs_per_round, "refine_steps": refine_steps}
        own |= {"restarts": restarts, "remix_gains": remix_gains, "remix_detune": remix_detune}
        own |= {"consistent": consistent, "voices": voices}
        self.save_hyperparameters(own)  # of plain values, as loggers write them
        self.tell_unused(Remixes)
        if not keep or not all(0 < share <= 1 for share in keep):
            raise ValueError(f"data.keep must be shares above 0 and at most 1, not {keep}")
        check_at_least(1, data__epochs_per_round=epochs_per_round)
        check_at_least(0, data__remix_detune=remix_detune)
        if voices and not (self.given is not None and self._of_sound):
            raise ValueError("data.voices are those of recordings: it needs --data.mixtures of sound")
        self.audio = replace(self.audio, voices=voices)
        self.remixed = conditions_of(remix_gains, named="data.remix_gains")
        self.teacher: Callable[[], Separator] | None = None
        self.watch: Callable[[Batch, Separation], None] | None = None
        self.bank: Bank | None = None
        self.bank_path: Path | None = None

    def train_dataloader(self) -> DataLoader:
        """Remixes of the bank of this epoch's round; to be asked for anew each epoch."""
        trainer: Any = self.trainer
        (epoch, seen), hparams = self._begun, self.hparams
        student: Separator = trainer.lightning_module.model
        number = min(epoch // hparams.epochs_per_round, len(hparams.keep) - 1)
        bank = self._bank_of(number, student, trainer.is_global_zero)
        if bank.counts[1] > (slots := student.num_sources):
            raise ValueError(f"{bank.counts[1]} sources were found in a mixture: model.num_sources {slots} is too few")
        sizes = (len(bank.sources), hparams.epoch_size, bank.counts, hparams.seed, hparams.batch_size)
        plans = FreshPlan(*sizes, self._of_voices(bank, epoch), *self._world)
        plans.set_epoch(epoch, seen)
        dataset = MixtureDataset(self._played(bank.sources, epoch), 1.0, self.modality, conditions=self.remixed)
        return DataLoader(dataset, batch_size=None, sampler=plans, num_workers=hparams.num_workers)

    def _of_voices(self, bank: Bank, epoch: int) -> Tensor | None:
        """The plan of an epoch's remixes, where slots are voices."""
        if bank.voices is None:
            return None
        return draw_voices(bank.voices, self.hparams.epoch_size, bank.counts, self.hparams.seed, TRAIN, epoch)

    def _played(self, sources: Tensor, epoch: int) -> Tensor:
        """Pseudo-sources as they are in an epoch."""
        if not self.hparams.remix_detune:
            return sources
        numbers = torch.stack([torch.arange(len(sources)), torch.full((len(sources),), epoch)], 1)
        parts = zip(sources.split(EVALUATION_BATCH), numbers.split(EVALUATION_BATCH), strict=True)
        return torch.cat([detuned(part.float(), plan, self.hparams.remix_detune).half() for part, plan in parts])

    def held_out(self, separator: Separator) -> Separation:
        """What a separator finds in a first batch of validation mixtures."""
        return through(separator.separate, self.seen_by(separator), next(iter(self.val_dataloader()))["signal"])

    def _bank_of(self, number: int, student: Separator, to_be_saved: bool = False) -> Bank:
        """From memory, from the run's folder, or made now: the first by the teacher, later ones by the student."""
        if self.bank is None and self.bank_path and self.bank_path.is_file():
            self.bank = Bank.load(self.bank_path)
        if self.bank is None or self.bank.round != number:
            self.bank = self._make_bank(student if number else self._teacher(), number)
            if self.bank_path and to_be_saved:
                self.bank.save(self.bank_path)
        return self.bank

    def _teacher(self) -> Separator:
        if self.teacher is None:
            raise ValueError("the first bank needs a teacher: set the data module's `teacher`")
        return self.teacher()

    def _make_bank(self, separator: Separator, number: int) -> Bank:
        hparams, plan, seen = self.hparams, self.training_list, self.seen_by(separator)
        assert plan is not None  # there is a number of mixtures
        batches = self._loader("train", FixedPlan(plan, EVALUATION_BATCH))
        refinement = {"refine_steps": hparams.refine_steps, "restarts": hparams.restarts}
        separations = []
        for batch in tqdm(batches, desc=f"Bank {number + 1}", unit="batch", leave=False):
            part = through(separator.label, seen, batch["signal"], **refinement)
            if hparams.consistent:
                part = replace(part, confidence=part.confidence * consistency(separator, seen, part))
            separations.append(Separation(part.sources.half(), part.active, part.confidence))
            if self.watch:
                self.watch(batch, part)
        found = Separation.cat(separations)
        return make_bank(seen.linked(found) if hparams.voices else found, hparams.keep[number], number, hparams.voices)
