"""From scratch at equal cost: the arithmetic of the budget, and what is held equal."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from manyviews import nets
from manyviews.errors import ManyviewsError
from manyviews.evaluation import evaluate, scratch
from manyviews.evaluation.scratch import epochs_at_equal_cost

SMALL = {"classes": 3, "size": 16, "batch": 20}


@given(st.integers(0, 10**7), st.integers(1, 100), st.integers(1, 10**5))
def test_scratch_costs_no_less_and_not_an_epoch_more(pretraining: int, epochs: int, per_epoch: int) -> None:
    longer = epochs_at_equal_cost(pretraining, epochs, per_epoch) * per_epoch
    assert 0 <= longer - (pretraining + epochs * per_epoch) < per_epoch


def test_both_are_given_the_same_images_to_learn_from(blobs) -> None:
    encoder = nets.build("cifar_resnet8", size=16)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    state = torch.get_rng_state()
    found = scratch(encoder, blobs(60, seed=0), blobs(15, seed=1), pretraining_items=150, epochs=2, **SMALL)
    assert (found.pretrained.items, found.scratch.items) == (120, 300)  # 150 + 120 = 270, in epochs of 60
    assert found.pretrained.labels == found.scratch.labels == 60
    assert all(torch.equal(before[name], tensor) for name, tensor in encoder.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    told = found.as_dict()
    assert told["items"] == {"pre-training": 150, "fine-tuning": 120, "scratch": 300}
    assert told["top1"] == found.scratch.scores.top1 and told["pretrained"] == found.pretrained.scores.top1
    assert told["seconds"]["pre-training"] is None and told["seconds"]["scratch"] > 0


def test_it_starts_from_other_weights_than_the_encoders(blobs) -> None:
    encoder = nets.build("cifar_resnet8", size=16)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.mul_(0)
    train, test = blobs(40, seed=0), blobs(15, seed=1)
    found = scratch(encoder, train, test, pretraining_items=0, epochs=1, **SMALL)
    dead, alive = (one.classifier[0].conv1.weight for one in (found.pretrained, found.scratch))
    assert dead.abs().max() < 0.01 < alive.abs().max()
    again = scratch(encoder, train, test, pretraining_items=0, epochs=1, **SMALL)
    assert torch.equal(alive, again.scratch.classifier[0].conv1.weight)


def test_the_colours_that_a_net_reads_are_the_same_from_scratch(blobs) -> None:
    encoder = nets.build("colours(small_igpt/8px/2x32, 8)", size=16)
    encoder.get_buffer("palette").uniform_(-1, 1)
    found = scratch(encoder, blobs(40, seed=0), blobs(15, seed=1), pretraining_items=0, epochs=1, **SMALL)
    assert torch.equal(found.scratch.classifier[0].get_buffer("palette"), encoder.get_buffer("palette"))


def test_what_is_not_known_is_said(blobs, net) -> None:
    train, test = blobs(30, seed=0), blobs(15, seed=1)
    with pytest.raises(ManyviewsError, match="pretraining_items"):
        evaluate(net, train, test, protocols=["scratch"])
    with pytest.raises(ManyviewsError, match="How to build SmallNet again"):
        evaluate(net, train, test, protocols=["scratch"], options={"scratch": {"pretraining_items": 10}})
    assert math.isclose(epochs_at_equal_cost(0, 3, 7), 3)
