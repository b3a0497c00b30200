"""An encoder on overlapping patches, the masked context over its grid, and layer norm in place of batch norm."""

import pytest
import torch
from torch import Tensor, nn

from manyviews import nets
from manyviews.errors import ManyviewsError
from manyviews.nets.masked_conv import DIRECTIONS, MaskedContext, turned
from manyviews.nets.norms import layer_norm
from manyviews.nets.patchwise import Patchwise, patchwise
from manyviews.rng import generator


def images(size: int = 20, batch: int = 3) -> Tensor:
    return torch.randn(batch, 3, size, size, generator=generator("images"))


def patches(name: str = "patches(layer_norm(cifar_resnet8), 8, 4)", size: int = 20) -> Patchwise:
    torch.manual_seed(0)
    encoder = nets.build(name, size=size)
    assert isinstance(encoder, Patchwise)
    return encoder


def test_each_position_is_its_own_patch_and_the_embedding_their_mean() -> None:
    encoder, x = patches(), images()
    grid = encoder.grid(x)
    assert grid.shape == (3, 64, 4, 4) and encoder.width == 64
    for i in range(4):
        for j in range(4):
            alone = encoder.inner(x[:, :, 4 * i : 4 * i + 8, 4 * j : 4 * j + 8])
            torch.testing.assert_close(grid[:, :, i, j], alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(encoder(x), grid.mean((2, 3)))


def test_the_papers_grids() -> None:
    assert patches("patches(small_resnet, 64, 32)", 256).side(256) == 7
    assert patches("patches(small_resnet, 80, 36)", 260).side(260) == 6


def test_a_grid_that_does_not_fill_the_image_stands_in_its_middle() -> None:
    encoder, x = patches(size=23), images(23)
    assert torch.equal(encoder.cut(x), encoder.cut(x[:, :, 1:21, 1:21]))
    wide = encoder.grid(torch.cat([x, x], 3))
    assert wide.shape == (3, 64, 4, 10)


def test_it_comes_back_by_its_name() -> None:
    encoder = patches()
    assert encoder.built is not None and encoder.built.name == "patches(layer_norm(cifar_resnet8), 8, 4)"
    again = nets.build(encoder.built.name, size=20)
    again.load_state_dict(encoder.state_dict())
    assert torch.equal(again(images()), encoder(images()))


@pytest.mark.parametrize(
    ("name", "size", "says"),
    [
        ("patches(small_resnet, 16, 8)", 12, "An image of 12 pixels holds no patch of 16"),
        ("patches(small_resnet, 8)", 32, "patches.NET, 16, 8. takes"),
        ("patches(small_resnet)", 32, "not none"),
        ("patches(small_resnet, 8, 0)", 32, "both above 0"),
        ("patches(alexnet, 16, 8)", 32, "at least 63 pixels a side, not 16"),
        ("patches(small_vit, 10, 5)", 32, "do not divide images of 10 x 10"),
        ("layer_norm(small_resnet, 3)", 32, "takes no numbers"),
    ],
)
def test_what_makes_no_grid_is_refused(name: str, size: int, says: str) -> None:
    with pytest.raises(ManyviewsError, match=says):
        nets.build(name, size=size)


def test_a_net_that_fails_on_a_patch_is_refused_before_it_is_used() -> None:
    class Deep(nets.Encoder):
        def grid(self, x_BCHW: Tensor) -> Tensor:
            return nn.functional.max_pool2d(x_BCHW, 16)

    def inner(*, in_channels: int, size: int) -> nets.Encoder:
        return Deep(width=in_channels)

    assert patchwise(inner, 16, 8, in_channels=3, size=32).side(32) == 3
    with pytest.raises(ManyviewsError, match='"Deep" cannot see patches of 8 pixels'):
        patchwise(inner, 8, 4, in_channels=3, size=32)


def test_a_smaller_image_than_a_patch_is_refused_later_too() -> None:
    with pytest.raises(ManyviewsError, match="An image of 6 pixels holds no patch of 8"):
        patches()(images(6))


# -- layer norm ------------------------------------------------------------------------------------------------


def test_with_layer_norm_an_image_does_not_see_the_others() -> None:
    x = images(16, 4)
    plain, layer = nets.build("small_resnet").train(), nets.build("layer_norm(small_resnet)").train()
    assert not torch.allclose(plain(x)[:1], plain(x[:1]), atol=1e-3)
    torch.testing.assert_close(layer(x)[:1], layer(x[:1]), rtol=1e-4, atol=1e-5)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in layer.modules())


def test_it_is_layer_norm_over_channels_and_cells() -> None:
    norm = layer_norm(nn.Sequential(nn.BatchNorm2d(3)))
    x = images(5)
    torch.testing.assert_close(norm(x), nn.functional.layer_norm(x, (3, 5, 5)))


def test_group_norms_stay_and_strange_batch_norms_are_refused() -> None:
    assert len(nets.build("layer_norm(small_resnet+group)").state_dict()) == len(
        nets.build("small_resnet+group").state_dict()
    )

    class Strange(nn.BatchNorm2d):
        pass

    with pytest.raises(ManyviewsError, match="Strange"):
        layer_norm(nn.Sequential(Strange(3)))


# -- the context -----------------------------------------------------------------------------------------------


def test_a_context_sees_whole_rows_above_and_nothing_below() -> None:
    """By gradient: position (i, j) depends on rows i - blocks to i, and columns within as many on either side."""
    torch.manual_seed(0)
    blocks = 2
    context = MaskedContext(4, 64, blocks=blocks).double()
    z = torch.randn(1, 4, 6, 7, dtype=torch.float64, requires_grad=True)
    before_relu = context.blocks(z)
    for i in range(6):
        for j in range(7):
            (grad,) = torch.autograd.grad(before_relu[..., i, j].sum(), z, retain_graph=True)
            row, column = torch.arange(6)[:, None], torch.arange(7)
            reach = (row <= i) & (row >= i - blocks) & ((column - j).abs() <= blocks)
            assert torch.equal(grad[0].abs().sum(0) > 0, reach), (i, j)
    assert torch.equal(context(z), before_relu.relu())


def test_turning_brings_what_is_predicted_below() -> None:
    x = torch.arange(9).view(1, 1, 3, 3)
    last_row = {to: turned(x, to)[0, 0, -1].tolist() for to in DIRECTIONS}
    assert sorted(last_row["down"]) == [6, 7, 8] and sorted(last_row["up"]) == [0, 1, 2]
    assert sorted(last_row["right"]) == [2, 5, 8] and sorted(last_row["left"]) == [0, 3, 6]
