"""The command lines of training: options from the classes' own signatures, resuming, and clear errors."""

import sys
from pathlib import Path
from typing import Any, ClassVar

import torch
import yaml
from pytorch_lightning import Callback, Trainer, seed_everything
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.loggers import TensorBoardLogger

from vaebss.checkpoints import CheckpointError, build, load, read
from vaebss.commands.terminal import (
    TERMINATED,
    OneLineErrors,
    configurations,
    end_with_main_process,
    flatten,
    quieten,
    refuse_explosive,
    run_cleanly,
    short,
)
from vaebss.data.mixtures import MNISTMixtures
from vaebss.hardware import fastest_precision, trainer_devices
from vaebss.metrics.separation import MAX_SLOTS
from vaebss.models import pruning
from vaebss.models.separator import Separator
from vaebss.training import starts as starting
from vaebss.training.callbacks import (
    BankReport,
    FiniteTraining,
    RunCheckpoints,
    RunConfig,
    SeparationPictures,
    WholeCheckpoints,
)
from vaebss.training.starts import StopAfter
from vaebss.training.student import Remixes, RemixSeparator
from vaebss.training.vae import VAEBSS

LOGS = "lightning_logs"
DEFAULT_EPOCHS = 60  # 1.8 million mixtures

# Where and beside what a run happens, not what it computes: these may differ when it is resumed.
PLACE = (
    "config",
    "ckpt",
    "init",
    "starts",
    "start_epochs",
    "gpus",
    "data.root",
    "data.num_workers",
    "trainer.accelerator",
    "trainer.devices",
)
PLACE += ("trainer.logger", "trainer.callbacks", "trainer.enable_progress_bar", "trainer.default_root_dir")


