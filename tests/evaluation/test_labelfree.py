"""Label-free figures against their formulas and against cases whose answer is known."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from manyviews.evaluation import labelfree
from manyviews.evaluation.labelfree import alignment, apart, rankme, spread, uniformity


def gauss(n, dim, seed=0):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


@given(st.integers(2, 40), st.integers(1, 30), st.integers(0, 99))
def test_rankme_is_the_papers_equation(n, dim, seed):
    h = gauss(n, dim, seed).double()
    p = torch.linalg.svdvals(h) / torch.linalg.svdvals(h).sum() + 1e-7
    assert rankme(h) == pytest.approx(math.exp(-(p * p.log()).sum()), rel=1e-4)
    assert rankme(h) <= min(n, dim) * (1 + 1e-4)


@pytest.mark.parametrize("rank", [1, 2, 7])
def test_rankme_of_equal_singular_values_is_their_number(rank):
    basis, _ = torch.linalg.qr(gauss(64, rank))
    assert rankme(basis @ torch.linalg.qr(gauss(32, rank))[0].T) == pytest.approx(rank, rel=1e-2)


def test_spread_is_one_for_a_gaussian_and_zero_for_a_constant():
    assert spread(gauss(4000, 128)) == pytest.approx(1, abs=0.01)
    assert spread(torch.ones(50, 16)) == 0
    assert spread(torch.zeros(50, 16)) == 0


def test_alignment_and_uniformity_are_the_papers_equations():
    a, b = F.normalize(gauss(30, 5), dim=1), F.normalize(gauss(30, 5, 1), dim=1)
    assert alignment(3 * a, 0.1 * b) == pytest.approx((a - b).norm(dim=1).pow(2).mean().item(), rel=1e-5)
    assert uniformity(7 * a) == pytest.approx(
        torch.pdist(a).pow(2).mul(-2).exp().mean().log().item(), rel=1e-4
    )
    assert apart(a) == pytest.approx(torch.pdist(a).pow(2).mean().item(), rel=1e-5)


def test_alignment_is_blind_to_collapse_and_closeness_is_not():
    point = torch.ones(100, 8) + 1e-3 * gauss(100, 8)
    a, b = point + 1e-3 * gauss(100, 8, 1), point + 1e-3 * gauss(100, 8, 2)
    collapsed = labelfree(point, a, b)
    apart_a, apart_b = gauss(100, 8), gauss(100, 8) + 0.1 * gauss(100, 8, 1)
    good = labelfree(apart_a, apart_a, apart_b)
    assert collapsed.alignment < good.alignment
    assert collapsed.closeness < 3 < 30 < good.closeness


@given(st.floats(0.01, 100), st.integers(0, 50))
def test_neither_scale_nor_rotation_matters(scale, seed):
    h = gauss(40, 6, seed).double() + 0.5
    turn, _ = torch.linalg.qr(gauss(6, 6, seed + 1).double())
    ours, theirs = labelfree(h), labelfree(scale * h @ turn)
    for name in ("rankme", "rank", "top2", "uniformity"):
        assert getattr(ours, name) == pytest.approx(getattr(theirs, name), rel=1e-4)
    assert labelfree(scale * h).spread == pytest.approx(ours.spread, rel=1e-6)


def test_a_large_mean_hides_the_rank_but_not_the_centred_one():
    h = gauss(300, 40) + 20
    figures = labelfree(h)
    assert figures.rankme < 15 < 35 < figures.rank
    assert figures.spread < 0.1 and figures.spread_centred == pytest.approx(1, abs=0.02)


def test_broken_embeddings_are_told_and_not_computed():
    h = gauss(20, 4)
    h[3, 1] = torch.nan
    assert not labelfree(h).finite
    assert not labelfree(gauss(20, 4), gauss(20, 4), h).finite


def test_the_record_leaves_out_what_was_not_taken():
    assert "alignment" not in labelfree(gauss(20, 4)).as_dict()
    record = labelfree(gauss(20, 4), gauss(20, 4), gauss(20, 4)).as_dict()
    assert record["n"] == 20 and record["dim"] == 4 and record["alignment"] == 0
    assert all(isinstance(value, int | float) for value in record.values())


def test_too_little_is_refused():
    with pytest.raises(ValueError, match="At least two images"):
        labelfree(gauss(1, 4))
    with pytest.raises(ValueError, match="two views"):
        labelfree(gauss(4, 4), gauss(4, 4))
