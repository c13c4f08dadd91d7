"""Pictures, sounds and texts for whichever logger a run has."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from scipy.io import wavfile
from torch import Tensor

from vaebss.figures.files import as_image, save_figure

SCORE = "hp_metric"  # TensorBoard's name


def add_figure(trainer: Trainer, tag: str, figure: Figure) -> None:
    """Log a figure to every logger that takes figures: TensorBoard, W&B, MLflow, and as a PNG beside a CSV file.

    Args:
        trainer: Trainer with the loggers and the step.
        tag: Name of the figure, such as "separations".
        figure: The figure.
    """
    step = trainer.global_step
    for logger in _loggers(trainer):
        match type(logger).__name__:  # the packages of some may not be there
            case _ if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_figure(tag, figure, step)
            case _ if isinstance(logger, CSVLogger):
                save_figure(figure, _beside(logger, f"{tag}_{step}.png"))
            case "WandbLogger":
                image: Image.Image = as_image(figure)
                logger.log_image(tag, [image], step=step)
            case "MLFlowLogger":
                logger.experiment.log_figure(logger.run_id, figure, f"{tag}_{step}.png")


def add_sound(trainer: Trainer, tag: str, sound: Tensor, rate: int) -> None:
    """Log a sound to every logger that takes sounds: TensorBoard, W&B, and as a WAV beside a CSV file.

    Args:
        trainer: Trainer with the loggers and the step.
        tag: Name of the sound.
        sound: Samples (T,), of any device. A sound that is louder than full scale, 1, is scaled down to it.
        rate: Sample rate in Hz.
    """
    step, sound = trainer.global_step, (sound / sound.abs().max().clamp(min=1)).cpu()
    for logger in _loggers(trainer):
        match type(logger).__name__:
            case _ if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_audio(tag, sound, step, rate)
            case _ if isinstance(logger, CSVLogger):
                wavfile.write(_beside(logger, f"{tag}_{step}.wav"), rate, sound.numpy())
            case "WandbLogger":
                logger.log_audio(tag, [sound.numpy()], step=step, sample_rate=[rate])


def add_score(trainer: Trainer, score: float, hparams: dict[str, Any]) -> None:
    """Log the score by which runs are compared, for which no true source is needed.

    Args:
        trainer: Trainer with the loggers and the step.
        score: The score; higher is better.
        hparams: Options of the run, which TensorBoard shows beside the score.
    """
    for logger in _loggers(trainer):
        if isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(hparams, {SCORE: score}, trainer.global_step)
        else:
            logger.log_metrics({SCORE: score}, trainer.global_step)


def add_text(trainer: Trainer, tag: str, text: str) -> None:
    """Log a text to every logger that takes texts: TensorBoard, W&B, MLflow, and as a file beside a CSV file.

    Args:
        trainer: Trainer with the loggers and the step.
        tag: Name of the text.
        text: Text in Markdown.
    """
    for logger in _loggers(trainer):
        match type(logger).__name__:
            case _ if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_text(tag, text, trainer.global_step)
            case _ if isinstance(logger, CSVLogger):
                _beside(logger, f"{tag}.md").write_text(text)
            case "WandbLogger":
                logger.log_text(tag, ["text"], [[text]])
            case "MLFlowLogger":
                logger.experiment.log_text(logger.run_id, text, f"{tag}.md")


def _loggers(trainer: Trainer) -> list[Any]:
    """Return the loggers of a run, on its main process only."""
    return trainer.loggers if trainer.is_global_zero else []


def _beside(logger: CSVLogger, name: str) -> Path:
    """Return the path of a file beside the CSV file, in a folder that is there."""
    path = Path(logger.log_dir) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
