"""Parts that the two training commands share: options from the classes' own signatures, and what a resumed run must
keep."""

import re
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.plugins.io import CheckpointIO

from vaebss.checkpoints import build, read
from vaebss.commands.data_options import corpus_options
from vaebss.commands.resuming import configuration, initial_options, refuse_others, saved_options, trusted_options
from vaebss.commands.run import Run, RunFolder, RunLogger
from vaebss.commands.terminal import OneLineErrors, began, program, run_cleanly
from vaebss.commands.yaml_options import configurations, dumped, flatten
from vaebss.data.corpora.open import open_corpus, revised
from vaebss.data.corpus import Corpus
from vaebss.data.mixtures import MNISTMixtures
from vaebss.errors import CheckpointError, check_above_zero, first_line
from vaebss.hardware import fastest_precision, trainer_devices
from vaebss.matching import MAX_SLOTS
from vaebss.training.bar import RunBar
from vaebss.training.capture import Capture
from vaebss.training.checkpointing import FiniteTraining, RunCheckpoints, WholeCheckpoints
from vaebss.training.pace import set_steps, steps_until
from vaebss.training.provenance import RunCard, RunConfig
from vaebss.training.reports import SeparationPictures
from vaebss.training.scores import Scores
from vaebss.training.system import System

NOT_LOGGED = re.compile(r"conditioned on metric `(\S+)` which is not available.+: `(.*)`")  # Lightning's words
CLASS_PATH = re.compile(r"Problem with given class_path '(\S+)':\n\s*(.+)")  # jsonargparse's words
LARGEST_SEED = 2**32 - 1
TRAINER = {  # defaults of all training commands; if rich is installed, Lightning prints its summary as a table
    "precision": None,
    "num_sanity_val_steps": 0,
    "enable_model_summary": False,
}

AUTO = "auto"  # of data.source, settled at run time


class TrainParser(OneLineErrors, LightningArgumentParser):
    """Lightning's parser, with our errors; a command's own options come before Lightning's.

    Attributes:
        corpus: Corpus of the training data, opened while options are parsed; the data module uses it as it is.
    """

    corpus: Corpus | None = None

    def instantiate_classes(self, cfg: Any, **options: Any) -> Any:
        if self.corpus and "data" in cfg:  # absent where only the class of one option is made
            cfg = cfg.clone()
            cfg.data.source = self.corpus
        return super().instantiate_classes(cfg, **options)

    def format_help(self, *args: Any, **kwargs: Any) -> str:
        groups: Any = self._action_groups
        groups.sort(key=lambda group: any(action.dest.startswith("trainer") for action in group._group_actions))
        return super().format_help(*args, **kwargs)


