"""GPT against transformers: the same loss under the same weights, of documents in a window too."""

import pytest
import torch
import transformers
from torch import Tensor, nn

from manyviews.data import ItemSet
from manyviews.errors import ManyviewsError
from manyviews.method import Batch, Method, Spec, find
from manyviews.nets import make, net_factory
from manyviews.nets.gpt2 import NAMES
from manyviews.nets.names import to_theirs
from manyviews.nets.reader import Reader
from manyviews.rng import generator
from shrink import SIDE, noise

T = SIDE["texts"]
V = 21


def data() -> ItemSet:
    """Some windows of one document, some of two, some that are not full."""
    return noise("texts", 12, "gpt")


def batch() -> Batch:
    pixels = data().values
    assert pixels is not None
    return Batch([pixels.long()], torch.arange(len(pixels)))


def small(*, in_channels: int) -> Reader:
    net = make("small_gpt/nodrop", vocabulary=in_channels, width=16, depth=2, heads=2, length=T)
    for p in net.parameters():
        nn.init.normal_(p, std=0.3)
    return Reader(net, in_channels)


def built(net=small) -> Method:
    torch.manual_seed(0)
    spec = Spec(items=12, size=T, tokeniser=data().tokeniser)
    return find("gpt").method(find("gpt").config(), net, spec)


def theirs(method: Method) -> nn.Module:
    assert isinstance(method.encoder, Reader)
    config = transformers.GPT2Config(
        vocab_size=V, n_embd=16, n_layer=2, n_head=2, n_positions=T, bos_token_id=0, eos_token_id=0,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    model = transformers.GPT2LMHeadModel(config)
    weights = to_theirs(NAMES["transformers"], method.encoder.net.state_dict())
    assert model.load_state_dict(weights, strict=False).missing_keys == ["lm_head.weight"]
    return model


def documents() -> list[Tensor]:
    """The documents of the batch, each by itself."""
    (x_B2T,) = batch().views
    return [token[part == number] for token, part in x_B2T for number in part.unique() if number > 0]


def test_the_loss_is_transformers_over_documents_that_are_each_alone() -> None:
    method = built()
    model = theirs(method)
    losses, counts = [], []
    for document in documents():
        counts.append(len(document) - 1)
        losses.append(model(document[None], labels=document[None]).loss * counts[-1])
    assert len(set(counts)) > 1 and len(counts) > 12
    expected = torch.stack(losses).sum() / sum(counts)
    out = method.loss(batch(), 0.0)
    torch.testing.assert_close(out.loss, expected)
    torch.testing.assert_close(out.log["perplexity"], expected.exp())

    out.loss.backward()
    expected.backward()
    assert isinstance(method.encoder, Reader)
    grads = {name: p.grad for name, p in method.encoder.net.named_parameters() if p.grad is not None}
    found = to_theirs(NAMES["transformers"], grads)
    for name, p in model.named_parameters():
        torch.testing.assert_close(found[name], p.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_windows_of_one_document_need_no_mask_and_give_the_same() -> None:
    method, (x_B2T,) = built(), batch().views
    whole = x_B2T[0::3]  # full windows of one document
    assert (whole[:, 1] == 1).all()
    loss = method.loss(Batch([whole], torch.arange(len(whole))), 0.0).loss
    torch.testing.assert_close(loss, theirs(method)(whole[:, 0], labels=whole[:, 0]).loss)


def test_what_fills_up_counts_for_nothing() -> None:
    method, (x_B2T,) = built(), batch().views
    short = x_B2T[2::3]
    assert (short[:, 1, -3:] == 0).all()
    other = short.clone()
    other[:, 0, -3:] = torch.randint(5, V, (len(short), 3), generator=generator("filled"))
    losses = [method.loss(Batch([x], torch.arange(len(x))), 0.0) for x in (short, other, short[..., :-3])]
    for out in losses[1:]:
        torch.testing.assert_close(out.loss, losses[0].loss)


def test_a_net_that_looks_both_ways_is_refused() -> None:
    with pytest.raises(ManyviewsError, match="bert_tiny does not look back alone: take a gpt2"):
        built(net_factory("bert_tiny", T))


def test_it_reads_windows_of_whole_documents_by_the_tokens_asked_for() -> None:
    paper = find("gpt")
    reading = paper.method.reading(paper.config(tokens="chars", vocabulary=99))
    assert reading is not None
    assert (reading.tokeniser, reading.vocabulary, reading.packed, reading.texts) == ("chars", 99, True, 1)


def test_images_are_refused() -> None:
    with pytest.raises(ManyviewsError, match="has no tokens"):
        find("gpt").method(find("gpt").config(), small, Spec(items=12, size=T))


def test_it_writes_some_texts_when_it_has_learned() -> None:
    method = built().eval()
    torch.manual_seed(0)
    first = method.writes()
    torch.manual_seed(0)
    assert method.writes() == first and len(first) == 3
