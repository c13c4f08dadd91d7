"""The command line of the second stage: a student learns from remixes of a teacher's estimates."""

from functools import cache, cached_property
from typing import Any, ClassVar

from pytorch_lightning import Callback
from pytorch_lightning.cli import LightningArgumentParser

from vaebss.checkpoints import build, load
from vaebss.commands.fit import take_weights, tell_quality
from vaebss.commands.remix_defaults import NONE, picture_defaults, sound_defaults
from vaebss.commands.resuming import check_teacher_config
from vaebss.commands.run import Run
from vaebss.commands.teacher import load_or_train, teacher_name
from vaebss.commands.teacher_config import TeacherCLI, is_config_file, resolve_path
from vaebss.commands.terminal import short
from vaebss.commands.train import TrainCLI, train
from vaebss.data.corpus import Corpus
from vaebss.data.mixtures import counts_of
from vaebss.data.remixes import NUM_MIXTURES, Remixes
from vaebss.errors import check_at_least
from vaebss.figures.files import save_figure
from vaebss.modalities.modality import separate_signals
from vaebss.training import presets
from vaebss.training.banks import BankMaker
from vaebss.training.blind_gain import BLIND_GAIN, CONFIDENCE, BlindGain, monitor_of
from vaebss.training.pace import shorten_banks
from vaebss.training.reports import BankReport
from vaebss.training.scores import BankScores
from vaebss.training.student import RemixSeparator

PICTURED = 8  # held-out mixtures


class RemixCLI(TrainCLI):
    """Options of a RemixSeparator on Remixes."""

    command = "remix"
    model_type = RemixSeparator
    data_type = Remixes
    description = (
        "Train a mask network on remixes of a separator's estimates. Without --teacher it trains one first; given "
        "--data.mixtures, a shipped model is the teacher."
    )
    defaults: ClassVar = {"max_epochs": None, "reload_dataloaders_every_n_epochs": 1}
    monitor = CONFIDENCE

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        teacher = (
            "Checkpoint, or name of a shipped model, whose estimates make the first bank. A .yaml file of fit.py's "
            "options, here or beside --config's, trains a VAE as teacher by these, and none by the defaults. By "
            "default it is --init where that is given, for --data.mixtures a shipped model of as many slots, else none."
        )
        parser.add_argument("--teacher", type=str | None, help=teacher)
        epochs = "Epochs to train the teacher for, if one has to be trained."
        parser.add_argument("--teacher_epochs", "--teacher-epochs", type=int | None, help=epochs)
        parser.link_arguments("data.exponent", "model.exponent", apply_on="instantiate")
        parser.link_arguments("data.frequencies", "model.frequencies", apply_on="instantiate")

    def default_options(self, options: Any, corpus: Corpus) -> dict[str, Any]:
        """Return a schedule and a teacher for user-supplied mixtures; nothing for mixtures that are drawn.

        Args:
            options: Options as typed.
            corpus: Corpus of the options.

        Returns:
            Values by the full names of options.
        """
        if not corpus.given:
            return {}
        mixtures = corpus.sample_mixtures(options.model.num_sources)
        return sound_defaults(options) if mixtures is None else picture_defaults(options, mixtures)

    def own_callbacks(self) -> list[Callback]:
        callbacks: list[Callback] = [BankReport()]
        if self.config.data.mixtures is not None:
            callbacks.append(presets.early_stopping(self.config.data.epochs_per_round, self.chosen_by))
        if self.chosen_by == BLIND_GAIN:
            callbacks.append(BlindGain())
        return callbacks

    @property
    def chosen_by(self) -> str:
        return monitor_of(self.corpus)

    def resume(self, begun: dict[str, Any]) -> None:
        super().resume(begun)
        if self.config.data.source_classes is None:
            self.config.data.source_classes = begun.get("data.source_classes")

    def resolve(self) -> None:
        for name in ("init", "teacher"):
            if self.config[name] == NONE:
                self.config[name] = None
        if self.config.init and (not self.config.teacher or is_config_file(self.config.teacher)):
            self.config.teacher = self.config.init  # a trained student is its own teacher
        if is_config_file(self.config.teacher):
            self.config.teacher = resolve_path(self.config.teacher, self.files)

    def validate(self) -> None:
        super().validate()
        if self.config.teacher_epochs is not None:
            check_at_least(1, **{"--teacher_epochs": self.config.teacher_epochs})
        self._check_slots()
        if self.config.teacher and not self.config.ckpt:  # a run to resume may have its bank already
            self._check_teacher()

    def _check_slots(self) -> None:
        slots, known = self.config.model.num_sources, self.initial.get("hyper_parameters", {}).get("num_sources", 0)
        remixed, more = self.config.data.num_remixed, f"--init has {known} slots: --model.num_sources {slots} needs"
        if self.config.init and self.config.init == self.config.teacher and known < slots and remixed is None:
            raise ValueError(f"{more} a --teacher with as many, or --data.num_remixed")
        if remixed is not None and counts_of(remixed, "num_remixed")[1] > slots:
            raise ValueError(f"--data.num_remixed {remixed} is more than --model.num_sources {slots}")

    def _check_teacher(self) -> None:
        if is_config_file(self.config.teacher):
            _ = self.teacher_config
        elif self.config.data.mixtures is None:
            scale = load(self.config.teacher).source_scale
            if scale != self.corpus.source_scale:
                raise ValueError(f"--data.source_scale must be that of the teacher, {scale}")

    @cached_property
    def teacher_config(self) -> dict[str, Any]:
        """Options to train a teacher with: those of its file, if there is one, else those that suit the mixtures."""
        slots = f"--model.num_sources={self.config.model.num_sources}"
        path = self.config.teacher if is_config_file(self.config.teacher) else None
        if path and self.config.ckpt and self.typed["teacher"] is None:
            check_teacher_config(path)
        return TeacherCLI(path, self.corpus, slots).config.as_dict()

    def settle_steps(self, run: Run) -> None:
        """Set the number of steps, and of mixtures in a bank where --minutes is given and that number is not."""
        minutes, data = self.config.minutes, self.datamodule
        free = not data.corpus.given and data.hparams.num_mixtures == NUM_MIXTURES and self.trainer.world_size == 1
        if minutes is not None and free and not (self.config.ckpt or run.is_dry):
            self.config.data.num_mixtures = shorten_banks(self.began + 60 * minutes, data)
            run.say(f"Mixtures in a bank: {data.hparams.num_mixtures} (--data.num_mixtures)")
        super().settle_steps(run)

    def before_instantiate_classes(self) -> None:
        super().before_instantiate_classes()
        if self.config.trainer.max_epochs is None:
            self.config.trainer.max_epochs = len(self.config.data.keep) * self.config.data.epochs_per_round


