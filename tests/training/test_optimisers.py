"""LARS against its paper's formula, schedules against their shapes, groups against what is in them."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from manyviews.method import Method, Spec
from manyviews.recipe import Recipe
from manyviews.training.optimisers import LARS, groups, optimiser, rate, set_rate


def test_lars_takes_the_steps_of_algorithm_1() -> None:
    torch.manual_seed(0)
    w = nn.Parameter(torch.randn(4, 3, dtype=torch.float64))
    by_hand, velocity = w.detach().clone(), torch.zeros(4, 3, dtype=torch.float64)
    lars = LARS([w], lr=0.3, momentum=0.9, weight_decay=0.01, trust=0.02)
    for step in range(5):
        gradient = torch.sin(by_hand * (step + 1))
        w.grad = torch.sin(w.detach() * (step + 1))
        lars.step()
        local = 0.02 * by_hand.norm() / (gradient.norm() + 0.01 * by_hand.norm())
        velocity = 0.9 * velocity + 0.3 * local * (gradient + 0.01 * by_hand)
        by_hand = by_hand - velocity
    torch.testing.assert_close(w.detach(), by_hand, rtol=1e-12, atol=1e-12)


def test_lars_without_adaptation_is_sgd() -> None:
    ours, theirs = (nn.Parameter(torch.arange(3.0, dtype=torch.float64)) for _ in range(2))
    lars = LARS([{"params": [ours], "adapt": False}], lr=0.1, momentum=0.9, weight_decay=0.05)
    sgd = torch.optim.SGD([theirs], lr=0.1, momentum=0.9, weight_decay=0.05)
    for _ in range(4):
        for w, step in ((ours, lars.step), (theirs, sgd.step)):
            w.grad = w.detach().cos()
            step()
    torch.testing.assert_close(ours, theirs)


@given(st.floats(0, 1), st.sampled_from(["cosine", "step", "constant"]), st.floats(0, 0.9))
def test_rates_stay_between_nothing_and_the_peak(progress: float, schedule: str, warmup: float) -> None:
    assert 0 <= rate(Recipe(schedule=schedule, warmup=warmup), progress) <= 1  # pyright: ignore[reportArgumentType]


def test_schedules_have_their_shapes() -> None:
    cosine = Recipe(schedule="cosine", warmup=0.1)
    assert [rate(cosine, p) for p in (0.0, 0.05, 0.1, 0.55, 1.0)] == pytest.approx([0, 0.5, 1, 0.5, 0])
    step = Recipe(schedule="step", milestones=(0.6, 0.8))
    assert [rate(step, p) for p in (0.0, 0.59, 0.6, 0.8)] == pytest.approx([1, 1, 0.1, 0.01])
    assert rate(Recipe(schedule="cosine"), 0.25) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)


class TwoLayers(Method):
    def __init__(self) -> None:
        super().__init__(None, Spec(items=1, size=1))
        self.first, self.norm, self.last = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)

    def constant_rate(self) -> list[nn.Parameter]:
        return list(self.last.parameters())


@pytest.mark.parametrize("name", ["sgd", "adamw", "lars"])
def test_groups_hold_every_trained_parameter_once(name: str) -> None:
    method, recipe = TwoLayers(), Recipe(optimiser=name, weight_decay=0.1)  # pyright: ignore[reportArgumentType]
    parts = groups(method, recipe)
    held = [id(w) for part in parts for w in part["params"]]
    assert sorted(held) == sorted(id(w) for w in method.parameters() if w.requires_grad)
    for part in parts:
        assert {w.ndim > 1 for w in part["params"]} == {part["weight_decay"] > 0}
    built = optimiser(method, recipe)
    set_rate(built, recipe, 0.5)
    rates = {group["scheduled"]: group["lr"] for group in built.param_groups}
    assert rates == {True: pytest.approx(recipe.lr / 2), False: recipe.lr}


def test_decay_all_decays_all() -> None:
    assert {
        part["weight_decay"] for part in groups(TwoLayers(), Recipe(weight_decay=0.1, decay_all=True))
    } == {0.1}
