"""MoCo's, BYOL's and SimSiam's loss as a whole, written out: which view meets which, and what has a gradient."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from lightly.loss import NegativeCosineSimilarity
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from manyviews.method import Batch, Spec, find
from manyviews.runs import net_factory

NET, SIDE, ITEMS = "cifar_resnet8+group", 16, 6
SMALL: dict[str, dict[str, Any]] = {
    "moco": {"dim": 8, "queue": 12},
    "mocov2": {"dim": 8, "queue": 12},
    "byol": {"dim": 8, "hidden": 16},
    "simsiam": {"dim": 16, "bottleneck": 8},
}


def made(name: str) -> Any:
    """The method in double precision, its twin, where it has one, elsewhere than at the start."""
    torch.manual_seed(0)
    paper = find(name)
    method: Any = paper.method(
        replace(paper.config(), **SMALL[name]), net_factory(NET, SIDE), Spec(items=ITEMS, size=SIDE)
    )
    for twin in (getattr(method, "key", None), getattr(method, "target", None)):
        for p in () if twin is None else twin.parameters():
            p.data.add_(0.05 * torch.randn_like(p))
    return method.double()


def moco(method: Any, x_q: Tensor, x_k: Tensor) -> Tensor:
    q = normalize(method.query(x_q))
    with torch.no_grad():
        k = normalize(method.key.module(x_k))
    logits = torch.cat([(q * k).sum(1, keepdim=True), q @ method.queue.keys_KD.T], 1)
    return cross_entropy(logits / method.config.temperature, torch.zeros(ITEMS, dtype=torch.long))


def byol(method: Any, v: Tensor, v_prime: Tensor) -> Tensor:
    away = NegativeCosineSimilarity()  # eq. 2 is 2 - 2 cos
    with torch.no_grad():
        there, back = method.target.module(v_prime), method.target.module(v)
    one_way = 2 + 2 * away(method.predictor(method.online(v)), there)
    return one_way + 2 + 2 * away(method.predictor(method.online(v_prime)), back)


def simsiam(method: Any, x1: Tensor, x2: Tensor) -> Tensor:
    away = NegativeCosineSimilarity()
    z1, z2 = method.f(x1), method.f(x2)
    return (away(method.h(z1), z2.detach()) + away(method.h(z2), z1.detach())) / 2


@pytest.mark.parametrize(
    ("name", "written_out"), [("moco", moco), ("mocov2", moco), ("byol", byol), ("simsiam", simsiam)]
)
def test_loss_and_gradients_are_the_formulas(name: str, written_out: Any) -> None:
    draw = torch.Generator().manual_seed(1)
    views = [torch.randn(ITEMS, 3, SIDE, SIDE, generator=draw, dtype=torch.float64) for _ in range(2)]
    found = []
    for loss in (
        lambda method: method.loss(Batch(views, torch.arange(ITEMS)), 0.3).loss,
        lambda method: written_out(method, *views),
    ):
        method = made(name)
        value = loss(method)
        value.backward()
        grads = {key: p.grad for key, p in method.named_parameters() if p.grad is not None}
        found.append({"loss": value.detach(), **grads})
    ours, theirs = found
    assert ours.keys() == theirs.keys() and len(ours) > 5
    for key, value in theirs.items():
        torch.testing.assert_close(
            ours[key], value, rtol=1e-8, atol=1e-10, msg=lambda text, key=key: f"{key}: {text}"
        )
