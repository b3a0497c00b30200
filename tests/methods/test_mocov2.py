"""MoCo v2: without what table 1 adds, it is MoCo, and each of its changes comes by itself."""

from typing import Any

import pytest
import torch
from torch import nn

from manyviews.method import Batch, Spec, find
from manyviews.methods.contrastive.moco import MoCo
from manyviews.runs import net_factory
from shrink import shrunk

SIZE = 16


def built(name: str, **settings: Any) -> MoCo:
    torch.manual_seed(0)
    config = shrunk(find(name).config(), temperature=0.1, **settings)
    return find(name).method(config, net_factory("cifar_resnet8", SIZE), Spec(items=64, size=SIZE))  # pyright: ignore


def head(method: MoCo) -> list[type[nn.Module]]:
    return [type(layer) for layer in method.head().modules() if not isinstance(layer, nn.Sequential)]


def test_without_its_changes_it_is_moco() -> None:
    ours, moco = built("mocov2", mlp=False, aug_plus=False), built("moco")
    assert ours.views().views == moco.views().views
    views = [torch.randn(8, 3, SIZE, SIZE) for _ in range(2)]
    losses = []
    for method in (ours, moco):
        torch.manual_seed(1)  # keys are shuffled
        losses.append(method.loss(Batch(views, torch.arange(8)), 0.0).loss)
    assert torch.equal(*losses)


@pytest.mark.parametrize(("name", "more"), [("moco", {}), ("densecl", {}), ("infomin", {"jigsaw": 0.0})])
def test_keys_go_through_in_another_order(name: str, more: dict[str, Any]) -> None:
    method, views = built(name, splits=2, **more), [torch.randn(8, 3, SIZE, SIZE) for _ in range(2)]
    losses = set[float]()
    for seed in range(4):
        torch.manual_seed(seed)
        losses.add(float(method.loss(Batch(views, torch.arange(8)), 0.0).loss.detach()))
    assert len(losses) > 1  # keys share their statistics with others each time


def test_head_and_views_change_one_at_a_time() -> None:
    v1, whole = built("moco"), built("mocov2")
    with_head, with_views = built("mocov2", aug_plus=False), built("mocov2", mlp=False)
    assert head(with_head) == head(whole) == [nn.Linear, nn.ReLU, nn.Linear]
    assert head(with_views) == head(v1) == [nn.Linear]
    assert with_head.views().views == v1.views().views
    assert with_views.views().views == whole.views().views != v1.views().views
