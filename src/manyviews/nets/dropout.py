"""Dropout whose chance costs little on a CPU.

Paper    Hinton et al. 2012 (arXiv:1207.0580); scaled in training rather than in use, as all libraries do.
Differs  Torch draws a number for each element, on one core, and a small Transformer's step is long enough to feel it.
         Here 64 random bits decide four elements, so that `p` is rounded to a multiple of 1/65536 and what is kept is
         scaled by just that. Other devices, and compiled code, draw as torch does.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STEPS = 2**16  # that an element's 16 bits tell apart


def dropout(x: Tensor, p: float, training: bool = True) -> Tensor:
    """`x` with each element zero with probability `p`, and the others larger by 1 / (1 - p); `x` outside training."""
    if not (training and p):
        return x
    dropped = round(p * STEPS)
    if not (draws_itself(x) and 0 < dropped < STEPS):
        return F.dropout(x, p)
    bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    kept = bits.view(torch.int16)[: x.numel()] >= dropped - STEPS // 2
    return x * kept.view(x.shape).to(x.dtype).mul_(STEPS / (STEPS - dropped))


def drop_path(y_BTD: Tensor, p: float, training: bool = True) -> Tensor:
    """`y` with each sample zero with probability `p`, and the others larger by 1 / (1 - p); `y` outside training.

    Of what a residual connection leads around, that is stochastic depth (Huang et al., ECCV 2016, arXiv:1603.09382).
    """
    if not (training and p):
        return y_BTD
    kept = torch.rand(len(y_BTD), *[1] * (y_BTD.ndim - 1), device=y_BTD.device) >= p
    return y_BTD * (kept / (1 - p)).to(y_BTD.dtype)


def set_dropout(net: nn.Module, p: float) -> None:
    """From now on every layer of `net` that has a chance to drop elements while it trains drops them with probability `p`."""
    for module in net.modules():
        if isinstance(getattr(module, "dropout", None), int | float):
            module.dropout = p  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
        elif isinstance(module, nn.Dropout):
            module.p = p


def draws_itself(x: Tensor) -> bool:
    """Whether `dropout` is ours here; torch's attention kernel for the CPU knows no dropout either."""
    return x.is_cpu and not torch.compiler.is_compiling()
