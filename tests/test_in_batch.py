"""Contrast within a batch equals the plain formula and a peer's, whether keys are trained or only looked up."""

import math

import pytest
import torch
from pytorch_metric_learning.losses import NTXentLoss
from torch import Tensor
from torch.nn import functional as F

from manyviews.objectives import in_batch

TEMPERATURES = [0.005, 0.07, 0.2, 1.0]


def pair(rows: int, dtype: torch.dtype = torch.float64, noise: float = 1.0) -> tuple[Tensor, Tensor]:
    """Queries and keys of any length, a leaf each."""
    make = torch.Generator().manual_seed(rows)
    q, other = (3 * torch.randn(rows, 16, generator=make, dtype=dtype) for _ in "qk")
    return q.requires_grad_(), (q.detach() + noise * other).requires_grad_()


def plain(q: Tensor, k: Tensor, temperature: float) -> Tensor:
    logits = F.normalize(q, dim=1) @ F.normalize(k, dim=1).T / temperature
    return F.cross_entropy(logits, torch.arange(len(q)))


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("rows", [1, 2, 64, 700])  # 512 rows are one tile
def test_it_is_the_plain_formula_with_gradients_on_both_sides(rows: int, temperature: float) -> None:
    q, k = pair(rows)
    ours, theirs = in_batch(q, k, temperature), plain(q, k, temperature)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    for own, other in zip(
        torch.autograd.grad(ours, (q, k)), torch.autograd.grad(theirs, (q, k)), strict=True
    ):
        torch.testing.assert_close(own, other, rtol=1e-8, atol=1e-11 / temperature)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_keys_that_are_only_looked_up_get_no_gradient_and_change_none(temperature: float) -> None:
    q, k = pair(96)
    ours, theirs = in_batch(q, k.detach(), temperature), plain(q, k.detach(), temperature)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    ours.backward()
    assert k.grad is None and q.grad is not None
    (other,) = torch.autograd.grad(theirs, q)
    torch.testing.assert_close(q.grad, other, rtol=1e-8, atol=1e-11 / temperature)


@pytest.mark.parametrize("temperature", TEMPERATURES[1:])
def test_it_is_what_pytorch_metric_learning_makes_of_queries_against_references(temperature: float) -> None:
    q, k = pair(48, torch.float32)
    label = torch.arange(len(q))
    theirs = NTXentLoss(temperature)(q, label, ref_emb=k, ref_labels=label.clone())
    torch.testing.assert_close(in_batch(q, k, temperature), theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("rows", [1, 64, 700])
def test_hard_negatives_are_those_of_every_query(rows: int, temperature: float) -> None:
    q, k = pair(rows)
    hard = (k.detach() + torch.randn(rows, 16, dtype=torch.float64)).requires_grad_()
    logits = F.normalize(q, dim=1) @ F.normalize(torch.cat([k, hard]), dim=1).T / temperature
    theirs = F.cross_entropy(logits, torch.arange(rows))
    ours = in_batch(q, k, temperature, hard)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    grads = [torch.autograd.grad(loss, (q, k, hard)) for loss in (ours, theirs)]
    for own, other in zip(*grads, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-8, atol=1e-11 / temperature)
    with pytest.raises(ValueError, match="must be equal"):
        in_batch(q, k, temperature, torch.cat([hard, hard]))


def test_half_precision_is_computed_in_float32() -> None:
    q, k = pair(64, torch.float32)
    half = in_batch(q.bfloat16(), k.bfloat16(), 0.07)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, plain(q.bfloat16().float(), k.bfloat16().float(), 0.07))


def test_queries_that_know_nothing_pay_the_log_of_the_batch() -> None:
    q = torch.ones(32, 8)
    torch.testing.assert_close(in_batch(q, q, 0.1), torch.tensor(math.log(32)))


@pytest.mark.parametrize(
    ("rows", "keys", "temperature", "said"),
    [(4, 4, 0.0, "above zero"), (4, 3, 0.1, "must be equal"), (0, 0, 0.1, "at least one row")],
)
def test_what_makes_no_sense_is_refused(rows: int, keys: int, temperature: float, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        in_batch(torch.randn(rows, 8), torch.randn(keys, 8), temperature)
