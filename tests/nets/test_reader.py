"""A net that reads texts as an encoder: what stands in a window beside a text, or behind it, changes nothing for it."""

import pytest
import torch
from torch import Tensor, nn

from manyviews import nets
from manyviews.errors import ManyviewsError
from manyviews.nets import make
from manyviews.nets.encoder import compile_encoders
from manyviews.nets.interop import load_encoder, save_encoder
from manyviews.nets.reader import Reader, documents, pooled

V, T = 30, 12
SMALL = {
    "small_gpt": {"width": 16, "depth": 3, "heads": 2, "length": T},
    "gpt3_125m": {"width": 16, "depth": 4, "heads": 2, "head_width": 8, "length": T, "band": 3},
    "bert_tiny": {"width": 16, "length": T},
    "char_lstm": {"width": 16},
    "small_transformer": {"width": 16, "hidden": 32, "length": T},
}


def reader(name: str) -> Reader:
    net = make(name, vocabulary=V, **SMALL[name])
    for p in net.parameters():  # values that matter, norms and biases too
        nn.init.normal_(p, std=0.4)
    return Reader(net, V).eval()


def text(length: int) -> Tensor:
    """A text alone in its row, filled up to T: `[2, T]`."""
    tokens = torch.randint(1, V, (length,))
    return nn.functional.pad(torch.stack([tokens, torch.ones_like(tokens)]), (0, T - length))


def window(*texts: Tensor) -> Tensor:
    """Texts behind each other in one row, filled up to T."""
    there = [one[:, one[1] > 0] * torch.tensor([[1], [number]]) for number, one in enumerate(texts, 1)]
    joined = torch.cat(there, 1)
    return nn.functional.pad(joined, (0, T - joined.shape[1]))


@pytest.mark.parametrize("name", ["small_gpt", "gpt3_125m"])
def test_documents_in_a_window_give_the_states_that_each_has_alone(name: str) -> None:
    net, first, second, third = reader(name), text(4), text(5), text(2)
    packed_TD = net.states(window(first, second, third)[None])[0]
    for start, one, length in ((0, first, 4), (4, second, 5), (9, third, 2)):
        alone_TD = net.states(one[None])[0]
        torch.testing.assert_close(packed_TD[start : start + length], alone_TD[:length])
    assert not packed_TD[11:].any()


def test_a_band_reaches_no_further_than_it_says_within_a_document() -> None:
    """With two blocks, of which the second is banded to itself and two before, and whose first is made to see nothing."""
    net = make("gpt3_125m", vocabulary=V, **SMALL["gpt3_125m"] | {"depth": 2})
    nn.init.zeros_(net.get_submodule("blocks.0.attention.out").weight)
    read, x = Reader(net, V).eval(), text(T)[None]
    other = x.clone()
    other[0, 0, 3] = (x[0, 0, 3] + 1) % V
    changed_T = (read.states(x) - read.states(other)).abs().sum(-1)[0] > 1e-6
    assert changed_T.nonzero()[:, 0].tolist() == [3, 4, 5]


@pytest.mark.parametrize("name", SMALL)
def test_padding_changes_nothing_whatever_stands_there(name: str) -> None:
    net, x = reader(name), torch.stack([text(5), text(9)])
    noisy = x.clone()
    noisy[:, 0] = torch.where(x[:, 1] > 0, x[:, 0], torch.randint(1, V, (2, T)))
    torch.testing.assert_close(net(noisy), net(x))
    torch.testing.assert_close(net(x[:1, :, :5]), net(x[:1]))


@pytest.mark.parametrize("name", SMALL)
def test_the_embedding_is_the_mean_over_the_tokens_of_a_text(name: str) -> None:
    net, x = reader(name), torch.stack([text(5), text(9)])
    h_BTD = net.states(x)
    torch.testing.assert_close(net(x), torch.stack([h_BTD[0, :5].mean(0), h_BTD[1, :9].mean(0)]))
    torch.testing.assert_close(net.grid(x), h_BTD.mT[:, :, None])
    assert not net(torch.zeros(1, 2, T, dtype=torch.long)).any()  # no token: no embedding, and no NaN


def test_a_mean_leaves_out_what_is_filled_up() -> None:
    state_BTD, part_BT = torch.randn(2, 4, 3), torch.tensor([[1, 1, 2, 0], [0, 0, 0, 0]])
    expected = torch.stack([state_BTD[0, :3].mean(0), torch.zeros(3)])
    torch.testing.assert_close(pooled(state_BTD, part_BT), expected)


def test_tokens_of_a_window_look_at_their_document_and_are_counted_within_it() -> None:
    part_BT = torch.tensor([[1, 1, 2, 2, 0]])
    found = documents(part_BT)
    assert found is not None
    same_BTT, place_BT = found
    look = [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 1, 1, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 1]]
    assert torch.equal(same_BTT[0], torch.tensor(look, dtype=torch.bool))
    assert place_BT[0, :4].tolist() == [0, 1, 0, 1]
    assert documents(torch.tensor([[1, 1, 0], [1, 1, 1]])) is None


@pytest.mark.parametrize("name", ["small_gpt", "gpt3_125m"])
def test_gradients_through_windows_that_are_not_full_are_finite(name: str) -> None:
    net = reader(name).train()
    net.states(torch.stack([window(text(3), text(4)), text(2)])).square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())


def test_what_reads_no_texts_is_no_reader() -> None:
    with pytest.raises(ManyviewsError, match="Linear reads no texts"):
        Reader(nn.Linear(2, 2), V)


@pytest.mark.parametrize("name", ["small_gpt/nodrop", "bert_tiny", "char_lstm", "small_transformer/nodrop"])
def test_a_reader_is_saved_and_loaded_again(name: str, tmp_path) -> None:
    net, x = nets.build(name, in_channels=V, size=T).eval(), torch.stack([text(5), text(T)])
    save_encoder(tmp_path, net, {"size": T})
    again, about = load_encoder(tmp_path)
    assert about == {"size": T} and again.in_channels == V
    assert torch.equal(again(x), net(x))


def test_a_net_of_texts_needs_its_vocabulary() -> None:
    with pytest.raises(ManyviewsError, match="say how many tokens there are"):
        nets.build("small_gpt", size=T)


def test_compiling_reaches_what_methods_ask_of_a_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def compiled(function):
        def inner(*given, **named):
            asked.append(function.__name__)
            return function(*given, **named)

        return inner

    monkeypatch.setattr(torch, "compile", compiled)
    for name in ("small_gpt", "bert_tiny", "small_transformer"):
        encoder = reader(name)
        expected = encoder.states(window(text(5)[:2])[None])
        compile_encoders(nn.ModuleList([encoder]))
        asked.clear()
        torch.testing.assert_close(encoder.states(window(text(5)[:2])[None]).shape, expected.shape)
        assert asked == ["hidden"], name
    source_BS, there_BS = text(5)[None].unbind(1)
    encoder.net.answer(source_BS, encoder.net.hidden(source_BS, there_BS), there_BS > 0)
    assert asked[-2:] == ["hidden", "answer"]
