"""Crops of several sizes: in one pass a size, in order, with the statistics of all that share it; sides that nets can take."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manyviews.errors import ManyviewsError
from manyviews.nets import build
from manyviews.nets.multicrop import by_size, local_side


def views(*sides: int) -> list[Tensor]:
    make = torch.Generator().manual_seed(0)
    return [torch.randn(3, 3, side, side, generator=make) for side in sides]


def test_each_size_goes_through_once_and_comes_out_in_order() -> None:
    sizes: list[tuple[int, ...]] = []

    def net(x: Tensor) -> Tensor:
        sizes.append(tuple(x.shape))
        return x.mean((2, 3))

    seen = views(8, 8, 4, 4, 4)
    outs = by_size(net, seen)
    assert sizes == [(6, 3, 8, 8), (9, 3, 4, 4)]
    for out, view in zip(outs, seen, strict=True):
        torch.testing.assert_close(out, view.mean((2, 3)))


def test_crops_of_one_size_share_their_statistics() -> None:
    norm, seen = nn.BatchNorm2d(3, affine=False), views(8, 8, 4)
    outs = by_size(lambda x: norm(x).flatten(1), seen)
    together = norm(torch.cat(seen[:2])).flatten(1)
    torch.testing.assert_close(torch.cat(outs[:2]), together)
    assert not torch.allclose(outs[0], norm(seen[0]).flatten(1))


@pytest.mark.parametrize("variant", ["", "/2d", "/sincos2d", "/average", "/none", "/hybrid"])
def test_a_vit_reads_crops_of_several_sizes_as_it_reads_each_alone(variant: str) -> None:
    torch.manual_seed(0)
    net, seen = build(f"small_vit{variant}").eval(), views(32, 32, 16, 12)
    with torch.no_grad():
        outs = by_size(net, seen)
        for out, view in zip(outs, seen, strict=True):
            torch.testing.assert_close(out, net(view), rtol=1e-4, atol=1e-5)


def test_a_small_crop_s_patches_stand_where_interpolation_puts_them() -> None:
    torch.manual_seed(0)
    net = build("small_vit")
    whole = net.positions[0].weight  # of 8 x 8 patches, after the class token's
    grid = whole[1:].T.reshape(1, -1, 8, 8)
    halved = F.interpolate(grid, (4, 4), mode="bicubic", antialias=True)[0].flatten(1).T
    torch.testing.assert_close(net.positions[0]((4, 4)), torch.cat([whole[:1], halved]))


def test_both_sizes_train_the_same_positions() -> None:
    torch.manual_seed(0)
    net = build("small_vit")
    by_size(net, views(32, 16))[1][:, 0].sum().backward()
    assert net.positions[0].weight.grad is not None and bool(net.positions[0].weight.grad.any())


@pytest.mark.parametrize(
    ("name", "side", "share", "pixels"),
    [
        ("vit_s16", 224, 3 / 7, 96),  # the papers'
        ("resnet18", 224, 3 / 7, 96),
        ("small_vit", 32, 3 / 7, 12),
        ("small_vit", 32, 0.5, 16),
        ("small_vit", 32, 0.01, 4),
        ("small_resnet", 32, 3 / 7, 14),
    ],
)
def test_a_local_side_is_a_share_of_the_global_one_in_whole_patches(
    name: str, side: int, share: float, pixels: int
) -> None:
    net = build(name, size=side)
    before, random = {k: v.clone() for k, v in net.state_dict().items()}, torch.random.get_rng_state()
    assert local_side(net, side, 2, share) == pixels
    assert net.training and all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    assert torch.equal(random, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("name", "said"),
    [("small_vit/relative", "Relative positions count all patches"), ("alexnet", "cannot take local crops")],
)
def test_a_net_that_cannot_take_small_crops_is_told_so_before_the_first_step(name: str, said: str) -> None:
    with pytest.raises(ManyviewsError, match=said) as refused:
        local_side(build(name, size=32 if "vit" in name else 64), 32 if "vit" in name else 64, 2, 0.5)
    assert "or no local crops" in str(refused.value)
