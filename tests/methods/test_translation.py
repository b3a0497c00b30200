"""Translation against `torch.nn.Transformer`: each token of the target from those before it and the source."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manyviews.data import ItemSet, Reading, open_data
from manyviews.errors import ManyviewsError
from manyviews.method import Batch, Method, Spec, find
from manyviews.nets import make, net_factory
from manyviews.nets.beam import translate
from manyviews.nets.names import to_theirs
from manyviews.nets.positions import sinusoidal
from manyviews.nets.reader import Reader
from manyviews.nets.transformer import NAMES, Transformer

T, D = 12, 16
PAIRS = [("a cat", "eine kat"), ("the dog", "der hund"), ("dogs", "hunde"), ("cats eat", "sie essen")]
DATA = open_data(PAIRS, size=T, reading=Reading("chars", 64, texts=2))
assert DATA.tokeniser is not None
V = len(DATA.tokeniser)


def batch(data: ItemSet = DATA, rows: slice = slice(None)) -> Batch:
    assert data.values is not None
    x = data.values[rows].long()
    return Batch([x], torch.arange(len(x)))


def small(*, in_channels: int) -> Reader:
    net = make("small_transformer/nodrop", vocabulary=in_channels, width=D, hidden=32, length=T)
    for p in net.parameters():
        nn.init.normal_(p, std=0.3)
    return Reader(net, in_channels)


def built(net=small, **settings: float) -> Method:
    torch.manual_seed(0)
    spec = Spec(items=4, size=T, tokeniser=DATA.tokeniser)
    return find("translation").method(find("translation").config(**settings), net, spec)


def net_of(method: Method) -> Transformer:
    assert isinstance(method.encoder, Reader) and isinstance(method.encoder.net, Transformer)
    return method.encoder.net


def theirs(method: Method) -> nn.Transformer:
    model = nn.Transformer(D, 4, 2, 2, 32, dropout=0.0, batch_first=True, norm_first=False)
    assert isinstance(model.encoder, nn.TransformerEncoder) and isinstance(
        model.decoder, nn.TransformerDecoder
    )
    model.encoder.enable_nested_tensor = False
    model.encoder.norm = model.decoder.norm = None
    model.add_module("tokens", nn.Embedding(V, D))
    model.load_state_dict(to_theirs(NAMES["torch.nn"], net_of(method).state_dict()))
    return model


def plainly(model: nn.Transformer, smoothing: float) -> Tensor:
    """The paper's figure 1 and section 5.4 by torch's parts."""
    x_B4T, tokens = batch().views[0], model.get_submodule("tokens")
    assert isinstance(tokens, nn.Embedding)
    source, there, target, told = x_B4T.unbind(1)
    before, after = target[:, :-1], target[:, 1:].masked_fill(told[:, 1:] == 0, -100)
    places = sinusoidal(T, D)
    h = model(
        tokens(source) * D**0.5 + places, tokens(before) * D**0.5 + places[: T - 1],
        tgt_mask=nn.Transformer.generate_square_subsequent_mask(T - 1, dtype=torch.bool),
        src_key_padding_mask=there == 0, memory_key_padding_mask=there == 0,
    )  # fmt: skip
    return F.cross_entropy(F.linear(h, tokens.weight).mT, after, label_smoothing=smoothing)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_torchs_under_the_same_weights(smoothing: float) -> None:
    method = built(smoothing=smoothing)
    model = theirs(method)
    expected, found = plainly(model, smoothing), method.loss(batch(), 0.0).loss
    torch.testing.assert_close(found, expected)
    expected.backward()
    found.backward()
    grads = {name: p.grad for name, p in net_of(method).named_parameters() if p.grad is not None}
    ours = to_theirs(NAMES["torch.nn"], grads)
    for name, p in model.named_parameters():
        torch.testing.assert_close(ours[name], p.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_a_token_is_told_from_those_before_it_and_never_from_itself() -> None:
    """A decoder that says again what it was given would be right if the target were not shifted, or shifted twice."""
    method = built(smoothing=0.0)
    (x_B4T,) = batch(rows=slice(0, 1)).views
    seen: list[Tensor] = []
    own = net_of(method).answer

    def spy(target_BT: Tensor, *rest: Tensor) -> Tensor:
        seen.append(target_BT)
        return own(target_BT, *rest)

    net_of(method).answer = spy  # pyright: ignore[reportAttributeAccessIssue]
    found = method.loss(batch(rows=slice(0, 1)), 0.0).loss
    length = int((x_B4T[0, 3] > 0).sum())
    assert torch.equal(seen[0], x_B4T[:, 2, : length - 1])  # from its start token on, without its end
    net = net_of(method)
    logits_TV = net(x_B4T[:, 0, : int((x_B4T[0, 1] > 0).sum())], seen[0])[0]
    torch.testing.assert_close(found, F.cross_entropy(logits_TV, x_B4T[0, 2, 1:length]))


def test_padding_changes_nothing_whatever_stands_there() -> None:
    method = built()
    longer = open_data(PAIRS, size=T + 9, reading=Reading("chars", 64, texts=2))
    noisy = batch().views[0].clone()
    for tokens, there in ((0, 1), (2, 3)):
        noisy[:, tokens] = torch.where(noisy[:, there] > 0, noisy[:, tokens], 7)
    for other in (batch(longer), Batch([noisy], torch.arange(4))):
        out, expected = method.loss(other, 0.0), method.loss(batch(), 0.0)
        torch.testing.assert_close(out.loss, expected.loss)


def test_the_token_that_fills_up_may_have_any_number() -> None:
    """The same tokens by other numbers, the padding no longer 0: the same loss, the same translation."""
    method, other = built(), built()
    number_V = torch.randperm(V, generator=torch.Generator().manual_seed(0))
    assert DATA.tokeniser is not None and number_V[DATA.tokeniser.padding] != 0
    with torch.no_grad():
        net_of(other).tokens.weight[number_V] = net_of(method).tokens.weight
    x_B4T = batch().views[0].clone()
    x_B4T[:, 0::2] = number_V[x_B4T[:, 0::2]]
    found = other.loss(Batch([x_B4T], torch.arange(4)), 0.0)
    expected = method.loss(batch(), 0.0)
    torch.testing.assert_close(found.loss, expected.loss)

    roles = {"start": DATA.tokeniser.start, "end": DATA.tokeniser.end, "padding": DATA.tokeniser.padding}
    assert None not in roles.values()
    first = translate(net_of(method), batch().views[0][:, 0], more=6, **roles)
    numbered = {name: int(number_V[token]) for name, token in roles.items()}
    second = translate(net_of(other), x_B4T[:, 0], more=6, **numbered)
    assert torch.equal(second.tokens_BT, number_V[first.tokens_BT])


def test_pairs_of_a_batch_do_not_see_each_other() -> None:
    method, counts, losses = built(), [], []
    for row in range(4):
        counts.append(int((batch(rows=slice(row, row + 1)).views[0][0, 3, 1:] > 0).sum()))
        losses.append(method.loss(batch(rows=slice(row, row + 1)), 0.0).loss * counts[-1])
    torch.testing.assert_close(method.loss(batch(), 0.0).loss, torch.stack(losses).sum() / sum(counts))


def test_a_net_of_one_sequence_is_refused() -> None:
    with pytest.raises(ManyviewsError, match="reads one sequence and writes another: take transformer_base"):
        built(net_factory("small_gpt", T))


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_a_share_of_the_labels_that_cannot_be_is_refused(smoothing: float) -> None:
    with pytest.raises(ManyviewsError, match=f"--smoothing is {smoothing}; it is a share"):
        built(smoothing=smoothing)
