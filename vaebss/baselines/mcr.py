"""Multivariate curve resolution by alternating least squares (MCR-ALS) of mixtures of lines, by pyMCR of NIST."""

# B mixtures, K slots, N components, L points

from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls
from sklearn.decomposition import NMF
from torch import Tensor

from vaebss.baselines.method import Method, Setting
from vaebss.data.mixtures import MNISTMixtures
from vaebss.models.separator import Separator

ROUNDS = 50  # of alternating least squares
RISES = 10  # rounds in a row that may raise the error
STARTING = 2_000  # updates of the factorisation that it starts from


class MCR(Separator):
    """A library of spectra that do not change, of which each mixture holds non-negative amounts.

    It is learned from mixtures: spectra and amounts are fitted in turn by non-negative least squares, from a start by
    non-negative matrix factorisation. A mixture's sources are the K components of which it holds the most, and share
    the mixture in proportion. The ranking of separations is the negative squared error. It needs
    pip install 'vaebss[spectra]'.

    Args:
        num_sources: K, sources in a mixture, which are known.
        num_components: N, spectra of the library, whose number is known too.
        image_shape: (1, 1, L) of a mixture.
        source_scale: Highest point of a source.
        exponent: Exponent with which sources add up to their mixture.
        seed: Random seed of the start.
    """

    def __init__(
        self,
        num_sources: int = 2,
        num_components: int = 8,
        image_shape: tuple[int, ...] = (1, 1, 256),
        source_scale: float = 0.5,
        exponent: float = 1.0,
        seed: int = 0,
    ):
        if tuple(image_shape[:2]) != (1, 1):
            raise ValueError(f"mcr is for lines (1, 1, L), such as spectra, not for pictures {tuple(image_shape)}")
        super().__init__(num_sources, image_shape, source_scale, bounded=False, exponent=exponent)
        self.num_components, self.seed = num_components, seed
        self.spectra = np.zeros((num_components, image_shape[-1]))

    def fit(self, lines: np.ndarray) -> None:
        """Learn the library (N, L) from lines (B, L).

        Raises:
            ValueError: The package pyMCR is missing; the message says how to install it.
        """
        try:
            from pymcr.constraints import ConstraintNonneg
            from pymcr.mcr import McrAR
        except ImportError as error:
            raise ValueError("mcr needs pyMCR: pip install 'vaebss[spectra]'") from error
        lines = lines.astype(np.float64)
        start: Any = NMF(self.num_components, init="nndsvda", max_iter=STARTING, random_state=self.seed)  # type: ignore[arg-type]
        options: Any = {"c_regr": "NNLS", "st_regr": "NNLS", "max_iter": ROUNDS, "tol_increase": RISES}
        options |= {"c_constraints": [ConstraintNonneg()], "st_constraints": [ConstraintNonneg()]}
        resolution: Any = McrAR(**options)
        resolution.fit(lines, ST=start.fit(lines).components_)
        self.spectra = resolution.ST_opt_

    def _estimate(self, mixture: Tensor) -> tuple[Tensor, Tensor]:
        lines = mixture.flatten(1).double().cpu().numpy()
        amounts = np.array([nnls(self.spectra.T, line)[0] for line in lines])
        parts = amounts[:, :, None] * self.spectra
        most = parts.sum(2).argsort(1)[:, ::-1][:, : self.num_sources]
        errors = np.square(parts.sum(1) - lines).sum(1)
        kept = torch.from_numpy(np.take_along_axis(parts, most[:, :, None], 1)).float()
        return kept.unflatten(2, self.image_shape).to(mixture.device), torch.from_numpy(-errors).float()


def _learn(setting: Setting, data: MNISTMixtures) -> Separator:
    known = {"image_shape": setting.modality.shape, "source_scale": setting.source_scale, "seed": setting.seed}
    model = MCR(setting.num_sources, **known)
    model.fit(data.corpus.splits.train[:].flatten(1).float().numpy())
    return model


METHOD = Method(_learn, only_named=True)
