"""The Transformer and its block, against torch's own and against what the paper says."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from manyviews.errors import ManyviewsError
from manyviews.nets import find, make
from manyviews.nets.attention import Cache
from manyviews.nets.names import from_theirs, to_theirs
from manyviews.nets.positions import sinusoidal
from manyviews.nets.transformer import NAMES, Block, FeedForward, NormPlace, Transformer

V, PADDING = 31, 0


def small(norm: NormPlace = "post", **options: object) -> Transformer:
    net = Transformer(V, 16, 2, 4, 32, norm=norm, length=12, **{"dropout": 0.1, **options})
    with torch.no_grad():  # norms and biases that do something
        for name, p in net.named_parameters():
            if p.ndim == 1:
                p.copy_(torch.randn_like(p) * 0.1 + ("norm" in name and name.endswith("weight")))
    return net.eval()


def theirs(net: Transformer, norm: NormPlace) -> nn.Module:
    """`nn.Transformer` of the same sizes, with an embedding beside it."""
    reference = nn.Transformer(
        16, 4, 2, 2, 32, dropout=0.1, batch_first=True, norm_first=norm == "pre",
        activation="relu",
    )  # fmt: skip
    reference.encoder.enable_nested_tensor = (
        False  # its shortcut for padding; off so that plain layers are run
    )
    reference.add_module("tokens", nn.Embedding(V, 16))
    if norm == "post":
        assert reference.decoder is not None
        reference.encoder.norm = reference.decoder.norm = None
    return reference


def logits(reference: nn.Module, source: Tensor, target: Tensor) -> Tensor:
    """What `nn.Transformer` makes of two sequences of tokens, by the paper's sections 3.4 and 3.5 written out."""
    tokens = reference.get_submodule("tokens")
    assert isinstance(tokens, nn.Embedding)
    S, T = source.shape[1], target.shape[1]
    x = reference(
        tokens(source) * 4 + sinusoidal(S, 16), tokens(target) * 4 + sinusoidal(T, 16),
        tgt_mask=nn.Transformer.generate_square_subsequent_mask(T, dtype=torch.bool),
        src_key_padding_mask=source == PADDING, memory_key_padding_mask=source == PADDING,
    )  # fmt: skip
    return F.linear(x, tokens.weight)


@pytest.fixture
def sentences() -> tuple[Tensor, Tensor]:
    source, target = torch.randint(1, V, (3, 7)), torch.randint(1, V, (3, 5))
    source[1, 4:] = source[2, 6:] = PADDING
    return source, target


@pytest.mark.against("torch.nn", "transformer")
@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("norm", ["post", "pre"])
def test_same_weights_same_outputs_as_torch_in_both_directions(norm: NormPlace, sentences):
    ours = small(norm)
    reference = theirs(ours, norm).eval()
    reference.load_state_dict(to_theirs(NAMES["torch.nn"], ours.state_dict()))
    torch.testing.assert_close(ours(*sentences), logits(reference, *sentences), rtol=1e-5, atol=1e-5)

    for p in reference.parameters():
        nn.init.normal_(p, std=0.2)
    ours.load_state_dict(from_theirs(NAMES["torch.nn"], reference.state_dict(), ours.state_dict()))
    torch.testing.assert_close(ours(*sentences), logits(reference, *sentences), rtol=1e-5, atol=1e-5)


