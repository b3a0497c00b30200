"""Momentum (Polyak 1964)."""

import math

import torch

from manyviews.claims import Claim, Equal, Found
from manyviews.recipe import Recipe
from manyviews.training.optimisers import over

CONDITIONS = (100.0, 2500.0)  # L / mu of the two quadratics
WEIGHTS, CLOSE = 16, 1e-6


def _steps(condition: float, inertia: float, rate: float) -> int:
    """Steps until the weights are ``CLOSE`` to the minimum of a quadratic with curvatures from 1 to ``condition``."""
    curvature = torch.logspace(0, math.log10(condition), WEIGHTS, dtype=torch.float64)
    w = torch.ones(WEIGHTS, dtype=torch.float64, requires_grad=True)
    sgd = over([w], Recipe(optimiser="sgd", lr=rate, inertia=inertia, weight_decay=0.0))
    steps = 0
    while w.detach().abs().max() > CLOSE:
        w.grad = curvature * w.detach()
        sgd.step()
        steps += 1
    return steps


def descent(condition: float) -> int:
    """At the best rate, 2 / (mu + L)."""
    return _steps(condition, 0.0, 2 / (1 + condition))


def with_momentum(condition: float) -> int:
    """At the best rate and inertia."""
    root = math.sqrt(condition)
    return _steps(condition, ((root - 1) / (root + 1)) ** 2, (2 / (root + 1)) ** 2)


def exponents() -> Found:
    """p of steps ~ condition^p, between the two conditions."""
    low, high = CONDITIONS
    grows = {
        "gradient descent": descent(high) / descent(low),
        "momentum": with_momentum(high) / with_momentum(low),
    }
    found = {name: [math.log(factor) / math.log(high / low)] for name, factor in grows.items()}
    return Found(found | {"1": [1.0], "1/2": [0.5]})


CLAIMS = {
    "momentum-condition": Claim(
        sentence="On a quadratic, the number of steps grows as the condition number with gradient descent, and as its root with momentum.",
        source="Polyak 1964, theorem 9; Sutskever et al. 2013, section 2",
        exact=exponents,
        predicts=(
            Equal("gradient descent", "1", within=0.05),
            Equal("momentum", "1/2", within=0.1),
        ),
        unit="exponent of the condition number in the count of steps",
        paper="Exact: each step multiplies the error by (k - 1) / (k + 1) or, with momentum, by (√k - 1) / (√k + 1), where k is the condition number.",
    ),
}
