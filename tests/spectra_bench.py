"""The table of docs/spectra.md: a VAE and MCR-ALS on the same spectra, by the shift of their peaks.

python tests/spectra_bench.py 1 2 6    # needs pip install 'vaebss[spectra]'; some two minutes of one core a shift
"""

import sys
import time
from functools import partial

import torch
from torch import Tensor
from worlds import spectra

from vaebss.baselines.mcr import MCR
from vaebss.data.corpora.pictures import GivenPictures
from vaebss.data.mixtures import MNISTMixtures
from vaebss.metrics.images import METRICS
from vaebss.metrics.metric import mean_per_mixture
from vaebss.modalities.appearance import estimated_scale
from vaebss.models.separator import Separator
from vaebss.training.statistics import vae_options
from vaebss.training.trainers import bare_trainer
from vaebss.training.vae import VAEBSS

KNOWN, OTHERS = 1_200, 300  # spectra to train on, and to score
EPOCHS = 8  # of 30,000 spectra


def vae(mixtures: Tensor) -> Separator:
    """Train a VAE as fit.py does."""
    scale = estimated_scale(mixtures)
    data = MNISTMixtures(source=GivenPictures(mixtures.half(), source_scale=scale))
    torch.manual_seed(0)
    system = VAEBSS(
        image_shape=data.image_shape, source_scale=scale, bounded=False, **vae_options(mixtures, scale, 2)["model"]
    )
    bare_trainer(max_epochs=EPOCHS, limit_val_batches=0).fit(system, data)
    return system.model.cpu().eval()


def mcr(mixtures: Tensor) -> Separator:
    """Resolve eight components, two of which are in a spectrum: both numbers are known."""
    model = MCR()
    model.fit(mixtures.flatten(1).numpy())
    return model


def main(shifts: list[float]) -> None:
    """Print a row for each shift and method: SI-SDR, mean and median."""
    torch.set_num_threads(1)
    quality = {metric.name: metric.quality for metric in METRICS}["si_sdr"]
    print("| shift | method | SI-SDR, mean | median | CPU seconds |\n|---|---|---|---|---|")
    for shift in shifts:
        known, others = (
            partial(spectra, shift=shift, vary=0.0)(number, seed) for number, seed in ((KNOWN, 0), (OTHERS, 1))
        )
        for method in (mcr, vae):
            began = time.process_time()
            model = method(known.sum(1))
            spent, found = time.process_time() - began, model.separate(others.sum(1))
            scores = mean_per_mixture(quality, found.sources, others, torch.full((OTHERS,), 2))
            row = shift, method.__name__, f"{scores.mean():.1f}", f"{scores.median():.1f}", f"{spent:.0f}"
            print(f"| {' | '.join(map(str, row))} |", flush=True)


if __name__ == "__main__":
    main([float(shift) for shift in sys.argv[1:]] or [0.0, 1.0, 2.0, 6.0])
