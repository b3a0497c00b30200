"""What a method remembers: the queue is a bounded first-in-first-out list, the twin a moving average."""

import math
from collections import deque

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from manyviews.memory import Queue, Twin, cosine_momentum
from manyviews.nets.norms import split_batch_norm


def oldest_first(queue: Queue) -> torch.Tensor:
    return queue.keys_KD.roll(-int(queue.pointer), 0)


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 12), batches=st.lists(st.integers(0, 30), max_size=8))
def test_queue_is_a_bounded_deque(size: int, batches: list[int]) -> None:
    queue = Queue(size, 3)
    reference = deque(queue.keys_KD.clone(), maxlen=size)
    for step, rows in enumerate(batches):
        keys = torch.randn(rows, 3, generator=torch.Generator().manual_seed(step))
        queue.push(keys)
        reference.extend(keys)
        assert torch.equal(oldest_first(queue), torch.stack(list(reference)))


def test_queue_starts_as_the_same_random_unit_rows() -> None:
    queue = Queue(50, 8)
    assert torch.allclose(queue.keys_KD.norm(dim=1), torch.ones(50))
    torch.manual_seed(5)
    assert torch.equal(queue.keys_KD, Queue(50, 8).keys_KD)
    assert queue.keys_KD.unique(dim=0).shape[0] == 50
    assert len(queue) == 50


def test_a_checkpoint_carries_the_queue() -> None:
    queue, other = Queue(7, 2), Queue(7, 2)
    queue.push(torch.ones(3, 2, requires_grad=True))
    other.load_state_dict(queue.state_dict())
    for each in (queue, other):
        each.push(torch.zeros(6, 2))
    assert torch.equal(queue.keys_KD, other.keys_KD)
    assert not queue.keys_KD.requires_grad and not list(queue.parameters())


@pytest.mark.parametrize(("size", "dim"), [(0, 4), (4, 0), (-1, 4)])
def test_a_queue_without_room_is_refused(size: int, dim: int) -> None:
    with pytest.raises(ValueError, match="room"):
        Queue(size, dim)


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 2))


def test_a_twin_is_a_frozen_equal_copy() -> None:
    online, x = net(), torch.randn(6, 4)
    twin = Twin(online)
    out = twin(x)
    assert torch.equal(out, online(x))
    assert not out.requires_grad and online(x).requires_grad
    assert all(p.requires_grad for p in online.parameters()) and not any(
        p.requires_grad for p in twin.parameters()
    )
    with torch.no_grad():
        online[0].weight.zero_()
    assert twin.module[0].weight.any()


@settings(max_examples=20, deadline=None)
@given(momentum=st.floats(0, 1))
def test_following_is_the_moving_average(momentum: float) -> None:
    online = net()
    twin = Twin(net())
    expected = [
        momentum * own.double() + (1 - momentum) * other.double()
        for own, other in zip(twin.parameters(), online.parameters(), strict=True)
    ]
    twin.follow(online, momentum)
    for own, mean in zip(twin.parameters(), expected, strict=True):
        assert torch.allclose(own.double(), mean, atol=1e-6)
        assert not own.requires_grad


def test_a_twin_keeps_its_own_batch_statistics() -> None:
    online = net()
    twin = Twin(online)
    twin(torch.randn(8, 4) + 3)
    norm, own = online[1], twin.module[1]
    assert not torch.equal(own.running_mean, norm.running_mean)
    before = own.running_mean.clone()
    twin.follow(online, 0.5)
    assert torch.equal(own.running_mean, before)
    twin.eval()
    twin(torch.randn(8, 4))
    assert torch.equal(own.running_mean, before)


def test_shuffled_rows_share_other_statistics_and_come_back_in_order() -> None:
    torch.manual_seed(0)
    x = torch.randn(12, 3, 4, 4)
    per_row = Twin(nn.Conv2d(3, 5, 1))
    torch.testing.assert_close(per_row.shuffled(x), per_row(x))
    split = Twin(split_batch_norm(nn.Sequential(nn.BatchNorm2d(3)), 3))
    torch.manual_seed(1)
    order = torch.randperm(12)
    expected = split(x[order])[order.argsort()]
    torch.manual_seed(1)
    torch.testing.assert_close(split.shuffled(x), expected)
    assert not torch.allclose(expected, split(x), atol=1e-2)


def test_a_twin_refuses_to_follow_a_stranger() -> None:
    with pytest.raises(ValueError, match="copied from"):
        Twin(net()).follow(nn.Linear(4, 5), 0.9)


def test_momentum_rises_along_a_cosine() -> None:
    assert math.isclose(cosine_momentum(0.99, 0.0), 0.99)
    assert math.isclose(cosine_momentum(0.99, 0.25), 1 - 0.01 * (math.cos(math.pi / 4) + 1) / 2)
    assert math.isclose(cosine_momentum(0.99, 0.5), 0.995)
    assert math.isclose(cosine_momentum(0.99, 1.0), 1.0)
    assert cosine_momentum(0.0, 0.5) == cosine_momentum(0.0, 1.0) == 0.0  # no twin, throughout
