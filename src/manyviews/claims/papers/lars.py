"""LARS (You, Gitman & Ginsburg 2017, arXiv:1708.03888)."""

import torch
from torch import Tensor

from manyviews.claims import Claim, Equal, Found
from manyviews.recipe import Recipe
from manyviews.training.optimisers import over

TRUST, LR, SEEDS = 0.001, 1.0, 5


def _moved(w_: Tensor, g: Tensor) -> float:
    """How far the first step moves a layer, relative to its weights, in units of the trust coefficient."""
    w = w_.clone().requires_grad_()
    w.grad = g.clone()
    over([w], Recipe(optimiser="lars", lr=LR, trust=TRUST, weight_decay=0.0)).step()
    return float((w.detach() - w_).norm() / w_.norm() / TRUST)


def moved() -> Found:
    figures: dict[str, list[float]] = {}
    for seed in range(SEEDS):
        draw = torch.Generator().manual_seed(seed)
        w, g = (torch.randn(64, 32, generator=draw, dtype=torch.float64) for _ in range(2))
        for name, step in {
            "as it is": _moved(w, g),
            "gradient x 1000": _moved(w, 1000 * g),
            "weights x 1000": _moved(1000 * w, g),
        }.items():
            figures.setdefault(name, []).append(step)
    return Found(figures)


CLAIMS = {
    "lars-ratio": Claim(
        sentence="Every layer moves by the same share of its weights, whatever the size of its gradient.",
        source="section 4, equation 6",
        exact=moved,
        predicts=(
            Equal("as it is", "gradient x 1000", within=1e-6),
            Equal("as it is", "weights x 1000", within=1e-6),
        ),
        unit="way of a layer relative to its weights, in trust coefficients",
        paper="Exact: the size of an update no longer depends on that of the gradient.",
    ),
}
