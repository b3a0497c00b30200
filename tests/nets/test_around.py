"""Encoders around encoders: a word and a net in one name, which works wherever a net's name does."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from manyviews.errors import ManyviewsError
from manyviews.nets import Encoder, around, build
from manyviews.nets.interop import load_encoder, save_encoder
from manyviews.runs import net_factory


class Side(Encoder):
    """`inner` beside itself, mirrored."""

    def __init__(self, inner: Encoder, times: int) -> None:
        super().__init__(inner.width * times, inner.in_channels)
        self.inner, self.times = inner, times

    def grid(self, x_BCHW: Tensor) -> Tensor:
        return torch.cat([self.inner.grid(x_BCHW.flip(3) if n % 2 else x_BCHW) for n in range(self.times)], 1)


def side(inner: Callable[..., Encoder], *numbers: int, in_channels: int, size: int) -> Encoder:
    return Side(inner(in_channels=in_channels, size=size), *numbers)


@pytest.fixture(autouse=True)
def a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(around, "wrappers", lambda: {"side": side})


def test_a_name_is_taken_apart() -> None:
    assert around.parsed("resnet18/group") is None
    assert around.parsed("side(small_resnet, 2, 16)") == (side, "small_resnet", (2, 16))
    assert around.parsed(" side( small_resnet+group ,3) ") == (side, "small_resnet+group", (3,))
    assert around.parsed("side(side(small_resnet, 2), 3)") == (side, "side(small_resnet, 2)", (3,))
    assert around.parsed("side(small_resnet)") == (side, "small_resnet", ())


def test_it_is_built_by_name_inside_out() -> None:
    torch.manual_seed(0)
    net = build("side(side(cifar_resnet8, 2), 3)", in_channels=1, size=16).eval()
    assert isinstance(net, Side) and isinstance(net.inner, Side)
    inner = net.inner.inner
    assert inner.in_channels == 1 and net.width == 6 * inner.width
    x = torch.randn(2, 1, 16, 16)
    once, mirrored = inner(x), inner(x.flip(3))
    torch.testing.assert_close(net(x)[:, : 2 * inner.width], torch.cat([once, mirrored], 1))


def test_a_method_puts_it_around_whatever_net_was_asked_for() -> None:
    net = net_factory("cifar_resnet8", 16)(within="side({}, 2)")
    assert isinstance(net, Side) and net.width == 2 * build("cifar_resnet8", size=16).width


def test_it_is_saved_and_loaded_under_its_name(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = build("side(cifar_resnet8, 2)", size=16).eval()
    save_encoder(tmp_path, net, {"net": "side(cifar_resnet8, 2)", "size": 16})
    again, _ = load_encoder(tmp_path)
    x = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(again.eval()(x), net(x))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("beside(small_resnet, 2)", "begins with beside, which puts no nets together; there are side"),
        ("side(small_resnet, two)", "has two after its net; these are whole numbers"),
        ("side(small_resnet, -1)", "has -1 after its net"),
        ("side(small_rasnet, 2)", "did you mean small_resnet"),
    ],
)
def test_what_cannot_be_built_is_refused_in_a_sentence(name: str, said: str) -> None:
    with pytest.raises(ManyviewsError, match=said):
        build(name)


def test_every_word_there_is_has_a_maker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert all(callable(maker) and word.isidentifier() for word, maker in around.wrappers().items())
