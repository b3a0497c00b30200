"""BERT against transformers, and against what the paper says."""

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
from manyviews.nets.bert import BERT, NAMES, NETS, Pretraining
from manyviews.nets.names import from_theirs, to_theirs

V, NETWORKS = 40, sorted(name for name, net in NETS.items() if net.parameters is not None)


def config(net: BERT):
    return transformers.BertConfig(
        vocab_size=net.tokens.num_embeddings, hidden_size=net.width, num_hidden_layers=len(net.blocks),
        num_attention_heads=net.heads, intermediate_size=4 * net.width, max_position_embeddings=net.length,
    )  # fmt: skip


def small(**options: float) -> BERT:
    return scattered(BERT(V, 16, 2, 4, length=12, **options))


def scattered(net: Any) -> Any:
    """Every tensor with values that matter, norms and biases too."""
    with torch.no_grad():
        for name, p in net.named_parameters():
            p.copy_(torch.randn_like(p) * 0.2 + (p.ndim == 1 and name.endswith("weight")))
    return net.eval()


@pytest.fixture
def sentences() -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, segments, padding."""
    padding = torch.ones(3, 9, dtype=torch.bool)
    padding[1, 5:] = padding[2, 8:] = False
    # Their embedding keeps gradients from token 0, which only fills up.
    return torch.randint(1, V, (3, 9)), (torch.arange(9) > 3).long().expand(3, 9), padding


@pytest.mark.against("transformers", "bert")
def test_same_weights_same_outputs_as_transformers_in_both_directions(sentences):
    tokens, segments, padding = sentences
    ours = small()
    theirs = transformers.BertModel(config(ours)).eval()

    def compare() -> None:
        with torch.no_grad():
            expected = theirs(tokens, attention_mask=padding.long(), token_type_ids=segments)
            found = ours(tokens, segments, padding)
        torch.testing.assert_close(found, expected.last_hidden_state, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(ours.pool(found), expected.pooler_output, rtol=1e-5, atol=1e-5)

    theirs.load_state_dict(to_theirs(NAMES["transformers"], ours.state_dict()))
    compare()
    scattered(theirs)
    ours.load_state_dict(from_theirs(NAMES["transformers"], theirs.state_dict(), ours.state_dict()))
    compare()


@pytest.mark.against("transformers", "bert")
def test_both_tasks_are_transformers_in_both_directions(sentences):
    tokens, segments, padding = sentences
    ours = scattered(Pretraining(small()))
    theirs = transformers.BertForPreTraining(config(ours.encoder)).eval()

    def compare() -> None:
        with torch.no_grad():
            expected = theirs(tokens, attention_mask=padding.long(), token_type_ids=segments)
            words, follows = ours(tokens, segments, padding)
        torch.testing.assert_close(words, expected.prediction_logits, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(follows, expected.seq_relationship_logits, rtol=1e-5, atol=1e-5)

    tied = theirs.load_state_dict(to_theirs(NAMES["transformers"], ours.state_dict()), strict=False)
    assert sorted(tied.missing_keys) == ["cls.predictions.decoder.bias", "cls.predictions.decoder.weight"]
    assert not tied.unexpected_keys
    compare()
    scattered(theirs)
    ours.load_state_dict(from_theirs(NAMES["transformers"], theirs.state_dict(), ours.state_dict()))
    compare()


@pytest.mark.against("transformers", "bert")
def test_loss_and_gradients_are_transformers(sentences):
    tokens, segments, padding = sentences
    ours = scattered(Pretraining(small()))
    theirs = transformers.BertForPreTraining(config(ours.encoder)).eval()
    theirs.load_state_dict(to_theirs(NAMES["transformers"], ours.state_dict()), strict=False)
    hidden = (torch.rand(3, 9) < 0.4) & padding
    hidden[0, 0] = True
    follows = torch.tensor([0, 1, 1])
    expected = theirs(
        tokens, attention_mask=padding.long(), token_type_ids=segments, next_sentence_label=follows,
        labels=tokens.masked_fill(~hidden, -100),
    ).loss  # fmt: skip
    words, next_B2 = ours(tokens, segments, padding, hidden)
    loss = F.cross_entropy(words, tokens[hidden]) + F.cross_entropy(next_B2, follows)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    loss.backward()
    expected.backward()
    grads = {name: p.grad for name, p in theirs.named_parameters() if p.grad is not None}
    found = from_theirs(NAMES["transformers"], grads, ours.state_dict())
    for name, p in ours.named_parameters():
        assert p.grad is not None, name
        torch.testing.assert_close(p.grad, found[name], rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.against("transformers", "bert")
@pytest.mark.parametrize("name", NETWORKS)
def test_names_and_shapes_of_every_size_are_transformers(name: str):
    with torch.device("meta"):
        ours = make(name)
        assert isinstance(ours, BERT)
        theirs = transformers.BertModel(config(ours))
        both = Pretraining(ours)
        pretraining = transformers.BertForPreTraining(config(ours))
    for net, reference, tied in ((ours, theirs, ()), (both, pretraining, ("cls.predictions.decoder.",))):
        found = {key: t.shape for key, t in to_theirs(NAMES["transformers"], net.state_dict()).items()}
        wanted = {key: t.shape for key, t in reference.state_dict().items() if not key.startswith(tied)}
        assert found == wanted
        from_theirs(
            NAMES["transformers"], reference.state_dict(), net.state_dict()
        )  # refuses what does not fit
        assert sum(p.numel() for p in net.parameters()) == sum(p.numel() for p in reference.parameters())
    # The papers round, and the small sizes' counts hold the heads of both tasks.
    stated = find(name).net.parameters
    assert sum(p.numel() for p in both.parameters()) / 1e6 == pytest.approx(stated, rel=0.015)


def test_only_the_hidden_words_are_told_where_that_is_asked(sentences):
    tokens, segments, padding = sentences
    net, hidden = scattered(Pretraining(small())), torch.rand(3, 9) < 0.3
    with torch.no_grad():
        whole, _ = net(tokens, segments, padding)
        part, _ = net(tokens, segments, padding, hidden)
    assert part.shape == (int(hidden.sum()), V)
    torch.testing.assert_close(part, whole[hidden])


def test_without_segments_all_is_sentence_a(sentences):
    net, tokens = small(), sentences[0]
    with torch.no_grad():
        torch.testing.assert_close(net(tokens), net(tokens, torch.zeros_like(tokens)))
        assert (net(tokens) - net(tokens, torch.ones_like(tokens))).abs().amax() > 1e-3


@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(1, 8), min_size=2, max_size=4))
def test_a_sentence_does_not_feel_its_padding(lengths: list[int]):
    net, longest = small(), max(lengths) + 1
    sentences = [torch.randint(V, (length,)) for length in lengths]
    batch = torch.stack([F.pad(one, (0, longest - len(one)), value=7) for one in sentences])
    padding = torch.arange(longest) < torch.tensor(lengths)[:, None]
    with torch.no_grad():
        together = net(batch, padding_BT=padding)
        for row, one in zip(together, sentences, strict=True):
            torch.testing.assert_close(row[: len(one)], net(one[None])[0], rtol=1e-4, atol=1e-5)


def test_it_starts_as_the_authors_start_it():
    net = Pretraining(BERT(2000, 128, 2, 2))
    for name, p in net.named_parameters():
        if p.ndim == 2:
            # Cut at two deviations, a normal of deviation 0.02 has 0.0176.
            assert p.abs().max() <= 0.04 and p.std().item() == pytest.approx(0.0176, rel=0.08), name
        else:
            assert p.unique().tolist() == [1.0 if name.endswith("weight") else 0.0], name
    assert {m.eps for m in net.modules() if isinstance(m, nn.LayerNorm)} == {1e-12}


def test_dropout_is_in_input_attention_and_sublayers(sentences):
    net, tokens = small(dropout=0.5), sentences[0]
    assert (
        [block.attention.dropout for block in net.blocks]
        == [block.dropout for block in net.blocks]
        == [0.5] * 2
    )
    with torch.no_grad():
        assert torch.equal(net(tokens), net(tokens))
        kept = net.train().embed(tokens) != 0
    assert kept.float().mean().item() == pytest.approx(0.5, abs=0.1)


def test_what_cannot_be_is_refused_in_a_sentence(sentences):
    net = small()
    with pytest.raises(ManyviewsError, match="13 tokens is longer than the 12 positions"):
        net(torch.zeros(1, 13, dtype=torch.long))
    with pytest.raises(ManyviewsError, match=r"padding_BS is torch.bool \[3, 8\]"):
        net(sentences[0], padding_BT=sentences[2][:, 1:])
    with pytest.raises(ManyviewsError, match=r"segments_BT is torch.int64 \[3, 8\], .* torch.int64 \[3, 9\]"):
        net(sentences[0], sentences[1][:, 1:])
    with pytest.raises(ManyviewsError, match=r"segments_BT is torch\.bool"):
        net(sentences[0], sentences[2])
    for hidden in (sentences[2][:, 1:], sentences[2].long()):
        with pytest.raises(ManyviewsError, match=r"hidden_BT is .* torch.bool \[3, 9\]"):
            Pretraining(net)(*sentences, hidden)
    with pytest.raises(ManyviewsError, match="5 heads do not divide a width of 16"):
        BERT(V, 16, 2, 5)
    with pytest.raises(ManyviewsError, match=r"missing: embeddings.word_embeddings.weight"):
        from_theirs(NAMES["transformers"], {}, net.state_dict())
