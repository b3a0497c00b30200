"""Nets read part by part: skipping what repeats changes nothing, and what feeds what is found."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from manyviews.nets import make
from manyviews.nets.parts import INPUT, Part, kind, read
from manyviews.nets.transformer import Block, Transformer


def on(device: str, name: str) -> tuple[nn.Module, Tensor]:
    with torch.device(device):
        return make(name, in_channels=3, size=32), torch.zeros(1, 3, 32, 32)


def leaves(part: Part) -> list[Part]:
    return [leaf for child in part.parts for leaf in leaves(child)] or [part]


@pytest.mark.parametrize(
    "name", ["cifar_resnet32", "cifar_resnet14/B", "resnet50/cifar+group", "small_resnet"]
)
@pytest.mark.parametrize("flow", [False, True])
def test_without_numbers_and_repeats_it_is_what_a_whole_run_finds(name: str, flow: bool):
    assert read(*on("meta", name), flow=flow) == read(*on("cpu", name), flow=flow)


def test_a_transformer_too():
    plan = {"vocabulary": 50, "width": 16, "depth": 3, "heads": 2, "hidden": 32, "length": 16}
    found = []
    for device in ("meta", "cpu"):
        with torch.device(device):
            tokens = torch.ones(1, 8, dtype=torch.int64)
            found.append(read(Transformer(**plan), tokens, tokens, flow=True))
    assert found[0] == found[1]
    encoder, decoder = (part for part in found[0].parts if part.kind == "one after the other")
    assert [block.times for block in encoder.parts] == [block.times for block in decoder.parts] == [3]


def test_totals_are_torchs():
    net, x = on("cpu", "resnet18/cifar")
    part = read(net, x)
    net.eval().requires_grad_(False)
    with FlopCounterMode(display=False) as counter:
        net(x)
    assert part.multiply_adds == counter.get_total_flops() // 2
    assert part.parameters == sum(p.numel() for p in net.parameters())
    assert part.multiply_adds == sum(child.multiply_adds for child in part.parts)
    assert part.parameters == sum(child.parameters for child in part.parts)


def test_the_net_can_be_used_afterwards():
    net, x = on("cpu", "cifar_resnet8")
    before = net.eval()(x)
    read(net, x, flow=True)
    assert torch.equal(net(x), before)


def test_equal_parts_are_one_and_others_are_not():
    with torch.device("meta"):
        net = nn.Sequential(
            *(nn.Linear(4, 4) for _ in range(5)), nn.Linear(4, 6), nn.Linear(6, 4), nn.Linear(4, 4)
        )
        part = read(net, torch.zeros(1, 4))
    assert [child.times for child in part.parts] == [5, 1, 1, 1]
    assert part.parts[0] == Part("0", "linear, 4 to 4", (4,), 5 * 20, 5 * 16, 5)


def test_settings_that_change_what_comes_out_are_not_overlooked():
    with torch.device("meta"):
        net = nn.Sequential(*(nn.Conv2d(3, 3, 1, stride=stride) for stride in (1, 1, 2)))
        part = read(net, torch.zeros(1, 3, 8, 8))
    assert [child.out for child in part.parts] == [(3, 8, 8), (3, 4, 4)]


class Twice(nn.Module):
    """One layer in two places."""

    def __init__(self):
        super().__init__()
        self.shared, self.between = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.shared(self.between(self.shared(x)))


def test_what_is_used_twice_counts_once():
    part = read(Twice(), torch.zeros(1, 4))
    assert [(child.times, child.parameters) for child in part.parts] == [(2, 40), (1, 0)]
    assert part.parameters == 40 and part.multiply_adds == 3 * 16


def test_the_flow_of_a_pre_norm_block():
    part = read(Block(8, 2), torch.zeros(1, 5, 8), flow=True)
    assert [child.name for child in part.parts] == ["norm1", "attention", "norm2", "mlp"]
    assert [child.takes for child in part.parts] == [(INPUT,), (0,), (INPUT, 1), (2,)]
    assert part.last == (INPUT, 1, 3) and part.sums == ((INPUT, 1), (INPUT, 1, 3))


def test_a_mask_is_no_flow():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.ask, self.block = nn.Linear(8, 8), Block(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.block(self.ask(x), padding_BS=x[:, :, 0] == 0)

    assert read(Masked(), torch.zeros(1, 5, 8), flow=True).parts[1].takes == (0,)


def test_what_leaves_no_trace_is_taken_to_follow():
    class Opaque(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(Opaque.apply(self.a(x)))

    assert [child.takes for child in read(Net(), torch.zeros(1, 4), flow=True).parts] == [(INPUT,), (0,)]


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (nn.Conv2d(3, 64, 7, stride=2, groups=1), "7×7 convolution, 64 channels, stride 2"),
        (nn.Conv2d(4, 1024, (3, 1), groups=2), "3×1 convolution, 1,024 channels, 2 groups"),
        (nn.MaxPool2d(3, stride=2), "3×3 max pool, stride 2"),
        (nn.Embedding(50_257, 768), "embedding, 50,257 of 768"),
        (nn.BatchNorm2d(3), "batch norm"),
        (Block(8, 2).attention, "Attention, 2 heads"),
        (nn.ReLU(), "ReLU"),
    ],
)
def test_what_a_part_is_in_words(module: nn.Module, words: str):
    assert kind(module) == words
