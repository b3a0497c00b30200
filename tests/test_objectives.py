"""The shared losses equal the plain formula and the peers, in value and gradient, at every temperature and size."""

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from manyviews.objectives import byol_loss, info_nce, neg_cosine, nt_xent
from manyviews.objectives import tiles as objectives

TEMPERATURES = [0.005, 0.01, 1 / 65, 1 / 64, 0.07, 0.5, 1.0]


def pair(
    rows: int, dim: int = 16, dtype: torch.dtype = torch.float32, seed: int = 0, noise: float = 1.0
) -> tuple[Tensor, Tensor]:
    make = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(rows, dim, generator=make, dtype=dtype) for _ in "ab")
    return a.requires_grad_(), (a.detach() + noise * b).requires_grad_()


def plain_nt_xent(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    z = F.normalize(torch.cat([a, b]), dim=1)
    s = (z @ z.T / temperature).masked_fill(torch.eye(len(z), dtype=torch.bool), float("-inf"))
    return F.cross_entropy(s, (torch.arange(len(z)) + len(a)) % len(z))


def plain_info_nce(q: Tensor, k: Tensor, queue: Tensor, temperature: float) -> Tensor:
    logits = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.T], dim=1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.int64))


def grads(loss: Tensor, *inputs: Tensor) -> list[Tensor]:
    return [g.double() for g in torch.autograd.grad(loss, inputs)]


