"""The mask network that separates mixtures."""

# B mixtures, K slots

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise, product
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from vaebss.errors import check_at_least
from vaebss.hardware import fastest_autocast
from vaebss.matching import match
from vaebss.models.networks import KERNEL, BandUNet, MaskUNet
from vaebss.models.separator import Separator
from vaebss.separation import FAINTEST, Separation, sharpness

ViewName = Literal["pixels", "bands", "lines"]
NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "pixels": MaskUNet,
    "bands": BandUNet,
    "lines": partial(MaskUNet, kernel=(1, KERNEL)),
}
# Shifts of a mixture, in pixels down and right, one for each estimate that is averaged. Spectrograms are not shifted:
# a shift in time costs 1.1 dB, and agreement ranks them less well than sharpness (by SI-SDR 0.73 against 0.88)
MOVES: dict[str, tuple[tuple[int, int], ...]] = {
    "pixels": ((0, 0), (1, 1), (-1, -1)),
    "bands": ((0, 0),),
    "lines": ((0, 0), (0, 1), (0, -1)),
}
FAINT = 1e-7  # least value of an estimate in a geometric mean, and least mean that a picture is divided by


class Masker(Separator):
    """A U-Net that estimates the share of each source in every pixel of a mixture.

    Pictures may have any height and width, but their strokes should be about as wide and as long as those of the
    training mixtures. Spectrograms have one size. The ranking of separations is the sharpness of the masks; with the
    option `opinions` of `separate` it is the agreement of that many estimates, see `pseudo_label`. Estimates that are
    not masked add up to the mixture too, but their brightness is not bounded.

    Args:
        num_sources: K, the number of slots.
        widths: Channels at each resolution, the finest first.
        bottleneck: Units of the fully connected layer at the coarsest resolution.
        view: View of the convolutions: the "pixels" around each pixel, the "bands" around each band of a
            spectrogram, in all its frames, or the points along "lines", such as spectra.
        average_decay: Decay of the running average of the network's weights, which is what separates: it keeps this
            share of itself in each step.
        image_shape: (C, H, W) of training mixtures. On the command line the data sets it.
        source_scale: Brightest pixel of a source. On the command line --data.source_scale sets it.
        bounded: Bound on masked estimates: none is brighter than source_scale. On the command line it is on, unless
            --data.mixtures is given, whose brightest source is unknown.
        exponent: Exponent p; pictures of sources add up to that of the mixture as (sum_k s_k^p)^(1/p), and shares are
            of p-th powers. On the command line the data sets it.
        faintest: Mean brightness of the faintest source, as a share of source_scale; a slot with less is inactive. It
            follows from the brightness of your own mixtures. For sound it is a share of a mixture's energy.
        harmonics: Multiples of each band's frequency at which the "bands" view reads a spectrogram as well, such as
            [0.5, 1, 2, 3, 4, 5]; by default it sees each band as it is.
        harmonic_features: Number of features at each coarser resolution that are read at these multiples as well.
        frequencies: Centre of each band in hertz, for harmonics. On the command line the data sets it.
        counting: Head of the network that counts sources, 1 to K; then as many of the loudest slots are active, and
            `faintest` is not used. It learns from remixes, whose number of sources is known.

    Examples:
        >>> import torch
        >>> from vaebss import Masker
        >>> model = Masker(num_sources=2, widths=(8, 16), bottleneck=16)
        >>> model.separate(torch.rand(4, 1, 32, 48)).sources.shape
        torch.Size([4, 2, 1, 32, 48])
    """

    def __init__(
        self,
        num_sources: int = 2,
        widths: tuple[int, ...] = (24, 48, 96),
        bottleneck: int = 384,
        average_decay: float = 0.995,
        view: ViewName = "pixels",
        image_shape: tuple[int, ...] = (1, 28, 28),
        source_scale: float = 0.5,
        bounded: bool = True,
        exponent: float = 1.0,
        faintest: float = FAINTEST,
        harmonics: tuple[float, ...] = (),
        harmonic_features: int = 0,
        frequencies: tuple[float, ...] = (),
        counting: bool = False,
    ):
        super().__init__(num_sources, image_shape, source_scale, bounded, exponent, faintest)
        check_at_least(1, model__bottleneck=bottleneck)
        if not widths or min(widths) < 2:
            raise ValueError(f"model.widths must be numbers of 2 or more, not {widths}")
        if not 0 <= average_decay < 1:
            raise ValueError(f"model.average_decay must be at least 0 and below 1, not {average_decay}")
        if view not in NETWORKS:
            raise ValueError(f"model.view must be one of {', '.join(NETWORKS)}, not {view!r}")
        self.widths, self.bottleneck, self.average_decay = tuple(widths), bottleneck, average_decay
        self.view, self.harmonics, self.harmonic_features = view, tuple(harmonics), harmonic_features
        self.frequencies = tuple(frequencies) if harmonics else ()
        sizes = (image_shape, num_sources, widths, bottleneck)
        self.counting, stacked = counting, self._stacked() if harmonics or harmonic_features else ()
        self.network = NETWORKS[view](*sizes, *stacked, counting=counting)
        averaging: Any = partial(_follow, decay=average_decay)
        self.average = AveragedModel(self.network, multi_avg_fn=averaging, use_buffers=True).requires_grad_(False)

    def _stacked(self) -> tuple[tuple[float, ...], tuple[float, ...], int]:
        """Return what a BandUNet needs for harmonics, or raise a ValueError that names the wrong option."""
        if self.view != "bands":
            raise ValueError(f"model.harmonics need spectrograms: model.view must be bands, not {self.view}")
        if not all(0 < harmonic < math.inf for harmonic in self.harmonics):
            raise ValueError(f"model.harmonics must be above 0, not {self.harmonics}")
        check_at_least(0, model__harmonic_features=self.harmonic_features)
        if self.harmonic_features and not any(harmonic != 1 for harmonic in self.harmonics):
            raise ValueError("model.harmonic_features need model.harmonics, such as [0.5, 1, 2, 3, 4, 5]")
        rising = all(low < high for low, high in pairwise(self.frequencies))
        if not rising or len(self.frequencies) != self.image_shape[1]:
            raise ValueError(f"model.frequencies must be {self.image_shape[1]} increasing numbers, one for each band")
        return self.frequencies, self.harmonics, self.harmonic_features

    @property
    def accepts(self) -> tuple[int | None, ...]:
        """Shape (C, H, W) of the mixtures that the separator takes. None stands for any size; it is that of pictures,
        while spectrograms have one size."""
        return self.image_shape if self.view == "bands" else (self.image_shape[0], None, None)

    def forward(self, mixture: Tensor) -> Tensor:
        """Return each slot's share of the mixture per pixel: (B, C, H, W) -> (B, K, C, H, W), summing to 1 over K."""
        return self.shares_and_counts(mixture)[0]

    def shares_and_counts(self, mixture: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the shares of `forward` and, if the network counts, the logits (B, K) of 1 to K sources, else None.

        If the brightness of sources is unknown (source_scale is infinite), each mixture is divided by its own mean.
        """
        network = self.network if self.training else self.average
        brightest: float | Tensor = self.source_scale
        if math.isinf(self.source_scale):
            brightest = mixture.mean((1, 2, 3), keepdim=True).clamp(min=FAINT)
        masks, counts = network(mixture / brightest)
        return masks.softmax(1), counts

    def grown(self, slots: int, counting: bool = False) -> "Masker":
        """Return a copy with more slots, and perhaps with a head that counts.

        All existing weights are copied. The weights of new slots, of numbers above K and of a new head are drawn at
        random.

        Args:
            slots: Number of slots of the copy, K or more.
            counting: Whether the copy gets a head that counts sources. A head that is there stays in any case.
        """
        more, state = self.untrained(num_sources=slots, counting=self.counting or counting), self.state_dict()
        for layer, part in product(("masks", "counts") if self.counting else ("masks",), ("weight", "bias")):
            heads = [name for name in state if name.endswith(f".{layer}.{part}")]  # the network's and its average's
            known = state[heads[0]].unflatten(0, (self.num_sources, -1))
            drawn = known.std() * torch.randn(slots - self.num_sources, *known.shape[1:])
            for head in heads:
                state[head] = torch.cat([state[head], drawn.flatten(0, 1)])
        more.load_state_dict(more.state_dict() | state)
        return more.train(self.training)

    def pseudo_label(self, mixture: Tensor, **options: Any) -> Separation:
        """Separate by the mean of three estimates: of the mixture and of it shifted by one pixel either way.

        A spectrogram is not shifted and has one estimate. `confidence` is 1 minus the share of the mixture that the
        estimates assign to different slots. It tells good estimates from bad ones far better than the sharpness of
        the masks. `options` are ignored, as a mask network has no latents to refine.
        """
        return self.separate(mixture, ranked=True, opinions=len(MOVES[self.view]))

    def _estimate(self, mixture: Tensor, opinions: int = 0) -> tuple[Tensor, ...]:
        if opinions > 1:
            return self._opinions(mixture)
        estimates, *count = self._estimates(mixture)
        return estimates, sharpness(estimates, mixture, self.exponent), *count

    def _estimates(self, mixture: Tensor) -> tuple[Tensor, ...]:
        """Return estimates (B, K, C, H, W) and, if the network counts, the number of sources (B,)."""
        shares, counts = self.shares_and_counts(mixture)
        estimates = shares.pow(1 / self.exponent) * mixture.unsqueeze(1)
        return (estimates,) if counts is None else (estimates, 1 + counts.argmax(1))

    def _opinions(self, mixture: Tensor) -> tuple[Tensor, ...]:
        with fastest_autocast(mixture.device):
            first, *count = self._estimates(mixture)
            slots = torch.full((len(mixture),), first.shape[1], device=mixture.device)
            opinions = [first]
            for down, right in MOVES[self.view][1:]:
                moved = mixture.roll((down, right), (-2, -1))
                estimates = self._estimates(moved)[0].roll((-down, -right), (-2, -1))
                opinions.append(match(estimates, first, slots))
        every = torch.stack(opinions)
        powers = every.pow(self.exponent)
        disputed = (powers[1:] - powers[0]).abs().flatten(2).sum(2).mean(0) / 2
        total = mixture.pow(self.exponent).flatten(1).sum(1)
        agreement = 1 - torch.where(total > 0, disputed / total, 0.0)
        return every.clamp(min=FAINT).log().mean(0).exp(), agreement, *count


def _follow(average: list[Tensor], current: list[Tensor], steps: Tensor | int, decay: float) -> None:
    """Update the running average by one step. PyTorch's own function is a closure, which cannot be pickled."""
    foreach: Any = torch  # whose functions of lists type checkers do not know
    if average[0].is_floating_point():
        foreach._foreach_lerp_(average, current, 1 - decay)
    else:  # counts of batches, of which a mean is rounded down
        parts = foreach._foreach_mul(average, decay), foreach._foreach_mul(current, 1 - decay)
        foreach._foreach_copy_(average, foreach._foreach_add(*parts))
