"""Nesterov's momentum (Nesterov 1983; Sutskever et al. 2013)."""

import math

import torch
from torch import Tensor

from manyviews.claims import Claim, Equal, Found, Order
from manyviews.recipe import Optimiser, Recipe
from manyviews.training.optimisers import over

# A convex bowl so flat in some directions that no step length suits all: curvatures up to L = 1, all starting alike.
FLAT = torch.logspace(-9, 0, 400, dtype=torch.float64)
EARLY, LATE = 100, 3000
STEEP, RATE, MU = 0.9, 1.0, 0.9  # curvature times rate 0.9: most of the way to where steps overshoot
CLOSE = 1e-6


def _errors(optimiser: Optimiser) -> dict[int, float]:
    """How far above its minimum a bowl is after some steps at the rate 1 / L; Nesterov's inertia is (t - 1) / (t + 2)."""
    w = torch.ones_like(FLAT, requires_grad=True)
    inertia = 0.0 if optimiser == "sgd" else MU
    descent = over([w], Recipe(optimiser=optimiser, lr=1.0, inertia=inertia, weight_decay=0.0))
    found = {}
    for t in range(1, LATE + 1):
        if optimiser == "nesterov":
            descent.param_groups[0]["momentum"] = (t - 1) / (t + 2)
        w.grad = FLAT * w.detach()
        descent.step()
        if t in (EARLY, LATE):
            found[t] = float((FLAT * w.detach().square()).sum() / 2)
    return found


def exponents() -> Found:
    """p of error ~ t^p, between an early and a late step."""
    found: dict[str, list[float]] = {}
    optimisers: dict[str, Optimiser] = {"gradient descent": "sgd", "Nesterov": "nesterov"}
    for name, optimiser in optimisers.items():
        error = _errors(optimiser)
        found[name] = [math.log(error[LATE] / error[EARLY]) / math.log(LATE / EARLY)]
    return Found(found | {"as 1 / t": [-1.0], "as 1 / t²": [-2.0]})


def _path(optimiser: Optimiser, inertia: float, steps: int) -> Tensor:
    """A weight that starts at 1 in a steep bowl, before each step: `[T]`."""
    w = torch.ones(1, dtype=torch.float64, requires_grad=True)
    descent = over([w], Recipe(optimiser=optimiser, lr=RATE, inertia=inertia, weight_decay=0.0))
    path = []
    for _ in range(steps):
        path.append(w.detach().clone())
        w.grad = STEEP * w.detach()
        descent.step()
    return torch.cat(path)


def damped() -> Found:
    """Steps until the weight stays close to the minimum."""

    def settled(optimiser: Optimiser) -> float:
        far = (_path(optimiser, MU, 1000).abs() > CLOSE).nonzero()
        return float(far.max()) + 1

    return Found({"Nesterov": [settled("nesterov")], "momentum": [settled("sgd")]})


def effective() -> Found:
    """The largest distance of Nesterov's path from that of momentum with the inertia mu (1 - rate x curvature)."""
    theta_T = _path("sgd", MU * (1 - RATE * STEEP), 50)
    velocity_T = theta_T.diff(prepend=theta_T[:1])
    ahead_T = (
        theta_T + MU * velocity_T
    )  # where Nesterov asks for the gradient, which is the weight that torch keeps
    apart = float((_path("nesterov", MU, 50) - ahead_T).abs().max())
    return Found({"distance": [apart], "none": [0.0]})


CLAIMS = {
    "nesterov-rate": Claim(
        sentence="On a convex problem the error of gradient descent falls as 1 / t, that of Nesterov's momentum as 1 / t².",
        source="Nesterov 1983, theorem 1; Sutskever et al. 2013, section 2",
        exact=exponents,
        predicts=(
            Equal("gradient descent", "as 1 / t", within=0.05),
            Equal("Nesterov", "as 1 / t²", within=0.1),
        ),
        unit="exponent of time in the error",
        paper="Bounds for every smooth convex function: as 1 / t for gradient descent; for Nesterov's method, 4 L / (t + 2)² times the squared distance at the start.",
        remark="Tested on a bowl that attains both rates: 400 curvatures from a thousand-millionth to 1, between steps 100 and 3,000. The inertia rises as "
        "(t - 1) / (t + 2). Torch looks ahead by this step's inertia, the theorem's sequence by the next step's.",
    ),
    "nesterov-damping": Claim(
        sentence="At the same rate and inertia, Nesterov's momentum swings less in steep directions.",
        source="Sutskever et al. 2013, section 2.1",
        exact=damped,
        best="low",
        predicts=Order("Nesterov", "momentum"),
        unit="steps until the weight stays within a millionth of the minimum",
        paper="A figure of paths: at the same momentum, plain momentum swings along directions of high curvature, Nesterov's does not.",
    ),
    "nesterov-inertia": Claim(
        sentence="Along each direction of a quadratic, Nesterov's momentum equals plain momentum with an inertia of mu (1 - rate x curvature).",
        source="Sutskever et al. 2013, theorem 2.1",
        exact=effective,
        predicts=Equal("distance", "none", within=1e-12),
        unit="largest distance of the paths",
        paper="Exact.",
    ),
}
