import torch
from torch import nn

from vaebss.models.networks import Decoder, Encoder
from vaebss.models.onnx import Logistic

SHAPE, WIDTHS = (1, 28, 28), (700, 600, 500, 400, 300)


def widths(network):
    return [layer.out_features for layer in network.modules() if isinstance(layer, nn.Linear)]


def test_layers_are_those_of_the_paper():
    assert widths(Encoder(SHAPE, WIDTHS, 2, 20)) == [700, 600, 500, 400, 300, 80]
    assert widths(Decoder(SHAPE, WIDTHS, 20)) == [300, 400, 500, 600, 700, 784]


def test_one_decoder_treats_every_slot_alike():
    decoder = Decoder(SHAPE, (16, 8), 4).eval()
    latents = torch.randn(3, 2, 4)
    estimates = decoder(latents)
    assert estimates.shape == (3, 2, 1, 28, 28)
    torch.testing.assert_close(decoder(latents.flip(1)), estimates.flip(1))
    assert estimates.min() >= 0
    assert estimates.max() <= 1


def test_any_image_shape():
    encoder, decoder = Encoder((3, 16, 12), (16,), 3, 5), Decoder((3, 16, 12), (16,), 5)
    assert encoder(torch.rand(4, 3, 16, 12)).shape == (4, 3, 10)
    assert decoder(torch.randn(4, 3, 5)).shape == (4, 3, 3, 16, 12)


def test_the_exported_sigmoid_is_right_to_the_last_digits_where_it_is_small():
    x = torch.linspace(-60, 20, 81)
    torch.testing.assert_close(Logistic()(x), torch.sigmoid(x.double()).float(), rtol=1e-6, atol=0)
