"""Optimisers on the valley: the path of each, at the rate of the grid that serves it best."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from manyviews.errors import ManyviewsError
from manyviews.rng import generator
from manyviews.training.optimisers import over
from manyviews.tuning.entrants import RATES, recipe
from manyviews.tuning.valley import Valley

NOISE = 0.5  # standard deviation that SGD's gradient has in place of a batch's


@dataclass(frozen=True, eq=False)
class Walk:
    """One optimiser's way down."""

    rate: float
    path: np.ndarray  # float64 [steps + 1, 2]
    loss: np.ndarray  # float64 [steps + 1]

    @property
    def settled(self) -> float:
        """The mean loss over the second half of the way: what the rate is chosen by."""
        return float(self.loss[len(self.loss) // 2 :].mean())


def walk(name: str, rate: float, *, valley: Valley, steps: int, seed: int = 0) -> Walk | None:
    """``steps`` steps from the valley's start; None where they leave the window.

    Both weights are one layer to LARS and LAMB. SGD alone sees a noisy gradient; the noise is the seed's.
    """
    w = torch.tensor(valley.start, dtype=torch.float64, requires_grad=True)
    built = over([w], recipe(name, rate))
    noise = NOISE * torch.randn(steps, 2, dtype=torch.float64, generator=generator(seed, "valley"))
    path = [w.detach().numpy().copy()]
    for step in range(steps):
        w.grad = torch.from_numpy(valley.gradient(path[-1]))
        if name == "SGD":
            w.grad += noise[step]
        built.step()
        path.append(w.detach().numpy().copy())
        if not valley.shows(path[-1][None]):
            return None
    whole = np.stack(path)
    return Walk(rate, whole, valley(whole))


def best_walk(
    name: str, *, valley: Valley, steps: int, rates: Sequence[float] = RATES, seed: int = 0
) -> Walk:
    """The walk at the best rate among those that stay in the window.

    Raises:
        ManyviewsError: none of them does.
    """
    walks = [walk(name, rate, valley=valley, steps=steps, seed=seed) for rate in rates]
    inside = [found for found in walks if found is not None]
    if not inside:
        raise ManyviewsError(f"On the surface {name} runs away at every rate of the grid; add smaller ones")
    return min(inside, key=lambda found: found.settled)
