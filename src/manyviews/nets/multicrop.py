"""Views of several sizes through one network (multi-crop: SwAV, Caron et al., NeurIPS 2020, section 3.4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

import torch
from torch import Tensor


def by_size(net: Callable[[Tensor], Tensor], views: Sequence[Tensor]) -> list[Tensor]:
    """`net` of every view `[B, C, S, S]`, in order: neighbours of one size go through together, in one pass.

    So they share their batch's statistics, as in the authors' code of SwAV and DINO.
    """
    outs: list[Tensor] = []
    for _, alike in groupby(views, key=lambda view: view.shape[-2:]):
        some = list(alike)
        outs += net(torch.cat(some)).chunk(len(some))
    return outs
