"""Character RNN: the loss of torch's own LSTM, and where its gradient ends."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manyviews.errors import ManyviewsError
from manyviews.method import Batch, Method, Spec, find
from manyviews.nets import make, net_factory
from manyviews.nets.char import NAMES, CharModel
from manyviews.nets.names import to_theirs
from manyviews.nets.reader import Reader
from shrink import SIDE, noise

T, V, H = SIDE["texts"], 21, 16
DATA = noise("texts", 12, "char_rnn")


def batch() -> Batch:
    assert DATA.values is not None
    return Batch([DATA.values.long()], torch.arange(len(DATA)))


def built(name: str = "char_lstm", **settings: int | str) -> Method:
    def small(*, in_channels: int) -> Reader:
        net = make(name, vocabulary=in_channels, width=H)
        for p in net.parameters():
            nn.init.normal_(p, std=0.4)
        return Reader(net, in_channels)

    torch.manual_seed(0)
    spec = Spec(items=12, size=T, tokeniser=DATA.tokeniser)
    return find("char_rnn").method(find("char_rnn").config(**settings), small, spec)


def net_of(method: Method) -> CharModel:
    assert isinstance(method.encoder, Reader) and isinstance(method.encoder.net, CharModel)
    return method.encoder.net


def plainly(method: Method) -> Tensor:
    """Plain backpropagation through all of a window: every character from all before it."""
    token_BT, part_BT = batch().views[0].unbind(1)
    logits = net_of(method)(token_BT)[:, :-1]
    return F.cross_entropy(logits.mT, token_BT[:, 1:].masked_fill(part_BT[:, 1:] == 0, -100))


def gradient(method: Method, loss: Tensor) -> Tensor:
    method.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten() for p in method.parameters() if p.grad is not None])


def test_the_loss_is_that_of_torchs_lstm_over_one_hot_characters() -> None:
    method = built(truncate=5)
    lstm, out = nn.LSTM(V, H, 2, batch_first=True), nn.Linear(H, V)
    theirs = nn.ModuleDict({"recurrent": lstm, "out": out})
    theirs.load_state_dict(to_theirs(NAMES["torch.nn"], net_of(method).state_dict()))
    token_BT, part_BT = batch().views[0].unbind(1)
    h_BTH, _ = lstm(F.one_hot(token_BT, V).float())
    target_BT = token_BT[:, 1:].masked_fill(part_BT[:, 1:] == 0, -100)
    expected = F.cross_entropy(out(h_BTH[:, :-1]).mT, target_BT)
    found = method.loss(batch(), 0.0)
    torch.testing.assert_close(found.loss, expected)
    torch.testing.assert_close(found.log["bits"], expected.detach() / math.log(2))


@pytest.mark.parametrize("name", ["char_rnn", "char_gru", "char_lstm"])
@pytest.mark.parametrize("truncate", [T, 3 * T])
def test_a_gradient_that_reaches_through_the_window_is_plain_backpropagation(
    name: str, truncate: int
) -> None:
    method = built(name, truncate=truncate)
    found = method.loss(batch(), 0.0).loss
    torch.testing.assert_close(found, plainly(method))
    torch.testing.assert_close(gradient(method, found), gradient(method, plainly(method)))


@pytest.mark.parametrize("name", ["char_rnn", "char_gru", "char_lstm"])
def test_a_truncated_gradient_changes_no_value_but_itself(name: str) -> None:
    short, whole = built(name, truncate=5), built(name, truncate=T)
    losses = [method.loss(batch(), 0.0) for method in (short, whole)]
    torch.testing.assert_close(losses[0].loss, losses[1].loss)
    found, full = (gradient(m, out.loss) for m, out in zip((short, whole), losses, strict=True))
    assert (found - full).norm() > 0.01 * full.norm()


def test_a_gradient_goes_back_to_the_beginning_of_its_piece_and_no_further() -> None:
    method = built(truncate=4)
    net = net_of(method)
    inputs: list[Tensor] = []
    follow = net.recurrent.forward

    def spy(x_BTD: Tensor, *args: object, **more: object):
        inputs.append(x_BTD.requires_grad_())
        return follow(x_BTD, *args, **more)  # pyright: ignore[reportArgumentType]

    net.recurrent.forward = spy  # pyright: ignore[reportAttributeAccessIssue]
    h_BTH = method.carried(batch().views[0][:, 0])  # pyright: ignore[reportCallIssue]
    grads = torch.autograd.grad(h_BTH[:, 6].sum(), inputs)  # the third character of the second piece
    reached = [(grad.abs().sum((0, 2)) > 0).tolist() for grad in grads]
    assert reached == [[False] * 4, [True, True, True, False], [False] * 4]


def test_what_follows_one_character_may_be_all_that_is_learned() -> None:
    assert DATA.tokeniser is not None
    token_BT, part_BT = batch().views[0].unbind(1)
    asked = int(token_BT[0, 2])
    method = built(truncate=T, after=DATA.tokeniser.decode([asked]))
    logits = net_of(method)(token_BT)[:, :-1]
    untold_BT = (part_BT[:, 1:] == 0) | (token_BT[:, :-1] != asked)
    expected = F.cross_entropy(logits.mT, token_BT[:, 1:].masked_fill(untold_BT, -100))
    assert not torch.isclose(expected, plainly(method))
    torch.testing.assert_close(method.loss(batch(), 0.0).loss, expected)
    with pytest.raises(
        ManyviewsError, match="--after is '\u2603', which is not one character of these texts"
    ):
        built(after="\u2603")


def test_what_carries_no_state_and_a_gradient_of_no_characters_are_refused() -> None:
    paper, spec = find("char_rnn"), Spec(items=12, size=T, tokeniser=DATA.tokeniser)
    with pytest.raises(ManyviewsError, match="carries a state: take char_rnn, char_gru or char_lstm"):
        paper.method(paper.config(), net_factory("small_gpt", T), spec)
    with pytest.raises(ManyviewsError, match="--truncate is 0; a gradient goes back at least 1"):
        built(truncate=0)


def test_it_writes_texts_longer_than_a_window() -> None:
    method = built().eval()
    torch.manual_seed(0)
    first = method.writes()
    torch.manual_seed(0)
    assert method.writes() == first and len(first) == 3


def test_it_reads_shared_windows_and_writes_four_windows_where_nothing_ends() -> None:
    reading = find("char_rnn").method.reading(find("char_rnn").config())
    assert reading is not None and reading.packed
    method = built().eval()
    with torch.no_grad():
        net_of(method).out.bias[:5] = -1e9  # no special token, so no end
    assert [len(text) for text in method.writes()] == [4 * T - 1] * 3
