"""RMSProp (Hinton 2012, lecture 6e of Neural Networks for Machine Learning)."""

import math

import torch
from torch import Tensor

from manyviews.claims import Claim, Equal, Found
from manyviews.recipe import Optimiser, Recipe
from manyviews.training.optimisers import over

LR, RHO, WEIGHTS, SEEDS = 1e-3, 0.9, 256, 5
EARLY, LATE = 100, 2000
SHORT = 50


def _path(optimiser: Optimiser, seed: int, steps: int, **settings: float) -> Tensor:
    """Weights after each step, for gradients that stay alike: `[T, D]`."""
    draw = torch.Generator().manual_seed(seed)
    w = torch.zeros(WEIGHTS, dtype=torch.float64, requires_grad=True)
    descent = over([w], Recipe(optimiser=optimiser, lr=LR, weight_decay=0.0, **settings))  # pyright: ignore[reportArgumentType]
    path = []
    for _ in range(steps):
        w.grad = torch.randn(WEIGHTS, generator=draw, dtype=torch.float64)
        descent.step()
        path.append(w.detach().clone())
    return torch.stack(path)


def _exponent(optimiser: Optimiser, seed: int) -> float:
    """p of step ~ t^p, between an early and a late step."""
    step_T = _path(optimiser, seed, LATE).diff(dim=0).square().mean(1).sqrt()
    return math.log(float(step_T[LATE - 2] / step_T[EARLY - 2])) / math.log(LATE / EARLY)


def exponents() -> Found:
    """The running average of RMSProp is of 0.9, as in the lecture."""
    return Found(
        {
            "RMSProp": [_exponent("rmsprop", seed) for seed in range(SEEDS)],
            "AdaGrad": [_exponent("adagrad", seed) for seed in range(SEEDS)],
            "constant": [0.0] * SEEDS,
            "as 1 / √t": [-0.5] * SEEDS,
        }
    )


def beside_adam() -> Found:
    """The largest distance of RMSProp's path from Adam's of no first average, once Adam's correction is taken back."""
    apart = []
    for seed in range(SEEDS):
        ours_TD = _path("rmsprop", seed, SHORT, inertia=RHO)
        adam_TD = _path("adam", seed, SHORT, inertia=0.0, beta2=RHO)
        step_TD = adam_TD.diff(dim=0, prepend=torch.zeros(1, WEIGHTS, dtype=torch.float64))
        share_T1 = (1 - RHO ** torch.arange(1, SHORT + 1, dtype=torch.float64)).sqrt()[:, None]
        apart.append(float((ours_TD - (step_TD / share_T1).cumsum(0)).abs().max() / LR))
    return Found({"distance": apart, "none": [0.0] * SEEDS})


CLAIMS = {
    "rmsprop-goes-on": Claim(
        sentence="RMSProp forgets old gradients, so that its steps do not become smaller as AdaGrad's do.",
        source="lecture 6e",
        exact=exponents,
        predicts=(Equal("RMSProp", "constant", within=0.05), Equal("AdaGrad", "as 1 / √t", within=0.1)),
        unit="exponent of time in the size of a step",
        paper="No figure: gradients are divided by the root of a running average of their squares, not each by its own size.",
    ),
    "rmsprop-adam": Claim(
        sentence="RMSProp is Adam without the average of gradients and without bias correction.",
        source="Kingma & Ba 2015, section 5",
        exact=beside_adam,
        predicts=Equal("distance", "none", within=1e-3),
        unit="largest distance of the paths, in learning rates",
        paper="Exact, except for the place of the small number that keeps the divisor from being 0.",
        remark="Adam corrects its second average by 1 - b2^t; to undo this, we divide its steps by the root of that. Adam adds the small number to the "
        "corrected root, which is why the paths differ slightly.",
    ),
}
