"""The table of docs/spectra.md: a VAE and MCR-ALS on the same spectra, by the shift of their peaks.

python tests/spectra_bench.py 1 2 6              # needs pip install 'vaebss[spectra]'; four minutes of one core a shift
python tests/spectra_bench.py 1 2 6 --refine 100
"""

import time
from argparse import ArgumentParser
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
from vaebss.training.presets import VAE_EPOCHS_OF_LINES
from vaebss.training.statistics import vae_options
from vaebss.training.trainers import bare_trainer
from vaebss.training.vae import VAEBSS

KNOWN, OTHERS = 1_200, 300  # spectra to train on, and to score


def vae(mixtures: Tensor, epochs: int) -> Separator:
    """Train a VAE as fit.py does, for epochs of 30,000 spectra."""
    scale = estimated_scale(mixtures)
    data = MNISTMixtures(source=GivenPictures(mixtures.half(), source_scale=scale))
    torch.manual_seed(0)
    system = VAEBSS(
        image_shape=data.image_shape, source_scale=scale, bounded=False, **vae_options(mixtures, scale, 2)["model"]
    )
    bare_trainer(max_epochs=epochs, limit_val_batches=0).fit(system, data)
    return system.model.cpu().eval()


def mcr(mixtures: Tensor) -> Separator:
    """Resolve eight components, two of which are in a spectrum: both numbers are known."""
    model = MCR()
    model.fit(mixtures.flatten(1).numpy())
    return model


def main() -> None:
    """Print a row for each shift and method: SI-SDR, mean and median."""
    parser = ArgumentParser()
    parser.add_argument("shifts", type=float, nargs="*", default=[0.0, 1.0, 2.0, 6.0], help="points, at most")
    parser.add_argument("--epochs", type=int, default=VAE_EPOCHS_OF_LINES, help="epochs of the VAE")
    parser.add_argument("--refine", type=int, default=0, help="steps of refinement of the VAE's latents")
    options = parser.parse_args()
    torch.set_num_threads(1)
    quality = {metric.name: metric.quality for metric in METRICS}["si_sdr"]
    methods = {"mcr": (mcr, {}), "vae": (partial(vae, epochs=options.epochs), {"refine_steps": options.refine})}
    print("| shift | method | SI-SDR, mean | median | CPU seconds |\n|---|---|---|---|---|")
    for shift in options.shifts:
        known, others = (
            partial(spectra, shift=shift, vary=0.0)(number, seed) for number, seed in ((KNOWN, 0), (OTHERS, 1))
        )
        for name, (method, wishes) in methods.items():
            began = time.process_time()
            model = method(known.sum(1))
            found, spent = model.separate(others.sum(1), **wishes), time.process_time() - began
            scores = mean_per_mixture(quality, found.sources, others, torch.full((OTHERS,), 2))
            row = shift, name, f"{scores.mean():.1f}", f"{scores.median():.1f}", f"{spent:.0f}"
            print(f"| {' | '.join(map(str, row))} |", flush=True)


if __name__ == "__main__":
    main()
