"""The choice of a student's epoch where the true sources of the mixtures are unknown."""

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from vaebss.blind import FEWEST, evenly_spread, gain_of, not_silent
from vaebss.data.corpus import Corpus

BLIND_GAIN = "val/blind_gain"
CONFIDENCE = "val/confidence"


def monitor_of(corpus: Corpus) -> str:
    """Return the name of the logged value by which a student's best epoch is chosen, and by which its run ends.

    For user-supplied pictures it is the blind gain of the held-out ones if enough of them are not black, else
    confidence. Confidence falls while PSNR rises where sources are alike.
    """
    pictures = corpus.given and not corpus.modality.audible
    return BLIND_GAIN if pictures and not_silent(scored(corpus)).sum() >= FEWEST else CONFIDENCE


def scored(corpus: Corpus) -> Tensor:
    """Return the held-out pictures (N, C, H, W) whose blind gain is estimated."""
    return corpus.splits.val[evenly_spread(len(corpus.splits.val))].float()


class BlindGain(Callback):
    """A callback that logs the estimated gain in dB of held-out mixtures over an equal share, see `vaebss.blind`."""

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        module: Any = pl_module
        corpus, model = trainer.datamodule.corpus, module.model.eval_copy()  # type: ignore[attr-defined]
        pl_module.log(BLIND_GAIN, gain_of(model, corpus.seen_by(model), scored(corpus)), sync_dist=True)