class TrainCLI(LightningCLI):
    """The options of a training command, and the model, data and trainer that they describe.

    Attributes:
        initial: Contents of the checkpoint that the run starts from or resumes; empty if there is none.
        files: Files of options that `--config` names.
        typed: Options without those of a checkpoint, by their full names.
    """

    command: ClassVar[str]
    model_type: ClassVar[type[System]]
    data_type: ClassVar[type[MNISTMixtures]]
    description: ClassVar[str]
    monitor: ClassVar[str]  # what the best checkpoint has most of by default
    defaults: ClassVar[dict[str, Any]]  # of the Trainer
    parser_type: ClassVar[type[TrainParser]] = TrainParser

    def __init__(self, args: list[str] | None = None):
        self.initial: dict[str, Any] = {}
        self.began = began()
        super().__init__(
            self.model_type,
            self.data_type,
            save_config_callback=RunConfig,
            save_config_kwargs={"save_to_log_dir": False},
            trainer_defaults=TRAINER | self.defaults,
            seed_everything_default=0,
            parser_class=self.parser_type,
            args=args,
            run=False,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            parser_kwargs={
                "description": self.description,
                "prog": program(self.command),
                "usage": "%(prog)s [options]",  # there are too many to list them twice
            },
        )

    def add_arguments_to_parser(self, parser: Any) -> None:
        parser.add_gpus()
        parser.add_argument("--ckpt", type=str | None, help="Checkpoint of the run to resume, in the run's own folder.")
        init = "Checkpoint, or name of a shipped model, to start a new run from. It sets the other --model options."
        parser.add_argument("--init", type=str | None, help=init)
        steps = "Number of training steps, in equal parts for all epochs. It sets --data.epoch_size."
        parser.add_argument("--steps", type=int | None, help=steps)
        minutes = "Minutes that the command may take. A trial of some seconds chooses --steps, which is saved."
        parser.add_argument("--minutes", type=float | None, help=minutes)
        capture = "Capture of training steps in CUDA graphs, which a GPU replays faster. It has no effect on a CPU."
        parser.add_argument("--capture", type=bool, default=True, help=capture)
        parser.link_arguments("seed_everything", "data.seed", compute_fn=int)
        for ours, models in {"brightest": "source_scale", "bounded": "bounded", "image_shape": "image_shape"}.items():
            parser.link_arguments(f"data.{ours}", f"model.{models}", apply_on="instantiate")

    def parse_arguments(self, parser: Any, args: Any) -> None:
        self.files = configurations(sys.argv[1:] if args is None else args)
        options, known = parser.parse_args(args), flatten(parser.get_defaults().as_dict()).keys()
        if lacking := [name for name in known if name not in options]:
            raise ValueError(f"`{lacking[0].split('.')[0]}` must be a mapping of option names to values")
        opened = None if options.ckpt else self.opened(options)
        proposed = self.default_options(options, opened) if opened else {}
        if path := options.ckpt or proposed.get("init", options.init):
            self.initial = read(path)
            if self.initial["model_class"] != self.model_type.__name__:
                raise CheckpointError(f"{path} is not a checkpoint of {program(self.command)}")
            build(self.initial, path)  # is refused here, before memory is taken for a network of its options
        self.typed = dumped(parser, options, known)
        saved = saved_options(self.initial, options.ckpt, known) if options.ckpt else {}
        trusted = trusted_options(saved, self.typed, options.ckpt)
        parser.set_defaults(trusted or initial_options(self.initial, known) | proposed)
        self.config = parser.parse_args(args)
        if options.ckpt:
            self.resume(configuration(self.initial, options.ckpt, known))
        self.resolve()
        refuse_others(saved, dumped(parser, self.config, known))
        corpus = revised(opened, self.config.data.as_dict()) if opened else self.opened(self.config)
        self.corpus = parser.corpus = corpus
        self.validate()

    def opened(self, options: Any) -> Corpus:
        """Return the corpus that options describe; its files are read once, here."""
        return open_corpus(held_out=options.data.val_mixtures, **corpus_options(options.data))

    def default_options(self, options: Any, corpus: Corpus) -> dict[str, Any]:
        """Return defaults that suit the corpus and what was typed; options that were typed stay as they are.

        Args:
            options: Options as typed.
            corpus: Corpus of the options.

        Returns:
            Values by the full names of options.
        """
        return {}

    def resume(self, begun: dict[str, Any]) -> None:
        """Take over what the run chose when it began, from its own options, so that it is not done again.

        Raises:
            ValueError: An --init is stated that the run did not begin with.
        """
        if self.config.init not in (None, begun.get("init")):
            raise ValueError("--ckpt resumes a run and --init starts one: give one of them")
        self.config.init = None
        if self.config.data.source == AUTO:
            self.config.data.source = begun.get("data.source", AUTO)

    def resolve(self) -> None:
        """Resolve short values, such as `--teacher none`, to the values that a resumed run expects."""

    def validate(self) -> None:
        """Raise a ValueError about options that would otherwise fail only after an epoch."""
        seed, slots, data = self.config.seed_everything, self.config.model.num_sources, self.config.data
        steps, minutes = self.config.steps, self.config.minutes
        if steps is not None and minutes is not None:
            raise ValueError("--minutes chooses the number of steps and --steps states it: give one of them")
        check_above_zero(**{f"--{n}": x for n, x in {"steps": steps, "minutes": minutes}.items() if x is not None})
        if seed is True or not 0 <= seed <= LARGEST_SEED:
            raise ValueError(f"--seed_everything must be a number from 0 to {LARGEST_SEED}")
        if slots > MAX_SLOTS:
            raise ValueError(f"model.num_sources must be {MAX_SLOTS} at most, not {slots}")
        most = data.num_mixed if isinstance(data.num_mixed, int) else max(data.num_mixed, default=0)
        if data.mixtures is None and most * data.source_scale > slots > 0:
            raise ValueError(f"--data.num_mixed {data.num_mixed} is too bright for --model.num_sources {slots}")

    def before_instantiate_classes(self) -> None:
        trainer = self.config.trainer
        if trainer.accelerator == "auto" and trainer.devices == "auto":
            devices = trainer_devices(self.config.gpus)
            trainer.accelerator, trainer.devices = devices["accelerator"], devices["devices"]
        if trainer.precision is None:
            trainer.precision = fastest_precision(str(trainer.accelerator))
        if trainer.precision in ("16-true", "bf16-true"):
            raise ValueError(f"--trainer.precision {trainer.precision} is too coarse to train in: use a mixed one")
        if trainer.overfit_batches > 0:  # what is below, the Trainer refuses
            self._overfit(trainer.overfit_batches)

    def _overfit(self, batches: float) -> None:
        """Train on a list of `batches` batches, or of that share of an epoch. Lightning itself would repeat samples."""
        data = self.config.data
        number = batches if isinstance(batches, int) else max(1, int(batches * data.epoch_size / data.batch_size))
        data.num_mixtures = data.epoch_size = int(number * data.batch_size)
        self.config.trainer.overfit_batches = 0.0

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        pictures = [SeparationPictures(), *self.own_callbacks()]
        mine = (*self.base_callbacks(self.chosen_by, lambda: self.folder.path), Scores(), *pictures)
        self.trainer_defaults["callbacks"] = list(mine)
        if self.config.trainer.logger in (None, True):
            kwargs["logger"] = RunLogger(self.folder, self.initial["global_step"] if self.config.ckpt else None)
        return super().instantiate_trainer(**kwargs | {"plugins": self.plugins})

    def settle_steps(self, run: Run) -> None:
        """Set the number of steps that --steps states, or that fit into --minutes, and save it in the options.

        A resumed run keeps the number that it began with, and a dry run has its own.
        """
        steps, minutes, data = self.config.steps, self.config.minutes, self.datamodule
        if self.config.ckpt or run.is_dry or (steps is None and minutes is None):
            return
        if minutes is not None:
            end = self.began + 60 * minutes
            steps = steps_until(end, self.model, data, self.trainer.max_epochs or 0, self.trial_trainer)
            when = datetime.now() + timedelta(seconds=end - time.monotonic())
            run.say(f"Steps: {steps} (--steps) fit into {minutes:g} minutes. Expected end: {when:%H:%M:%S}")
        self.config.steps = set_steps(data, steps or 0, self.trainer)
        self.config.minutes = None
        self.config.data.epoch_size = data.hparams.epoch_size

    def trial_trainer(self, **options: Any) -> Trainer:
        """Return a Trainer with the run's options and devices, which writes no files."""
        quiet = dict.fromkeys(["logger", "enable_checkpointing", "enable_model_summary"], False)
        quiet |= {"plugins": self.plugins, "profiler": None, "max_steps": -1, "max_time": None}
        options["callbacks"] = [*self.capture, Scores(), *options["callbacks"]]
        return Trainer(**(self.config_init["trainer"].as_dict() | quiet | options))

    @property
    def chosen_by(self) -> str:
        """The name of the logged value that the best checkpoint has most of."""
        return self.monitor

    def own_callbacks(self) -> list[Callback]:
        """Return this command's callbacks, which are added to those of every run."""
        return []

    def base_callbacks(self, monitor: str, folder: Callable[[], Path]) -> list[Callback]:
        """Return the callbacks that every training has.

        Args:
            monitor: Name of the logged value that the best checkpoint has most of.
            folder: Function that returns the run's folder.
        """
        bar = [] if self.config.trainer.enable_progress_bar is False else [RunBar(refresh_rate=20)]
        return [FiniteTraining(), RunCheckpoints(monitor, folder), RunCard(), *self.capture, *bar]

    @property
    def capture(self) -> list[Callback]:
        """The callback that has a GPU replay steps, unless `--capture false` is typed."""
        return [Capture()] if self.config.capture else []

    @cached_property
    def folder(self) -> RunFolder:
        """The run's folder. It is created when it is first asked for."""
        return RunFolder(self.config.trainer.default_root_dir, self.config.ckpt)

    @property
    def plugins(self) -> list[Any]:
        """Trainer plugins: the user's, and WholeCheckpoints unless one of them writes checkpoints.

        Under SLURM, Lightning would write a checkpoint amid a step, which every later run in that folder begins with.
        """
        typed = self.config_init["trainer"].plugins or []
        plugins = typed if isinstance(typed, list) else [typed]
        own: dict[type, Callable[[], Any]] = {CheckpointIO: WholeCheckpoints}
        if SLURMEnvironment.detect():
            own[ClusterEnvironment] = partial(SLURMEnvironment, auto_requeue=False)
        lacking = [make for kind, make in own.items() if not any(isinstance(plugin, kind) for plugin in plugins)]
        return [*plugins, *(make() for make in lacking)]


def cause(error: Exception) -> str:
    """Return the error in one line; for an option of several types, the error of the class that it names."""
    told = CLASS_PATH.search(str(error))
    return f"{told[1].rpartition('.')[2]}: {told[2]}" if told else first_line(error)


def train(command: str, run: Callable[[], None]) -> int:
    """Run a training command and return its exit code. Lightning's errors about options become one line too.

    Args:
        command: Name of the command, for errors.
        run: Function that runs the command.
    """

    def main() -> None:
        torch.set_float32_matmul_precision("high")
        try:
            run()
        except (MisconfigurationException, ImportError, ValueError) as error:
            raise ValueError(cause(error)) from error
        except RuntimeError as error:
            if not (told := NOT_LOGGED.search(str(error))):
                raise
            logged = told[2].replace("`", "") or "nothing"
            raise ValueError(f"a callback watches {told[1]}, which is not logged. This run logs {logged}") from error

    return run_cleanly(command, main)
