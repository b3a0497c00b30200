"""A run ends where its loss or its weights are no finite numbers: in a sentence, and on every rank at the same step."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from manyviews import distributed
from manyviews.data import ItemSet
from manyviews.errors import Diverged

STEADIER = "try a lower --lr, a --warmup or --clip 1"  # what helps


def ill_loss(loss: Tensor, step: int, index: Tensor, data: ItemSet) -> str | None:
    """What is wrong with the loss of a step on the items ``index`` of ``data``; None where it is finite."""
    if torch.isfinite(loss):
        return None
    some = ", ".join(str(data.names[i]) for i in index[:3].tolist())
    return f"The loss of step {step} is {loss.item()}, on a batch beginning with {some}: {STEADIER}"


def ill_weights(weights: Mapping[str, Any], step: int) -> str | None:
    """What is wrong with the weights after a step, which its loss, that before it, does not tell; None: all are finite."""
    for name, x in weights.items():
        if isinstance(x, Tensor) and x.is_floating_point() and not torch.isfinite(x).all():
            return f"After step {step}, {name} is not finite: {STEADIER}"
    return None


def stop_all(wrong: str | None) -> None:
    """Raises ``Diverged`` on every rank where it is wrong on any: the first such rank's sentence. All of them have to ask."""
    if said := next(filter(None, distributed.everyone(wrong)), None):
        raise Diverged(said)
