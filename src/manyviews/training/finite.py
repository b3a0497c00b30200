"""A run ends where its loss or its weights are no finite numbers: in a sentence, and on every rank at the same step."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from manyviews import distributed
from manyviews.data import ItemSet
from manyviews.errors import Diverged

STEADIER = "try a lower --lr, a --warmup or --clip 1"  # what helps


@dataclass(frozen=True)
class Done:
    """A step that was taken, and whether its loss is finite: on a GPU that is on its way to the host."""

    step: int
    index: Tensor  # of its items
    loss: Tensor
    finite: Tensor  # bool, on the host
    arrived: torch.cuda.Event | None

    @classmethod
    def of(cls, step: int, index: Tensor, loss: Tensor) -> "Done":
        """To be called before the device is given the next step: what is asked later waits for that too."""
        finite = torch.isfinite(loss)
        if loss.device.type != "cuda":
            return cls(step, index, loss, finite, None)
        there = torch.empty((), dtype=torch.bool, pin_memory=True).copy_(finite, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record(torch.cuda.current_stream(loss.device))
        return cls(step, index, loss, there, arrived)


def ill_loss(done: Done, data: ItemSet) -> str | None:
    """What is wrong with the loss of a step on items of ``data``; None where it is finite."""
    if done.arrived is not None:
        done.arrived.synchronize()
    if done.finite:
        return None
    some = ", ".join(str(data.names[i]) for i in done.index[:3].tolist())
    return f"The loss of step {done.step} is {done.loss.item()}, on a batch beginning with {some}: {STEADIER}"


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
