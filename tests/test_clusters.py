"""Balanced codes against a plain double loop and lightly's, and cross entropy with soft targets."""

import math

import pytest
import torch
from lightly.loss.swav_loss import sinkhorn as lightlys
from torch import Tensor
from torch.nn import functional as F

from manyviews.objectives import sinkhorn, soft_cross_entropy


def scores(rows: int = 24, clusters: int = 7, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(rows, clusters, generator=draw, dtype=torch.float64) * 2 - 1


def plain(score: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Algorithm of SwAV's appendix A, entry by entry."""
    rows, clusters = score.shape
    q = [[math.exp(float(score[b, k]) / epsilon) for k in range(clusters)] for b in range(rows)]
    for _ in range(iterations):
        for k in range(clusters):
            total = sum(q[b][k] for b in range(rows))
            for b in range(rows):
                q[b][k] /= total * clusters
        for b in range(rows):
            total = sum(q[b])
            for k in range(clusters):
                q[b][k] /= total * rows
    return torch.tensor(q, dtype=torch.float64) * rows


@pytest.mark.parametrize("iterations", [1, 3, 10])
@pytest.mark.parametrize("epsilon", [0.05, 0.5])
def test_codes_are_those_of_a_double_loop(epsilon: float, iterations: int) -> None:
    torch.testing.assert_close(
        sinkhorn(scores(), epsilon, iterations), plain(scores(), epsilon, iterations), rtol=1e-9, atol=0
    )


def test_codes_are_lightlys() -> None:
    torch.testing.assert_close(
        sinkhorn(scores(), 0.05, 3), lightlys(scores(), iterations=3, epsilon=0.05), rtol=1e-9, atol=0
    )


def test_items_are_shared_out_evenly_and_each_code_is_a_distribution() -> None:
    q = sinkhorn(scores(60, 6), 0.05, 200)
    torch.testing.assert_close(q.sum(1), torch.ones(60, dtype=torch.float64))
    torch.testing.assert_close(q.sum(0), torch.full((6,), 10.0, dtype=torch.float64), rtol=1e-3, atol=0)


def test_where_all_prefer_one_cluster_it_still_gets_its_share_alone() -> None:
    score = 0.01 * scores(60, 6)
    score[:, 2] += 1
    assert (score.argmax(1) == 2).all()
    assert sinkhorn(score, 0.05, 3).sum(0).max() < 20


def test_scores_too_large_for_an_exponential_are_not_too_large_here() -> None:
    score = scores().float() + 1000
    q = sinkhorn(score, 0.05, 3)
    assert q.dtype == torch.float32
    torch.testing.assert_close(q, sinkhorn(score - 1000, 0.05, 3), rtol=2e-3, atol=1e-5)
    half = sinkhorn(scores().half(), 0.05, 3)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, sinkhorn(scores().half().float(), 0.05, 3))


def test_a_row_that_is_not_there_changes_no_code() -> None:
    padded = torch.cat([scores(), torch.full((5, 7), -torch.inf)])
    q = sinkhorn(padded, 0.05, 3)
    torch.testing.assert_close(q[:24], sinkhorn(scores(), 0.05, 3))
    assert (q[24:] == 0).all()


def test_it_gives_no_gradient() -> None:
    assert not sinkhorn(scores().requires_grad_(), 0.05, 3).requires_grad


@pytest.mark.parametrize(("epsilon", "iterations"), [(0.0, 3), (-1.0, 3), (0.05, 0)])
def test_nonsense_is_refused(epsilon: float, iterations: int) -> None:
    with pytest.raises(ValueError, match="Sinkhorn needs an epsilon above zero and at least one iteration"):
        sinkhorn(scores(), epsilon, iterations)


def test_soft_cross_entropy_is_torchs() -> None:
    logits, target = scores(), sinkhorn(scores(seed=1), 0.5, 3)
    torch.testing.assert_close(soft_cross_entropy(logits, target), F.cross_entropy(logits, target))
    hard = target.argmax(1)
    torch.testing.assert_close(
        soft_cross_entropy(logits, F.one_hot(hard, 7).double()), F.cross_entropy(logits, hard)
    )
