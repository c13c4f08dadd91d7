"""Adaptation of a trained separator to other mixtures, of any size, without true sources.

The separator, as the teacher, separates the mixtures at its own size. A student of their size learns from remixes of
its estimates.
"""

import time

import torch
from torch import Tensor

from vaebss.data.corpora.pictures import GivenPictures
from vaebss.data.remixes import Remixes
from vaebss.modalities.appearance import estimated_scale
from vaebss.models.masker import Masker
from vaebss.models.separator import Separator
from vaebss.quiet import quiet_lightning
from vaebss.training.banks import BankMaker
from vaebss.training.bar import RunBar
from vaebss.training.pace import set_steps, steps_until
from vaebss.training.presets import SIZES, early_stopping, schedule
from vaebss.training.statistics import data_options
from vaebss.training.student import RemixSeparator
from vaebss.training.trainers import bare_trainer


@quiet_lightning()
def adapt(
    mixtures: Tensor,
    teacher: Separator,
    seed: int = 0,
    steps: int | None = None,
    progress: bool = True,
    minutes: float | None = None,
) -> Masker:
    """Train a student on user-supplied mixtures; return it in eval mode.

    Args:
        mixtures: (N, C, H, W), from 0 up; a tenth of them is held out.
        teacher: A separator of any size, grey or colour; the student has as many slots.
        seed: Seed of the remixes and of the student's first weights.
        steps: Number of training steps; by default that of the schedule for the mixtures' size.
        progress: Whether to show a progress bar.
        minutes: Time for all; a trial of some seconds chooses the number of steps, which is printed.

    Raises:
        ValueError: There are fewer than ten mixtures, or fewer steps than epochs; or steps and minutes are stated.
    """
    end = time.monotonic() + 60 * (minutes or 0)
    if minutes is not None and (steps is not None or minutes <= 0):
        raise ValueError("minutes must be above 0, and steps chooses the same: state one of them")
    student, data = build_student(mixtures, teacher, seed)
    if minutes is not None:
        steps = steps_until(end, student, data, epochs_of(data), bare_trainer)
        print(f"{steps} steps fit into {minutes:g} minutes", flush=True)
    return train_student(student, data, progress, steps)


def build_student(mixtures: Tensor, teacher: Separator, seed: int = 0) -> tuple[RemixSeparator, Remixes]:
    """Build a student and the remixes that it learns from.

    The student starts from the teacher's weights if both have the same sizes, else from random ones.
    """
    corpus = GivenPictures(mixtures.half(), "the array", source_scale=estimated_scale(mixtures))
    options, known = schedule(tuple(mixtures.shape[1:])), data_options(mixtures, corpus.source_scale)
    data = Remixes(seed=seed, source=corpus, **options["data"])
    sizes = {"num_sources": teacher.num_sources, "image_shape": data.image_shape}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        student = RemixSeparator(**sizes, **known["data"], **known["model"], bounded=False, **options["model"])
    if isinstance(teacher, Masker) and all(getattr(teacher, name) == getattr(student.model, name) for name in SIZES):
        student.model.load_state_dict(teacher.state_dict())
    data.banks = BankMaker(data, student.model, lambda: teacher)
    return student, data


def epochs_of(data: Remixes) -> int:
    """Return the number of epochs of all rounds."""
    return len(data.hparams.keep) * data.hparams.epochs_per_round


def train_student(student: RemixSeparator, data: Remixes, progress: bool = True, steps: int | None = None) -> Masker:
    """Train a student for all rounds of its data; return its model on the CPU and in eval mode.

    A number of `steps` replaces the data's `epoch_size`.
    """
    hparams = data.hparams
    trainer = bare_trainer(
        max_epochs=epochs_of(data),
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        enable_progress_bar=progress,
        callbacks=[early_stopping(hparams.epochs_per_round), *([RunBar(refresh_rate=20)] if progress else [])],
    )
    if steps is not None:
        set_steps(data, steps, trainer)
    with torch.random.fork_rng():  # loaders draw seeds
        trainer.fit(student, data)
    return student.model.cpu().eval()
