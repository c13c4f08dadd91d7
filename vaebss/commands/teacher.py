"""The teacher of remix.py: a model that is named, or a VAE that is trained first, in a folder of its own."""

import time
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.loggers import TensorBoardLogger

from vaebss.checkpoints import load
from vaebss.commands.fit import FitCLI
from vaebss.commands.run import Run
from vaebss.commands.teacher_config import is_config_file
from vaebss.commands.terminal import short
from vaebss.commands.train import TrainCLI
from vaebss.data.corpora.open import OPTIONS, revised
from vaebss.data.mixtures import MNISTMixtures
from vaebss.errors import first_line
from vaebss.models.separator import Separator
from vaebss.training.banks import TooLittleTimeError
from vaebss.training.pace import steps_until
from vaebss.training.reports import SeparationPictures
from vaebss.training.scores import Scores
from vaebss.training.vae import VAEBSS

PICTURED_BY = ("window", "bands", "pooled", "compression", "add", "detune", "max_pixels")  # a teacher's own options


def teacher_name(cli: TrainCLI) -> str | None:
    """Return the name of the teacher, or None if it has to be trained."""
    return None if is_config_file(cli.config.teacher) else cli.config.teacher


def load_or_train(cli: Any, run: Run) -> Separator:
    """Return the teacher that the options of remix.py name, or train one now.

    Args:
        cli: Options of remix.py.
        run: Run of the student.

    Returns:
        The teacher, on the run's device and in eval mode.
    """
    separator = load(name) if (name := teacher_name(cli)) else train_teacher(cli, run)
    return separator.to(run.trainer.strategy.root_device).eval()


def train_teacher(cli: Any, run: Run) -> Separator:
    """Train a VAE as the teacher, in a folder of its own. A training that was stopped there is resumed.

    Args:
        cli: Options of remix.py; the VAE has as many slots as its student.
        run: Run of the student, in whose folder the VAE's lies.

    Raises:
        ValueError: The teacher's options are unsuitable; the message names their file.
    """
    folder = run.folder / "teacher"
    run.say(f"Training a teacher into {short(folder)}")
    try:
        model, mixtures = build_teacher(cli)
    except ValueError as error:
        file = f"{cli.config.teacher}: " if is_config_file(cli.config.teacher) else ""
        raise ValueError(file + first_line(error)) from error
    epochs = teacher_epochs(cli, model, mixtures)
    if cli.config.minutes is not None:
        cli.config.teacher_epochs = epochs
        run.say(f"Epochs of the teacher: {epochs} (--teacher_epochs)")
    own = {
        "logger": TensorBoardLogger(folder.parent, folder.name, version=""),
        "callbacks": [*cli.base_callbacks(FitCLI.monitor, lambda: folder), Scores(), SeparationPictures()],
        "plugins": cli.plugins,
        "enable_model_summary": False,
        "max_epochs": epochs,
        **{"max_steps": -1, "max_time": None, "reload_dataloaders_every_n_epochs": 0},
    }
    trainer = Trainer(**(cli.config_init["trainer"].as_dict() | own))  # else with the run's --trainer options
    last = folder / "checkpoints" / "last.ckpt"
    trainer.fit(model, mixtures, ckpt_path=last if last.is_file() else None, weights_only=True)
    return model.model


def teacher_epochs(cli: Any, model: VAEBSS, mixtures: MNISTMixtures) -> int:
    """Return the number of epochs of a teacher: that stated, or else the usual one, if it fits into half of --minutes.

    Args:
        cli: Options of remix.py.
        model: The teacher, whose speed is measured on a copy.
        mixtures: Data of the teacher.
    """
    stated, usual = cli.config.teacher_epochs, cli.teacher_config["trainer"]["max_epochs"]
    if stated or cli.config.minutes is None:
        return stated or usual
    now, size = time.monotonic(), mixtures.hparams.epoch_size
    half = now + (cli.began + 60 * cli.config.minutes - now) / 2
    try:
        steps = steps_until(half, model, mixtures, usual, cli.trial_trainer)
    except TooLittleTimeError:
        steps = 0
    mixtures.hparams.epoch_size = size
    return min(usual, max(1, steps * mixtures.hparams.batch_size // size))


def build_teacher(cli: Any) -> tuple[VAEBSS, MNISTMixtures]:
    """Build a VAE with as many slots as the student, and the mixtures to train it on."""
    own, student, data = cli.teacher_config["data"], cli.model.model, cli.datamodule
    options = {name: data.hparams[name] for name in OPTIONS} | {name: own[name] for name in PICTURED_BY}
    shared: dict[str, Any] = {name: data.hparams[name] for name in ("num_mixed", "val_mixtures", "num_workers", "seed")}
    mixtures = MNISTMixtures(**own | options | shared | {"source": revised(data.corpus, options)})
    known = {"source_scale": student.source_scale, "bounded": student.bounded, "seed": cli.config.seed_everything}
    known |= {"num_sources": student.num_sources, "image_shape": mixtures.image_shape, "exponent": mixtures.exponent}
    known["faintest"] = student.faintest
    return VAEBSS(**cli.teacher_config["model"] | known), mixtures
