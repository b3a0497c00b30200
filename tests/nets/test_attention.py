"""Attention against eq. 1 written plainly, torch's own module, and what must hold whatever the numbers are."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from manyviews.errors import ManyviewsError
from manyviews.nets.attention import Attention, Cache
from manyviews.nets.positions import Relative

B, T, S, D, H = 3, 5, 7, 12, 4


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def attention(seed: int = 0, **options) -> Attention:
    torch.manual_seed(seed)
    return Attention(D, H, **options).eval().requires_grad_(False)


def plainly(q_TD: Tensor, k_SD: Tensor, v_SD: Tensor, may_TS: Tensor) -> Tensor:
    """Eq. 1 for one sequence, head by head and token by token, in Python's own floats."""
    d = D // H
    out = torch.zeros(len(q_TD), D)
    for head in range(H):
        own = slice(head * d, (head + 1) * d)
        for t in range(len(q_TD)):
            seen = [s for s in range(len(k_SD)) if may_TS[t, s]]
            logits = [float(q_TD[t, own].double() @ k_SD[s, own].double()) / math.sqrt(d) for s in seen]
            total = sum(math.exp(logit) for logit in logits)
            for s, logit in zip(seen, logits, strict=True):
                out[t, own] += math.exp(logit) / total * v_SD[s, own]
    return out


MASKS = {
    "none": {},
    "causal": {"causal": True},
    "padding": {"padding_BS": torch.arange(T) < torch.tensor([[5], [3], [1]])},
    "two dimensions": {"mask": torch.rand(T, T, generator=torch.Generator().manual_seed(5)) < 0.5},
    "three dimensions": {"mask": torch.rand(B, T, T, generator=torch.Generator().manual_seed(6)) < 0.5},
}
MASKS["all"] = {**MASKS["causal"], **MASKS["padding"], **MASKS["three dimensions"]}
for masks in MASKS.values():
    if "mask" in masks:
        masks["mask"] = masks["mask"] | torch.eye(T, dtype=torch.bool)


