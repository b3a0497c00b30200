"""GPT-1, 2 and 3 against transformers, and against what the papers say."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from manyviews.errors import ManyviewsError
from manyviews.nets import find, make
from manyviews.nets.attention import Cache
from manyviews.nets.gpt import GPT, NAMES, banded
from manyviews.nets.gpt2 import NAMES as GPT2_NAMES
from manyviews.nets.gpt2 import NETS as GPT2_NETS
from manyviews.nets.gpt2 import gpt2
from manyviews.nets.gpt3 import NETS as GPT3_NETS
from manyviews.nets.gpt3 import gpt3
from manyviews.nets.names import Names, from_theirs, to_theirs

V, LENGTH = 40, 24
SMALL = {"vocabulary": V, "width": 16, "depth": 4, "heads": 4, "length": LENGTH}
GENERATIONS = {"1": GPT, "2": gpt2, "3": gpt3}


def small(generation: str, **options: object) -> GPT:
    if generation == "3":
        options = {"band": 3, **options}
    return scattered(GENERATIONS[generation](**SMALL | options))


def scattered(net: Any) -> Any:
    """Every tensor with values that matter, norms and biases too."""
    with torch.no_grad():
        for name, p in net.named_parameters():
            p.copy_(torch.randn_like(p) * 0.2 + (p.ndim == 1 and name.endswith("weight")))
    return net.eval()


def reference(net: GPT) -> tuple[nn.Module, Names]:
    """The same network of transformers, and the table that leads to it."""
    sizes = {
        "vocab_size": net.tokens.num_embeddings, "n_embd": net.width, "n_layer": len(net.blocks),
        "n_head": net.heads, "n_positions": net.length,
    }  # fmt: skip
    if isinstance(net.norm, nn.Identity):
        return transformers.OpenAIGPTLMHeadModel(transformers.OpenAIGPTConfig(**sizes)), NAMES["transformers"]
    config = transformers.GPT2Config(**sizes, bos_token_id=0, eos_token_id=0)
    return transformers.GPT2LMHeadModel(config), GPT2_NAMES["transformers"]


@pytest.mark.against("transformers", "gpt", "gpt2")
@pytest.mark.parametrize("generation", ["1", "2"])
def test_same_weights_same_outputs_as_transformers_in_both_directions(generation: str):
    ours, tokens = small(generation), torch.randint(V, (3, 9))
    theirs, names = reference(ours)
    theirs.eval()

    def compare() -> None:
        with torch.no_grad():
            torch.testing.assert_close(ours(tokens), theirs(tokens).logits, rtol=1e-5, atol=1e-5)

    tied = theirs.load_state_dict(to_theirs(names, ours.state_dict()), strict=False)
    assert tied.missing_keys == ["lm_head.weight"] and not tied.unexpected_keys
    compare()
    scattered(theirs)
    ours.load_state_dict(from_theirs(names, theirs.state_dict(), ours.state_dict()))
    compare()


@pytest.mark.against("transformers", "gpt", "gpt2")
@pytest.mark.parametrize("generation", ["1", "2"])
def test_loss_and_gradients_are_transformers(generation: str):
    ours, tokens = small(generation), torch.randint(V, (3, 9))
    theirs, names = reference(ours)
    theirs.eval().load_state_dict(to_theirs(names, ours.state_dict()), strict=False)
    expected = theirs(tokens, labels=tokens).loss
    loss = F.cross_entropy(ours(tokens)[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    loss.backward()
    expected.backward()
    grads = {name: p.grad for name, p in theirs.named_parameters() if p.grad is not None}
    found = from_theirs(names, grads, ours.state_dict())
    for name, p in ours.named_parameters():
        assert p.grad is not None, name
        torch.testing.assert_close(p.grad, found[name], rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.against("transformers", "gpt", "gpt2")
@pytest.mark.parametrize("name", ["gpt", *GPT2_NETS])
def test_names_and_shapes_of_every_size_are_transformers(name: str):
    with torch.device("meta"):
        ours = make(name)
        assert isinstance(ours, GPT)
        theirs, names = reference(ours)
    wanted = {key: t.shape for key, t in theirs.state_dict().items() if key != "lm_head.weight"}
    assert {key: t.shape for key, t in to_theirs(names, ours.state_dict()).items()} == wanted
    from_theirs(names, theirs.state_dict(), ours.state_dict())  # refuses what does not fit
    count = sum(p.numel() for p in ours.parameters())
    assert count == sum(p.numel() for p in theirs.parameters())
    if (stated := find(name).net.parameters) is not None:  # ours has no paper that states it
        assert count / 1e6 == pytest.approx(stated, rel=0.005)


@pytest.mark.parametrize("name", GPT3_NETS)
def test_gpt_3s_counts_are_the_papers(name: str):
    with torch.device("meta"):
        net = make(name)
        assert isinstance(net, GPT)
    D, L = net.width, len(net.blocks)
    inner = net.blocks[0].get_submodule("attention.out").in_features
    # Section 2.1: d_ff is 4 D. Four projections, two layers, their biases and norms; the embeddings; the last norm.
    block = 4 * D * inner + 3 * inner + D + 8 * D * D + 5 * D + 4 * D
    count = sum(p.numel() for p in net.parameters())
    assert count == L * block + (50_257 + 2048) * D + 2 * D
    assert count / 1e6 == pytest.approx(find(name).net.parameters, rel=0.02)
    assert net(torch.zeros(1, 2, dtype=torch.long, device="meta")).shape == (1, 2, 50_257)


def test_13b_has_forty_heads_of_128_in_a_width_of_5140():
    with torch.device("meta"):
        net = make("gpt3_13b")
        assert isinstance(net, GPT)
    qkv, out = (net.blocks[0].get_submodule(f"attention.{name}") for name in ("qkv", "out"))
    assert isinstance(qkv, nn.Linear) and isinstance(out, nn.Linear)
    assert net.heads == 40 and net.width == qkv.in_features == out.out_features == 5140
    assert qkv.out_features == 3 * 40 * 128 and out.in_features == 40 * 128


@settings(max_examples=30, deadline=None)
@given(T=st.integers(1, 8), before=st.integers(0, 8), band=st.integers(1, 9))
def test_a_band_is_itself_and_the_few_before(T: int, before: int, band: int):
    S = before + T
    plain = [[0 <= t - s < band for s in range(S)] for t in range(before, S)]
    assert banded(T, S, band).tolist() == plain


def reach(net: GPT, T: int) -> list[int]:
    """How many tokens back the last state feels a change of one."""
    with torch.no_grad():
        tokens = torch.zeros(1, T, dtype=torch.long)
        others = tokens.repeat(T, 1).fill_diagonal_(1)
        felt = (net.states(others) - net.states(tokens))[:, -1].abs().amax(1) > 1e-6
    return [T - 1 - place for place in felt.nonzero()[:, 0].tolist()]


def test_every_second_block_of_gpt_3_is_banded_and_the_first_is_dense():
    T = 12
    assert sorted(reach(small("3", depth=1), T)) == list(range(T))
    net = small("3", depth=2)
    assert sorted(reach(net, T)) == list(range(T))  # the first block saw all
    net.blocks[0] = net.blocks[0].__class__(16, 4).eval()
    net.blocks[0].get_submodule("attention.out").requires_grad_(
        False
    ).weight.zero_()  # sees, but passes nothing on
    assert sorted(reach(net, T)) == [0, 1, 2]
    assert sorted(reach(small("2"), T)) == list(range(T))


def test_a_band_as_long_as_the_text_is_no_band():
    tokens, net = torch.randint(V, (2, 9)), small("2")
    with torch.no_grad():
        dense = net(tokens)
        net.band = 9
        torch.testing.assert_close(net(tokens), dense, rtol=1e-5, atol=1e-6)
        net.band = 3
        assert (net(tokens) - dense).abs().amax() > 1e-3


@pytest.mark.parametrize("generation", GENERATIONS)
def test_nothing_sees_what_comes(generation: str):
    net, tokens = small(generation), torch.randint(V, (2, 9))
    other = tokens.clone()
    other[:, 5:] = (other[:, 5:] + 1) % V
    with torch.no_grad():
        a, b = net(tokens), net(other)
    torch.testing.assert_close(a[:, :5], b[:, :5])
    assert (a[:, 5:] - b[:, 5:]).abs().amax() > 1e-3


@settings(max_examples=20, deadline=None)
@given(
    pieces=st.lists(st.integers(1, 6), min_size=1, max_size=4), generation=st.sampled_from(list(GENERATIONS))
)
def test_a_cache_changes_nothing(pieces: list[int], generation: str):
    net, tokens = small(generation), torch.randint(V, (2, sum(pieces)))
    cache = Cache(sum(pieces))
    with torch.no_grad():
        found = torch.cat([net(part, cache=cache) for part in tokens.split(pieces, dim=1)], 1)
        torch.testing.assert_close(found, net(tokens), rtol=1e-4, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 8), min_size=2, max_size=4),
    generation=st.sampled_from(list(GENERATIONS)),
    front=st.booleans(),
)
def test_a_text_does_not_feel_its_padding(lengths: list[int], generation: str, front: bool):
    net, longest = small(generation), max(lengths) + 1
    texts = [torch.randint(V, (length,)) for length in lengths]

    def fill(text: Tensor, value: int) -> Tensor:
        missing = longest - len(text)
        return F.pad(text, (missing, 0) if front else (0, missing), value=value)

    batch = torch.stack([fill(text, 7) for text in texts])
    padding = torch.stack([fill(torch.ones_like(text), 0) for text in texts]).bool()
    with torch.no_grad():
        together = net(batch, padding)
        for row, there, text in zip(together, padding, texts, strict=True):
            torch.testing.assert_close(row[there], net(text[None])[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("generation", "residual"), [("1", 0.02), ("2", 0.02 / 8**0.5), ("3", 0.02 / 8**0.5)]
)
def test_they_start_as_the_papers_say(generation: str, residual: float):
    net = GENERATIONS[generation](vocabulary=1000, width=64, depth=4, heads=4, length=200)
    for name, p in net.named_parameters():
        if p.ndim == 2:
            std = residual if name.endswith(("out.weight", "down.weight")) else 0.02
            assert p.std().item() == pytest.approx(std, rel=0.08), name
        else:
            assert p.unique().tolist() == [1.0 if name.endswith("weight") else 0.0], name


def test_dropout_is_in_input_attention_and_sublayers():
    net, tokens = small("2", dropout=0.5), torch.randint(V, (2, 9))
    assert (
        {block.attention.dropout for block in net.blocks} == {block.dropout for block in net.blocks} == {0.5}
    )
    with torch.no_grad():
        assert torch.equal(net(tokens), net(tokens))
        net.train()
        inputs: list[Tensor] = []
        net.blocks[0].register_forward_pre_hook(lambda _, seen: inputs.append(seen[0]))
        net(tokens)
    assert (inputs[0] == 0).float().mean().item() == pytest.approx(0.5, abs=0.15)


def test_what_cannot_be_is_refused_in_a_sentence():
    net = small("2")
    with pytest.raises(ManyviewsError, match="25 tokens is longer than the 24 positions"):
        net(torch.zeros(1, 25, dtype=torch.long))
    cache = Cache(30)
    net(torch.zeros(1, 20, dtype=torch.long), cache=cache)
    for padding in (None, torch.ones(1, 25, dtype=torch.bool)):
        with pytest.raises(ManyviewsError, match="25 tokens is longer than the 24 positions"):
            net(torch.zeros(1, 5, dtype=torch.long), padding, cache)
    for shape in ((2, 8), (1, 9), (2, 10)):
        with pytest.raises(ManyviewsError, match=r"padding_BS is torch.bool"):
            net(torch.zeros(2, 9, dtype=torch.long), torch.ones(shape, dtype=torch.bool))
    with pytest.raises(ManyviewsError, match="5 heads do not divide a width of 16"):
        gpt2(width=16, heads=5)
