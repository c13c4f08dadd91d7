"""Adaptation of a trained separator to other mixtures, of any size, without true sources.

The separator, as the teacher, separates the mixtures at its own size. A student of their size learns from remixes of
its estimates. For lines, which no shipped model knows, a VAE is trained instead: a student that was tried was 18 dB
worse than its teacher, the VAE.
"""

import logging
import time

import torch
from pytorch_lightning import Callback
from torch import Tensor

from vaebss.data.corpora.pictures import GivenPictures
from vaebss.data.mixtures import MNISTMixtures
from vaebss.data.remixes import Remixes
from vaebss.errors import check_above_zero
from vaebss.modalities.appearance import estimated_scale, on_black, unit_of
from vaebss.models.masker import Masker
from vaebss.models.separator import Separator
from vaebss.quiet import quiet_lightning
from vaebss.training.banks import BankMaker, TooLittleTimeError
from vaebss.training.bar import RunBar
from vaebss.training.blind_gain import BLIND_GAIN, BlindGain, monitor_of
from vaebss.training.pace import set_steps, steps_until
from vaebss.training.presets import SIZES, VAE_EPOCHS_OF_LINES, early_stopping, schedule
from vaebss.training.statistics import PIXELS, data_options, vae_options
from vaebss.training.student import RemixSeparator
from vaebss.training.system import System
from vaebss.training.trainers import bare_trainer
from vaebss.training.vae import VAEBSS

log = logging.getLogger("vaebss")


@quiet_lightning("Some pixels exceed")  # of the teacher, whose advice is an option that there is not
def adapt(
    mixtures: Tensor,
    teacher: Separator | None,
    seed: int = 0,
    steps: int | None = None,
    progress: bool = True,
    minutes: float | None = None,
    num_sources: int = 2,
    source_classes: bool | None = None,
    tiles: bool = False,
) -> Separator:
    """Train a student, or a VAE, on user-supplied mixtures; return it in eval mode.

    Args:
        mixtures: (N, C, H, W), from 0 up; a tenth of them is held out.
        teacher: A separator of any size, grey or colour; the student has as many slots. None trains a VAE on lines.
        seed: Seed of the remixes and of the student's first weights.
        steps: Number of training steps; by default that of the schedule for the mixtures' size.
        progress: Whether to show a progress bar.
        minutes: Time for all; a trial of some seconds chooses the number of steps, which is printed.
        num_sources: Slots of the VAE.
        source_classes: Whether each class of sources has a slot of its own; None decides it by the first bank, see
            `Remixes`.
        tiles: Whether the mixtures are tiles of larger pictures, which the separator then cuts into such tiles.

    Raises:
        ValueError: There are fewer than ten mixtures, or fewer steps than epochs, or too few minutes; or steps and
            minutes are stated; or lines are said to have classes.
    """
    end = time.monotonic() + 60 * (minutes or 0)
    if minutes is not None:
        check_above_zero(minutes=minutes)
        if steps is not None:
            raise ValueError("minutes and steps both set the length of training: state one of them")
    if source_classes and not teacher:
        raise ValueError("source_classes needs pictures, not lines")
    if teacher:
        system, data = build_student(mixtures, teacher, seed, source_classes, tiles)
    else:
        system, data = build_vae(mixtures, num_sources, seed)
    if minutes is not None:
        try:
            steps = steps_until(end, system, data, epochs_of(data), bare_trainer)
        except TooLittleTimeError as error:
            raise ValueError(f"{minutes:g} minutes are too short to train on these mixtures: allow more") from error
        print(f"{steps} steps fit into {minutes:g} minutes", flush=True)
    return train_system(system, data, progress, steps)


