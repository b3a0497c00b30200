"""A game of two within one loss: who stands before the reversal is paid for what who stands behind it loses."""

from typing import Any, cast

import torch
from torch import Tensor


def reversed_gradient(x: Tensor, weight: float = 1.0) -> Tensor:
    """``x`` itself, whose gradient comes back times ``-weight`` (Ganin, Lempitsky, ICML 2015, arXiv:1409.7495, section 3).

    What computes x from parameters climbs the loss that what computes with x descends: min over these and max over those, in the
    same step.
    """
    return cast(Tensor, _Reversed.apply(x, weight))


class _Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: float) -> Tensor:
        ctx.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return -ctx.weight * grads[0], None
