"""Which batch norms are made to take their statistics over all ranks; that the figures are right `test_distributed` tells."""

import copy

import pytest
import torch
from torch import nn

from manyviews import distributed
from manyviews.nets.norms import SplitBatchNorm
from manyviews.nets.synchronised import SyncBatchNorm, synchronise


def test_a_split_batch_norm_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Halves(nn.BatchNorm2d):
        pass

    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    norms = [Halves(3), nn.BatchNorm2d(3), SplitBatchNorm(3, 2), nn.SyncBatchNorm(3)]
    net = synchronise(nn.Sequential(*norms, Halves(3)))
    kinds = [type(layer) for layer in net.children()]
    assert kinds == [Halves, SyncBatchNorm, SplitBatchNorm, nn.SyncBatchNorm, Halves]
    said = "manyviews: Halves takes its statistics over each device's part of a batch, not the whole; "
    assert capsys.readouterr().err.startswith(said)
    synchronise(nn.Sequential(*norms[1:]))
    assert capsys.readouterr().err == ""


def test_timms_batch_norm_with_an_activation_is_synchronised(monkeypatch: pytest.MonkeyPatch) -> None:
    from timm.layers import BatchNormAct2d

    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(
        distributed, "gather_with_grad", lambda x: torch.cat([x, x])
    )  # of two with the same rows
    make = torch.Generator().manual_seed(0)
    x = 1 + torch.randn(6, 3, 4, 4, generator=make, dtype=torch.float64)
    plain = nn.Sequential(BatchNormAct2d(3, act_layer=nn.SiLU)).double()
    net = synchronise(copy.deepcopy(plain))
    assert type(net[0]) is SyncBatchNorm and list(net.state_dict()) == list(plain.state_dict())
    for mode in (True, False):
        net.train(mode), plain.train(mode)
        torch.testing.assert_close(net(x), plain(torch.cat([x, x]))[:6])
        for name, value in plain.state_dict().items():
            torch.testing.assert_close(net.state_dict()[name], value)
