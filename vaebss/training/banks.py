"""The making of banks: a separator's own confident estimates become the sources of a student's remixes.

A trained separator, the teacher, separates the training mixtures. Its most confident estimates, pseudo-sources, make a
bank. A student learns to separate remixes of the bank, whose parts are known. Then it separates the training mixtures
anew, which makes a better bank, and learns on. The errors of an estimate are independent of the sources that it is
remixed with, so the student averages them out. No true source takes part. The method is related to RemixIT (Tzinis et
al. 2022), MixCycle (Karamatli and Kirbiz 2022) and noisy-student training (Xie et al. 2020).
"""

# B mixtures, K slots, S the shape of a signal

import time
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, cycle, islice
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import Tensor
from tqdm import tqdm

from vaebss.data.bank import Bank, make_bank
from vaebss.data.batches import Batch
from vaebss.data.corpora.lines import Lines
from vaebss.data.remixes import Remixes
from vaebss.modalities import slot_linking, source_classes
from vaebss.modalities.audio import Audio
from vaebss.modalities.modality import Modality, separate_signals
from vaebss.models.separator import Separator
from vaebss.separation import Separation
from vaebss.signals import ending_at_once

TIMED_BATCHES = 2  # after which the time of a bank is known
CLASSES_FOUND = (
    "The sources of a mixture are of different classes: each class gets its own slot "
    "(--data.source_classes false leaves slots free)"
)
CLASSES_MISSED = "No classes of sources are evident in the first estimates: their slots may mean nothing"


class TooLittleTimeError(ValueError):
    """An error for a time in which a training cannot be done; the message names options of the commands."""


