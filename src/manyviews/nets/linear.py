"""A linear layer that a single row does not slow down: what writes one token at a time asks nothing else.

Differs  Torch gives one row to a matrix-vector kernel that reads the weights on one core, far below what memory can give.
         Here the weights are read as a batch of small matrices, which torch's batched product shares among the cores:
         three to six times faster on two cores (`python benchmarks/nets.py --only generation`). Equal but for rounding.
Shapes   D inputs, N outputs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROWS = 16  # of the weights in a small matrix
LARGE = 2**17  # numbers in the weights from which it is worth while


class Linear(nn.Linear):
    """`nn.Linear`, by `linear`."""

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)


def linear(x: Tensor, weight_ND: Tensor, bias_N: Tensor | None = None) -> Tensor:
    """`x W^T + b`, `[..., N]` from `[..., D]`."""
    if not _one_row(x, weight_ND):
        return F.linear(x, weight_ND, bias_N)
    N, D = weight_ND.shape
    matrices = N // ROWS
    # The product is quick for a column that strides like a transposed row.
    columns = x.reshape(D).contiguous().as_strided((matrices, D, 1), (0, 1, D))
    y_N = torch.bmm(weight_ND.as_strided((matrices, ROWS, D), (ROWS * D, D, 1)), columns).view(-1)
    if N % ROWS:
        y_N = torch.cat([y_N, torch.mv(weight_ND[matrices * ROWS :], x.reshape(D))])
    if bias_N is not None:
        y_N += bias_N
    return y_N.view(*x.shape[:-1], N)


def _one_row(x: Tensor, weight_ND: Tensor) -> bool:
    """Whether there is one row, and nothing that wants the usual product: a gradient, a compiler, a conversion."""
    return (
        x.numel() == x.shape[-1]
        and x.is_cpu
        and weight_ND.numel() >= LARGE
        and not torch.is_grad_enabled()
        and x.dtype == weight_ND.dtype
        and weight_ND.is_contiguous()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )
