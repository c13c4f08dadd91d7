"""The paper's networks: fully connected layers with batch norm and ReLU. Plain modules, unaware of training."""

# B mixtures, K assumed sources, D latent size, P = C * H * W pixels

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from torch import Tensor, nn


def hidden_layers(widths: Sequence[int]) -> list[nn.Module]:
    """From the first width to the last: linear maps, each with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise(widths):
        layers += [nn.Linear(width_in, width_out, bias=False), nn.BatchNorm1d(width_out), nn.ReLU()]
    return layers


class Encoder(nn.Sequential):
    """All K posteriors of a mixture in one pass: (B, C, H, W) -> (B, K, 2 D), means before log-variances.

    Neri et al. 2021, section III: five hidden layers of 700, 600, 500, 400 and 300 units for MNIST.
    """

    def __init__(self, image_shape: Sequence[int], hidden_dims: Sequence[int], num_sources: int, latent_dim: int):
        widths = [prod(image_shape), *hidden_dims]
        super().__init__(
            nn.Flatten(),
            *hidden_layers(widths),
            nn.Linear(widths[-1], num_sources * 2 * latent_dim),
            nn.Unflatten(1, (num_sources, 2 * latent_dim)),
        )


class Decoder(nn.Module):
    """One decoder for all sources, the encoder's mirror: (..., D) -> (..., C, H, W), each pixel in (0, 1)."""

    def __init__(self, image_shape: Sequence[int], hidden_dims: Sequence[int], latent_dim: int):
        super().__init__()
        self.image_shape = tuple(image_shape)
        widths = [latent_dim, *reversed(hidden_dims)]
        self.layers = nn.Sequential(*hidden_layers(widths), nn.Linear(widths[-1], prod(image_shape)), nn.Sigmoid())

    def forward(self, latents: Tensor) -> Tensor:
        return self.layers(latents.flatten(0, -2)).float().view(*latents.shape[:-1], *self.image_shape)
