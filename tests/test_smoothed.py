"""Cross entropy over a vocabulary: torch's, with exact gradients, some tokens at a time, and alike on one rank and two."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from manyviews import distributed
from manyviews.objectives import smoothed
from manyviews.objectives.smoothed import IGNORED, linear_cross_entropy, next_token, smoothed_cross_entropy

RANKS = 2


def tokens(N: int = 11, V: int = 7, D: int = 5) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """States, words, bias and targets, of which some do not count."""
    target_N = torch.randint(V, (N,))
    target_N[::4] = IGNORED
    x, w, b = torch.randn(N, D), torch.randn(V, D), torch.randn(V)
    return x.double().requires_grad_(), w.double().requires_grad_(), b.double().requires_grad_(), target_N


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_it_is_torchs(smoothing: float):
    logits, target = torch.randn(11, 7), torch.randint(7, (11,))
    target[2:5] = IGNORED
    torch.testing.assert_close(
        smoothed_cross_entropy(logits, target, smoothing),
        F.cross_entropy(logits, target, label_smoothing=smoothing),
    )


def test_it_is_the_papers_formula():
    logits, target, epsilon, V = torch.randn(6, 5), torch.tensor([0, 1, IGNORED, 3, 4, 4]), 0.1, 5
    losses = []
    for row, right in zip(logits, target.tolist(), strict=True):
        if right != IGNORED:
            q = [epsilon / V + (1 - epsilon) * (token == right) for token in range(V)]
            log_p = [float(row[token] - row.exp().sum().log()) for token in range(V)]
            losses.append(-sum(a * b for a, b in zip(q, log_p, strict=True)))
    assert float(smoothed_cross_entropy(logits, target, epsilon)) == pytest.approx(sum(losses) / 5, abs=1e-6)


def test_no_loss_is_below_the_entropy_of_what_is_wanted():
    V, epsilon = 10, 0.1
    q = torch.full((V,), epsilon / V)
    q[3] += 1 - epsilon
    floor = smoothed_cross_entropy(q.log()[None], torch.tensor([3]), epsilon)
    torch.testing.assert_close(floor, torch.distributions.Categorical(q).entropy())
    assert smoothed_cross_entropy(torch.eye(V)[3:4] * 50, torch.tensor([3]), epsilon) > floor + 1


def test_tokens_by_weight_and_batches_without_any():
    logits, target = torch.randn(4, 6, requires_grad=True), torch.randint(6, (4,))
    weight = torch.tensor([0.0, 2.0, 1.0, 0.5])
    each = F.cross_entropy(logits, target, reduction="none")
    torch.testing.assert_close(
        smoothed_cross_entropy(logits, target, weight_N=weight), (each * weight).sum() / 3.5
    )
    nothing = smoothed_cross_entropy(logits, torch.full((4,), IGNORED))
    nothing.backward()
    assert nothing == 0 and logits.grad is not None and not logits.grad.any()


def test_half_precision_is_summed_in_single():
    logits, target = torch.randn(300, 50, dtype=torch.bfloat16), torch.randint(50, (300,))
    loss = smoothed_cross_entropy(logits, target, 0.1)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, F.cross_entropy(logits.float(), target, label_smoothing=0.1))


def test_the_next_token_is_one_further_once():
    logits, text = torch.randn(3, 6, 8), torch.randint(8, (3, 6))
    counts = torch.ones(3, 6, dtype=torch.bool)
    counts[1, 4:] = counts[2, :3] = False
    losses = [
        -logits[b, t - 1].log_softmax(0)[text[b, t]] for b in range(3) for t in range(1, 6) if counts[b, t]
    ]
    torch.testing.assert_close(next_token(logits, text, counts), torch.stack(losses).mean())
    torch.testing.assert_close(next_token(logits, text, counts.float()), torch.stack(losses).mean())
    every = F.cross_entropy(logits[:, :-1].flatten(0, 1), text[:, 1:].flatten())
    torch.testing.assert_close(next_token(logits, text), every)
    sure = F.one_hot(text.roll(-1, 1), 8).float() * 100  # each says the token after it
    assert next_token(sure, text) < 1e-6 < 1 < next_token(F.one_hot(text, 8).float() * 100, text)


@settings(max_examples=25, deadline=None)
@given(
    N=st.integers(1, 40), V=st.integers(2, 30), at_once=st.integers(1, 12),
    smoothing=st.sampled_from([0.0, 0.1]), biased=st.booleans(), seed=st.integers(0, 1000),
)  # fmt: skip
def test_tokens_at_a_time_are_all_of_them(
    N: int, V: int, at_once: int, smoothing: float, biased: bool, seed: int
):
    torch.manual_seed(seed)
    x, w, b, target = tokens(N, V)
    weight = torch.rand(N).double()
    given_ = (x, w, b) if biased else (x, w)
    plain = smoothed_cross_entropy(F.linear(x, w, b if biased else None), target, smoothing, weight)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(smoothed, "FEWEST", at_once)
        patch.setattr(smoothed, "CPU_LOGITS", 1)
        ours = linear_cross_entropy(x, w, target, b if biased else None, smoothing=smoothing, weight_N=weight)
    torch.testing.assert_close(ours, plain)
    for found, expected in zip(
        torch.autograd.grad(3 * ours, given_), torch.autograd.grad(3 * plain, given_), strict=True
    ):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_gradients_are_exact(smoothing: float, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(smoothed, "FEWEST", 4)
    monkeypatch.setattr(smoothed, "CPU_LOGITS", 1)
    x, w, b, target = tokens()

    def loss(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return linear_cross_entropy(x, w, target, b, smoothing=smoothing)

    assert torch.autograd.gradcheck(loss, (x, w, b))
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(torch.autograd.grad(loss(x, w, b), x, create_graph=True)[0].sum(), x)


def test_only_what_is_asked_for_gets_a_gradient():
    x, w, _, target = tokens()
    linear_cross_entropy(x, w.detach(), target).backward()
    assert x.grad is not None and w.grad is None
    linear_cross_entropy(x.detach(), w, target).backward()
    assert w.grad is not None
    with torch.no_grad():
        torch.testing.assert_close(
            linear_cross_entropy(x, w, target), F.cross_entropy(x @ w.T, target, ignore_index=IGNORED)
        )


def test_large_logits_do_not_overflow():
    x, w, _, target = (z.detach().float() * 300 if z.is_floating_point() else z for z in tokens())
    torch.testing.assert_close(linear_cross_entropy(x, w, target), F.cross_entropy(x @ w.T, target))


def test_autocast_is_that_of_a_linear_layer():
    x, w, b, target = tokens(64, 40, 32)
    x, w, b = (z.detach().float().requires_grad_() for z in (x, w, b))
    with torch.autocast("cpu", torch.bfloat16):
        ours = linear_cross_entropy(x, w, target, b, smoothing=0.1)
        plain = smoothed_cross_entropy(F.linear(x, w, b), target, 0.1)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, plain, rtol=1e-2, atol=1e-2)
    found = torch.autograd.grad(ours, (x, w, b))
    for mine, theirs in zip(found, torch.autograd.grad(plain, (x, w, b)), strict=True):
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine, theirs, rtol=3e-2, atol=3e-3)


def test_all_logits_are_never_there_at_once(monkeypatch: pytest.MonkeyPatch):
    N, V, D = 2048, 1000, 4
    monkeypatch.setattr(smoothed, "CPU_LOGITS", 200_000)
    x, w, target = torch.randn(N, D, requires_grad=True), torch.randn(V, D), torch.randint(V, (N,))

    def largest(loss: Any) -> int:
        """Bytes of the largest tensor that is made."""
        from torch.profiler import ProfilerActivity, profile

        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
            loss().backward()
        return max(event.self_cpu_memory_usage for event in seen.events())

    assert largest(lambda: F.cross_entropy(x @ w.T, target)) >= 4 * N * V
    assert largest(lambda: linear_cross_entropy(x, w, target)) <= 4 * 256 * V


def whole_and_part(rows: slice) -> dict[str, Tensor]:
    """Losses and gradients of some rows, averaged over ranks as DDP averages."""
    x, w, b, target = tokens(12)
    target[:5] = IGNORED  # the first rank has one token, the second has more
    weight = torch.linspace(0.1, 2, 12).double()
    found = {}
    for name, loss in {
        "logits": lambda: smoothed_cross_entropy(F.linear(x, w, b)[rows], target[rows], 0.1),
        "weighted": lambda: smoothed_cross_entropy(F.linear(x, w, b)[rows], target[rows], 0.1, weight[rows]),
        "linear": lambda: linear_cross_entropy(x[rows], w, target[rows], b, smoothing=0.1),
        "next": lambda: next_token(F.linear(x, w, b)[rows].unflatten(0, (-1, 3)),
                                   target[rows].clamp(0).unflatten(0, (-1, 3)),
                                   (target[rows] != IGNORED).unflatten(0, (-1, 3))),
    }.items():  # fmt: skip
        value = loss()
        grads = torch.autograd.grad(value, (x, w, b))
        for part, z in zip(("loss", "x", "w", "b"), (value, *grads), strict=True):
            found[f"{name} {part}"] = distributed.all_reduce_mean(z)
    return found


def rank_main(rank: int, folder: str) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=RANKS)
    torch.save(whole_and_part(distributed.local_rows(12)), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_ranks_with_unequal_numbers_of_tokens_are_one(tmp_path: Path):
    mp.spawn(rank_main, (str(tmp_path),), nprocs=RANKS)
    whole = whole_and_part(slice(None))
    for rank in range(RANKS):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert found.keys() == whole.keys() and len(whole) == 16
        for name in whole:
            torch.testing.assert_close(found[name], whole[name], msg=name)


def test_what_makes_no_sense_is_refused():
    logits, target = torch.randn(4, 6), torch.randint(6, (4,))
    for smoothing in (-0.1, 1.0, math.nan):
        with pytest.raises(ValueError, match="cannot be smoothed"):
            smoothed_cross_entropy(logits, target, smoothing)
    with pytest.raises(ValueError, match=r"\[3\] targets do not fit rows of shape \[4, 6\]"):
        linear_cross_entropy(logits, torch.randn(9, 6), target[:3])
    with pytest.raises(ValueError, match="do not fit"):
        smoothed_cross_entropy(logits[None], target)
