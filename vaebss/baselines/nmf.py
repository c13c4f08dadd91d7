"""Non-negative matrix factorisation of mixtures, with its components grouped into sources."""

# B mixtures, K assumed sources, N components, P = C * H * W pixels

import numpy as np
import torch
from sklearn.cluster import SpectralClustering
from sklearn.decomposition import MiniBatchNMF
from torch import Tensor
from tqdm.auto import tqdm

from vaebss.baselines.method import Method, Setting
from vaebss.data.mixtures import MNISTMixtures
from vaebss.models.separator import Separator

GROUPING_BATCHES = 80  # last batches of training, whose activations group the components
TINY = 1e-6  # an affinity above 0 keeps the graph of components connected


class NMF(Separator):
    """A dictionary of strokes that is learned from mixtures, each stroke assigned to one of K sources for good.

    Components are parts of digits, far more than K. A single mixture does not tell which parts belong to one digit,
    but over many mixtures the parts of a digit appear together. So the components are grouped by spectral clustering,
    with the positive correlation of their activations over training mixtures as affinity. A slot's estimate is its
    group's share of the reconstruction, times the mixture. The ranking of separations is the negative squared error.

    Args:
        num_sources: Number K of slots.
        num_components: N, size of the dictionary.
        image_shape: (C, H, W) of a mixture.
        source_scale: Brightest pixel of a source.
        seed: Random seed of the dictionary's initial values and of the clustering.
    """

    def __init__(
        self,
        num_sources: int = 2,
        num_components: int = 100,
        image_shape: tuple[int, int, int] = (1, 28, 28),
        source_scale: float = 0.5,
        seed: int = 0,
    ):
        super().__init__(num_sources, image_shape, source_scale)
        self.num_components, self.seed = num_components, seed
        self.dictionary = MiniBatchNMF(num_components, init="random", random_state=seed)  # type: ignore[arg-type]
        self.groups = np.zeros(num_components, dtype=int)  # (N,), the slot of each component

    def fit(self, data: MNISTMixtures) -> None:
        """Learn the dictionary and its groups from one epoch of training mixtures."""
        batches = data.train_dataloader()
        recent: list[np.ndarray] = []
        for batch in tqdm(batches, desc="NMF"):
            pixels = batch["mixture"].flatten(1).numpy()  # (B, P)
            self.dictionary.partial_fit(pixels)
            recent = [*recent[-GROUPING_BATCHES + 1 :], pixels]
        activations = self.dictionary.transform(np.concatenate(recent))
        correlation = np.nan_to_num(np.corrcoef(activations.T))  # nan where a component is never active
        grouping = SpectralClustering(self.num_sources, affinity="precomputed", random_state=self.seed)
        self.groups = grouping.fit_predict(correlation.clip(min=0) + TINY)

    def _estimate(self, mixture: Tensor) -> tuple[Tensor, Tensor]:
        pixels = mixture.flatten(1).cpu().numpy()
        activations = self.dictionary.transform(pixels)  # (B, N)
        parts = [(activations * (self.groups == k)) @ self.dictionary.components_ for k in range(self.num_sources)]
        confidence = torch.from_numpy(-np.square(sum(parts) - pixels).sum(1)).float()
        return torch.from_numpy(np.stack(parts, 1)).float().unflatten(2, self.image_shape), confidence


def _learn(setting: Setting, data: MNISTMixtures) -> Separator:
    model = NMF(setting.num_sources, source_scale=setting.source_scale, seed=setting.seed)
    model.fit(data)
    return model


METHOD = Method(_learn)
