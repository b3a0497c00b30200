"""A linear layer that a single row does not slow down: what writes one token at a time asks nothing else.

Differs  Torch gives one row to a matrix-vector kernel that reads the weights on one core, far below what memory can
         give. Here the weights are read as a batch of small matrices, which torch's batched product shares among the
         cores: three to six times faster on two cores (`python benchmarks/nets.py --only generation`). Equal but for
         rounding.
Shapes   D inputs, N outputs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROWS = 32  # of the weights in a small matrix
LARGE = 2**17  # numbers in the weights from which it is worth while


class Linear(nn.Linear):
    """`nn.Linear`, by `linear`."""

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)


def linear(x: Tensor, weight_ND: Tensor, bias_N: Tensor | None = None) -> Tensor:
    """`x W^T + b`, `[..., N]` from `[..., D]`."""
    if not _one_row(x, weight_ND, bias_N):
        return F.linear(x, weight_ND, bias_N)
    N, D = weight_ND.shape
    matrices, left = divmod(N, ROWS)
    # The product is quick for a column that strides like a transposed row.
    columns = x.contiguous().as_strided((matrices, D, 1), (0, 1, D))
    blocks = weight_ND.as_strided((matrices, ROWS, D), (ROWS * D, D, 1))
    if bias_N is None:
        y = torch.bmm(blocks, columns)
    else:
        y = torch.baddbmm(bias_N.as_strided((matrices, ROWS, 1), (ROWS, 1, 1)), blocks, columns)
    if left:
        last = F.linear(x.reshape(D), weight_ND[-left:], None if bias_N is None else bias_N[-left:])
        y = torch.cat([y.view(-1), last])
    return y.view(*x.shape[:-1], N)


def _one_row(x: Tensor, weight_ND: Tensor, bias_N: Tensor | None) -> bool:
    """Whether there is one row, and nothing that wants the usual product: a gradient, a compiler, a conversion."""
    return (
        not torch.compiler.is_compiling()  # first: what follows would fix the batch of an exported net
        and x.numel() == x.shape[-1]
        and x.is_cpu
        and weight_ND.numel() >= LARGE
        and not torch.is_grad_enabled()
        and x.dtype == weight_ND.dtype
        and weight_ND.is_contiguous()
        and (bias_N is None or bias_N.is_contiguous())
        and not torch.is_autocast_enabled("cpu")
    )
