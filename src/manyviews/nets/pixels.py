"""Nets that were made for images normalised in another way than here: what they are shown, and how to have them see ours.

Shapes   p pixels in [0, 1]; x = (p - M) / S is how they are normalised here, y = (p - m) / s there: y = a x + c, a
         number a channel each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from manyviews.errors import ManyviewsError
from manyviews.views import MEAN, STD


class Change(NamedTuple):
    """From images as they are normalised here to images as a net expects them: `a * x + c`."""

    a_C11: Tensor
    c_C11: Tensor


def change(mean: Sequence[float], std: Sequence[float]) -> Change | None:
    """The change for a net whose images have `mean` subtracted and are divided by `std`; None where both are ours."""
    if (tuple(mean), tuple(std)) == (MEAN, STD):
        return None
    M, S, m, s = (torch.tensor(numbers)[:, None, None] for numbers in (MEAN, STD, mean, std))
    return Change(S / s, (M - m) / s)


def changed(x_BCHW: Tensor, change: Change) -> Tensor:
    """Images that are normalised as here, as the net expects them."""
    return change.a_C11 * x_BCHW + change.c_C11


def take_in(net: nn.Module, change: Change) -> None:
    """Have a net's first layer make the change: from now on it expects images as they are normalised here.

    Raises `ManyviewsError` where that layer pads its images, with zeros that mean another colour there.
    """
    first = next(module for module in net.modules() if isinstance(module, nn.Conv2d))
    if any(map(int, first.padding)) or first.bias is None:
        raise ManyviewsError(
            "This net expects images that are normalised in another way, and its first layer pads them: take the library's own "
            "net, as timm/NAME."
        )
    w_OCHW = first.weight.detach()
    a_C11, c_C11 = (tensor.to(w_OCHW) for tensor in change)
    first.bias = nn.Parameter(first.bias.detach() + (w_OCHW * c_C11).sum((1, 2, 3)))  # W (a x + c) + b
    first.weight = nn.Parameter(w_OCHW * a_C11)