@pytest.mark.against("torch.nn", "transformer")
@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("norm", ["post", "pre"])
def test_gradients_are_torchs(norm: NormPlace, sentences):
    ours = small(norm)
    reference = theirs(ours, norm).eval()
    reference.load_state_dict(to_theirs(NAMES["torch.nn"], ours.state_dict()))
    ours(*sentences).square().mean().backward()
    logits(reference, *sentences).square().mean().backward()
    found = from_theirs(
        NAMES["torch.nn"],
        {name: p.grad for name, p in reference.named_parameters() if p.grad is not None},
        ours.state_dict(),
    )
    for name, p in ours.named_parameters():
        assert p.grad is not None, name
        torch.testing.assert_close(p.grad, found[name], rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize(("name", "millions"), [("transformer_base", 65), ("transformer_big", 213)])
def test_counts_are_the_papers(name: str, millions: float):
    with torch.device("meta"):
        net = make(name)
    count = sum(p.numel() for p in net.parameters()) / 1e6
    # "About 37,000 tokens" (5.1) is all that is said of the vocabulary; a thousand more are half a million.
    assert count == pytest.approx(millions, rel=0.03)
    assert find(name).net.parameters == millions


def test_one_matrix_is_all_three(sentences):
    net = small(dropout=0.0)
    assert sum(p.shape == (V, 16) for p in net.parameters()) == 1
    with torch.no_grad():
        x = net.embed(sentences[0])
    plain = torch.stack([net.tokens.weight[token] for token in sentences[0].flatten()]).reshape(3, 7, 16)
    torch.testing.assert_close(x, plain * 16**0.5 + sinusoidal(7, 16))
    states: list[Tensor] = []
    net.decoder_norm.register_forward_hook(lambda *seen: states.append(seen[2]))
    torch.testing.assert_close(net(*sentences), states[0] @ net.tokens.weight.T)


@pytest.mark.parametrize("positions", ["sinusoidal", "learned", "none"])
def test_only_positions_tell_an_encoder_of_order(positions: Any):
    net, order = small(positions=positions, dropout=0.0), torch.tensor([3, 0, 2, 1])
    source = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        way = (net.encode(source)[:, order] - net.encode(source[:, order])).abs().amax()
    assert way < 1e-5 if positions == "none" else way > 1e-2


@pytest.mark.parametrize("positions", ["sinusoidal", "learned"])
@pytest.mark.parametrize("norm", ["post", "pre"])
def test_a_cache_changes_nothing(norm: NormPlace, positions: str, sentences):
    net = small(norm, positions=positions)
    source, target = sentences
    with torch.no_grad():
        memory, padding, cache = net.encode(source), source != PADDING, Cache(5)
        pieces = [net.decode(part, memory, padding, cache) for part in target.split((2, 1, 1, 1), dim=1)]
        torch.testing.assert_close(torch.cat(pieces, 1), net(source, target), rtol=1e-5, atol=1e-6)


def test_the_decoder_does_not_see_what_comes(sentences):
    net, (source, target) = small(), sentences
    other = target.clone()
    other[:, 3:] = (other[:, 3:] + 1).clamp(1, V - 1)
    with torch.no_grad():
        a, b = net(source, target), net(source, other)
    torch.testing.assert_close(a[:, :3], b[:, :3])
    assert (a[:, 3:] - b[:, 3:]).abs().amax() > 1e-3


@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(1, 6), min_size=2, max_size=4), norm=st.sampled_from(["post", "pre"]))
def test_a_sentence_does_not_feel_its_padding(lengths: list[int], norm: NormPlace):
    net, longest = small(norm), max(lengths) + 1
    target = torch.randint(1, V, (len(lengths), 4))
    sources = [torch.randint(1, V, (length,)) for length in lengths]
    batch = torch.stack([F.pad(source, (0, longest - len(source)), value=PADDING) for source in sources])
    with torch.no_grad():
        together = net(batch, target)
        alone = [net(source[None], target[i : i + 1]) for i, source in enumerate(sources)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)


def test_order_matters_only_through_positions(sentences):
    net, (source, target) = small(), sentences
    source, order = source[:1], torch.arange(7).flip(0)
    with torch.no_grad():
        moved = (net(source, target[:1]) - net(source[:, order], target[:1])).abs().amax()
        net.get_buffer("waves").zero_()
        torch.testing.assert_close(
            net(source, target[:1]), net(source[:, order], target[:1]), rtol=1e-4, atol=1e-5
        )
    assert moved > 1e-3


def test_dropout_is_where_the_paper_has_it():
    # 5.4: the sums of embeddings and positions, and every sub-layer's output before it is added.
    net = small(dropout=0.999999).train()
    source = torch.randint(1, V, (1, 6))
    with torch.no_grad():
        assert torch.count_nonzero(net.embed(source)) == 0
        x = torch.randn(1, 6, 16)
        block = net.encoder[0]
        assert isinstance(block, Block)
        torch.testing.assert_close(block(x), block.norm2(block.norm1(x)))
    inner = FeedForward(4, 8, inner_dropout=0.999999)
    torch.testing.assert_close(inner(torch.randn(2, 3, 4)), inner.down.bias.expand(2, 3, 4))
    assert inner.eval()(torch.ones(1, 1, 4)).ne(inner.down.bias).any()


def test_what_cannot_be_is_refused_in_a_sentence(sentences):
    net = small()
    with pytest.raises(ManyviewsError, match="13 tokens is longer than the 12 positions"):
        net.encode(torch.ones(1, 13, dtype=torch.long))
    with pytest.raises(ManyviewsError, match="13 tokens is longer than the 12 positions"):
        small(positions="learned").encode(torch.ones(1, 13, dtype=torch.long))
    with pytest.raises(ManyviewsError, match=r"padding_BS is torch.bool \[3, 6\]"):
        net.decode(sentences[1], net.encode(sentences[0]), torch.ones(3, 6, dtype=torch.bool))
    with pytest.raises(ManyviewsError, match="3 heads do not divide a width of 16"):
        Transformer(V, 16, heads=3)
    with pytest.raises(ManyviewsError, match="needs the sequence that answers"):
        Block(16, 4, cross=True)(torch.randn(1, 2, 16))
