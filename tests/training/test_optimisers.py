"""Optimisers against their papers' equations in NumPy, schedules against their shapes, groups against what is in them."""

import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import timm.optim
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import Tensor, nn

from manyviews.errors import ManyviewsError
from manyviews.evaluation.descent import layers
from manyviews.method import Method, Spec, find
from manyviews.nets import net_factory
from manyviews.nets.split import Split
from manyviews.recipe import Optimiser, Recipe
from manyviews.training import checkpoint
from manyviews.training.layerwise import LAMB, LARS
from manyviews.training.optimisers import groups, laid_out_as_weights, optimiser, over, rate, set_rate

NAMES: tuple[str, ...] = get_args(Optimiser)
Array = np.ndarray
LR, MU, DECAY, TRUST, BETA2 = 0.03, 0.8, 0.1, 0.02, 0.999

# -- the update equations, written out ---------------------------------------------------------------------------------
# Each takes the weights, and for every step a gradient and a rate; it yields the weights after every step.

Steps = list[tuple[Array, float]]


def norm(x: Array) -> float:
    return float(np.sqrt((x * x).sum()))


def gd(w: Array, steps: Steps) -> Iterator[Array]:
    for g, lr in steps:
        w = w - lr * (g + DECAY * w)
        yield w


def sgd(w: Array, steps: Steps, mu: float = MU) -> Iterator[Array]:
    v = np.zeros_like(w)
    for g, lr in steps:
        v = mu * v + (g + DECAY * w)
        w = w - lr * v
        yield w


def nesterov(w: Array, steps: Steps) -> Iterator[Array]:
    v = np.zeros_like(w)
    for g, lr in steps:
        g = g + DECAY * w
        v = MU * v + g
        w = w - lr * (g + MU * v)
        yield w


def adagrad(w: Array, steps: Steps) -> Iterator[Array]:
    s = np.zeros_like(w)
    for g, lr in steps:
        g = g + DECAY * w
        s = s + g**2
        w = w - lr * g / (np.sqrt(s) + 1e-10)
        yield w


def rmsprop(w: Array, steps: Steps) -> Iterator[Array]:
    s = np.zeros_like(w)
    for g, lr in steps:
        g = g + DECAY * w
        s = MU * s + (1 - MU) * g**2
        w = w - lr * g / (np.sqrt(s) + 1e-8)
        yield w


def adam(w: Array, steps: Steps, l2: float = DECAY, decoupled: float = 0.0) -> Iterator[Array]:
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, (g, lr) in enumerate(steps, start=1):
        g = g + l2 * w
        m = MU * m + (1 - MU) * g
        v = BETA2 * v + (1 - BETA2) * g**2
        m_hat, v_hat = m / (1 - MU**t), v / (1 - BETA2**t)
        w = w - lr * decoupled * w - lr * m_hat / (np.sqrt(v_hat) + 1e-8)
        yield w


def adamw(w: Array, steps: Steps) -> Iterator[Array]:
    return adam(w, steps, l2=0.0, decoupled=DECAY)


def lars(w: Array, steps: Steps) -> Iterator[Array]:
    v = np.zeros_like(w)
    for g, lr in steps:
        both = norm(w) > 0 and norm(g) > 0
        local = TRUST * norm(w) / (norm(g) + DECAY * norm(w)) if both else 1.0
        v = MU * v + lr * local * (g + DECAY * w)
        w = w - v
        yield w


def lamb(w: Array, steps: Steps, phi: Callable[[float], float] = float) -> Iterator[Array]:
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, (g, lr) in enumerate(steps, start=1):
        m = MU * m + (1 - MU) * g
        v = BETA2 * v + (1 - BETA2) * g**2
        u = (m / (1 - MU**t)) / (np.sqrt(v / (1 - BETA2**t)) + 1e-6) + DECAY * w
        ratio = phi(norm(w)) / norm(u) if norm(w) > 0 and norm(u) > 0 else 1.0
        w = w - lr * ratio * u
        yield w