class BankMaker:
    """The maker of the banks of a run: the first by the teacher, later ones by the student.

    Args:
        data: Data module of the mixtures, with the options of the banks.
        student: The separator that is trained.
        teacher: Returns the separator that makes the first bank; it is called only where that bank is missing.
        path: File in which the bank is kept, so that a resumed run has it; None keeps it in memory alone.

    Attributes:
        watch: Function that is called with every batch of a bank, its true sources and its separation, only to score
            them. If it is None, true sources are left out.
        tell: Function that is called with one line if each class of sources gets a slot of its own by the first bank,
            or has one by an option though no classes are evident; None says nothing.
        bank: The bank that was made last.
        end: Time of `time.monotonic()` at which a bank that is made has to be done; None allows any time.
    """

    def __init__(self, data: Remixes, student: Separator, teacher: Callable[[], Separator], path: Path | None = None):
        self.data, self.student, self.teacher, self.path = data, student, teacher, path
        self.watch: Callable[[Batch, Separation], None] | None = None
        self.tell: Callable[[str], object] | None = None
        self.bank: Bank | None = None
        self.end: float | None = None

    def __call__(self, number: int) -> Bank:
        """Return a bank by its number, from 0: from memory, from its file, or made now."""
        if self.bank is None and self.path and self.path.is_file():
            self.bank = Bank.load(self.path)
        if self.bank is None or self.bank.round != number:
            with ending_at_once(SIGTERMException):  # also in one process of several: there is no step to complete
                self.bank = self.make(self.student if number else self.teacher(), number)
            if self.path and self.data.is_first_process:
                self.bank.save(self.path)
        return self.bank

    def make(self, separator: Separator, number: int) -> Bank:
        """Separate the list of training mixtures, and keep the most confident estimates.

        Args:
            separator: Separator that makes the estimates.
            number: Number of the bank, from 0.

        Raises:
            TooLittleTimeError: It would take longer than until `end`.
            ValueError: No source was found.
        """
        hparams, corpus = self.data.hparams, self.data.mixed_for(number)
        seen, batches = corpus.seen_by(separator), self.data.listed(self.watch is not None, corpus)
        separations, began = [], time.monotonic()
        for batch in tqdm(batches, desc=f"Bank {number + 1}", unit="batch", leave=False):
            if len(separations) == TIMED_BATCHES:
                self._check_end(began, (time.monotonic() - began) / TIMED_BATCHES * len(batches))
            part = self._separated(batch, separator, seen)
            separations.append(Separation(part.sources.half(), part.active, part.confidence))
            if self.watch:
                self.watch(batch, part)
        found = Separation.cat(separations)
        if not number and self.data.takes_classes:
            self._settle_classes(found)
        voices = self.data.modality.voices
        found = self._linked(found, seen, corpus) if voices else found
        bank = make_bank(found, self.data.share_of(number), number, voices)
        if not hparams.instruments or isinstance(corpus, Lines):
            return bank
        spectra = slot_linking.band_energies(bank.sources.unsqueeze(1), seen).mean(3).squeeze(1)
        return replace(bank, instruments=slot_linking.timbres(spectra, hparams.instruments))

    def _settle_classes(self, found: Separation) -> None:
        """Decide by the first estimates whether each class of sources has a slot of its own, or warn where it has."""
        if self.data.hparams.source_classes is False:
            return
        evident, stated = source_classes.are_evident(found), self.data.hparams.source_classes
        if stated is None:
            self.data.settle_classes(bool(evident))
        line = {(True, None): CLASSES_FOUND, (False, True): CLASSES_MISSED}.get((evident, stated))
        if self.tell and line:
            self.tell(line)

    def _linked(self, found: Separation, seen: Modality, corpus: Any) -> Separation:
        """Give each class of pictures its slot, or each voice of recordings in all windows, which may overlap."""
        if not isinstance(seen, Audio):
            return seen.linked(found)
        starts = corpus.splits.train.starts[self.data.training_list.flatten()]  # type: ignore[union-attr]
        return seen.linked(found, starts.diff())

    def _separated(self, batch: Batch, separator: Separator, seen: Modality) -> Separation:
        """Separate a batch of training mixtures, ranked by confidence."""
        refinement = {"refine_steps": self.data.hparams.refine_steps, "restarts": self.data.hparams.restarts}
        part = separate_signals(separator.pseudo_label, seen, batch["signal"], **refinement)
        if not self.data.hparams.consistent:
            return part
        return replace(part, confidence=part.confidence * consistency(separator, seen, part))

    def _check_end(self, began: float, seconds: float) -> None:
        if self.end is not None and began + seconds > self.end:
            raise TooLittleTimeError(
                f"the first bank alone takes {seconds / 60:.0f} minutes here: allow more minutes, or lower "
                "--data.num_mixtures or --data.refine_steps"
            )

    def seconds(self, separator: Separator) -> float:
        """Measure how long a bank of this separator takes, by its second batch; the first one warms up."""
        batches, seen = self.data.listed(), self.data.corpus.seen_by(separator)
        began = 0.0
        for batch in islice(cycle(batches), 2):
            began = time.monotonic()
            self._separated(batch, separator, seen)
        return len(batches) * (time.monotonic() - began)


def consistency(separator: Separator, modality: Modality, found: Separation) -> Tensor:
    """Return the share of proper subsets of the estimated sources whose count is found again after remixing, (B,).

    Two notes in one slot are separated once they are alone, and two halves of a note are merged once they are together.
    The measure is related to MixCycle (Karamatli and Kirbiz 2022).

    Args:
        separator: Separator that estimated the sources.
        modality: Modality of the separator.
        found: Separation with masked sources (B, K, *S).
    """
    right, asked = torch.zeros_like(found.confidence), torch.zeros_like(found.confidence)
    slots = range(found.active.shape[1])
    for group in [list(some) for size in slots[1:] for some in combinations(slots, size)]:
        rows = (found.active[:, group].all(1) & (found.count > len(group))).nonzero().flatten()
        if len(rows):
            again = separate_signals(separator.separate, modality, found.sources[rows][:, group].sum(1))
            right[rows] += (again.count == len(group)).to(right.dtype)
            asked[rows] += 1
    return torch.where(asked > 0, right / asked.clamp(min=1), 1.0)