def allowed(causal: bool = False, padding_BS: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
    may = torch.ones(B, T, T, dtype=torch.bool)
    if causal:
        may &= torch.arange(T)[:, None] >= torch.arange(T)
    if padding_BS is not None:
        may &= padding_BS[:, None]
    return may if mask is None else may & mask


@pytest.mark.parametrize("masks", MASKS.values(), ids=MASKS)
def test_it_is_equation_1(masks):
    layer, x = attention(), drawn(B, T, D)
    may = allowed(**masks)
    wanted = torch.stack([plainly(*layer.qkv(x[b]).chunk(3, dim=1), may[b]) for b in range(B)])
    some = may.any(dim=2)  # padding and another mask may together leave a token nothing
    torch.testing.assert_close(layer(x, **masks)[some], layer.out(wanted)[some], rtol=1e-5, atol=1e-5)


@pytest.mark.against("torch.nn", "attention")
@pytest.mark.parametrize("masks", MASKS.values(), ids=MASKS)
def test_torchs_module_with_the_same_weights_agrees(masks):
    layer, x = attention(), drawn(B, T, D)
    theirs = nn.MultiheadAttention(D, H, batch_first=True).eval().requires_grad_(False)
    weights = (layer.qkv.weight, layer.qkv.bias, layer.out.weight, layer.out.bias)
    names = ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")
    theirs.load_state_dict(dict(zip(names, weights, strict=True)))
    may = allowed(**masks)
    y, looked = theirs(x, x, x, attn_mask=~may.repeat_interleave(H, dim=0), average_attn_weights=False)
    some = may.any(dim=2)
    torch.testing.assert_close(layer(x, **masks)[some], y[some], rtol=1e-5, atol=1e-5)
    ours = layer.weights(x, **masks).transpose(1, 2)
    torch.testing.assert_close(ours[some], looked.transpose(1, 2)[some], rtol=1e-5, atol=1e-6)


@pytest.mark.against("torch.nn", "attention")
def test_cross_attention_is_torchs_and_pads_the_memory():
    layer, x, memory = attention(cross=True), drawn(B, T, D), drawn(B, S, D, seed=1)
    theirs = nn.MultiheadAttention(D, H, batch_first=True).eval().requires_grad_(False)
    theirs.in_proj_weight.copy_(torch.cat([layer.q.weight, layer.kv.weight]))
    theirs.in_proj_bias.copy_(torch.cat([layer.q.bias, layer.kv.bias]))
    theirs.out_proj.load_state_dict(layer.out.state_dict())
    padding = torch.arange(S) < torch.tensor([[7], [4], [1]])
    y, _ = theirs(x, memory, memory, key_padding_mask=~padding)
    torch.testing.assert_close(layer(x, memory, padding_BS=padding), y, rtol=1e-5, atol=1e-5)
    with pytest.raises(ManyviewsError, match="give memory_BSD"):
        layer(x)


def test_the_output_is_the_weights_times_the_values():
    layer, x = attention(relative=Relative(T, D // H)), drawn(B, T, D)
    v = layer.project(x, None, None)[2]
    for masks in MASKS.values():
        mixed = (layer.weights(x, **masks) @ v).transpose(1, 2).flatten(2)
        torch.testing.assert_close(layer(x, **masks), layer.out(mixed), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("relative", [False, True])
def test_a_token_that_may_look_nowhere_takes_zeros(relative: bool):
    layer = attention(relative=Relative(T, D // H) if relative else None).requires_grad_(True)
    x = drawn(B, T, D).requires_grad_()
    mask = torch.ones(T, T, dtype=torch.bool)
    mask[2] = False
    y, looked = layer(x, mask=mask), layer.weights(x, mask=mask)
    torch.testing.assert_close(y[:, 2], layer.out.bias.expand(B, D))
    assert not looked[:, :, 2].any()
    rest = [0, 1, 3, 4]
    torch.testing.assert_close(looked[:, :, rest].sum(3), torch.ones(B, H, 4))
    y.square().sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())


def test_what_is_not_a_number_stays_visible():
    x = drawn(B, T, D)
    x[1, 1, 0] = torch.nan
    assert attention().weights(x).isnan().any()


WRONG = {
    "shape": ({"mask": torch.ones(T, T + 1, dtype=torch.bool)}, r"mask is torch.bool \[5, 6\].*\[5, 5\] or \[3, 5, 5\]"),
    "batch": ({"mask": torch.ones(2, T, T, dtype=torch.bool)}, r"mask is torch.bool \[2, 5, 5\]"),
    "dimensions": ({"mask": torch.ones(B, H, T, T, dtype=torch.bool)}, r"\[3, 4, 5, 5\]"),
    "numbers": ({"mask": torch.zeros(T, T)}, r"mask is torch.float32 .* needs torch.bool"),
    "padding": ({"padding_BS": torch.ones(B, S, dtype=torch.bool)}, r"padding_BS is torch.bool \[3, 7\].*\[3, 5\]"),
}  # fmt: skip


@pytest.mark.parametrize(("masks", "words"), WRONG.values(), ids=WRONG)
def test_a_mask_of_another_shape_is_refused(masks, words: str):
    for call in (attention(), attention().weights):
        with pytest.raises(ManyviewsError, match=words):
            call(drawn(B, T, D), **masks)


def test_heads_divide_the_width():
    with pytest.raises(ManyviewsError, match="5 heads do not divide a width of 12"):
        Attention(D, 5)
    assert Attention(D, 5, head_width=4)(drawn(B, T, D)).shape == (B, T, D)


# --- the cache -----------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [[1] * T, [2, 2, 1], [T], [4, 1]])
@pytest.mark.parametrize("relative", [False, True])
def test_step_by_step_is_the_whole(steps: list[int], relative: bool):
    layer, x = attention(relative=Relative(T, D // H) if relative else None), drawn(B, T, D)
    cache, parts = Cache(T + 2), []
    for part in x.split(steps, dim=1):
        parts.append(layer(part, causal=True, cache=cache))
    assert cache.length == T
    torch.testing.assert_close(torch.cat(parts, dim=1), layer(x, causal=True), rtol=1e-5, atol=1e-6)


def test_a_cached_memory_is_projected_once():
    layer, x, memory = attention(cross=True), drawn(B, T, D), drawn(B, S, D, seed=1)
    cache = Cache(1)
    first = layer(x[:, :1], memory, cache=cache)
    rest = layer(x[:, 1:], cache=cache)  # the memory is in the cache, whole, and takes none of its capacity
    torch.testing.assert_close(torch.cat([first, rest], dim=1), layer(x, memory), rtol=1e-5, atol=1e-6)
    assert cache.length == 0


def test_take_reorders_and_repeats_sequences():
    layer, x, rows = attention(), drawn(B, T, D), torch.tensor([2, 0, 0, 1])
    cache = Cache(T)
    layer(x[:, :3], causal=True, cache=cache)
    cache.take(rows)
    y = layer(x[rows, 3:], causal=True, cache=cache)
    torch.testing.assert_close(y, layer(x, causal=True)[rows, 3:], rtol=1e-5, atol=1e-6)


def test_a_full_cache_says_so():
    layer, cache = attention(), Cache(T - 1)
    with pytest.raises(ManyviewsError, match="holds 4 tokens, not 5"):
        layer(drawn(B, T, D), causal=True, cache=cache)


# --- whatever the numbers are ----------------------------------------------------------------------

seeds = st.integers(0, 2**31)


@given(seeds, st.permutations(range(T)))
def test_without_positions_the_order_of_tokens_does_not_matter(seed: int, order: list[int]):
    layer, x = attention(seed), drawn(B, T, D, seed=seed)
    torch.testing.assert_close(layer(x[:, order]), layer(x)[:, order], rtol=1e-4, atol=1e-5)


@given(seeds, st.integers(1, T - 1))
def test_causal_tokens_do_not_see_what_follows(seed: int, known: int):
    layer, x = attention(seed), drawn(B, T, D, seed=seed)
    other = x.clone()
    other[:, known:] = drawn(B, T - known, D, seed=seed + 1)
    same = layer(x, causal=True)[:, :known]
    torch.testing.assert_close(layer(other, causal=True)[:, :known], same, rtol=1e-4, atol=1e-5)


@given(seeds, st.integers(1, T))
def test_padding_is_as_if_it_were_not_there(seed: int, length: int):
    layer, x = attention(seed), drawn(B, T, D, seed=seed)
    padding = (torch.arange(T) < length).expand(B, T)
    y = layer(x, padding_BS=padding)[:, :length]
    torch.testing.assert_close(y, layer(x[:, :length]), rtol=1e-4, atol=1e-5)


@given(seeds)
def test_rows_of_weights_are_distributions(seed: int):
    looked = attention(seed).weights(10 * drawn(B, T, D, seed=seed), causal=True)
    assert (looked >= 0).all() and not looked.triu(1).any()
    torch.testing.assert_close(looked.sum(3), torch.ones(B, H, T))


def test_dropout_is_of_the_weights_and_only_while_training():
    layer, x = attention(dropout=0.5), drawn(B, T, D)
    assert torch.equal(layer(x), layer(x))
    layer.train()
    assert not torch.equal(layer(x), layer(x))
    layer.dropout = 1.0  # no weight is left
    torch.testing.assert_close(layer(x), layer.out.bias.expand(B, T, D))
