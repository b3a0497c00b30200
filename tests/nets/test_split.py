"""Two nets side by side: each sees its own channels, and the whole is an encoder like any other."""

import pytest
import torch

from manyviews import nets
from manyviews.errors import ManyviewsError
from manyviews.nets import interop
from manyviews.nets.encoder import start_from
from manyviews.nets.split import Split
from manyviews.rng import generator
from manyviews.views import normalise, spaces

SIZE = 16


def split(name: str = "lab(cifar_resnet8)") -> Split:
    torch.manual_seed(0)
    encoder = nets.build(name, size=SIZE)
    assert isinstance(encoder, Split)
    return encoder.eval()


def pictures(items: int = 3) -> torch.Tensor:
    return torch.rand(items, 3, SIZE, SIZE, generator=generator("split"))


@pytest.mark.parametrize("space", spaces.LIGHT_AND_COLOUR)
def test_each_half_sees_its_own_channels(space):
    encoder, x = split(f"{space}(cifar_resnet8)"), pictures()
    channels = spaces.balanced(x, space)
    h_light, h_colour = encoder(normalise(x)).split(encoder.widths, 1)
    torch.testing.assert_close(h_light, encoder.light(channels[:, :1]), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(h_colour, encoder.colour(channels[:, 1:]), atol=1e-5, rtol=1e-4)
    assert (encoder.light.in_channels, encoder.colour.in_channels, encoder.in_channels) == (1, 2, 3)


def test_the_grid_is_both_and_its_mean_the_embedding():
    encoder, x = split(), normalise(pictures())
    assert encoder.width == sum(encoder.widths) == encoder(x).shape[1]
    torch.testing.assert_close(encoder.grid(x).mean((2, 3)), encoder(x))


def test_grey_pictures_differ_in_light_alone():
    encoder = split()
    grey = torch.tensor([0.2, 0.8])[:, None, None, None].expand(2, 3, SIZE, SIZE)
    h_light, h_colour = encoder(normalise(grey)).split(encoder.widths, 1)
    torch.testing.assert_close(h_colour[0], h_colour[1], atol=1e-4, rtol=0)
    assert (h_light[0] - h_light[1]).abs().max() > 0.01


def test_it_is_saved_opened_and_begun_from_by_its_name(tmp_path):
    encoder, x = split(), normalise(pictures())
    interop.save_encoder(tmp_path, encoder, {})
    again, _ = interop.load_encoder(tmp_path)
    assert isinstance(again, Split) and again.built == encoder.built
    assert torch.equal(again.eval()(x), encoder(x))
    other = nets.build("lab(cifar_resnet8)", size=SIZE).eval()
    start_from(other, encoder)
    assert torch.equal(other(x), encoder(x))


def test_what_cannot_be_parted_is_refused():
    with pytest.raises(ManyviewsError, match="RGB images, which have 3 channels, not 1"):
        nets.build("lab(cifar_resnet8)", in_channels=1)
    with pytest.raises(ManyviewsError, match="RGB images, which have 3 channels, not 1"):
        nets.build("ydbdr(lab(cifar_resnet8))")  # what is inside would see the light alone
    with pytest.raises(ManyviewsError, match="takes no numbers"):
        nets.build("lab(cifar_resnet8, 2)")
    with pytest.raises(ManyviewsError, match="no net called"):
        nets.build("lab(cifar_resnet9000)")