def off(ours: list[Tensor], theirs: list[Tensor]) -> float:
    return max(((o - t).norm() / t.norm()).item() for o, t in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("rows", [1, 2, 255, 256, 300, 700])  # 512 anchors are one tile
def test_nt_xent_is_the_plain_formula(rows: int, temperature: float) -> None:
    a, b = pair(rows, dtype=torch.float64)
    ours, plain = nt_xent(a, b, temperature), plain_nt_xent(a, b, temperature)
    assert torch.allclose(ours, plain, rtol=1e-12, atol=1e-12)
    for o, p in zip(grads(ours, a, b), grads(plain, a, b), strict=True):
        assert torch.allclose(o, p, rtol=1e-9, atol=1e-12 / temperature)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("noise", [0.5, 1.5])  # at 0.5 the positive has all but won, and gradients are tiny
def test_float32_gradients_are_as_exact_as_those_of_the_plain_formula(
    temperature: float, noise: float
) -> None:
    a, b = pair(600, 128, noise=noise)
    exact = [x.detach().double().requires_grad_() for x in (a, b)]
    truth = grads(nt_xent(*exact, temperature), *exact)
    plain = grads(plain_nt_xent(a, b, temperature), a, b)
    assert off(grads(nt_xent(a, b, temperature), a, b), truth) < 1.5 * off(plain, truth) + 1e-6


@pytest.mark.parametrize("temperature", [0.005, 0.1, 0.5])
def test_nt_xent_equals_lightly(temperature: float) -> None:
    from lightly.loss import NTXentLoss

    a, b = pair(300, 32)
    ours, theirs = nt_xent(a, b, temperature), NTXentLoss(temperature)(a, b)
    assert torch.allclose(ours, theirs, rtol=1e-5)
    assert off(grads(ours, a, b), grads(theirs, a, b)) < 1e-4


@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_nt_xent_equals_pytorch_metric_learning(temperature: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pytorch_metric_learning.losses import NTXentLoss

    a, b = pair(24)
    ids = torch.arange(24).repeat(2)
    ours, theirs = nt_xent(a, b, temperature), NTXentLoss(temperature)(torch.cat([a, b]), ids)
    assert torch.allclose(ours, theirs, rtol=1e-5)
    assert off(grads(ours, a, b), grads(theirs, a, b)) < 1e-5


@pytest.mark.parametrize("temperature", [0.01, 0.5])
def test_gradients_pass_the_numerical_check(temperature: float) -> None:
    a, b = pair(4, 3, torch.float64)
    assert torch.autograd.gradcheck(lambda a, b: nt_xent(a, b, temperature), (a, b))
    queue = F.normalize(
        torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)), dim=1
    )
    assert torch.autograd.gradcheck(
        lambda a: info_nce(F.normalize(a, dim=1), queue[:4], queue, temperature), (a,)
    )

    def log_sum_exp(a: Tensor, b: Tensor) -> Tensor:
        return objectives.LogSumExp.apply(F.normalize(a), F.normalize(b), 1 / temperature, (1,))  # type: ignore[return-value]

    assert torch.autograd.gradcheck(log_sum_exp, (a, b))


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 25), dim=st.integers(1, 20), temperature=st.floats(0.005, 2), tile=st.integers(1, 17)
)
def test_tiles_of_any_size_give_the_same(rows: int, dim: int, temperature: float, tile: int) -> None:
    a, b = pair(rows, dim, torch.float64, seed=rows * dim)
    ours, plain = nt_xent(a, b, temperature), plain_nt_xent(a, b, temperature)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objectives, "CPU_TILE", tile)
        tiled = nt_xent(a, b, temperature)
        queued = info_nce(F.normalize(a, dim=1), F.normalize(b, dim=1), F.normalize(b, dim=1), temperature)
        tiled_grads, queued_grad = grads(tiled, a, b), grads(queued, a)
    unit = [F.normalize(x, dim=1) for x in (a, b)]
    plain_queued = plain_info_nce(unit[0], unit[1].detach(), unit[1].detach(), temperature)
    for x, y in [(tiled, ours), (tiled, plain), (queued, plain_queued)]:
        assert torch.allclose(x, y, rtol=1e-10, atol=1e-10)
    for x, y in zip(
        [*tiled_grads, *queued_grad], [*grads(plain, a, b), *grads(plain_queued, a)], strict=True
    ):
        assert torch.allclose(x, y, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("temperature", [0.005, 0.07])
def test_info_nce_is_the_plain_formula(temperature: float) -> None:
    q, k = (F.normalize(x.detach(), dim=1).requires_grad_() for x in pair(700))
    queue = F.normalize(torch.randn(1300, 16, generator=torch.Generator().manual_seed(2)), dim=1)
    ours, plain = info_nce(q, k, queue, temperature), plain_info_nce(q, k.detach(), queue, temperature)
    assert torch.allclose(ours, plain, rtol=1e-5)
    assert off(grads(ours, q), grads(plain, q)) < 1e-4
    ours = info_nce(q, k, queue, temperature)
    ours.backward()
    assert k.grad is None


@pytest.mark.parametrize("temperature", [0.005, 0.5])
def test_opposite_and_equal_views_stay_finite(temperature: float) -> None:
    a = F.normalize(torch.randn(40, 8, generator=torch.Generator().manual_seed(3)), dim=1).requires_grad_()
    for b in (a.detach(), -a.detach(), a.detach()[:1].expand(40, 8), torch.zeros(40, 8)):
        b = b.clone().requires_grad_()
        loss = nt_xent(a, b, temperature)
        assert loss.isfinite() and all(g.isfinite().all() for g in grads(loss, a, b))
        loss = info_nce(a, a.detach(), b.detach(), temperature)
        assert loss.isfinite() and grads(loss, a)[0].isfinite().all()


class Largest(TorchDispatchMode):
    """Remembers the largest tensor that any operation returned."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[override]
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, tuple | list) else [out]:
            if isinstance(x, Tensor):
                self.elements = max(self.elements, x.untyped_storage().nbytes() // x.element_size())
        return out


@pytest.mark.parametrize("temperature", [0.005, 0.5])
def test_memory_is_linear_in_the_batch(temperature: float) -> None:
    a, b = pair(2048, 32)
    with Largest() as ours:
        nt_xent(a, b, temperature).backward()
    assert ours.elements <= max(objectives.CPU_TILE**2, a.numel() * 2)
    with Largest() as plain:
        plain_nt_xent(a, b, temperature)
    assert plain.elements == 4096**2
    queue = F.normalize(torch.randn(20_000, 32), dim=1)
    with Largest() as queued:
        info_nce(F.normalize(a, dim=1), b, queue, temperature).backward()
    assert queued.elements <= max(objectives.CPU_TILE**2, queue.numel())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    a, b = (x.detach().to(dtype) for x in pair(64))
    assert torch.equal(nt_xent(a, b, 0.1), nt_xent(a.float(), b.float(), 0.1))
    a.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = nt_xent(a, b, 0.1)
        queued = info_nce(a, b, b, 0.1)
    assert torch.equal(loss, nt_xent(a.float(), b.float(), 0.1))
    assert torch.equal(queued, info_nce(a.float(), b.float(), b.float(), 0.1))
    assert torch.autograd.grad(loss, a)[0].dtype == dtype


def test_cosine_losses_and_their_stopped_gradient() -> None:
    p, z = pair(9)
    cosine = (F.normalize(p, dim=1) * F.normalize(z, dim=1)).sum(1).mean()
    assert torch.allclose(neg_cosine(p, z), -cosine)
    assert torch.allclose(
        byol_loss(p, z), (F.normalize(p, dim=1) - F.normalize(z, dim=1)).square().sum(1).mean()
    )
    byol_loss(p, z).backward()
    assert p.grad is not None and z.grad is not None  # stopping the gradient is the method's to say
    assert torch.allclose(byol_loss(p, p), torch.tensor(0.0), atol=1e-6)


def test_what_cannot_be_computed_is_refused() -> None:
    a, b = pair(4)
    for temperature in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="temperature"):
            nt_xent(a, b, temperature)
    with pytest.raises(ValueError, match="at least one row"):
        nt_xent(a[:0], b[:0], 0.5)
    with pytest.raises(ValueError, match=r"\[4, 16\] and \[3, 16\]"):
        nt_xent(a, b[:3], 0.5)
    with pytest.raises(ValueError, match="queue"):
        info_nce(a, b, b[:0], 0.5)
