"""Neighbours are exact for every size, and the vote is that of instance discrimination."""

import importlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from manyviews.errors import Diverged, ManyviewsError
from manyviews.evaluation.knn import knn, knn_accuracy, neighbours

knn_module = importlib.import_module(
    "manyviews.evaluation.knn"
)  # the package has the function under that name


def rows(count: int, dim: int = 8, seed: int = 0) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return F.normalize(a.double(), dim=1) @ F.normalize(b.double(), dim=1).T


@settings(max_examples=60, deadline=None)
@given(bank=st.integers(1, 400), queries=st.integers(0, 40), k=st.integers(1, 450), chunk=st.integers(1, 50))
def test_neighbours_equal_brute_force(bank: int, queries: int, k: int, chunk: int) -> None:
    bank_ND, query_MD = rows(bank), rows(queries, seed=1)
    similarity, index = neighbours(bank_ND, query_MD, k, chunk=chunk)
    everything = cosine(query_MD, bank_ND)
    best = everything.topk(min(k, bank), dim=1)
    assert similarity.shape == index.shape == (queries, min(k, bank))
    assert torch.allclose(similarity.double(), best.values, atol=1e-5)
    assert torch.allclose(everything.gather(1, index), best.values, atol=1e-5)
    assert all(len(set(row)) == min(k, bank) for row in index.tolist())


def test_neighbours_in_a_bank_of_several_tiles() -> None:
    bank_ND, query_MD = rows(20_011, 16), rows(30, 16, seed=1)
    similarity, index = neighbours(bank_ND, query_MD, 200)
    best = cosine(query_MD, bank_ND).topk(200, dim=1)
    assert torch.allclose(similarity.double(), best.values, atol=1e-5)
    assert [set(a) ^ set(b) for a, b in zip(index.tolist(), best.indices.tolist(), strict=True)].count(
        set()
    ) >= 29


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_share_the_queries_and_leave_no_trace(threads: int) -> None:
    bank_ND, query_MD = rows(500).requires_grad_(), rows(100, seed=1)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        similarity, index = neighbours(bank_ND, query_MD, 7, chunk=10)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    best = cosine(query_MD, bank_ND).topk(7, dim=1)
    assert torch.equal(index, best.indices) and torch.allclose(similarity.double(), best.values, atol=1e-5)
    assert not similarity.requires_grad


def test_equal_rows_are_found_once_each() -> None:
    bank_ND = torch.cat([rows(3).repeat(40, 1), -torch.ones(50, 8)])
    similarity, index = neighbours(bank_ND, rows(3), 40)
    assert torch.allclose(similarity, torch.ones(3, 40))
    for query, found in enumerate(index.tolist()):
        assert sorted(found) == list(range(query, 120, 3))


@pytest.mark.parametrize("k", [1, 5, 60, 1000])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_the_vote_equals_scikit_learn(k: int, temperature: float) -> None:
    from sklearn.neighbors import KNeighborsClassifier

    bank_ND, query_MD = rows(300), rows(50, seed=1)
    labels = torch.randint(0, 5, (300,), generator=torch.Generator().manual_seed(2))
    scores = knn(bank_ND, labels, query_MD, classes=5, k=k, temperature=temperature)
    reference = KNeighborsClassifier(
        min(k, 300), metric="cosine", algorithm="brute", weights=lambda d: np.exp((1 - d) / temperature)
    ).fit(bank_ND.double().numpy(), labels.numpy())
    assert np.allclose(scores.numpy(), reference.predict_proba(query_MD.double().numpy()), atol=1e-4)
    truth = torch.from_numpy(reference.predict(query_MD.double().numpy()))
    assert knn_accuracy(bank_ND, labels, query_MD, truth, classes=5, k=k, temperature=temperature) >= 0.98


def test_a_tiny_temperature_leaves_the_nearest_alone_to_vote() -> None:
    bank_ND = rows(100)
    labels = torch.arange(100)
    scores = knn(bank_ND, labels, bank_ND * 7, classes=100, k=50, temperature=1e-4)
    assert torch.allclose(scores, torch.eye(100), atol=1e-5)
    assert knn_accuracy(bank_ND, labels, bank_ND, labels.roll(1), classes=100, k=50, temperature=1e-4) == 0.0


def test_what_cannot_be_judged_is_said_in_a_sentence() -> None:
    bank_ND, labels = rows(10), torch.zeros(10, dtype=torch.int64)
    with pytest.raises(ManyviewsError, match="empty"):
        neighbours(bank_ND[:0], bank_ND, 3)
    with pytest.raises(ManyviewsError, match="at least one neighbour"):
        neighbours(bank_ND, bank_ND, 0)
    with pytest.raises(ManyviewsError, match="one width"):
        neighbours(bank_ND, bank_ND[:, :3], 3)
    with pytest.raises(Diverged, match="not finite"):
        neighbours(bank_ND, bank_ND / 0.0, 3)
    with pytest.raises(ManyviewsError, match="one label per row"):
        knn(bank_ND, labels[:4], bank_ND, classes=2)
    with pytest.raises(ManyviewsError, match="0 to 1"):
        knn(bank_ND, labels + 2, bank_ND, classes=2)
    with pytest.raises(ManyviewsError, match="above zero"):
        knn(bank_ND, labels, bank_ND, classes=2, temperature=0.0)
    with pytest.raises(ManyviewsError, match="at least one query"):
        knn_accuracy(bank_ND, labels, bank_ND[:0], labels[:0], classes=2)


@pytest.mark.parametrize("cells", [2**26, 64 * 500 * 2, 1])
def test_threads_share_what_memory_there_is(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[tuple[int, int]] = []
    search = knn_module._search

    def watched(bank_ND: Tensor, query_MD: Tensor, k: int, chunk: int) -> tuple[Tensor, Tensor]:
        shares.append((len(query_MD), chunk))
        return search(bank_ND, query_MD, k, chunk)

    monkeypatch.setattr(knn_module, "_search", watched)
    monkeypatch.setattr(knn_module, "CELLS", cells)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    similarity, _ = neighbours(rows(500), rows(1000, seed=1), 5)
    torch.testing.assert_close(similarity, cosine(rows(1000, seed=1), rows(500)).topk(5).values.float())
    assert len(shares) == {2**26: 8, 64 * 500 * 2: 2, 1: 1}[cells]
    assert sum(chunk for _, chunk in shares) * 500 <= max(cells, 64 * 500)
