"""The softmax over all stored instances equals cross entropy over the plain logits, in value and gradient."""

import pytest
import torch
from torch.nn import functional as F

from manyviews.objectives import instance_softmax
from manyviews.objectives import tiles as objectives


@pytest.mark.parametrize("temperature", [0.01, 0.07, 0.5])
@pytest.mark.parametrize(("rows", "items"), [(1, 1), (3, 50), (600, 700)])  # 512 rows are one tile
def test_it_is_cross_entropy_over_all_items(rows: int, items: int, temperature: float) -> None:
    make = torch.Generator().manual_seed(rows)
    v, bank = (
        F.normalize(torch.randn(n, 8, generator=make, dtype=torch.float64), dim=1) for n in (rows, items)
    )
    v.requires_grad_()
    bank.requires_grad_()
    index = torch.randint(items, (rows,), generator=make)
    ours = instance_softmax(v, bank, index, temperature)
    plain = F.cross_entropy(v @ bank.detach().T / temperature, index)
    torch.testing.assert_close(ours, plain, rtol=1e-10, atol=1e-12)
    (own,), (theirs,) = torch.autograd.grad(ours, v), torch.autograd.grad(plain, v)
    torch.testing.assert_close(own, theirs, rtol=1e-8, atol=1e-10)


def test_no_gradient_reaches_the_bank() -> None:
    v, bank = torch.ones(2, 3, requires_grad=True), torch.ones(4, 3, requires_grad=True)
    instance_softmax(v, bank, torch.tensor([0, 3]), 0.1).backward()
    assert bank.grad is None and v.grad is not None


def test_no_matrix_of_all_scores_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objectives, "CPU_TILE", 16)
    make = torch.Generator().manual_seed(0)
    v, bank = (F.normalize(torch.randn(n, 4, generator=make), dim=1) for n in (64, 640))
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
        instance_softmax(v.requires_grad_(), bank, torch.arange(64), 0.1)
    assert max(kept) < 64 * 640


def test_a_temperature_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="temperature"):
        instance_softmax(torch.ones(1, 2), torch.ones(3, 2), torch.tensor([0]), 0.0)
