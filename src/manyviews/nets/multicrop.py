"""Views of several sizes through one network (multi-crop: SwAV, Caron et al., NeurIPS 2020, section 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

import torch
from torch import Tensor

from manyviews.errors import ManyviewsError
from manyviews.nets.encoder import Encoder, judging
from manyviews.nets.watching import reads_patches


def by_size(net: Callable[[Tensor], Tensor], views: Sequence[Tensor]) -> list[Tensor]:
    """`net` of every view `[B, C, S, S]`, in order: neighbours of one size go through together, in one pass.

    So they share their batch's statistics, as in the authors' code of SwAV and DINO; there heads come after, and see the
    features of all sizes at once.
    """
    outs: list[Tensor] = []
    for _, alike in groupby(views, key=lambda view: view.shape[-2:]):
        some = list(alike)
        outs += net(torch.cat(some)).chunk(len(some))
    return outs


def local_side(net: Encoder, side: int, crops: int, share: float) -> int:
    """Pixels of a local crop's side: `share` of a global one's `side`, the nearest multiple of `net`'s patches; 0 where there
    are no such `crops`.

    Raises `ManyviewsError` for a number or a share that cannot be, and where `net` cannot take such crops, which is tried.
    """
    if crops < 0 or not 0 < share <= 1:
        raise ManyviewsError(
            f"Local crops are {crops} of {share} of a global crop's side: "
            "set local_crops to 0 or more and local_share above 0 and at most 1."
        )
    if crops == 0:
        return 0
    patch = net.patch_size if reads_patches(net) else 1
    local = max(1, round(share * side / patch)) * patch
    weight = next(net.parameters())
    try:
        with judging(net):
            net(weight.new_zeros(1, net.in_channels, local, local))
    except (ManyviewsError, AssertionError, RuntimeError, ValueError) as error:
        raise ManyviewsError(
            f"This net cannot take local crops of {local} pixels beside global ones of {side}: "
            f"{str(error).partition(chr(10))[0]} Take another net, larger images, a larger share, or no local crops."
        ) from error
    return local
