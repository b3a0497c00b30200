"""Groups within a batch: neighbours, components and losses with several positives, against independent answers."""

import numpy as np
import pytest
import torch
from pytorch_metric_learning.losses import SupConLoss
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch.nn.functional import normalize

from manyviews.objectives import components, nearest, several_positives, sup_con, weak
from manyviews.rng import generator


def rows(count: int, dim: int, *name: str | int) -> Tensor:
    return torch.randn(count, dim, generator=generator("weak", *name), dtype=torch.float64)


def same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two labellings differ in nothing but the names of their groups."""
    return bool(((a[:, None] == a[None]) == (b[:, None] == b[None])).all())


def by_scipy(neighbour: Tensor) -> np.ndarray:
    count = len(neighbour)
    graph = coo_matrix((np.ones(count), (np.arange(count), neighbour.numpy())), shape=(count, count))
    return connected_components(graph, directed=False)[1]


@pytest.mark.parametrize("count", [2, 3, 17, 64, 257])
def test_components_are_those_of_scipy(count: int) -> None:
    for seed in range(20):
        neighbour = nearest(rows(count, 3, seed))[:, 0]
        assert same_partition(components(neighbour).numpy(), by_scipy(neighbour))
        anywhere = torch.randint(count, (count,), generator=generator("graph", count, seed))
        assert same_partition(components(anywhere).numpy(), by_scipy(anywhere))


def test_components_of_a_long_chain_and_of_a_long_circle() -> None:
    chain = (torch.arange(1000) + 1).clamp(max=999)
    assert (components(chain) == 999).all()
    circle = (torch.arange(1000) + 1) % 1000
    assert (components(circle) == 0).all()


def test_nobody_is_alone_where_each_has_a_neighbour() -> None:
    group = components(nearest(rows(200, 8, "alone"))[:, 0])
    assert group.bincount()[group].min() >= 2


def test_nearest_is_that_of_all_similarities(monkeypatch: pytest.MonkeyPatch) -> None:
    z = rows(50, 6, "near")
    s = normalize(z) @ normalize(z).T
    s.fill_diagonal_(-2)
    expected = s.argsort(dim=1, descending=True)[:, :4]
    for chunk in (7, 50, 2048):
        monkeypatch.setattr(weak, "CHUNK", chunk)
        assert torch.equal(nearest(z, 4), expected)
    with pytest.raises(ValueError, match="3 rows has 2 others, so 3 nearest"):
        nearest(z[:3], 3)


@pytest.mark.parametrize("temperature", [0.01, 0.1, 1.0])
def test_sup_con_is_that_of_pytorch_metric_learning(temperature: float) -> None:
    z, label = rows(60, 5, "pml").requires_grad_(), torch.arange(60) % 7
    loss = sup_con(z, label, temperature)
    theirs = SupConLoss(temperature=temperature)(z, label)
    torch.testing.assert_close(loss, theirs, rtol=1e-9, atol=1e-12)
    (gradient,), (expected,) = torch.autograd.grad(loss, z), torch.autograd.grad(theirs, z)
    torch.testing.assert_close(gradient, expected, rtol=1e-7, atol=1e-10)


def test_rows_without_company_do_not_count() -> None:
    z = rows(6, 4, "lonely").requires_grad_()
    label = torch.tensor([0, 0, 1, 1, 2, 3])
    s = normalize(z) @ normalize(z).T / 0.2
    total = torch.stack([s[i, torch.arange(6) != i].logsumexp(0) - s[i, i ^ 1] for i in range(4)]).mean()
    torch.testing.assert_close(sup_con(z, label, 0.2), total)
    alone = sup_con(z, torch.arange(6), 0.2)
    alone.backward()
    assert alone == 0 and z.grad is not None and (z.grad == 0).all()


def test_several_positives_is_the_formula() -> None:
    q, k = rows(9, 4, "q").requires_grad_(), rows(9, 4, "k").requires_grad_()
    positive = torch.stack([torch.arange(9), (torch.arange(9) + 2) % 9], 1)
    loss = several_positives(q, k, positive, 0.3)
    s = normalize(q) @ normalize(k).T / 0.3
    expected = (s.logsumexp(1) - s.gather(1, positive).mean(1)).mean()
    torch.testing.assert_close(loss, expected)
    for ours, theirs in zip(
        torch.autograd.grad(loss, (q, k)), torch.autograd.grad(expected, (q, k)), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_a_temperature_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="must be above zero"):
        sup_con(rows(4, 2, "t"), torch.tensor([0, 0, 1, 1]), 0.0)
