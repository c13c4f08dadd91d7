"""The command line of training: a VAE learns from mixtures alone, and perhaps from the weights of another."""

from argparse import SUPPRESS
from pathlib import Path
from typing import Any, ClassVar

from pytorch_lightning.cli import LightningArgumentParser

from vaebss.blind import summary_of
from vaebss.checkpoints import build
from vaebss.commands.run import Run
from vaebss.commands.terminal import call, short
from vaebss.commands.train import TrainCLI, train
from vaebss.commands.yaml_options import flatten
from vaebss.data.corpus import Corpus
from vaebss.data.mixtures import MNISTMixtures, counts_of
from vaebss.modalities.appearance import estimated_scale
from vaebss.models import pruning
from vaebss.models.separator import Separator
from vaebss.models.vae import VAE
from vaebss.training.presets import default_teacher
from vaebss.training.statistics import vae_options
from vaebss.training.vae import VAEBSS

DEFAULT_EPOCHS = 60  # 1.8 million mixtures
MONITOR = "val/elbo"
FALL = 1.0  # nats of the ELBO, less of which is chance
REMOVED = {"starts": 1, "start_epochs": 10}  # options of version 0.2.0 and their defaults
INSTEAD = (
    "--starts and --start_epochs are no longer options, and this is one start: train once with each --seed_everything "
    "and go on from the run that ends with the best ELBO"
)


class FitCLI(TrainCLI):
    """Options of VAEBSS on MNISTMixtures."""

    command = "fit"
    model_type = VAEBSS
    data_type = MNISTMixtures
    description = "Train a separator on mixtures alone. Without options: MNIST pairs, K = 2."
    defaults: ClassVar = {"max_epochs": DEFAULT_EPOCHS}
    monitor = MONITOR

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        parser.link_arguments("seed_everything", "model.seed", compute_fn=int)
        parser.link_arguments("data.exponent", "model.exponent", apply_on="instantiate")
        for name in REMOVED:
            parser.add_argument(f"--{name}", f"--{name.replace('_', '-')}", type=int | None, help=SUPPRESS)

    def default_options(self, options: Any, corpus: Corpus) -> dict[str, Any]:
        """Return options of an objective that weighs the user's pictures as it weighs digits.

        Args:
            options: Options as typed.
            corpus: Corpus of the options.

        Returns:
            Values by the full names of options; none for digits and sounds.
        """
        pictures = corpus.sample_mixtures(sum(counts_of(options.data.num_mixed)) / 2)
        if pictures is None:
            return {}
        scale = estimated_scale(pictures) if corpus.given else corpus.source_scale
        return flatten(vae_options(pictures, scale, options.model.num_sources))

    def validate(self) -> None:
        super().validate()
        if not self.config.ckpt and any(self.config[name] not in (None, default) for name, default in REMOVED.items()):
            print(INSTEAD, flush=True)


def fit(cli: TrainCLI) -> None:
    """Train a VAE as the options say."""
    run, model, data = Run(cli.command, cli.trainer, cli.folder), cli.model, cli.datamodule
    run.prepare(data)
    if cli.config.init:
        initial: Any = build(cli.initial, cli.config.init)
        take_weights(model, fewer_slots(initial, model.model.num_sources, data, run), cli.config.init)
    run.begin()
    cli.settle_steps(run)
    run.fit(model, data, cli.config.ckpt)
    tell_quality(run, model.model, data)
    if data.corpus.given:
        unknown = data.modality.audible or data.image_shape[1] == 1  # sounds and lines have other teachers, or none
        warn(run, None if unknown else default_teacher(cli.config.model.num_sources))


def tell_quality(run: Run, model: Separator, data: MNISTMixtures) -> None:
    """Print an estimate of how well held-out mixtures are separated, which reads no true source.

    Args:
        run: Run that prints; a dry run prints nothing.
        model: Separator, of which a copy is evaluated.
        data: Data module of the held-out mixtures.
    """
    if run.trainer.is_global_zero and not run.is_dry:
        own = model.eval_copy()
        run.say(summary_of(own, data.corpus.seen_by(own), data.held_out(), recordings=data.corpus.recordings))


def warn(run: Run, teacher: str | None) -> None:
    """Print a warning if the ELBO of held-out mixtures has fallen, as it does in long trainings on few mixtures.

    Args:
        run: Run that has ended.
        teacher: Shipped model that could be adapted instead; None if there is none.
    """
    best, last = run.checkpoints.best_model_score, run.trainer.callback_metrics.get(MONITOR)
    if best is None or last is None or best - last < FALL:
        return
    advice = f" With few mixtures, {call('remix')} --data.mixtures adapts {teacher} instead." if teacher else ""
    path = short(Path(run.checkpoints.best_model_path))
    run.say(
        f"The ELBO of held-out mixtures has fallen from {best:.1f} to {last:.1f} nats: {path} has the best.{advice}"
    )


def take_weights(model: Any, initial: Any, name: str, advice: str = "") -> None:
    """Copy the weights of another model, which must have the same architecture.

    Args:
        model: System whose model gets the weights.
        initial: Model with the weights.
        name: Name of that model, for the error.
        advice: End of the error.

    Raises:
        ValueError: The architectures differ.
    """
    try:
        model.model.load_state_dict(initial.state_dict())
    except RuntimeError as error:
        raise ValueError(f"the weights of {name} do not fit the --model options given{advice}") from error


def fewer_slots(model: VAE, slots: int, data: MNISTMixtures, run: Run) -> VAE:
    """Return a VAE without its least used slots if fewer slots are wanted.

    Args:
        model: Trained VAE.
        slots: Number of slots to keep at most.
        data: Data whose first validation batch tells how much each slot is used.
        run: Run that prints which slots are kept.
    """
    if slots >= model.num_sources:
        return model
    used = pruning.usage(model, next(iter(data.val_dataloader()))["mixture"])
    kept = pruning.busiest(used, slots)
    shares = ", ".join(f"{number + 1} ({100 * used[number]:.0f} %)" for number in kept)
    run.say(f"Of {model.num_sources} slots these are kept, the busiest on validation mixtures: {shares}")
    return pruning.pruned(model, kept)


def main(args: list[str] | None = None) -> int:
    """Entry point of scripts/fit.py.

    Examples:
        >>> main(["--data.source", "bundled", "--gpus", "0", "--trainer.fast_dev_run", "true"])  # a few batches
        Dry run: no files are kept
        Precision: ...
        0
    """
    return train(FitCLI.command, lambda: fit(FitCLI(args)))
