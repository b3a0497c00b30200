"""AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101)."""

import torch

from manyviews.claims import Claim, Equal, Found, Order
from manyviews.recipe import Optimiser, Recipe
from manyviews.training.optimisers import over

STEPS, WEIGHTS, SEEDS, DECAY = 500, 256, 5, 0.1
OPTIMISERS: dict[str, Optimiser] = {"L2": "adam", "decoupled": "adamw"}
SIZES = {"large": 10.0, "small": 0.1}  # of gradients that point nowhere


def _left(optimiser: Optimiser, size: float, seed: int) -> float:
    """What is left of weights of 1, on average."""
    draw = torch.Generator().manual_seed(seed)
    w = torch.ones(WEIGHTS, dtype=torch.float64, requires_grad=True)
    adam = over([w], Recipe(optimiser=optimiser, lr=1e-3, weight_decay=DECAY))
    for _ in range(STEPS):
        w.grad = size * torch.randn(WEIGHTS, generator=draw, dtype=torch.float64)
        adam.step()
    return float(w.detach().mean())


def decayed() -> Found:
    return Found(
        {
            f"{name}, {size} gradients": [_left(optimiser, SIZES[size], seed) for seed in range(SEEDS)]
            for name, optimiser in OPTIMISERS.items()
            for size in SIZES
        }
    )


CLAIMS = {
    "adamw-decoupled": Claim(
        sentence="In Adam an L2 term decays weights with large gradients less than others; decoupled decay decays all weights alike.",
        source="section 2, proposition 2",
        exact=decayed,
        predicts=(
            Order("L2, large gradients", "L2, small gradients", margin=0.05),
            Equal("decoupled, large gradients", "decoupled, small gradients", within=0.02),
        ),
        unit="what is left of a weight of 1",
        paper="Exact: with L2, weights whose gradients have been large are regularised by a relatively smaller amount.",
    ),
}
