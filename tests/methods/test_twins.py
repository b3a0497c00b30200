"""MoCo's, BYOL's, SimCLR's and SimSiam's loss as a whole, written out: which view meets which, and what has a gradient."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from lightly.loss import NegativeCosineSimilarity, NTXentLoss
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from manyviews.method import Batch, Spec, find
from manyviews.runs import net_factory

NET, SIDE, ITEMS = "cifar_resnet8+group", 16, 6
SMALL: dict[str, dict[str, Any]] = {
    "moco": {"dim": 8, "queue": 12},
    "mocov2": {"dim": 8, "queue": 12},
    "byol": {"dim": 8, "hidden": 16},
    "simclr": {"dim": 8, "hidden": 16},
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


def simclr(method: Any, x1: Tensor, x2: Tensor) -> Tensor:
    z1, z2 = method.projector(method.encoder(torch.cat([x1, x2]))).chunk(2)
    return NTXentLoss(temperature=method.config.temperature)(z1, z2)


def simsiam(method: Any, x1: Tensor, x2: Tensor) -> Tensor:
    away = NegativeCosineSimilarity()
    z1, z2 = method.f(x1), method.f(x2)
    return (away(method.h(z1), z2.detach()) + away(method.h(z2), z1.detach())) / 2


@pytest.mark.parametrize("name", ["moco", "mocov2", "densecl", "infomin"])
def test_the_twin_follows_and_its_keys_are_queued(name: str) -> None:
    paper, more = find(name), {"jigsaw": 0.0} if name == "infomin" else {}
    config = replace(paper.config(), dim=8, queue=12, splits=1, momentum=0.75, **more)
    method: Any = paper.method(config, net_factory(NET, SIDE), Spec(items=ITEMS, size=SIDE))
    for p in method.query.parameters():
        p.data.add_(0.1 * torch.randn_like(p))  # so that queries are no keys
    views = [torch.randn(ITEMS, 3, SIDE, SIDE) for _ in range(2)]
    out, keys = method.loss(Batch(views, torch.arange(ITEMS)), 0.0), method.key(views[1])
    keys = keys if isinstance(keys, Tensor) else keys[int(name == "densecl")]
    was = [p.clone() for p in method.key.parameters()]
    method.after_step(out, 0.5)
    queue = method.queues[0] if name == "infomin" else method.queue
    torch.testing.assert_close(queue.keys_KD[:ITEMS], normalize(keys, dim=1))
    for old, now, query in zip(was, method.key.parameters(), method.query.parameters(), strict=True):
        torch.testing.assert_close(now, 0.75 * old + 0.25 * query)


def kinds(head: Any) -> list[str]:
    return [type(layer).__name__ for layer in head]


def test_heads_are_the_papers_and_a_predictor_keeps_its_rate() -> None:
    byol, simsiam = made("byol"), made("simsiam")
    two = ["Linear", "BatchNorm1d", "ReLU", "Linear"]
    assert kinds(byol.online[1]) == kinds(byol.predictor) == kinds(simsiam.h) == two
    assert kinds(simsiam.f[1]) == two[:3] * 2 + ["Linear", "BatchNorm1d"] and not simsiam.f[1][-1].affine
    assert {id(p) for p in simsiam.constant_rate()} == {id(p) for p in simsiam.h.parameters()}


MOCO = ((0.4, 0.4, 0.4, 0.4), 1.0, 0.2, 0.0, (0.2, 1.0))  # jitter, its probability, grey, blur, area
MOCO_V2 = ((0.4, 0.4, 0.4, 0.1), 0.8, 0.2, 0.5, (0.2, 1.0))
SIMCLR = ((0.8, 0.8, 0.8, 0.2), 0.8, 0.2, 0.5, (0.08, 1.0))


@pytest.mark.parametrize(
    ("names", "look"),
    [
        (("moco", "instdisc", "invaspread"), MOCO),
        (("mocov2", "simsiam", "densecl"), MOCO_V2),
        (("simclr", "simclrv2", "wcl"), SIMCLR),
    ],
)
def test_views_are_the_papers(names: tuple[str, ...], look: tuple[Any, ...]) -> None:
    for name in names:
        paper = find(name)
        method: Any = paper.method(paper.config(), net_factory(NET, SIDE), Spec(items=ITEMS, size=SIDE))
        for view in method.views().views:
            assert (view.jitter, view.jitter_p, view.grey, view.blur, view.crop) == look, name


@pytest.mark.parametrize(
    ("name", "written_out"),
    [("moco", moco), ("mocov2", moco), ("byol", byol), ("simclr", simclr), ("simsiam", simsiam)],
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