EQUATIONS: dict[str, Callable[[Array, Steps], Iterator[Array]]] = {
    "gd": gd, "sgd": sgd, "nesterov": nesterov, "adagrad": adagrad, "rmsprop": rmsprop, "adam": adam,
    "adamw": adamw, "lars": lars, "lamb": lamb,
}  # fmt: skip


def recipe(name: str, **changes: Any) -> Recipe:
    inertia = Recipe.inertia if name in ("gd", "adagrad") else MU
    settings = {"lr": LR, "inertia": inertia, "weight_decay": DECAY, "trust": TRUST} | changes
    return Recipe(optimiser=name, **settings)  # pyright: ignore[reportArgumentType]


def walked(built: torch.optim.Optimizer, w: nn.Parameter, steps: Steps) -> Iterator[Array]:
    for g, lr in steps:
        w.grad = torch.from_numpy(g.copy())
        built.param_groups[0]["lr"] = lr
        built.step()
        yield w.detach().numpy().copy()


def constant(gradients: list[Array], lr: float = LR) -> Steps:
    return [(g, lr) for g in gradients]


@st.composite
def walks(draw: st.DrawFn) -> tuple[Array, Steps]:
    shape = draw(arrays.array_shapes(max_dims=4, max_side=4))
    numbers = arrays.arrays(np.float64, shape, elements=st.floats(-3, 3, width=32, allow_subnormal=False))
    rates = st.floats(1e-3, 1.0)
    return draw(numbers), draw(st.lists(st.tuples(numbers, rates), min_size=1, max_size=6))


def test_every_optimiser_has_its_equation() -> None:
    assert set(EQUATIONS) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
@given(walk=walks())
def test_steps_are_those_of_the_equations(name: str, walk: tuple[Array, Steps]) -> None:
    start, steps = walk
    w = nn.Parameter(torch.from_numpy(start.copy()))
    told = list(EQUATIONS[name](start, steps))
    # Where all weights come to within rounding of 0, a step by their length goes either way.
    assume(not start.any() or all(np.linalg.norm(theirs) > 1e-6 for theirs in told))
    ours = walked(over([w], recipe(name)), w, steps)
    for mine, theirs in zip(ours, told, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-9)


def test_without_inertia_sgd_is_plain() -> None:
    gradients = [np.array([1.0, -2.0]), np.array([3.0, 0.5])]
    start = np.array([1.0, 1.0])
    w = nn.Parameter(torch.from_numpy(start.copy()))
    ours = list(walked(over([w], recipe("sgd", inertia=0.0)), w, constant(gradients)))
    np.testing.assert_allclose(ours, list(gd(start, constant(gradients))), rtol=1e-14)


# -- LARS and LAMB -----------------------------------------------------------------------------------------------------


def outside(w: Array, steps: Steps) -> Iterator[Array]:
    """LARS with the rate outside the momentum, as apex's LARC and MoCo v3 write it."""
    v = np.zeros_like(w)
    for g, lr in steps:
        v = MU * v + TRUST * norm(w) / (norm(g) + DECAY * norm(w)) * (g + DECAY * w)
        w = w - lr * v
        yield w


def test_the_two_ways_to_write_lars_part_only_where_the_rate_changes() -> None:
    source = np.random.default_rng(0)
    start, gradients = source.normal(size=(4, 3)), list(source.normal(size=(6, 4, 3)))
    steady, falling = constant(gradients), [(g, 0.5**t) for t, g in enumerate(gradients)]
    for steps, agree in ((steady, True), (falling, False)):
        w = nn.Parameter(torch.from_numpy(start.copy()))
        ours = list(walked(over([w], recipe("lars")), w, steps))
        assert np.allclose(ours[-1], list(outside(start, steps))[-1], rtol=1e-12) == agree