def build_student(
    mixtures: Tensor, teacher: Separator, seed: int = 0, source_classes: bool | None = None, tiles: bool = False
) -> tuple[RemixSeparator, Remixes]:
    """Build a student and the remixes that it learns from.

    The student starts from the teacher's weights if both have the same sizes, else from random ones.

    Args:
        mixtures: Mixtures (N, C, H, W) of any unit and background.
        teacher: Separator that makes the first bank; the student has as many slots.
        seed: Random seed.
        source_classes: Whether mixtures hold one source of each of several classes; None decides it by the first bank.
        tiles: Whether the mixtures are tiles of larger pictures.
    """
    corpus = corpus_of(mixtures, tiles=tiles)
    options = schedule(tuple(mixtures.shape[1:]), len(mixtures))
    known = data_options(corpus.mixtures, corpus.source_scale)
    data = Remixes(seed=seed, source=corpus, source_classes=source_classes, **options["data"])
    sizes = {"num_sources": teacher.num_sources, "image_shape": data.image_shape}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        student = RemixSeparator(**sizes, **known["data"], **known["model"], bounded=False, **options["model"])
    alike = (*SIZES, "view")
    if isinstance(teacher, Masker) and all(getattr(teacher, name) == getattr(student.model, name) for name in alike):
        student.model.load_state_dict(teacher.state_dict())
    data.banks = banks = BankMaker(data, student.model, lambda: teacher)
    banks.tell = log.info
    return student, data


def corpus_of(mixtures: Tensor, max_pixels: int | None = None, tiles: bool = False) -> GivenPictures:
    """Return a corpus of mixtures of any unit and background.

    See `modalities.appearance` for the estimates of the unit and of the background.

    Args:
        mixtures: Mixtures (N, C, H, W), 0 or more.
        max_pixels: Most pixels H x W that a separator sees; None for all.
        tiles: Whether the mixtures are tiles of larger pictures.
    """
    mixtures, background, noise = on_black(mixtures)
    unit = unit_of(mixtures)
    known = {"source_scale": estimated_scale(mixtures / unit), "unit": unit, "max_pixels": max_pixels}
    known |= {"background": background, "background_noise": noise, "tile": mixtures.shape[-1] if tiles else None}
    return GivenPictures((mixtures / unit).half(), "the array", **known)


def build_vae(mixtures: Tensor, num_sources: int, seed: int = 0) -> tuple[VAEBSS, MNISTMixtures]:
    """Build a VAE and its data for lines.

    Args:
        mixtures: Lines (N, C, 1, W) of any unit and background.
        num_sources: Number of slots K.
        seed: Random seed.
    """
    corpus = corpus_of(mixtures, PIXELS)
    options = vae_options(corpus.mixtures, corpus.source_scale, num_sources)["model"]
    data = MNISTMixtures(source=corpus, seed=seed)
    known = {"image_shape": data.image_shape, "source_scale": corpus.source_scale, "bounded": False}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return VAEBSS(num_sources=num_sources, seed=seed, **known, **options), data


def epochs_of(data: MNISTMixtures) -> int:
    """Return the number of epochs of all rounds of a student, or of a VAE."""
    return len(data.hparams.keep) * data.hparams.epochs_per_round if isinstance(data, Remixes) else VAE_EPOCHS_OF_LINES


def train_system(system: System, data: MNISTMixtures, progress: bool = True, steps: int | None = None) -> Separator:
    """Train a student for all rounds of its data, or a VAE.

    Args:
        system: Student or VAE.
        data: Data module of the mixtures; `Remixes` for a student.
        progress: Whether to show a progress bar.
        steps: Number of steps, which replaces the data's `epoch_size`; None keeps it.

    Returns:
        The trained model, on the CPU and in eval mode.
    """
    stopping: list[Callback] = []
    if isinstance(data, Remixes):
        stopping.append(early_stopping(data.hparams.epochs_per_round, monitor := monitor_of(data.corpus)))
        stopping += [BlindGain()] if monitor == BLIND_GAIN else []
    trainer = bare_trainer(
        max_epochs=epochs_of(data),
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        enable_progress_bar=progress,
        callbacks=[*stopping, *([RunBar(refresh_rate=20)] if progress else [])],
    )
    if steps is not None:
        set_steps(data, steps, trainer)
    with torch.random.fork_rng():  # loaders draw seeds
        trainer.fit(system, data)
    return system.model.cpu().eval()
