"""BYOL: a momentum of 0 is no twin at all, at any time of the run; every other one rises to 1."""

from dataclasses import replace

import pytest
import torch

from manyviews.method import Out, Spec, find
from manyviews.methods.contrastive.byol import BYOL
from manyviews.runs import net_factory


def moved(momentum: float, progress: float) -> tuple[BYOL, float]:
    """After a step that moved every online weight by 1: the method, and by how much its target followed."""
    torch.manual_seed(0)
    config = replace(find("byol").config(), hidden=16, dim=8, momentum=momentum)
    method = BYOL(config, net_factory("cifar_resnet8", 16), Spec(items=8, size=16))
    before = [p.clone() for p in method.target.parameters()]
    for p in method.online.parameters():
        p.data.add_(1.0)
    method.after_step(Out(torch.zeros(())), progress)
    ways = [(new - old).mean() for old, new in zip(before, method.target.parameters(), strict=True)]
    return method, float(torch.stack(ways).mean())


@pytest.mark.parametrize("progress", [0.0, 0.5, 0.99])
def test_with_a_momentum_of_zero_the_target_is_the_online_net_throughout(progress: float) -> None:
    method, _ = moved(0.0, progress)
    for target, online in zip(method.target.parameters(), method.online.parameters(), strict=True):
        assert torch.equal(target, online)


@pytest.mark.parametrize(("progress", "followed"), [(0.0, 0.1), (0.5, 0.05), (1.0, 0.0)])
def test_any_other_momentum_rises_to_one(progress: float, followed: float) -> None:
    assert moved(0.9, progress)[1] == pytest.approx(followed, abs=1e-6)
