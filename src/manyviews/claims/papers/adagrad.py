"""AdaGrad (Duchi, Hazan & Singer 2011)."""

import math

import torch

from manyviews.claims import Claim, Equal, Found
from manyviews.recipe import Recipe
from manyviews.training.optimisers import over

EARLY, LATE, WEIGHTS, SEEDS = 10, 1000, 256, 5


def _exponent(seed: int) -> float:
    """p of step ~ t^p, between an early and a late step, for gradients that stay alike."""
    draw = torch.Generator().manual_seed(seed)
    w = torch.zeros(WEIGHTS, dtype=torch.float64, requires_grad=True)
    adagrad = over([w], Recipe(optimiser="adagrad", lr=0.01, weight_decay=0.0))
    steps, before = [], w.detach().clone()
    for _ in range(LATE):
        w.grad = torch.randn(WEIGHTS, generator=draw, dtype=torch.float64)
        adagrad.step()
        steps.append(float((w.detach() - before).square().mean().sqrt()))
        before = w.detach().clone()
    return math.log(steps[LATE - 1] / steps[EARLY - 1]) / math.log(LATE / EARLY)


def exponent() -> Found:
    return Found({"found": [_exponent(seed) for seed in range(SEEDS)], "-1/2": [-0.5] * SEEDS})


CLAIMS = {
    "adagrad-decay": Claim(
        sentence="AdaGrad's steps shrink by themselves, in proportion to 1 / √t.",
        source="section 1.1, equation 1",
        exact=exponent,
        predicts=Equal("found", "-1/2", within=0.1),
        unit="exponent of time in the size of a step",
        paper="Exact for gradients of constant size: after t steps the sum of their squares is t times one of them.",
    ),
}
