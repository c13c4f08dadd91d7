"""The command line of the second stage: a student learns from remixes of a teacher's estimates."""

from typing import Any, ClassVar

from pytorch_lightning.cli import LightningArgumentParser

from vaebss.checkpoints import build, load
from vaebss.commands.fit import DEFAULT_EPOCHS, side_trainer, take_weights
from vaebss.commands.run import Run
from vaebss.commands.terminal import short
from vaebss.commands.train import TrainCLI, train
from vaebss.data.mixtures import MNISTMixtures
from vaebss.data.remixes import Remixes
from vaebss.models.separator import Separator
from vaebss.training.callbacks import BankReport, SeparationPictures
from vaebss.training.scores import Scores
from vaebss.training.student import RemixSeparator
from vaebss.training.vae import VAEBSS

OF_MIXTURES = ("root", "source", "num_mixed", "source_scale", "train_size", "val_mixtures", "num_workers")
OF_MIXTURES += ("seed", "mixtures")


class RemixCLI(TrainCLI):
    """Options of a RemixSeparator on Remixes."""

    command = "remix"
    model_type = RemixSeparator
    data_type = Remixes
    description = "Train a mask network on remixes of a separator's estimates. Without --teacher it trains one first."
    defaults: ClassVar = {"max_epochs": None, "reload_dataloaders_every_n_epochs": 1}
    monitor = "val/confidence"
    callbacks = (BankReport,)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        teacher = "Checkpoint, or shipped model, that makes the first bank; by default --init's if that is given."
        parser.add_argument("--teacher", type=str | None, help=teacher)
        epochs = "Its training, if it needs any."
        parser.add_argument("--teacher_epochs", "--teacher-epochs", type=int, default=DEFAULT_EPOCHS, help=epochs)

    def check(self) -> None:
        super().check()
        if self.config.teacher and not self.config.ckpt:  # a run to resume may have its bank already
            scale = load(self.config.teacher).source_scale
            if scale != self.config.data.source_scale:
                raise ValueError(f"--data.source_scale must be that of the teacher, {scale}")

    def before_instantiate_classes(self) -> None:
        super().before_instantiate_classes()
        if self.config.trainer.max_epochs is None:
            self.config.trainer.max_epochs = len(self.config.data.keep) * self.config.data.epochs_per_round


def remix(cli: TrainCLI) -> None:
    """Train as the options say, the teacher first where there is none."""
    run, data = Run(cli.command, cli.trainer, cli.folder), cli.datamodule
    run.prepare(data)
    if cli.config.init:
        take_weights(cli.model, build(cli.initial, cli.config.init), cli.config.init)
    run.begin()
    data.bank_path = None if run.is_dry else run.folder / "bank.pt"
    data.teacher = lambda: teacher(cli, run)
    run.fit(cli.model, data, cli.config.ckpt)


def teacher(cli: TrainCLI, run: Run) -> Separator:
    """That of the options, or one trained now, on the run's device."""
    trained = cli.config.teacher or cli.config.init
    separator = load(trained) if trained else train_teacher(cli, run)
    return separator.to(run.trainer.strategy.root_device).eval()


def train_teacher(cli: TrainCLI, run: Run) -> Separator:
    """A VAE with as many slots, in a folder of its own; goes on where it was stopped."""
    folder = run.folder / "teacher"
    run.say(f"Training a teacher into {short(folder)}")
    options: dict[str, Any] = cli.datamodule.hparams
    mixtures = MNISTMixtures(**{name: options[name] for name in OF_MIXTURES})
    student = cli.model.model
    model = VAEBSS(
        num_sources=student.num_sources,
        image_shape=mixtures.image_shape,
        source_scale=student.source_scale,
        bounded=student.bounded,
        seed=cli.config.seed_everything,
    )
    length = {"max_epochs": cli.config.teacher_epochs, "max_steps": -1, "max_time": None}
    callbacks = (Scores(), SeparationPictures())
    trainer = side_trainer(cli, folder, *callbacks, **length, reload_dataloaders_every_n_epochs=0)
    last = folder / "checkpoints" / "last.ckpt"
    trainer.fit(model, mixtures, ckpt_path=last if last.is_file() else None, weights_only=True)
    return model.model


def main(args: list[str] | None = None) -> int:
    """Entry point of scripts/remix.py."""
    return train(RemixCLI.command, lambda: remix(RemixCLI(args)))
