"""SimCLR with small crops (multi-crop): which pairs meet, at what weight, and nothing changes without them."""

from typing import Any

import pytest
import torch
from torch import Tensor

from manyviews.method import Batch, Spec, find
from manyviews.methods.contrastive.simclr import SimCLR, multicrop
from manyviews.objectives import nt_xent
from manyviews.runs import net_factory
from shrink import shrunk

SIZE, ROWS = 16, 8


def built(name: str = "simclr", **settings: Any) -> SimCLR:
    torch.manual_seed(0)
    config = shrunk(find(name).config(), **settings)
    return find(name).method(config, net_factory("cifar_resnet8", SIZE), Spec(items=64, size=SIZE))  # pyright: ignore


def batch(method: SimCLR) -> Batch:
    torch.manual_seed(1)
    views = [torch.randn(ROWS, 3, view.size, view.size) for view in method.views().views]
    return Batch(views, torch.arange(ROWS))


def test_every_small_crop_meets_both_large_ones_and_no_other_small_one() -> None:
    met: list[tuple[float, float]] = []

    def loss(a: Tensor, b: Tensor) -> Tensor:
        met.append((a.item(), b.item()))
        return a * b

    z = [torch.tensor(value) for value in (1.0, 2.0, 10.0, 20.0)]
    assert multicrop(loss, z).item() == pytest.approx((2 + (10 + 20) / 2 + (20 + 40) / 2) / 3)
    assert met == [(1, 2), (1, 10), (2, 10), (1, 20), (2, 20)]


def test_small_crops_are_views_of_their_own_size_and_reach_the_loss() -> None:
    method = built(local_crops=2, local_share=0.5, local_area=(0.1, 0.3))
    assert [(view.size, view.crop) for view in method.views().views] == [
        *[(16, (0.08, 1.0))] * 2,
        *[(8, (0.1, 0.3))] * 2,
    ]
    seen = batch(method)
    loss = method.loss(seen, 0.0).loss
    loss.backward()
    assert all(p.grad is not None for p in method.parameters())
    seen.views[3].zero_()
    assert method.loss(seen, 0.0).loss != loss


def test_without_small_crops_it_is_the_loss_of_two_views() -> None:
    method = built(local_crops=0)
    assert len(method.views().views) == 2
    seen = batch(method)
    z_i, z_j = method.projector(method.encoder(torch.cat(seen.views))).chunk(2)
    assert torch.equal(method.loss(seen, 0.0).loss, nt_xent(z_i, z_j, method.config.temperature))


def test_simclr_v2_takes_small_crops_too() -> None:
    method = built("simclrv2", queue=0, local_crops=1, local_share=0.5)
    seen = batch(method)
    z = method.embedded(seen.views)
    t = method.config.temperature
    pairs = nt_xent(z[0], z[1], t) + (nt_xent(z[0], z[2], t) + nt_xent(z[1], z[2], t)) / 2
    torch.testing.assert_close(method.loss(seen, 0.0).loss, pairs / 2)
