"""A probe that cheats is caught, whatever it changes and however little."""

import pytest
import torch

from manyviews.evaluation import NotFrozen, frozen


def forward_in_training_mode(net):
    net.train()
    net(torch.randn(4, 3, 16, 16))


def nudge_one_weight(net):
    weight = net.conv1.weight.view(-1)
    weight[0] = torch.nextafter(weight[0], torch.tensor(torch.inf))  # one bit


def flip_a_zero(net):
    net.bn1.bias[0] = -net.bn1.bias[0]  # 0.0 == -0.0, but the bits differ


def add_a_buffer(net):
    net.register_buffer("extra", torch.zeros(1))


def train_one_step(net):
    with torch.enable_grad():
        optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
        net(torch.randn(2, 3, 16, 16)).sum().backward()
        optimiser.step()


@pytest.mark.parametrize(
    "cheat", [forward_in_training_mode, nudge_one_weight, flip_a_zero, add_a_buffer, train_one_step]
)
def test_a_cheating_probe_is_caught(net, cheat):
    with pytest.raises(NotFrozen, match="changed while it was judged"), frozen(net):
        cheat(net)


def test_the_sentence_names_what_changed(net):
    with pytest.raises(NotFrozen, match=r"conv1\.weight"), frozen(net):
        nudge_one_weight(net)


def test_an_honest_probe_passes_and_modes_come_back(net):
    net.bn1.eval()
    modes = [module.training for module in net.modules()]
    with frozen(net):
        assert not any(module.training for module in net.modules())
        assert not net(torch.randn(2, 3, 16, 16)).requires_grad
    assert [module.training for module in net.modules()] == modes


def test_nan_equals_itself(net):
    with torch.no_grad():
        net.conv1.weight[0] = torch.nan
    with frozen(net):
        pass


def test_an_error_inside_is_not_hidden(net):
    with pytest.raises(ZeroDivisionError), frozen(net):
        nudge_one_weight(net)
        raise ZeroDivisionError
    assert net.training
