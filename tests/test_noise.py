"""Noise-contrastive estimation equals the plain formula, and its scores are those of the rows that were asked for."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from manyviews.objectives import log_normaliser, nce, noise, scores


def drawn(rows: int = 5, items: int = 40, m: int = 7, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Queries [B, D], a bank [N, D] and items [B, m] with repetitions, in float64."""
    make = torch.Generator().manual_seed(seed)
    v, bank = (
        F.normalize(torch.randn(n, 6, generator=make, dtype=torch.float64), dim=1) for n in (rows, items)
    )
    return v.requires_grad_(), bank, torch.randint(items, (rows, m), generator=make)


def plain_nce(positive: np.ndarray, noise: np.ndarray, z: float, items: int) -> float:
    """Eq. 4 to 7 as they stand: h = P / (P + m P_n) with P = exp(s) / Z and P_n = 1 / N; m E_n is a sum over m samples."""
    m = noise.shape[1]
    h_data, h_noise = (np.exp(s) / z / (np.exp(s) / z + m / items) for s in (positive, noise))
    return float(-(np.log(h_data) + np.log(1 - h_noise).sum(1)).mean())


@pytest.mark.parametrize("z", [1.0, 37.0, 5e3])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_nce_is_the_plain_formula(temperature: float, z: float) -> None:
    v, bank, index = drawn()
    positive = (v.detach() * bank[:5]).sum(1) / temperature
    noise_Bm = torch.stack([bank[j] @ row for j, row in zip(index, v.detach(), strict=True)]) / temperature
    ours = nce(positive, noise_Bm, torch.tensor(math.log(z), dtype=torch.float64), items=40)
    assert float(ours) == pytest.approx(plain_nce(positive.numpy(), noise_Bm.numpy(), z, 40), rel=1e-9)


def test_nce_stays_finite_where_the_plain_formula_overflows() -> None:
    positive, noise_Bm = torch.tensor([800.0, -800.0]), torch.tensor([[800.0, -800.0]] * 2)
    s = torch.cat([positive, noise_Bm.flatten()]).requires_grad_()
    loss = nce(s[:2], s[2:].view(2, 2), torch.tensor(0.0), items=10)
    loss.backward()
    assert torch.isfinite(loss) and s.grad is not None and torch.isfinite(s.grad).all()
    assert float(loss.detach()) == pytest.approx(
        (800 + 2 * 800) / 2, rel=0.01
    )  # one lost datum, two samples taken for data


def test_log_normaliser_is_the_mean_over_samples_times_the_items() -> None:
    s = torch.linspace(-3, 3, 12, dtype=torch.float64).view(3, 4)
    assert float(log_normaliser(s, items=1000)) == pytest.approx(math.log(1000 * s.exp().mean()), rel=1e-12)
    assert math.isfinite(float(log_normaliser(torch.full((2, 2), 500.0), items=10)))  # e^500 is no float32


@pytest.mark.parametrize("all_rows", [0, 32], ids=["picked rows", "all rows"])
def test_scores_are_products_with_the_rows_asked_for(all_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "ALL_ROWS", all_rows)
    v, bank, index = drawn()
    bank.requires_grad_()
    found = scores(v, bank, index, 0.07)
    weight = torch.arange(35.0, dtype=torch.float64).view(5, 7)
    (found * weight).sum().backward()
    for b in range(5):
        for j in range(7):
            plain_score = v[b].detach() @ bank[index[b, j]].detach() / 0.07
            torch.testing.assert_close(found[b, j].detach(), plain_score, rtol=1e-12, atol=1e-12)
    plain_grad = torch.stack([weight[b] @ bank[index[b]].detach() / 0.07 for b in range(5)])
    torch.testing.assert_close(v.grad, plain_grad, rtol=1e-12, atol=1e-12)
    assert bank.grad is None


@pytest.mark.parametrize("all_rows", [0, 32], ids=["picked rows", "all rows"])
def test_scores_are_exact_under_autocast(all_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "ALL_ROWS", all_rows)
    v, bank, index = drawn()
    exact = scores(v, bank, index, 0.07)
    with torch.autocast("cpu", torch.bfloat16):
        found = scores(v.float(), bank.float(), index, 0.07)
    torch.testing.assert_close(found, exact.float(), rtol=1e-4, atol=1e-4)
