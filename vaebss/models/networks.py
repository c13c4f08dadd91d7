"""Network modules: the paper's fully connected encoder and decoder, and a U-Net that estimates masks."""

# B mixtures, K assumed sources, D latent size, P = C * H * W pixels

from collections.abc import Sequence
from itertools import pairwise, zip_longest
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d, pad

OutputName = Literal["sigmoid", "softplus"]
OUTPUTS: dict[str, type[nn.Module]] = {"sigmoid": nn.Sigmoid, "softplus": nn.Softplus}
KERNEL = 5  # bands that a convolution sees
COUNTER_UNITS = 64  # hidden units of the head that counts
SOFT_BIAS = -2.0  # initial bias of the last layer before a softplus: most of a spectrogram is faint


def single(tensor: Tensor) -> Tensor:
    """Convert half-precision tensors to float32; other tensors are returned as they are."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def hidden_layers(widths: Sequence[int]) -> list[nn.Module]:
    """Return linear layers from each width to the next, each followed by batch norm and ReLU."""
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise(widths):
        layers += [nn.Linear(width_in, width_out, bias=False), nn.BatchNorm1d(width_out), nn.ReLU()]
    return layers


class Encoder(nn.Sequential):
    """The encoder of all K posteriors of a mixture: (B, C, H, W) -> (B, K, 2 D), means before log-variances.

    Neri et al. 2021, section III, use five hidden layers of 700, 600, 500, 400 and 300 units for MNIST.

    Args:
        image_shape: (C, H, W).
        hidden_dims: Widths of the hidden layers.
        num_sources: K.
        latent_dim: D.
    """

    def __init__(self, image_shape: Sequence[int], hidden_dims: Sequence[int], num_sources: int, latent_dim: int):
        widths = [prod(image_shape), *hidden_dims]
        hidden = hidden_layers(widths)
        super().__init__(
            nn.Flatten(),
            *hidden,
            nn.Linear(widths[-1], num_sources * 2 * latent_dim),
            nn.Unflatten(1, (num_sources, 2 * latent_dim)),
        )
        last = 1 + len(hidden)
        self.by_slot = (f"{last}.weight", f"{last}.bias")  # the parameters whose rows belong to one slot each


class Decoder(nn.Module):
    """The decoder that all sources share, which mirrors the encoder: (..., D) -> (..., C, H, W).

    Args:
        image_shape: (C, H, W).
        hidden_dims: Widths of the encoder's layers.
        latent_dim: D.
        output: "sigmoid" for pixels in (0, 1), "softplus" for any pixels above 0.
        begin: Initial bias of the last layer; None means about 0 before a sigmoid and -2 before a softplus.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        hidden_dims: Sequence[int],
        latent_dim: int,
        output: OutputName = "sigmoid",
        begin: float | None = None,
    ):
        super().__init__()
        self.image_shape = tuple(image_shape)
        widths = [latent_dim, *reversed(hidden_dims)]
        hidden, last = hidden_layers(widths), nn.Linear(widths[-1], prod(image_shape))
        if output == "softplus" or begin is not None:
            nn.init.constant_(last.bias, SOFT_BIAS if begin is None else begin)
        self.layers = nn.Sequential(*hidden, last, OUTPUTS[output]())

    def forward(self, latents: Tensor) -> Tensor:
        return single(self.layers(latents.flatten(0, -2))).view(*latents.shape[:-1], *self.image_shape)


