"""Several short runs from different seeds, and which of them to train on: chosen by the ELBO, without the truth."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from vaebss.figures.files import save_figure
from vaebss.figures.scores import starts_figure

CROWDED = 0.05  # slots less than K in the average mixture, from which on all of them look busy


@dataclass(frozen=True)
class Start:
    """A short run and how it did on validation mixtures.

    Attributes:
        seed: of the run.
        elbo, rate: means, in nats per mixture.
        active: mean number of active slots.
        checkpoint: from which the run can go on.
        psnr: mean in dB, paper scale, where the true sources are known: for a picture alone, the choice is blind to it.
    """

    seed: int
    elbo: float
    rate: float
    active: float
    checkpoint: Path
    psnr: float | None = None


class StopAfter(Callback):
    """Ends a run early whose schedules are made for longer."""

    def __init__(self, epochs: int):
        self.epochs = epochs

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.should_stop = trainer.current_epoch + 1 >= self.epochs


def start_of(trainer: Trainer, seed: int) -> Start:
    """What a run that has ended came to."""
    found = {name: float(trainer.callback_metrics[f"val/{name}"]) for name in ("elbo", "rate", "active")}
    checkpoints: Any = trainer.checkpoint_callback
    psnr = trainer.callback_metrics.get("val/psnr_paper")
    return Start(seed, **found, checkpoint=checkpoints.last_path, psnr=None if psnr is None else float(psnr))


def choose(starts: list[Start], num_sources: int) -> tuple[Start, list[str]]:
    """The start with the best ELBO, and lines that say how all did and what to think of it."""
    best = max(starts, key=lambda start: start.elbo)
    lines = [
        f"Seed {start.seed}: ELBO {start.elbo:.2f}, rate {start.rate:.2f} nats per mixture, "
        f"{start.active:.2f} of {num_sources} slots active"
        for start in starts
    ]
    lines.append(f"Going on with seed {best.seed}: the best ELBO on validation mixtures.")
    if num_sources > 2 and best.active > num_sources - CROWDED:
        lines.append(
            f"Warning: nearly every mixture keeps all {num_sources} slots busy. Unless there are so many sources, the "
            "slots share them: try more --starts, or fewer slots."
        )
    return best, lines


def draw(starts: list[Start], path: Path) -> None:
    """Their ELBO against their PSNR, as a picture, where the true sources are known."""
    psnr = [start.psnr for start in starts if start.psnr is not None]
    if len(psnr) == len(starts):
        figure = starts_figure([start.elbo for start in starts], psnr, [str(start.seed) for start in starts])
        save_figure(figure, path)


def take_over(start: Start, folder: Path) -> str:
    """The start's checkpoint as that of the run in `folder`; its path."""
    last = folder / "checkpoints" / "last.ckpt"
    last.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(start.checkpoint, last)
    return str(last)
