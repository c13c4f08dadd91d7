"""The data of the second stage: training mixtures are remixes of a bank of estimated sources."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from vaebss.data.bank import Bank
from vaebss.data.batches import RemixDataset
from vaebss.data.conditions import conditions_of
from vaebss.data.corpora.lines import Lines
from vaebss.data.corpora.sounds import SingleSounds
from vaebss.data.corpus import Corpus
from vaebss.data.detuning import detuned
from vaebss.data.lines import LINES, ROOMS, compose_lines
from vaebss.data.mixtures import EVALUATION_BATCH, MNISTMixtures, counts_of
from vaebss.data.plans import COMPOSED, TRAIN, FreshPlan, draw_voices
from vaebss.errors import check_at_least
from vaebss.seeding import generator

NUM_MIXTURES = 30_000  # that make a bank, by default


class Remixes(MNISTMixtures):
    """Training batches are remixes of a bank; validation and test mixtures are MNISTMixtures'.

    Args:
        num_mixtures: Length of the fixed list of training mixtures that make the banks.
        keep: Shares of the mixtures, the most confident ones, that make the bank of each round; there are as many
            rounds as shares.
        epochs_per_round: Epochs of a round, in which a student learns from one bank unless banks are renewed.
        renew: Renewal of the bank before every epoch of a round, which takes time.
        refine_steps: Steps of refinement of the teacher's latents, if it has any, for the first bank.
        restarts: Number of further starts of that refinement.
        num_remixed: Number of pseudo-sources in a remix, or a range such as [1, 3]; by default as many as were found in
            mixtures. A teacher of pairs thus teaches a student of one to three sources.
        remix_gains: Range from which the gain of each pseudo-source in a remix is drawn, such as [0.25, 1.0].
        remix_detune: Semitones by which pseudo-sources of sound are detuned downwards at most, anew in every epoch.
        consistent: Weighting by consistency: mixtures are trusted less where the number of sources in remixed groups of
            their estimates is not found again.
        voices: Assumption that the same voices sound in all recordings. Each voice then has a slot of its own, and each
            remix has one source of each.
        source_classes: Assumption that pictures have a source of each class. Each class, such as letters and shapes,
            then has a slot of its own, and each remix has one source of each. By default it is decided by the first
            estimates of 100 or more whole pictures.
        instruments: Number of pseudo-instruments into which notes in a bank are clustered by timbre. Remixes are then
            of lines, each composed anew in every epoch from notes of one pseudo-instrument. With --data.source lines
            the first bank is of mixtures of single notes, and later ones are of lines as they were found. By default,
            0, remixes are of sources as they were found.
        batch_size: Remixes in a training step, on each device.
        epoch_size: Remixes in an epoch, rounded down to whole batches.
        options: Options of MNISTMixtures.

    Attributes:
        banks: Returns a bank by its number, from 0; it is set before training, see `training.banks.BankMaker`.

    Examples:
        >>> from vaebss import Remixes
        >>> data = Remixes(keep=(0.7, 0.5), epochs_per_round=6, source="bundled")
        >>> data.image_shape, data.counts
        ((1, 28, 28), (2, 2))
    """

    def __init__(
        self,
        num_mixtures: int = NUM_MIXTURES,
        keep: tuple[float, ...] = (0.7, 0.5, 0.6, 0.7),
        epochs_per_round: int = 6,
        renew: bool = False,
        refine_steps: int = 20,
        restarts: int = 0,
        num_remixed: int | list[int] | None = None,
        remix_gains: list[float] | None = None,
        remix_detune: float = 0.0,
        consistent: bool = False,
        voices: bool = False,
        source_classes: bool | None = None,
        instruments: int = 0,
        batch_size: int = 96,
        epoch_size: int = 24_000,
        **options: Any,
    ):
        super().__init__(num_mixtures=num_mixtures, batch_size=batch_size, epoch_size=epoch_size, **options)
        own = {"keep": list(keep), "epochs_per_round": epochs_per_round, "refine_steps": refine_steps}
        own |= {"restarts": restarts, "remix_gains": remix_gains, "remix_detune": remix_detune}
        own |= {"num_remixed": num_remixed, "consistent": consistent, "voices": voices, "instruments": instruments}
        undecided = source_classes is None and self.takes_classes and "tiles" not in self.modality.options
        own |= {"source_classes": None if undecided else bool(source_classes), "renew": renew}
        self.save_hyperparameters(own)  # of plain values, as loggers write them
        if remix_detune and not self.modality.audible:
            self.tell_unused(["remix_detune"])
        if not keep or not all(0 < share <= 1 for share in keep):
            raise ValueError(f"data.keep must be shares above 0 and at most 1, not {keep}")
        check_at_least(1, data__epochs_per_round=epochs_per_round)
        check_at_least(0, data__remix_detune=remix_detune, data__instruments=instruments)
        if instruments and not isinstance(self.corpus, SingleSounds):
            raise ValueError("data.instruments needs notes: set --data.source to notes, lines or your notes")
        if voices and not (self.corpus.given and self.modality.audible):
            raise ValueError("data.voices needs recordings: set --data.mixtures to sounds")
        if source_classes and not self.takes_classes:
            raise ValueError("data.source_classes needs pictures: set --data.mixtures to pictures")
        if voices or source_classes:
            self.modality = self.modality.with_voices()
        self.remixed = conditions_of(remix_gains, named="data.remix_gains")
        self.remix_counts = None if num_remixed is None else counts_of(num_remixed, "num_remixed")
        self.banks: Callable[[int], Bank] | None = None

    @property
    def takes_classes(self) -> bool:
        """True if the mixtures are pictures, and not lines, that exist already: their sources may be of classes."""
        return self.corpus.given and not self.modality.audible and self.image_shape[1] > 1

    def settle_classes(self, evident: bool) -> None:
        """Decide whether each class of sources has a slot of its own, where no option says so.

        Args:
            evident: Whether classes are evident in the first bank. Of several processes, the first one's answer holds.
        """
        evident = self.trainer.strategy.broadcast(evident) if self.trainer else evident
        self.hparams.source_classes = evident
        if evident:
            self.modality = self.modality.with_voices()

    @property
    def epochs_per_bank(self) -> int:
        """Number of epochs that a student learns from one bank."""
        return 1 if self.hparams.renew else self.hparams.epochs_per_round

    @property
    def num_banks(self) -> int:
        """Number of banks of all rounds."""
        return len(self.hparams.keep) * self.hparams.epochs_per_round // self.epochs_per_bank

    def share_of(self, number: int) -> float:
        """Return the share of the mixtures that a bank keeps, by the bank's number from 0."""
        return self.hparams.keep[number * self.epochs_per_bank // self.hparams.epochs_per_round]

    def train_dataloader(self) -> DataLoader:
        """Return a loader of remixes of this epoch's bank. Call it anew for each epoch.

        Raises:
            ValueError: There is no maker of banks, or a remix has more sources than the model has slots.
        """
        (epoch, seen), hparams = self._begun, self.hparams
        if self.banks is None:
            raise ValueError("remixes need a bank: set the data module's `banks`")
        bank = self.banks(min(epoch // self.epochs_per_bank, self.num_banks - 1))
        bank = replace(bank, counts=self.remix_counts or bank.counts)
        trainer: Any = self.trainer
        if bank.counts[1] > (slots := trainer.lightning_module.model.num_sources):
            raise ValueError(f"{bank.counts[1]} sources are in a remix: model.num_sources {slots} is too few")
        sources = self.played(bank, epoch)
        sizes = (len(sources), hparams.epoch_size, bank.counts, hparams.seed, hparams.batch_size)
        plans = FreshPlan(*sizes, self._of_voices(bank, epoch), *self.world)
        plans.set_epoch(epoch, seen)
        dataset = RemixDataset(sources, 1.0, self.modality, conditions=self.remixed)
        return DataLoader(self.on_device(dataset), batch_size=None, sampler=plans, num_workers=hparams.num_workers)

    def _of_voices(self, bank: Bank, epoch: int) -> Tensor | None:
        """Return the plan of an epoch's remixes if slots are voices."""
        if bank.voices is None:
            return None
        return draw_voices(bank.voices, self.hparams.epoch_size, bank.counts, self.hparams.seed, TRAIN, epoch)

    def mixed_for(self, number: int) -> Corpus:
        """Return the corpus whose mixtures make a bank, by the bank's number from 0."""
        if self.hparams.instruments and number == 0 and isinstance(self.corpus, Lines):
            return self.corpus.single_notes
        return self.corpus

    def played(self, bank: Bank, epoch: int) -> Tensor:
        """Return what is remixed in an epoch: the pseudo-sources of a bank, or lines that are composed from them.

        Args:
            bank: The bank. If it has pseudo-instruments, its pseudo-sources are notes from which lines are composed.
            epoch: Number of the epoch, from 0, which seeds the detuning and the lines.

        Returns:
            Signals (N, *S).
        """
        sources = self._detuned(bank.sources, epoch)
        if bank.instruments is None:
            return sources
        modality: Any = self.modality
        random = generator(self.hparams.seed, COMPOSED, epoch)
        return compose_lines(sources, bank.instruments, LINES, modality.rate, random, rooms=ROOMS)

    def _detuned(self, sources: Tensor, epoch: int) -> Tensor:
        """Return pseudo-sources (N, *S) at the pitch that they have in an epoch."""
        if not self.hparams.remix_detune:
            return sources
        numbers = torch.stack([torch.arange(len(sources)), torch.full((len(sources),), epoch)], 1)
        parts = zip(sources.split(EVALUATION_BATCH), numbers.split(EVALUATION_BATCH), strict=True)
        return torch.cat([detuned(part.float(), plan, self.hparams.remix_detune).half() for part, plan in parts])