class MaskUNet(nn.Module):
    """A U-Net that estimates masks of K sources: mixtures of any size (B, C, H, W) -> logits (B, K, C, H, W).

    Beside them it returns the logits (B, K) of 1 to K sources if it counts, else None.

    Convolutions run on a pyramid of halved resolutions (Ronneberger et al. 2015). A fully connected bottleneck at the
    coarsest resolution sees the whole image at once.

    Args:
        image_shape: (C, H, W) of the training images. Images are padded with black so that H and W can be halved
            len(widths) - 1 times.
        num_sources: Number K of slots.
        widths: Channels at each resolution, the finest first.
        bottleneck: Units of the fully connected layer.
        kernel: Height and width of a convolution, odd; an axis of size 1 is not halved.
        channels_in: Channels of the input, by default C.
        counting: Whether the network counts sources, from the features that masks are made of.
        stacks: For each resolution but the finest, what its features pass before its convolutions; by default nothing.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        num_sources: int,
        widths: Sequence[int],
        bottleneck: int,
        kernel: tuple[int, int] = (3, 3),
        channels_in: int | None = None,
        counting: bool = False,
        stacks: Sequence["Stack"] = (),
    ):
        super().__init__()
        channels, height, width = image_shape
        self.num_sources, self.halving = num_sources, [2 if side > 1 else 1 for side in kernel]
        self.halvings = [side ** (len(widths) - 1) for side in self.halving]
        levels = zip_longest(pairwise((channels_in or channels, *widths)), (None, *stacks))
        self.down = nn.ModuleList(_convolutions(a, b, kernel, stack) for (a, b), stack in levels)
        narrow, grid = widths[-1] // 2, (-(-height // self.halvings[0]), -(-width // self.halvings[1]))
        self.bottleneck = WholeImage(widths[-1], narrow, grid, bottleneck)
        below = (narrow, *reversed(widths[1:]))
        self.up = nn.ModuleList(_convolutions(a + b, b, kernel) for a, b in zip(below, reversed(widths), strict=True))
        self.masks = nn.Conv2d(widths[0], num_sources * channels, 1)
        self.counter = Counter(widths[0], num_sources) if counting else None
        self.to(memory_format=torch.channels_last)  # twice as fast on a CPU

    def forward(self, mixture: Tensor) -> tuple[Tensor, Tensor | None]:
        height, width = mixture.shape[2:]
        features = pad(mixture, (0, -width % self.halvings[1], 0, -height % self.halvings[0]))
        features, skips = features.contiguous(memory_format=torch.channels_last), []
        for level, convolutions in enumerate(self.down):
            features = convolutions(max_pool2d(features, self.halving) if level else features)
            skips.append(features)
        features = self.bottleneck(features)
        for level, convolutions in enumerate(self.up):
            features = interpolate(features, scale_factor=self.halving) if level else features
            features = convolutions(torch.cat([features, skips.pop()], 1))
        masks = single(self.masks(features))[..., :height, :width].unflatten(1, (self.num_sources, -1))
        return masks, None if self.counter is None else self.counter(features)


class BandUNet(nn.Module):
    """A MaskUNet along the bands of spectrograms (B, 1, H, W) of one size. Their frames are its channels.

    With harmonics, each band also has the frames at these multiples of its frequency as channels, so that a convolution
    sees the partials of a note together, however far apart they are (harmonic stacking, Bittner et al. 2022).

    Args:
        image_shape: (1, H, W).
        num_sources: Number K of slots.
        widths: Channels at each resolution, see MaskUNet.
        bottleneck: Units of the fully connected layer, see MaskUNet.
        frequencies: Centres of the H bands, increasing. They are only needed for harmonics.
        harmonics: Multiples of a band's frequency. Without any, the spectrogram is not stacked.
        harmonic_features: Number of features at each coarser resolution that are also read at these multiples.
        counting: Whether the network counts sources, see MaskUNet.
    """

    stack: Tensor | None

    def __init__(
        self,
        image_shape: Sequence[int],
        num_sources: int,
        widths: Sequence[int],
        bottleneck: int,
        frequencies: Sequence[float] = (),
        harmonics: Sequence[float] = (),
        harmonic_features: int = 0,
        counting: bool = False,
    ):
        super().__init__()
        _, bands, frames = image_shape
        shape, channels_in = (frames, 1, bands), frames * (len(harmonics) or 1)
        stacks = _stacks(widths, harmonic_features, frequencies, harmonics) if harmonic_features else ()
        self.along = MaskUNet(shape, num_sources, widths, bottleneck, (1, KERNEL), channels_in, counting, stacks)
        stack = harmonic_stack(torch.tensor(frequencies), torch.tensor(harmonics)) if harmonics else None
        self.register_buffer("stack", stack, persistent=False)

    def forward(self, mixture: Tensor) -> tuple[Tensor, Tensor | None]:
        stacked = mixture if self.stack is None else self.stack @ mixture  # (B, harmonics, H, W)
        features = stacked.transpose(2, 3).flatten(1, 2).unsqueeze(2)
        masks, counts = self.along(features)
        return masks.permute(0, 1, 3, 4, 2), counts


class Counter(nn.Module):
    """A head that counts sources by the mean and the maximum of each feature: (B, C, H, W) -> logits (B, K) of 1 to K.

    Args:
        channels: C, the number of features.
        num_sources: K, the largest number of sources.
    """

    def __init__(self, channels: int, num_sources: int):
        super().__init__()
        self.hidden = nn.Linear(2 * channels, COUNTER_UNITS)
        self.counts = nn.Linear(COUNTER_UNITS, num_sources)

    def forward(self, features: Tensor) -> Tensor:
        pooled = torch.cat([features.mean((2, 3)), features.amax((2, 3))], 1)
        return single(self.counts(self.hidden(pooled).relu()))


class Stack(nn.Module):
    """Features along bands, some of which are also read at multiples of each band's frequency.

    (B, C, 1, H) -> (B, C + F N, 1, H).

    Args:
        width: C, the number of features.
        features: F; so many linear combinations of the features are read at the multiples.
        read: Matrices of the N multiples, (N, H, H), see `harmonic_stack`.

    Attributes:
        channels: C + F N.
    """

    read: Tensor

    def __init__(self, width: int, features: int, read: Tensor):
        super().__init__()
        self.channels = width + features * len(read)
        self.combine = nn.Conv2d(width, features, 1)
        self.register_buffer("read", read, persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        combined = self.combine(features).squeeze(2)  # (B, F, H)
        read = self.read.to(combined.dtype) @ combined.mT.unsqueeze(1)  # (B, N, H, F)
        return torch.cat([features, read.transpose(2, 3).flatten(1, 2).unsqueeze(2)], 1)


def harmonic_stack(frequencies: Tensor, harmonics: Tensor) -> Tensor:
    """Return matrices (N, H, H) that read values of H bands at N multiples of each band's frequency.

    Values are interpolated linearly between the bands' centres; above the highest one they are 0.

    Args:
        frequencies: Centres of the bands, increasing, (H,).
        harmonics: Multiples of a band's frequency, above 0, (N,).
    """
    if frequencies.is_meta:  # there are shapes alone; arithmetic on them would import the compiler, 150 MB
        return torch.empty(len(harmonics), len(frequencies), len(frequencies))
    places = harmonics.double().unsqueeze(1) * frequencies.double()  # (N, H)
    above = torch.searchsorted(frequencies.double(), places).clamp(1, len(frequencies) - 1)
    low, high = frequencies.double()[above - 1], frequencies.double()[above]
    share = ((places - low) / (high - low)).clamp(min=0)
    one = torch.eye(len(frequencies), dtype=torch.float64)
    read = torch.lerp(one[above - 1], one[above], share.unsqueeze(2))
    return (read * (places <= frequencies[-1]).unsqueeze(2)).float()


class WholeImage(nn.Sequential):
    """Two fully connected layers over all features of an image: (B, wide, H, W) -> (B, narrow, H, W).

    The layers see a grid of fixed size. Features of any other size are interpolated to it and back.

    Args:
        wide: Channels of the input.
        narrow: Channels of the grid and of the output.
        grid: Height and width of the grid.
        units: Units between the two layers.
    """

    def __init__(self, wide: int, narrow: int, grid: tuple[int, int], units: int):
        super().__init__(
            nn.Conv2d(wide, narrow, 1),
            nn.Flatten(),
            nn.Linear(narrow * prod(grid), units),
            nn.ReLU(),
            nn.Linear(units, narrow * prod(grid)),
            nn.ReLU(),
            nn.Unflatten(1, (narrow, *grid)),
        )
        self.grid = grid

    def forward(self, input: Tensor) -> Tensor:
        narrow, *connected = self
        on_grid = interpolate(narrow(input), self.grid, mode="bilinear")
        for layer in connected:
            on_grid = layer(on_grid)
        return interpolate(on_grid, input.shape[2:], mode="bilinear")


def _stacks(
    widths: Sequence[int], features: int, frequencies: Sequence[float], harmonics: Sequence[float]
) -> list[Stack]:
    """Return what the features of each resolution but the finest pass, see `Stack`; the multiple of 1 is left out."""
    others, halvings = torch.tensor([h for h in harmonics if h != 1]), 2 ** (len(widths) - 1)
    step, missing = frequencies[-1] - frequencies[-2], -len(frequencies) % halvings
    centres = [*frequencies, *(frequencies[-1] + step * more for more in range(1, missing + 1))]
    stacks = []
    for width in widths[:-1]:
        centres = [(low + high) / 2 for low, high in zip(centres[::2], centres[1::2], strict=True)]
        stacks.append(Stack(width, features, harmonic_stack(torch.tensor(centres), others)))
    return stacks


def _convolutions(
    channels_in: int, channels_out: int, kernel: tuple[int, int], stack: Stack | None = None
) -> nn.Sequential:
    layers: list[nn.Module] = [stack] if stack else []
    around: Any = [side // 2 for side in kernel]
    for channels in (stack.channels if stack else channels_in, channels_out):
        convolution = nn.Conv2d(channels, channels_out, kernel, padding=around, bias=False)
        layers += [convolution, nn.BatchNorm2d(channels_out), nn.ReLU()]
    return nn.Sequential(*layers)