def remix(cli: RemixCLI) -> None:
    """Train a student as the options say; a missing teacher is trained first."""
    run, data = Run(cli.command, cli.trainer, cli.folder), cli.datamodule
    run.prepare(data)
    if cli.config.init:
        initial: Any = build(cli.initial, cli.config.init)
        slots, counting = max(cli.config.model.num_sources, initial.num_sources), cli.config.model.counting
        if slots > initial.num_sources or counting > initial.counting:
            initial = initial.grown(slots, counting)
        take_weights(cli.model, initial, cli.config.init, "; --init none starts from random weights")
    if data.corpus.given:
        run.say(assumptions_message(cli))
    run.begin()
    path = None if run.is_dry else run.folder / "bank.pt"
    data.banks = BankMaker(data, cli.model.model, cache(lambda: load_or_train(cli, run)), path)
    data.banks.watch = BankScores(cli.model.model.source_scale, data.modality)
    data.banks.tell = run.say
    cli.settle_steps(run)
    run.fit(cli.model, data, cli.config.ckpt)
    if data.corpus.given and run.trainer.is_global_zero and not run.is_dry:
        print_summary(cli, run)
    tell_quality(run, cli.model.model, data)


def assumptions_message(cli: TrainCLI) -> str:
    """Return a message that states what is assumed about user-supplied mixtures."""
    corpus, scale = cli.datamodule.corpus, cli.datamodule.corpus.source_scale
    number = len(corpus.splits.test)
    if corpus.modality.audible:
        seconds = corpus.splits.test.sound.shape[-1] / corpus.modality.rate
        return f"{seconds:.0f} seconds of sound, {teacher_name(cli)} teaches"
    lines = [
        f"{number} mixtures, {teacher_name(cli) or 'a new VAE'} teaches. Single sources are taken as up to {scale:.2g} "
        "(--data.source_scale)"
    ]
    if (unit := getattr(corpus, "unit", 1.0)) != 1:
        lines.append(f"Numbers are divided by {unit:g}, the highest one")
    if number < presets.FEW:
        lines.append(f"So few mixtures teach little beyond what {teacher_name(cli) or 'it'} knows; 200 are enough")
    return "\n".join(lines)


def print_summary(cli: TrainCLI, run: Run) -> None:
    """Print the confidence of teacher and student in held-out mixtures, and draw how both separate them.

    Args:
        cli: Options of the run, with the student and its data.
        run: Run that has ended, into whose folder the picture is written.
    """
    data, rows = cli.datamodule, {"mixture": next(iter(cli.datamodule.val_dataloader()))["signal"]}
    asked = {"before": load(name)} if (name := teacher_name(cli)) else {}
    for label, separator in (asked | {"after": cli.model.model.cpu()}).items():
        found = separate_signals(separator.separate, data.corpus.seen_by(separator), rows["mixture"])
        rows |= {f"{label} {k + 1}": sources for k, sources in enumerate(found.sources.unbind(1))}
        run.say(f"Confidence in {len(found)} held-out mixtures {label}: {found.confidence.mean():.3f}")
    picture = run.folder / "adapted.png"
    save_figure(data.modality.figure({label: signals[:PICTURED] for label, signals in rows.items()}), picture)
    run.say(f"Before and after: {short(picture)}")


def main(args: list[str] | None = None) -> int:
    """Entry point of scripts/remix.py.

    Examples:
        >>> few = ["--data.source", "bundled", "--data.num_mixtures", "64", "--data.refine_steps", "1"]
        >>> main(["--teacher", "vae-k2", *few, "--gpus", "0", "--trainer.fast_dev_run", "true"])
        Dry run: no files are kept
        Precision: ...
        0
    """
    return train(RemixCLI.command, lambda: remix(RemixCLI(args)))
