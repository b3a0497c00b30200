"""How far a run is: its length, and the moment after each step, which is all that hooks see of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from manyviews.method import Method
from manyviews.recipe import Budget, Recipe


@dataclass
class Length:
    """How long a run is, in steps or in seconds."""

    steps: int | None
    seconds: float | None

    @classmethod
    def of(cls, recipe: Recipe, epoch: int) -> "Length":
        """What the recipe's budget comes to, with ``epoch`` steps to a pass over the data."""
        budget = Budget.parse(recipe.budget)
        steps = budget.steps(recipe.batch, epoch)
        return cls(steps, budget.amount if steps is None else None)

    def progress(self, step: int, seconds: float) -> float:
        """Share of the run that is over when ``step`` steps and ``seconds`` seconds are."""
        if self.steps is not None:
            return min(1.0, step / self.steps)
        assert self.seconds is not None
        return min(1.0, seconds / self.seconds)


@dataclass
class Moment:
    """What a hook sees after a step. Hooks may add to ``log``; the monitor says that it ``looked``.

    Weights may be split among the ranks, so that none gets ``whole()`` or ``state()`` unless every rank asks.
    """

    step: int  # steps done
    epoch: float  # passes over the data done
    progress: float  # share of the run done, [0, 1]
    seconds: float  # spent since the start, over all sittings, by rank 0's clock on every rank
    items: int  # items seen
    lr: float
    loss: Tensor  # scalar, on the device; this rank's, as is what the method logs
    log: dict[str, Any]
    whole: Callable[[], Method]  # the method with all its weights
    z: Tensor | None  # [b, D] what the loss compared, on this rank
    state: Callable[[], dict[str, Any]]  # what a checkpoint holds
    ends: str | None = None  # "finished" or "interrupted" at the last moment
    looked: bool = False  # the monitor did, which it does on every rank at the same steps


Hook = Callable[[Moment], None]
