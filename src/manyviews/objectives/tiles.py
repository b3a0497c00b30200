"""Log-sum-exp of similarities in tiles: memory grows linearly with the batch, and no N x N matrix ever exists.

The gradient comes from tiles that are computed again, or was added up on the way. Double backward is refused.

Shapes   N pairs, M = 2N anchors, B queries, K keys, D embedding; s_ij = cos(i, j) / temperature.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Rows are unit vectors, so |s| <= 1 / temperature. Up to here exp(s) needs no shift by the row's maximum: in float32
# exp(64) = 6e27 leaves room for 5e10 terms below the largest number and exp(-64) = 2e-28 is far above the smallest.
UNSHIFTED = 64.0
LOG2_E = math.log2(math.e)
CPU_TILE = 512  # rows and columns of a tile: 1 MiB of float32 stays in a core's cache
DEVICE_TILE = 4096  # 64 MiB: enough work at once for an accelerator


class SymmetricLogSumExp(torch.autograd.Function):
    """``[2N, D] -> [2N]``: log sum_j exp(s_ij) of unit rows over the rows j of other items; row i and i + N are one item.

    As s_ij = s_ji, only tiles j >= i are computed.
    """

    @staticmethod
    def forward(ctx: Any, z_MD: Tensor, scale: float) -> Tensor:
        sums = _Sums(z_MD, scale > UNSHIFTED)
        for i, j, s in _tiles(z_MD, z_MD, scale, _own_item(z_MD), upper=True):
            if sums.shifted:
                sums.add(i, (s - sums.shift(i, s)).exp2_())
                if i != j:
                    sums.add(j, (s.T - sums.shift(j, s.T)).exp2_())
            else:
                sums.add(i, s.exp2_())
                if i != j:
                    sums.add(j, s.T)
        ctx.save_for_backward(z_MD, sums.top_B, sums.sum_B)
        ctx.scale = scale
        return sums.log()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_M: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        z_MD, top_M, sum_M = ctx.saved_tensors
        dz_MD, weight_M = torch.zeros_like(z_MD), _share(grad_M, sum_M)
        for i, j, s in _tiles(z_MD, z_MD, ctx.scale, _own_item(z_MD), upper=True):
            if ctx.scale > UNSHIFTED:
                from_j = (s - top_M[j]).exp2_().mul_(weight_M[j])
                s.sub_(top_M[i, None]).exp2_().mul_(weight_M[i, None]).add_(from_j)
            else:
                s.exp2_().mul_(weight_M[i, None] + weight_M[j])
            dz_MD[i].addmm_(s, z_MD[j])
            if i != j:
                dz_MD[j].addmm_(s.T, z_MD[i])
        return dz_MD.mul_(ctx.scale), None


class LogSumExp(torch.autograd.Function):
    """``[B, D], [K, D] -> [B]``: log sum_j exp(s_ij) over keys j, without keys ``i + offset`` for each offset
    in ``skip``.

    Its gradient by a query is the softmax-weighted mean of the keys, which the forward pass adds up on its way: where
    keys need no gradient nothing is computed twice. Where they do, their tiles are computed again.
    """

    @staticmethod
    def forward(ctx: Any, q_BD: Tensor, k_KD: Tensor, scale: float, skip: tuple[int, ...]) -> Tensor:
        sums = _looked_up(q_BD, k_KD, scale, skip, scale > UNSHIFTED, means=ctx.needs_input_grad[0])
        ctx.save_for_backward(q_BD, k_KD, sums.top_B, sums.sum_B, sums.sum_BD)
        ctx.scale, ctx.skip = scale, skip
        return sums.log()

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, grad_B: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None, None]:
        return (
            *_gradients(grad_B, ctx.saved_tensors, ctx.scale, ctx.skip, ctx.needs_input_grad[1]),
            None,
            None,
        )


class LargestAndLogSumExp(torch.autograd.Function):
    """``[B, D], [K, D], [B] -> [B], [B]``: the largest of q_i . k_j over all keys j but ``own_B[i]``, without gradient,
    and log sum_j exp(q_i . k_j) over the same, for rows of any length: `LogSumExp` where scores know no bound.
    """

    @staticmethod
    def forward(ctx: Any, q_BD: Tensor, k_KD: Tensor, own_B: Tensor) -> tuple[Tensor, Tensor]:
        sums = _looked_up(q_BD, k_KD, 1.0, own_B, True, means=ctx.needs_input_grad[0])
        ctx.save_for_backward(q_BD, k_KD, sums.top_B, sums.sum_B, sums.sum_BD, own_B)
        largest_B = sums.top_B / LOG2_E
        ctx.mark_non_differentiable(largest_B)
        return largest_B, sums.log()

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, _: Tensor, grad_B: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None]:
        *saved, own_B = ctx.saved_tensors
        return *_gradients(grad_B, saved, 1.0, own_B, ctx.needs_input_grad[1]), None


def _looked_up(
    q_BD: Tensor, k_KD: Tensor, scale: float, skip: tuple[int, ...] | Tensor, shifted: bool, means: bool
) -> "_Sums":
    sums = _Sums(q_BD, shifted, means)
    for i, j, s in _tiles(q_BD, k_KD, scale, skip):
        if sums.shifted:
            s.sub_(sums.shift(i, s))
        sums.add(i, s.exp2_(), k_KD[j])
    return sums


def _gradients(
    grad_B: Tensor, saved: Sequence[Tensor], scale: float, skip: tuple[int, ...] | Tensor, by_keys: bool
) -> tuple[Tensor | None, Tensor | None]:
    """What a look-up sends back to its queries and keys."""
    q_BD, k_KD, top_B, sum_B, sum_BD = saved
    weight_B = _share(grad_B, sum_B) * scale
    dq_BD = None if sum_BD is None else sum_BD * weight_B[:, None]
    if not by_keys:
        return dq_BD, None
    dk_KD = torch.zeros_like(k_KD)
    for i, j, s in _tiles(q_BD, k_KD, scale, skip):
        s.sub_(top_B[i, None]).exp2_().mul_(weight_B[i, None])
        dk_KD[j].addmm_(s.T, q_BD[i])
    return dq_BD, dk_KD


def _own_item(z_MD: Tensor) -> tuple[int, int, int]:
    """Where, seen from row i, the rows of the same item stand: itself, and the other view after or before it."""
    pairs = z_MD.shape[0] // 2
    return 0, pairs, -pairs


def _share(grad_B: Tensor, sum_B: Tensor) -> Tensor:
    # A lone pair has no negatives, a sum of 0 and no gradient: 0 / 0 must be 0.
    return grad_B / sum_B.clamp(min=torch.finfo(sum_B.dtype).tiny)


class _Sums:
    """Sums of 2^(s - top) per row, added tile by tile; ``top`` is the row's largest s so far, or 0 throughout where
    scores are so small that no shift is needed. With ``means``, keys weighted alike are summed as well."""

    def __init__(self, rows_BD: Tensor, shifted: bool, means: bool = False) -> None:
        self.shifted = shifted
        lowest = torch.finfo(rows_BD.dtype).min if self.shifted else 0.0
        self.top_B = torch.full_like(rows_BD[:, 0], lowest)
        self.sum_B = torch.zeros_like(self.top_B)
        self.sum_BD = torch.zeros_like(rows_BD) if means else None

    def shift(self, rows: slice, s_BK: Tensor) -> Tensor:
        """Raise the rows' tops to this tile's, and return them as ``[B, 1]``."""
        top_B = torch.maximum(self.top_B[rows], s_BK.amax(1))
        fade_B = (self.top_B[rows] - top_B).exp2_()
        self.top_B[rows] = top_B
        self.sum_B[rows] *= fade_B
        if self.sum_BD is not None:
            self.sum_BD[rows] *= fade_B[:, None]
        return top_B[:, None]

    def add(self, rows: slice, weight_BK: Tensor, k_KD: Tensor | None = None) -> None:
        self.sum_B[rows] += weight_BK.sum(1)
        if self.sum_BD is not None and k_KD is not None:
            self.sum_BD[rows].addmm_(weight_BK, k_KD)

    def log(self) -> Tensor:
        """The log-sum-exp, natural, of all that was added."""
        return self.sum_B.log2().add_(self.top_B).div_(LOG2_E)


def _tiles(
    q_BD: Tensor, k_KD: Tensor, scale: float, skip: tuple[int, ...] | Tensor, upper: bool = False
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Tiles of s in bits (times log2 e), one buffer for all; -inf where query i meets key ``i + offset``, or ``skip[i]``.

    In bits because 2^s costs a quarter of e^s on a CPU, far less still where s underflows. ``upper``: only j >= i.
    """
    size = CPU_TILE if q_BD.device.type == "cpu" else DEVICE_TILE
    scaled_BD = q_BD * (scale * LOG2_E)
    buffer = q_BD.new_empty(min(size, q_BD.shape[0]) * min(size, k_KD.shape[0]))
    for i in range(0, q_BD.shape[0], size):
        for j in range(i if upper else 0, k_KD.shape[0], size):
            q, k = scaled_BD[i : i + size], k_KD[j : j + size]
            s = torch.mm(q, k.T, out=buffer[: q.shape[0] * k.shape[0]].view(q.shape[0], k.shape[0]))
            if isinstance(skip, Tensor):
                _leave_out(s, skip[i : i + size] - j)
            else:
                for offset in skip:
                    if -q.shape[0] < i + offset - j < k.shape[0]:
                        s.diagonal(i + offset - j).fill_(float("-inf"))
            yield slice(i, i + size), slice(j, j + size), s


def _leave_out(s_BK: Tensor, column_B: Tensor) -> None:
    """-inf in each row's column, where the tile has it; without asking the device which these are."""
    inside_B1 = ((column_B >= 0) & (column_B < s_BK.shape[1]))[:, None]
    column_B1 = column_B.clamp(0, s_BK.shape[1] - 1)[:, None]
    s_BK.scatter_(1, column_B1, s_BK.gather(1, column_B1).masked_fill_(inside_B1, float("-inf")))
