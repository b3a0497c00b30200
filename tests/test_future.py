"""InfoNCE over predicted positions equals eq. 4 of CPC written plainly."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from manyviews.objectives import future, tiles
from manyviews.rng import generator

B, P, T, D = 5, 7, 6, 4


def case(scale: float = 1.0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    g = generator("future")
    p_BPD = torch.randn(B, P, D, generator=g, dtype=dtype) * scale
    z_BTD = torch.randn(B, T, D, generator=g, dtype=dtype)
    return p_BPD.requires_grad_(), z_BTD.requires_grad_(), torch.randint(T, (P,), generator=g)


def plain(p_BPD: Tensor, z_BTD: Tensor, at_P: Tensor, negatives: str) -> tuple[Tensor, Tensor]:
    """Eq. 4 by a loop: f(positive) over the sum of f of all candidates."""
    loss, right = torch.zeros(B, P, dtype=p_BPD.dtype), torch.zeros(B, P)
    for b in range(B):
        for p in range(P):
            candidates = z_BTD[b] if negatives == "own" else z_BTD.reshape(-1, D)
            own = int(at_P[p]) + (0 if negatives == "own" else b * T)
            s = candidates @ p_BPD[b, p]
            loss[b, p] = F.cross_entropy(s[None], torch.tensor([own]))
            right[b, p] = float(s.argmax() == own)
    return loss, right


@pytest.mark.parametrize("negatives", ["batch", "own"])
@pytest.mark.parametrize("tile", [3, 8, 512])
def test_it_is_the_papers_formula_in_tiles_of_any_size(
    negatives: Any, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "CPU_TILE", tile)
    p_BPD, z_BTD, at_P = case(scale=3.0)
    loss_BP, right_BP = future(p_BPD, z_BTD, at_P, negatives)
    expected, right = plain(p_BPD, z_BTD, at_P, negatives)
    torch.testing.assert_close(loss_BP, expected)
    assert torch.equal(right_BP, right.to(right_BP.dtype)) and 0 < right_BP.mean() < 1
    weight_BP = torch.rand(B, P, generator=generator("weight"), dtype=torch.float64)
    got = torch.autograd.grad((loss_BP * weight_BP).sum(), (p_BPD, z_BTD))
    want = torch.autograd.grad((expected * weight_BP).sum(), (p_BPD, z_BTD))
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("negatives", ["batch", "own"])
def test_half_precision_is_scored_in_float32(negatives: Any) -> None:
    p_BPD, z_BTD, at_P = case(scale=9.0, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        loss_BP, _ = future(p_BPD, z_BTD, at_P, negatives)
    torch.testing.assert_close(loss_BP, future(p_BPD, z_BTD, at_P, negatives)[0])


def test_scores_of_any_size_are_finite_and_right() -> None:
    p_BPD, z_BTD, at_P = case(scale=1e3, dtype=torch.float32)
    loss_BP, _ = future(p_BPD, z_BTD, at_P)
    torch.testing.assert_close(loss_BP, plain(p_BPD, z_BTD, at_P, "batch")[0], rtol=1e-4, atol=1e-3)
    loss_BP.mean().backward()
    assert p_BPD.grad is not None and torch.isfinite(p_BPD.grad).all() and p_BPD.grad.any()


def test_targets_that_are_not_to_be_trained_get_no_gradient() -> None:
    p_BPD, z_BTD, at_P = case()
    future(p_BPD, z_BTD.detach(), at_P).loss_BP.mean().backward()
    assert z_BTD.grad is None and p_BPD.grad is not None


def test_half_precision_is_computed_in_full() -> None:
    p_BPD, z_BTD, at_P = case(scale=10.0, dtype=torch.float32)
    loss_BP, _ = future(p_BPD.bfloat16(), z_BTD.bfloat16(), at_P)
    assert loss_BP.dtype == torch.float32
    torch.testing.assert_close(
        loss_BP, future(p_BPD.bfloat16().float(), z_BTD.bfloat16().float(), at_P).loss_BP
    )


@pytest.mark.parametrize(
    "shapes", [((B, P, D), (B, T, D + 1), P), ((B, P, D), (B, T, D), P - 1), ((B, D), (B, T, D), P)]
)
def test_what_does_not_match_is_refused(shapes: tuple[Any, Any, int]) -> None:
    with pytest.raises(ValueError, match="do not match"):
        future(torch.zeros(shapes[0]), torch.zeros(shapes[1]), torch.zeros(shapes[2], dtype=torch.int64))


def test_one_latent_alone_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be told"):
        future(torch.zeros(1, 1, D), torch.zeros(1, 1, D), torch.zeros(1, dtype=torch.int64))
