"""Dropout drops the right share, scales the rest, and lets gradients through where it let values through."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from manyviews.nets.attention import Attention
from manyviews.nets.dropout import dropout


@pytest.mark.parametrize("p", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_shares_and_scale(p: float):
    x = torch.full((400, 1000), 2.0)
    y = dropout(x, p)
    assert (y == 0).float().mean().item() == pytest.approx(p, abs=4 * (p * (1 - p) / x.numel()) ** 0.5 + 1e-5)
    torch.testing.assert_close(y[y != 0], torch.full_like(y[y != 0], 2 / (1 - p)), rtol=0.01, atol=0)
    torch.testing.assert_close(y[y != 0].mean(), torch.tensor(2 / (1 - p)), rtol=0.01, atol=0)
    # Exactly: what is kept is scaled by the share that the draws keep, a whole number of 65,536ths.
    kept = 2 / y.amax().double()
    assert abs(kept * 65_536 - round((1 - p) * 65_536)) < 0.01


def test_neighbours_are_independent():
    x = torch.ones(1_000_000)
    kept = (dropout(x, 0.3) != 0).double() - 0.7
    for distance in (1, 2, 3, 4, 5, 8):
        assert abs((kept[distance:] * kept[:-distance]).mean()) < 4 * 0.21 / 1000


@given(shape=st.lists(st.integers(0, 5), max_size=3), double=st.booleans())
def test_gradients_go_where_values_went(shape: list[int], double: bool):
    x = torch.ones(shape, dtype=torch.float64 if double else torch.float32, requires_grad=True)
    y = dropout(x, 0.4)
    assert y.shape == x.shape and y.dtype == x.dtype
    y.sum().backward()
    assert x.grad is not None and torch.equal(x.grad, y)


def test_outside_training_nothing_is_dropped_and_at_one_everything():
    x = torch.randn(3, 4)
    assert dropout(x, 0.5, training=False) is x and dropout(x, 0.0) is x
    assert torch.count_nonzero(dropout(x, 1.0)) == 0
    with pytest.raises(ValueError, match="probability"):
        dropout(x, 1.5)


def test_chance_is_torchs_generator():
    x = torch.ones(1000)
    torch.manual_seed(3)
    a, b = dropout(x, 0.5), dropout(x, 0.5)
    torch.manual_seed(3)
    assert torch.equal(dropout(x, 0.5), a) and not torch.equal(a, b)


@pytest.mark.parametrize("causal", [True, False])
def test_attention_drops_weights_and_stays_right_on_average(causal: bool):
    attention = Attention(8, 2, dropout=0.25)
    padding = torch.ones(2, 5, dtype=torch.bool)
    padding[1, 3:] = False
    x = torch.randn(2, 5, 8)
    with torch.no_grad():
        expected = attention.eval()(x, padding_BS=padding, causal=causal)
        attention.train()
        draws = torch.stack([attention(x, padding_BS=padding, causal=causal) for _ in range(4000)])
    torch.testing.assert_close(draws.mean(0), expected, rtol=0, atol=0.03)
    assert draws.std(0).amax() > 0.03
    attention.dropout = 1e-9  # as good as none: the path of training gives what the kernel gives
    torch.testing.assert_close(attention(x, padding_BS=padding, causal=causal), expected)


def test_a_row_that_may_look_nowhere_has_no_part_in_training():
    attention = Attention(8, 2, dropout=0.25)
    nn.init.ones_(attention.out.bias)
    padding = torch.tensor([[False, False, True, True]])  # filled up in front: the first two see nothing
    x = torch.randn(1, 4, 8, requires_grad=True)
    y = attention(x, padding_BS=padding, causal=True)
    torch.testing.assert_close(y[:, :2], torch.ones(1, 2, 8))
    y.sum().backward()
    assert x.grad is not None and x.grad.isfinite().all() and torch.count_nonzero(x.grad[:, :2]) == 0