@pytest.mark.parametrize("layers", [((4, 3), (5,)), ((2, 3, 3, 3),)])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_lamb_is_timms(layers: tuple[tuple[int, ...], ...], decay: float) -> None:
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.randn(shape, dtype=torch.float64)) for shape in layers]
    theirs = [nn.Parameter(w.detach().clone()) for w in ours]
    settings: dict[str, Any] = {"lr": 0.02, "betas": (0.9, 0.99), "weight_decay": decay}
    both = LAMB(ours, **settings), timm.optim.Lamb(theirs, **settings, max_grad_norm=None, always_adapt=True)
    for _ in range(5):
        for w, twin in zip(ours, theirs, strict=True):
            w.grad = torch.randn_like(w)
            twin.grad = w.grad.clone()
        for one in both:
            one.step()
    for w, twin in zip(ours, theirs, strict=True):
        torch.testing.assert_close(w, twin, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("bounds", [(0.0, 0.5), (30.0, 40.0)])
def test_phi_bounds_the_length_of_lambs_step(bounds: tuple[float, float]) -> None:
    source = np.random.default_rng(0)
    start, steps = source.normal(size=(4, 3)), constant(list(source.normal(size=(5, 4, 3))))
    w = nn.Parameter(torch.from_numpy(start.copy()))
    built = LAMB([w], lr=LR, betas=(MU, BETA2), weight_decay=DECAY, phi=bounds)
    path = [start, *walked(built, w, steps)]
    np.testing.assert_allclose(
        path[1:], list(lamb(start, steps, lambda z: min(max(z, bounds[0]), bounds[1]))), rtol=1e-10
    )
    bound = bounds[1] if norm(start) > bounds[1] else bounds[0]
    assert [norm(b - a) for a, b in pairwise(path)] == pytest.approx([LR * bound] * 5)


@pytest.mark.parametrize("ours", [LARS, LAMB])
def test_a_step_is_a_share_of_the_layers_weights(ours: type[LARS] | type[LAMB]) -> None:
    torch.manual_seed(0)
    small, large = (nn.Parameter(size * torch.randn(6, 5, dtype=torch.float64)) for size in (0.01, 100.0))
    before = [w.detach().clone() for w in (small, large)]
    small.grad, large.grad = torch.randn_like(small), 1e3 * torch.randn_like(large)
    ours([small, large], lr=0.1).step()
    moved = [
        float((w.detach() - old).norm() / old.norm()) for w, old in zip((small, large), before, strict=True)
    ]
    assert moved == pytest.approx([1e-4, 1e-4] if ours is LARS else [0.1, 0.1])


def test_without_adaptation_lars_is_sgd_and_lamb_is_adamw() -> None:
    for ours, theirs in (
        (LARS, lambda ws: torch.optim.SGD(ws, lr=0.1, momentum=0.9, weight_decay=0.05)),
        (LAMB, lambda ws: torch.optim.AdamW(ws, lr=0.1, weight_decay=0.05, eps=1e-6)),
    ):
        w, twin = (nn.Parameter(torch.arange(3.0, dtype=torch.float64)) for _ in range(2))
        steps = (
            (w, ours([{"params": [w], "adapt": False}], lr=0.1, weight_decay=0.05)),
            (twin, theirs([twin])),
        )
        for _ in range(4):
            for x, built in steps:
                x.grad = x.detach().cos()
                built.step()
        torch.testing.assert_close(w, twin, rtol=1e-10, atol=1e-12)


# -- what theory says --------------------------------------------------------------------------------------------------


def test_adams_first_step_is_the_rate() -> None:
    g = np.array([1e-3, -2.0, 50.0])
    w = nn.Parameter(torch.zeros(3, dtype=torch.float64))
    first = next(walked(over([w], Recipe(optimiser="adam", lr=LR, weight_decay=0.0)), w, [(g, LR)]))
    np.testing.assert_allclose(first, -LR * np.sign(g), rtol=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_who_does_not_mind_the_scale_of_the_gradient(name: str) -> None:
    source = np.random.default_rng(0)
    start, gradients = source.normal(size=(3, 4)), source.normal(size=(8, 3, 4))
    ends = []
    for scale in (1.0, 1000.0):
        w = nn.Parameter(torch.from_numpy(start.copy()))
        ends.append(
            list(walked(over([w], recipe(name, weight_decay=0.0)), w, constant(list(scale * gradients))))[-1]
        )
    same = np.allclose(*ends, rtol=1e-4)
    assert same == (name not in ("gd", "sgd", "nesterov"))


def test_adams_steps_are_no_longer_than_the_rate_where_gradients_are_steady() -> None:
    w = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    built = over([w], Recipe(optimiser="adam", lr=LR, weight_decay=0.0))
    path = [np.zeros(1), *walked(built, w, constant([np.array([7.0])] * 50))]
    lengths = [norm(b - a) for a, b in pairwise(path)]
    assert lengths == pytest.approx([LR] * 50)


def test_adagrads_steps_fall_as_one_over_the_root_of_t() -> None:
    w = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    built = over([w], Recipe(optimiser="adagrad", lr=LR, weight_decay=0.0))
    path = [np.zeros(2), *walked(built, w, constant([np.array([0.01, -40.0])] * 64))]
    for t, (a, b) in enumerate(pairwise(path), start=1):
        np.testing.assert_allclose(np.abs(b - a), LR / math.sqrt(t), rtol=1e-6)


def descended(built: torch.optim.Optimizer, w: nn.Parameter, curvature: Array, until: float) -> list[float]:
    """Distances from the minimum of a quadratic, step by step, until they are below ``until``."""
    distances = [norm(w.detach().numpy())]
    while distances[-1] > until:
        w.grad = torch.from_numpy(curvature * w.detach().numpy())
        built.step()
        distances.append(norm(w.detach().numpy()))
    return distances


@pytest.mark.parametrize("k", [4.0, 100.0])
def test_gradient_descent_contracts_by_k_less_one_over_k_and_one(k: float) -> None:
    w = nn.Parameter(torch.ones(2, dtype=torch.float64))
    built = over([w], Recipe(optimiser="gd", lr=2 / (1 + k), weight_decay=0.0))
    distances = descended(built, w, np.array([1.0, k]), 1e-6)
    assert [b / a for a, b in pairwise(distances)] == pytest.approx(
        [(k - 1) / (k + 1)] * (len(distances) - 1)
    )


def test_the_best_momentum_needs_the_root_of_gradient_descents_steps() -> None:
    plain, heavy = [], []
    for k in (100.0, 400.0, 1600.0):
        w = nn.Parameter(torch.ones(2, dtype=torch.float64))
        curvature, root = np.array([1.0, k]), math.sqrt(k)
        built = over([w], Recipe(optimiser="gd", lr=2 / (1 + k), weight_decay=0.0))
        plain.append(len(descended(built, w, curvature, 1e-6)))
        w = nn.Parameter(torch.ones(2, dtype=torch.float64))
        mu = ((root - 1) / (root + 1)) ** 2
        best = Recipe(optimiser="sgd", lr=4 / (1 + root) ** 2, inertia=mu, weight_decay=0.0)
        heavy.append(len(descended(over([w], best), w, curvature, 1e-6)))
    assert [b / a for a, b in pairwise(plain)] == pytest.approx([4, 4], rel=0.02)
    assert [b / a for a, b in pairwise(heavy)] == pytest.approx([2, 2], rel=0.06)


def test_nesterov_stands_where_sutskevers_form_looks_ahead() -> None:
    curvature, start = np.array([1.0, 30.0]), np.array([2.0, -1.0])
    w = nn.Parameter(torch.from_numpy(start.copy()))
    built = over([w], Recipe(optimiser="nesterov", lr=LR, inertia=MU, weight_decay=0.0))
    x, v = start.copy(), np.zeros(2)
    for _ in range(20):
        w.grad = torch.from_numpy(curvature * w.detach().numpy())
        built.step()
        v = MU * v - LR * curvature * (x + MU * v)
        x = x + v
        np.testing.assert_allclose(w.detach().numpy(), x + MU * v, rtol=1e-12)


def test_in_adam_decay_as_l2_spares_weights_with_large_gradients() -> None:
    source = np.random.default_rng(0)
    gradients = [source.normal(size=2) * np.array([0.01, 10.0]) for _ in range(300)]
    shrunk = {}
    for name in ("adam", "adamw"):
        ends = []
        for decay in (0.0, 0.1):
            w = nn.Parameter(torch.ones(2, dtype=torch.float64))
            built = over([w], Recipe(optimiser=name, lr=1e-3, weight_decay=decay))  # pyright: ignore[reportArgumentType]
            ends.append(list(walked(built, w, constant(gradients, 1e-3)))[-1])
        shrunk[name] = ends[0] - ends[1]
    assert shrunk["adam"][0] > 20 * shrunk["adam"][1]
    assert shrunk["adamw"][0] == pytest.approx(shrunk["adamw"][1], rel=0.2)


# -- schedules, groups, checkpoints ------------------------------------------------------------------------------------


@given(
    st.floats(0, 1), st.sampled_from(["cosine", "step", "rsqrt", "linear", "constant"]), st.floats(0.01, 0.9)
)
def test_rates_stay_between_nothing_and_the_peak(progress: float, schedule: str, warmup: float) -> None:
    assert 0 <= rate(Recipe(schedule=schedule, warmup=warmup), progress) <= 1  # pyright: ignore[reportArgumentType]


def test_schedules_have_their_shapes() -> None:
    cosine = Recipe(schedule="cosine", warmup=0.1)
    assert [rate(cosine, p) for p in (0.0, 0.05, 0.1, 0.55, 1.0)] == pytest.approx([0, 0.5, 1, 0.5, 0])
    step = Recipe(schedule="step", milestones=(0.6, 0.8))
    assert [rate(step, p) for p in (0.0, 0.59, 0.6, 0.8)] == pytest.approx([1, 1, 0.1, 0.01])
    noam = Recipe(schedule="rsqrt", warmup=0.04)
    assert [rate(noam, p) for p in (0.0, 0.02, 0.04, 0.16, 1.0)] == pytest.approx([0, 0.5, 1, 0.5, 0.2])
    assert rate(Recipe(schedule="cosine"), 0.25) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    linear = Recipe(schedule="linear", warmup=0.2)
    assert [rate(linear, p) for p in (0.0, 0.1, 0.2, 0.6, 1.0)] == pytest.approx([0, 0.5, 1, 0.5, 0])


def test_weight_decay_rises_along_half_a_cosine_where_it_has_an_end() -> None:
    method, recipe = TwoLayers(), Recipe(optimiser="adamw", weight_decay=0.04, weight_decay_end=0.4)
    built = optimiser(method, recipe)
    seen = []
    for progress in (0.0, 0.25, 0.5, 1.0):
        set_rate(built, recipe, progress)
        seen.append({group["weight_decay"] for group in built.param_groups} - {0.0})
    expected = [0.04, 0.04 + 0.36 * (1 - math.cos(math.pi / 4)) / 2, 0.22, 0.4]
    assert [len(values) for values in seen] == [1] * 4
    assert [values.pop() for values in seen] == pytest.approx(expected)


def test_an_optimiser_needs_no_compiler() -> None:
    code = (
        "import sys, torch; from manyviews.recipe import Recipe; from manyviews.training.optimisers import over\n"
        f"for name in {[name for name in NAMES if name != 'gd']}:\n"
        "    w = torch.nn.Parameter(torch.ones(2, 2)); built = over([w], Recipe(optimiser=name, lr=0.1))\n"
        "    for _ in range(2):\n"
        "        built.zero_grad(); (w * w).sum().backward(); built.step()\n"
        "    built.load_state_dict(built.state_dict())\n"
        "    assert w.min() < 1 and w.requires_grad, name\n"
        "print('torch._dynamo' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stdout == "False\n", ran.stderr


class TwoLayers(Method):
    def __init__(self) -> None:
        super().__init__(None, Spec(items=1, size=1))
        self.first, self.norm, self.last = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)
        self.encoder = nn.Sequential(self.first, self.norm)  # pyright: ignore[reportAttributeAccessIssue]

    def constant_rate(self) -> list[nn.Parameter]:
        return list(self.last.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_groups_hold_every_trained_parameter_once(name: str) -> None:
    method, recipe = TwoLayers(), Recipe(optimiser=name, batch=1, weight_decay=0.1)  # pyright: ignore[reportArgumentType]
    parts = groups(method, recipe)
    held = [id(w) for part in parts for w in part["params"]]
    assert sorted(held) == sorted(id(w) for w in method.parameters() if w.requires_grad)
    for part in parts:
        assert {w.ndim > 1 for w in part["params"]} == {part["weight_decay"] > 0}
        assert part.get("adapt", part["weight_decay"] > 0) == (part["weight_decay"] > 0)
    built = optimiser(method, recipe)
    set_rate(built, recipe, 0.5)
    rates = {group["scheduled"]: group["lr"] for group in built.param_groups}
    assert rates == {True: pytest.approx(recipe.lr / 2), False: recipe.lr}


def test_each_layer_of_the_encoder_learns_at_its_share_of_the_rate_above() -> None:
    paper, spec = find("supervised"), Spec(items=8, size=16, classes=3)
    method = paper.method(paper.config(), net_factory("cifar_resnet8", 16), spec)  # pyright: ignore[reportCallIssue]
    recipe = Recipe(lr=0.1, layer_decay=0.5, schedule="constant")
    built = optimiser(method, recipe)
    set_rate(built, recipe, 0.5)
    rates = {id(w): group["lr"] for group in built.param_groups for w in group["params"]}
    assert sorted(rates) == sorted(id(w) for w in method.parameters())
    told = [{rates[id(w)] for w in layer} for layer in layers(method.encoder)]
    assert told == [{0.1 * 0.5 ** (len(told) - depth)} for depth in range(len(told))] and len(told) > 3
    assert {rates[id(w)] for w in method.classifier.parameters()} == {0.1}  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]


def test_layers_of_a_twin_that_only_follows_have_no_share() -> None:
    paper = find("dino")
    method = paper.method(paper.config(), net_factory("small_vit", 32), Spec(items=8, size=32))  # pyright: ignore[reportCallIssue]
    with pytest.raises(ManyviewsError, match="layer-decay is of an encoder that learns"):
        optimiser(method, Recipe(layer_decay=0.5))


def test_nets_side_by_side_have_layers_of_both() -> None:
    encoder = net_factory("lab(cifar_resnet8)", 16)()
    assert isinstance(encoder, Split)
    both = layers(encoder)
    assert len(both) == len(layers(encoder.light)) == len(layers(encoder.colour))
    assert [id(w) for w in both[0]] == [
        id(w) for net in (encoder.light, encoder.colour) for w in layers(net)[0]
    ]


def test_decay_all_decays_all() -> None:
    assert {
        part["weight_decay"] for part in groups(TwoLayers(), Recipe(weight_decay=0.1, decay_all=True))
    } == {0.1}


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_optimiser_ends_in_the_same_bits(name: str, tmp_path: Path) -> None:
    settings = Recipe(optimiser=name, batch=1, lr=0.01)  # pyright: ignore[reportArgumentType]
    x = torch.randn(12, 5, 3, generator=torch.Generator().manual_seed(0))

    def train(method: TwoLayers, built: torch.optim.Optimizer, steps: range) -> None:
        for step in steps:
            set_rate(built, settings, step / 12)
            built.zero_grad()
            method.last(method.norm(method.first(x[step])).relu()).square().mean().backward()
            built.step()

    torch.manual_seed(0)
    unbroken, stopped, resumed = TwoLayers(), TwoLayers(), TwoLayers()
    stopped.load_state_dict(unbroken.state_dict())
    built = optimiser(unbroken, settings)
    train(unbroken, built, range(12))
    before = optimiser(stopped, settings)
    train(stopped, before, range(7))
    path = checkpoint.save(tmp_path, 7, {"method": stopped.state_dict(), "optimiser": before.state_dict()})
    state, after = checkpoint.load(path), optimiser(resumed, settings)
    resumed.load_state_dict(state["method"])
    after.load_state_dict(state["optimiser"])
    train(resumed, after, range(7, 12))
    for w, twin in zip(unbroken.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(w, twin)
    for kept, twin in zip(built.state.values(), after.state.values(), strict=True):
        assert kept.keys() == twin.keys()
        assert all(
            torch.equal(torch.as_tensor(kept[key]), torch.as_tensor(twin[key]))
            for key in kept
            if kept[key] is not None
        )


@pytest.mark.parametrize("name", NAMES)
def test_a_weight_that_begins_late_moves_as_if_it_had_been_given_then(name: str) -> None:
    """A layer that a method freezes at first has no gradient for some steps; its own first step is like any other's."""
    torch.manual_seed(0)
    early, late = (nn.Parameter(torch.randn(shape)) for shape in ((3, 2), (2, 4)))
    alone = nn.Parameter(late.detach().clone())
    recipe = Recipe(optimiser=name, lr=LR, weight_decay=DECAY)  # pyright: ignore[reportArgumentType]
    both, one = over([early, late], recipe), over([alone], recipe)
    before = late.detach().clone()
    for step in range(5):
        early.grad = torch.randn(3, 2)
        late.grad = torch.randn(2, 4) if step >= 2 else None
        both.step()
        if step < 2:
            assert torch.equal(late, before)
            continue
        alone.grad = late.grad
        one.step()
        torch.testing.assert_close(late, alone)
    assert not torch.equal(late, before)


def test_gradient_descent_wants_the_whole_data() -> None:
    method = TwoLayers()
    method.spec = Spec(items=60, size=1)
    with pytest.raises(ManyviewsError, match="over all 60 items, not over 16: say --batch 60"):
        optimiser(method, Recipe(optimiser="gd", batch=16))
    assert optimiser(method, Recipe(optimiser="gd", batch=60)).param_groups[0]["momentum"] == 0


@pytest.mark.parametrize(
    ("name", "inertia", "sentence"),
    [
        ("sgd", 1.0, "An inertia of 1.0 is not in"),
        ("adam", -0.1, "An inertia of -0.1 is not in"),
        ("gd", 0.5, "gd has no inertia"),
        ("adagrad", 0.99, "adagrad has no inertia"),
        ("nesterov", 0.0, "Without inertia Nesterov's step is SGD's"),
    ],
)
def test_an_inertia_that_cannot_be_is_refused(name: str, inertia: float, sentence: str) -> None:
    with pytest.raises(ManyviewsError, match=sentence):
        over([nn.Parameter(torch.ones(1))], recipe(name, inertia=inertia))


@pytest.mark.parametrize("name", ["adam", "adamw", "lamb"])
def test_the_second_beta_is_the_recipes(name: str) -> None:
    (group,) = over([nn.Parameter(torch.ones(1))], recipe(name, beta2=0.95)).param_groups
    assert group["betas"] == (MU, 0.95)
    for beta2 in (-0.1, 1.0):
        with pytest.raises(ManyviewsError, match=f"A beta2 of {beta2} is not in"):
            over([nn.Parameter(torch.ones(1))], recipe(name, beta2=beta2))


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_eps_is_that_of_the_recipe(name: str):
    (group,) = over([nn.Parameter(torch.ones(1))], recipe(name, eps=1e-9)).param_groups
    assert group["eps"] == 1e-9
    with pytest.raises(ManyviewsError, match=r"An eps of 0\.0 keeps no root from 0"):
        over([nn.Parameter(torch.ones(1))], recipe(name, eps=0.0))
    with pytest.raises(ManyviewsError, match="sgd has an eps of its own or none"):
        over([nn.Parameter(torch.ones(1))], recipe("sgd", eps=1e-9))


def test_what_is_kept_of_a_weight_lies_as_the_weight_does() -> None:
    """A sharded run's checkpoint lies row by row; a fused step goes through both flat."""

    def taken(scrambled: bool) -> Tensor:
        torch.manual_seed(0)
        layer = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        adam = torch.optim.AdamW(layer.parameters(), 0.1, fused=True)
        for _ in range(2):
            adam.zero_grad()
            layer(torch.randn(2, 3, 8, 8)).square().mean().backward()
            adam.step()
            state = adam.state_dict()
            for kept in state["state"].values():
                kept |= {name: x.contiguous() if scrambled else x for name, x in kept.items()}
            adam.load_state_dict(state)
            laid_out_as_weights(adam)
        return layer.weight.detach()

    torch.testing.assert_close(taken(True), taken(False))
