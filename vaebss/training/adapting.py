"""A trained separator adapts to mixtures of another world, of any size, without a source ever seen.

It takes the mixtures apart at its own size, and a student learns at theirs, from remixes of what was found.
"""

import math
from typing import Any

import torch
from pytorch_lightning.callbacks import EarlyStopping
from torch import Tensor

from vaebss.data.corpora.pictures import GivenPictures
from vaebss.data.remixes import Remixes
from vaebss.errors import check_at_least
from vaebss.modalities.looks import estimated_scale
from vaebss.models.masker import Masker
from vaebss.models.separator import Separator
from vaebss.pretrained.catalogue import card
from vaebss.training.banks import BankMaker
from vaebss.training.bar import RunBar
from vaebss.training.statistics import of_mixtures
from vaebss.training.student import RemixSeparator
from vaebss.training.trainers import bare_trainer

SHIPPED = {"images": ("remix-k2", "remix-1to4"), "audio": ("vae-notes",)}  # teachers, of ever more slots
FEW = 50  # mixtures, from which a student learns little
KEEP = (0.6, 0.8, 0.9, 0.9, 0.95)  # of each round's mixtures
SIZES = ("image_shape", "widths", "bottleneck")  # of a network; where they are another's its weights fit
PIXELS = 24 * 28 * 28  # of a batch
SOUND = {  # lessons for recordings: windows of theirs, remixed at other loudness and pitch
    "model": {"lr": 1e-3, "average_decay": 0.97},
    "data": {"num_mixtures": 1_000, "val_mixtures": 100, "keep": [0.5, 0.7], "epochs_per_round": 4}
    | {"batch_size": 48, "epoch_size": 48 * 100, "remix_gains": [0.25, 1.0], "remix_detune": 2.0},
}
NEW_TO_SOUND = {  # a student without a beginning
    "model": {"view": "bands", "widths": [48, 72, 96, 96], "bottleneck": 256, "lr": 2e-3},
    "data": {"bands": 192},
}
WIDTHS = {40: (24, 48, 96), 80: (16, 32, 64, 96), math.inf: (12, 24, 48, 96, 96)}  # by the longer side, below
STEPS = {80: 900, math.inf: 600}  # of a round, by the same


def shipped(slots: int, kind: str = "images") -> str | None:
    """Name of the shipped teacher of a kind with slots enough, if there is one."""
    return next((name for name in SHIPPED[kind] if card(name)["hyper_parameters"]["num_sources"] >= slots), None)


def is_beginning(name: str, *sizes: Any) -> bool:
    """Whether a shipped model's weights are of a student's SIZES, which then begins with them and gains 1.4 dB."""
    known = card(name)["hyper_parameters"]
    return [known[size] for size in SIZES] == [list(size) if isinstance(size, tuple | list) else size for size in sizes]


def lessons(image_shape: tuple[int, ...]) -> dict[str, dict[str, Any]]:
    """What RemixSeparator and Remixes are given for mixtures of (C, H, W), however many.

    | longer side | widths | steps of each of five rounds, of the best 60, 80, 90, 90, 95 % |
    |---|---|---|
    | up to 40 | 24, 48, 96 | 900 |
    | up to 80 | 16, 32, 64, 96 | 900 |
    | more | 12, 24, 48, 96, 96 | 600 |

    A batch is of 24 remixes of 28 x 28, of fewer where they are larger, 8 at least.
    """
    longer = max(image_shape[1:])
    widths, steps = (next(of[side] for side in of if longer <= side) for of in (WIDTHS, STEPS))
    batch = max(8, PIXELS // math.prod(image_shape[1:]))
    return {
        "model": {"widths": widths, "lr": 2e-3, "average_decay": 0.97},
        "data": {"keep": KEEP, "epochs_per_round": 4, "batch_size": batch, "epoch_size": batch * steps // 4},
    }


def patience(epochs_per_round: int) -> EarlyStopping:
    """Ends a run once held-out mixtures have gained no confidence for as long as two rounds: it lags behind PSNR."""
    return EarlyStopping("val/confidence", mode="max", patience=2 * epochs_per_round)


def adapt(
    mixtures: Tensor, teacher: Separator, seed: int = 0, steps: int | None = None, progress: bool = True
) -> Masker:
    """A student for mixtures such as these, in eval mode.

    Args:
        mixtures: (N, C, H, W), from 0 up; a tenth of them is held out.
        teacher: of any size, grey or colour; the student has as many slots.
        seed: of the remixes and of the student's first weights.
        steps: of training, in all; those of its lessons by default.
        progress: whether to show it.
    """
    student, data = pupil(mixtures, teacher, seed)
    if steps is not None:
        epochs = len(data.hparams.keep) * data.hparams.epochs_per_round
        check_at_least(epochs, steps=steps)
        data.hparams.epoch_size = data.hparams.batch_size * (steps // epochs)
    return taught(student, data, progress)


def pupil(mixtures: Tensor, teacher: Separator, seed: int = 0) -> tuple[RemixSeparator, Remixes]:
    """A student, which knows what its teacher knows where it is of the same size, else nothing yet; and its lessons."""
    corpus = GivenPictures(mixtures.half(), "the array", source_scale=estimated_scale(mixtures))
    options, known = lessons(tuple(mixtures.shape[1:])), of_mixtures(mixtures, corpus.source_scale)
    data = Remixes(seed=seed, source=corpus, **options["data"])
    sizes = {"num_sources": teacher.num_sources, "image_shape": data.image_shape}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        student = RemixSeparator(**sizes, **known["data"], **known["model"], bounded=False, **options["model"])
    if isinstance(teacher, Masker) and all(getattr(teacher, name) == getattr(student.model, name) for name in SIZES):
        student.model.load_state_dict(teacher.state_dict())
    data.banks = BankMaker(data, student.model, lambda: teacher)
    return student, data


def taught(student: RemixSeparator, data: Remixes, progress: bool = True) -> Masker:
    """The student's model once it has had its lessons, on the CPU and in eval mode."""
    hparams = data.hparams
    trainer = bare_trainer(
        max_epochs=len(hparams.keep) * hparams.epochs_per_round,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        enable_progress_bar=progress,
        callbacks=[patience(hparams.epochs_per_round), *([RunBar(refresh_rate=20)] if progress else [])],
    )
    with torch.random.fork_rng():  # loaders draw seeds
        trainer.fit(student, data)
    return student.model.cpu().eval()