class TrainCLI(LightningCLI):
    """Trains a separator from the start, or from where a run was; what fit.py and remix.py have in common."""

    script: str
    model_type: type[Separator]
    data_type: type[MNISTMixtures]
    description: str
    defaults: dict[str, Any]  # of the Trainer
    monitor: str  # what the best checkpoint has most of

    def __init__(self, args: list[str] | None = None):
        super().__init__(
            self.model_type,
            self.data_type,
            save_config_callback=RunConfig,
            save_config_kwargs={"overwrite": True},
            trainer_defaults={"precision": None, "num_sanity_val_steps": 0, **self.defaults},
            seed_everything_default=0,
            parser_class=OneLineErrors,
            args=args,
            run=False,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            parser_kwargs={"description": self.description},
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--gpus", type=int | None, help="GPUs to use; 0 is the CPU. By default what there is.")
        parser.add_argument("--ckpt", type=str | None, help="Checkpoint of a run to resume, in its own folder.")
        init = (
            "Checkpoint, or shipped model, to start a new run from; its --model options hold unless others are typed."
        )
        parser.add_argument("--init", type=str | None, help=init)
        parser.link_arguments("seed_everything", "data.seed", compute_fn=int)
        parser.link_arguments("data.source_scale", "model.source_scale")
        parser.link_arguments("data.mixtures", "model.bounded", compute_fn=_is_scale_known)
        parser.link_arguments("data.image_shape", "model.image_shape", apply_on="instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        for path in configurations(sys.argv[1:] if args is None else args):
            refuse_explosive(path)
        options = parser.parse_args(args)
        self.initial: dict[str, Any] = {}
        saved: dict[str, Any] = {}
        if options.ckpt:
            self.initial = read(options.ckpt)
            saved = self._saved_options(options.ckpt)
        initial = self._initial_options(parser, options) if options.init else {}
        parser.set_defaults(saved | initial)
        self.config = parser.parse_args(args)
        self._refuse_other_options(saved)
        if self.config.seed_everything is True or not 0 <= self.config.seed_everything < 2**32:
            raise ValueError("--seed_everything must be a number from 0 to 4294967295")
        self._refuse_impossible()

    def _refuse_impossible(self) -> None:
        """What would only show once an epoch is over."""
        slots, data = self.config.model.num_sources, self.config.data
        if slots > MAX_SLOTS:
            raise ValueError(f"model.num_sources must be {MAX_SLOTS} at most, not {slots}")
        most = data.num_mixed if isinstance(data.num_mixed, int) else max(data.num_mixed, default=0)
        if data.mixtures is None and most * data.source_scale > slots > 0:
            raise ValueError(f"--data.num_mixed {data.num_mixed} is too bright for --model.num_sources {slots}")

    def _initial_options(self, parser: LightningArgumentParser, options: Any) -> dict[str, Any]:
        """The hyper-parameters of the model to start from, and the brightness that it knows."""
        if options.ckpt:
            raise ValueError("--ckpt resumes a run and --init starts one: give one of them")
        self.initial = read(options.init)
        if self.initial["model_class"] != self.model_type.__name__:
            raise CheckpointError(f"{options.init} is not a checkpoint of {self.script}")
        known, hparams = parser.get_defaults().model.keys(), self.initial["hyper_parameters"]
        of_model = {f"model.{name}": value for name, value in hparams.items() if name in known}
        of_data = {f"data.{name}": value for name, value in hparams.items() if name == "source_scale"}
        return of_model | of_data

    def _saved_options(self, ckpt: str) -> dict[str, Any]:
        """The options that a run was started with."""
        if "config" not in self.initial or self.initial["model_class"] != self.model_type.__name__:
            raise CheckpointError(f"{ckpt} was not written by {self.script}, which cannot resume it")
        saved = flatten(yaml.safe_load(self.initial["config"]))
        return {name: value for name, value in saved.items() if not name.startswith(PLACE)}

    def _refuse_other_options(self, saved: dict[str, Any]) -> None:
        """With the saved options as defaults, an option that differs was typed."""
        options = flatten(yaml.safe_load(self.parser.dump(self.config, skip_link_targets=True)))
        for name, value in saved.items():
            if options.get(name) != value:
                raise ValueError(
                    f"--{name} {options.get(name)} differs from the run to resume, which has {value}: leave it out, "
                    "or start a new run"
                )

    def before_instantiate_classes(self) -> None:
        trainer = self.config.trainer
        if trainer.accelerator == "auto" and trainer.devices == "auto":
            devices = trainer_devices(self.config.gpus)
            trainer.accelerator, trainer.devices = devices["accelerator"], devices["devices"]
        if trainer.precision is None:
            trainer.precision = fastest_precision(str(trainer.accelerator))

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        self.checkpoints = RunCheckpoints(self.monitor)
        mine = (FiniteTraining(), self.checkpoints, SeparationPictures(), *self._progress_bar())
        self.trainer_defaults["callbacks"] = [*mine, *self.more_callbacks()]
        if self.config.trainer.logger is None:
            kwargs["logger"] = self._logger()
        kwargs["plugins"] = [*(self.config_init["trainer"].plugins or []), WholeCheckpoints()]
        return super().instantiate_trainer(**kwargs)

    def more_callbacks(self) -> list[Callback]:
        """Of this kind of run."""
        return []

    def _logger(self) -> TensorBoardLogger:
        """For a new run folder, or that of the run to resume."""
        run = Path(self.config.ckpt or "").resolve().parent.parent
        number = run.name.removeprefix("version_")
        if self.config.ckpt and number.isdigit():
            logs = run.parent
            return TensorBoardLogger(logs.parent, logs.name, int(number), purge_step=self.initial["global_step"])
        return TensorBoardLogger(self.config.trainer.default_root_dir or Path.cwd(), LOGS)

    def _progress_bar(self) -> list[Callback]:
        """Unless it is switched off."""
        return [] if self.config.trainer.enable_progress_bar is False else [TQDMProgressBar(refresh_rate=20)]

    def side_trainer(self, folder: Path, *callbacks: Callback, **options: Any) -> Trainer:
        """Of a VAE that this run needs first, in a folder of its own; else with this run's --trainer options."""
        own = {
            "logger": TensorBoardLogger(folder.parent, folder.name, version=""),
            "callbacks": [FiniteTraining(), RunCheckpoints(FitCLI.monitor), *self._progress_bar(), *callbacks],
            "plugins": [*(self.config_init["trainer"].plugins or []), WholeCheckpoints()],
            "enable_model_summary": False,
        }
        return Trainer(**(self.config_init["trainer"].as_dict() | own | options))

    def begin(self) -> str | None:
        """The checkpoint to go on from."""
        return self.config.ckpt

    def initial_model(self) -> Separator:
        """Whose weights a new run starts from."""
        return build(self.initial, self.config.init)

    def _take_weights(self, model: Separator) -> None:
        try:
            self.model.load_state_dict(model.state_dict())
        except RuntimeError as error:
            raise ValueError(f"the weights of {self.config.init} do not fit the --model options given") from error

    @property
    def run_folder(self) -> Path:
        return Path(self.trainer.log_dir or self.trainer.default_root_dir)

    def fit(self) -> None:
        """Train, then say where the result is and what can be done with it."""
        end_with_main_process()
        if self.trainer.is_global_zero:  # what is wrong with the data is said before there is a run
            self.datamodule.prepare_data()
            self.datamodule.setup()
        if self.config.init:
            self._take_weights(self.initial_model())
        self.say(f"Training into {short(self.run_folder)}")
        try:
            begun = self.begin()
            self.trainer.fit(self.model, self.datamodule, ckpt_path=begun, weights_only=True)
        except SystemExit as stop:  # Lightning's answer to Ctrl-C and SIGTERM, once it has shut down
            last = self.checkpoints.last_path
            more = f" Go on with:\n  python scripts/{self.script} --ckpt {short(last)}" if last.is_file() else ""
            self.say(f"\nInterrupted.{more}")
            raise SystemExit(stop.code or TERMINATED) from stop
        except RuntimeError as error:
            if not isinstance(error, torch.distributed.DistBackendError) and "gloo" not in str(error):
                raise
            raise ConnectionError(
                "another process of this run has ended; what is wrong with it stands above, if it could say so. Go on "
                f"with --ckpt {short(self.checkpoints.last_path)}"
            ) from error
        last, best = self.checkpoints.last_path, Path(self.checkpoints.best_model_path)
        self.say(f"\nCheckpoint: {short(last)} (best on validation mixtures, without the truth: {short(best)})")
        self.say(f"Score it:   python scripts/test.py --ckpt {short(last)}")
        self.say(f"Watch it:   tensorboard --logdir {short(self.run_folder.parent)}")

    def say(self, line: str) -> None:
        """Print, on one process only."""
        if self.trainer.is_global_zero:
            print(line, flush=True)


class FitCLI(TrainCLI):
    """`scripts/fit.py`: trains VAEBSS on MNISTMixtures."""

    script = "fit.py"
    model_type = VAEBSS
    data_type = MNISTMixtures
    description = "Train a separator on mixtures alone. Without options: MNIST pairs, K = 2."
    defaults: ClassVar = {"max_epochs": DEFAULT_EPOCHS}
    monitor = "val/elbo"

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        parser.link_arguments("seed_everything", "model.seed", compute_fn=int)
        starts = "Seeds to begin with; the one whose ELBO on validation mixtures is best is trained to the end."
        parser.add_argument("--starts", type=int, default=1, help=starts)
        parser.add_argument("--start_epochs", "--start-epochs", type=int, default=10, help="Epochs of each start.")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        super().parse_arguments(parser, args)
        if self.config.starts < 1 or self.config.start_epochs < 1:
            raise ValueError("--starts and --start_epochs must be 1 or more")
        if self.config.starts > 1 and (self.config.ckpt or self.config.init):
            raise ValueError("--starts begins anew: leave out --ckpt and --init")

    def begin(self) -> str | None:
        """Where there are several starts, the best of them."""
        if self.config.starts == 1:
            return super().begin()
        first, started = self.config.seed_everything, []
        for seed in range(first, first + self.config.starts):
            self._take_seed(seed)
            callbacks = (RunConfig(self.parser, self.config, overwrite=True), StopAfter(self.config.start_epochs))
            folder = self.run_folder / "starts" / f"seed_{seed}"
            trainer = self.side_trainer(folder, *callbacks)
            trainer.fit(self.model, self.datamodule)
            started.append(starting.start_of(trainer, seed))
        best, lines = starting.choose(started, self.model.hparams.num_sources)
        self.say("\n" + "\n".join(lines))
        starting.draw(started, self.run_folder / "starts.png")
        self._take_seed(best.seed)
        return starting.take_over(best, self.run_folder)

    def initial_model(self) -> VAEBSS:
        """Without its most silent slots where this run has fewer."""
        model: Any = super().initial_model()
        before, now = model.hparams.num_sources, self.model.hparams.num_sources
        if now >= before:
            return model
        self.datamodule.setup()
        used = pruning.usage(model, next(iter(self.datamodule.val_dataloader()))["mixture"])
        kept = sorted(used.topk(now).indices.tolist())
        shares = ", ".join(f"{number + 1} ({100 * used[number]:.0f} %)" for number in kept)
        self.say(f"Of {before} slots these are kept, the busiest on validation mixtures: {shares}")
        return pruning.pruned(model, kept)

    def _take_seed(self, seed: int) -> None:
        """An untrained model and mixtures, as --seed_everything would give them."""
        seed_everything(seed, workers=True, verbose=False)
        self.config.seed_everything = self.config.model.seed = self.config.data.seed = seed
        self.datamodule = MNISTMixtures(**(self.datamodule.hparams | {"seed": seed}))
        self.model = VAEBSS(**(self.model.hparams | {"seed": seed}))


class RemixCLI(TrainCLI):
    """`scripts/remix.py`: trains a RemixSeparator on remixes of a teacher's estimates, and the teacher if need be."""

    script = "remix.py"
    model_type = RemixSeparator
    data_type = Remixes
    description = "Train a mask network on remixes of a separator's estimates. Without --teacher it trains one first."
    defaults: ClassVar = {"max_epochs": None, "reload_dataloaders_every_n_epochs": 1}
    monitor = "val/confidence"

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        teacher = "Checkpoint, or shipped model, that makes the first bank; by default --init's if that is given."
        parser.add_argument("--teacher", type=str | None, help=teacher)
        epochs = "Its training, if it needs any."
        parser.add_argument("--teacher_epochs", "--teacher-epochs", type=int, default=DEFAULT_EPOCHS, help=epochs)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        super().parse_arguments(parser, args)
        if self.config.teacher and not self.config.ckpt:  # a run to resume may have its bank already
            scale = load(self.config.teacher).hparams.source_scale
            if scale != self.config.data.source_scale:
                raise ValueError(f"--data.source_scale must be that of the teacher, {scale}")

    def more_callbacks(self) -> list[Callback]:
        return [BankReport()]

    def before_instantiate_classes(self) -> None:
        super().before_instantiate_classes()
        if self.config.trainer.max_epochs is None:
            self.config.trainer.max_epochs = len(self.config.data.keep) * self.config.data.epochs_per_round

    def fit(self) -> None:
        self.datamodule.bank_path = self.run_folder / "bank.pt"
        self.datamodule.teacher = self._teacher
        super().fit()

    def _teacher(self) -> Separator:
        trained = self.config.teacher or self.config.init
        teacher = load(trained) if trained else self._train_teacher()
        return teacher.to(self.trainer.strategy.root_device).eval()

    def _train_teacher(self) -> VAEBSS:
        """A VAE with as many slots, in a folder of its own; goes on where it was stopped."""
        folder = self.run_folder / "teacher"
        self.say(f"Training a teacher into {short(folder)}")
        data, seed = self.datamodule.hparams, self.config.seed_everything
        same = (
            "root",
            "source",
            "num_mixed",
            "source_scale",
            "train_size",
            "val_mixtures",
            "num_workers",
            "seed",
            "mixtures",
        )
        mixtures = MNISTMixtures(**{name: data[name] for name in same})
        model = VAEBSS(
            self.model.hparams.num_sources,
            image_shape=mixtures.image_shape,
            source_scale=data.source_scale,
            bounded=self.model.hparams.bounded,
            seed=seed,
        )
        length = {"max_epochs": self.config.teacher_epochs, "max_steps": -1, "max_time": None}
        trainer = self.side_trainer(folder, SeparationPictures(), **length, reload_dataloaders_every_n_epochs=0)
        last = folder / "checkpoints" / "last.ckpt"
        trainer.fit(model, mixtures, ckpt_path=last if last.is_file() else None, weights_only=True)
        return model


def _is_scale_known(mixtures: str | None) -> bool:
    """Nobody knows how bright the sources of given mixtures are."""
    return mixtures is None


def fit(args: list[str] | None = None) -> int:
    """Entry point of scripts/fit.py."""
    return _train(FitCLI, args)


def remix(args: list[str] | None = None) -> int:
    """Entry point of scripts/remix.py."""
    return _train(RemixCLI, args)


def _train(cli: type[TrainCLI], args: list[str] | None) -> int:
    quieten()
    torch.set_float32_matmul_precision("high")
    return run_cleanly(cli.script, lambda: cli(args).fit())
