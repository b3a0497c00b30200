"""Projectors and predictors: the small networks between an encoder and a loss."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from torch import nn


def mlp(
    *widths: int,
    batch_norm: bool = True,
    out_norm: Literal["affine", "plain"] | None = None,
    out_bias: bool = True,
) -> nn.Sequential:
    """Linear layers of `widths` (in, hidden ..., out) with batch norm and ReLU between them.

    Args:
        batch_norm: normalise the hidden layers.
        out_norm: batch norm on the output: None, "affine" (learnt scale and shift) or "plain" (neither).
        out_bias: whether the last layer has a bias, where no norm follows that would swallow it.

    Maps `[B, widths[0]]` to `[B, widths[-1]]`. As the papers build theirs, D being the encoder's width:

        SimCLR    projector  mlp(D, D, 128), with out_norm="affine" in the authors' code
        MoCo v2   projector  mlp(D, D, 128, batch_norm=False)
        BYOL      projector  mlp(D, 4096, 256), predictor mlp(256, 4096, 256)
        SimSiam   projector  mlp(D, 2048, 2048, 2048, out_norm="plain"), predictor mlp(2048, 512, 2048)
    """
    if len(widths) < 2:
        raise ValueError(f"mlp needs a width for its input and one for its output, not {widths}")
    *hidden, last = pairwise(widths)
    layers: list[nn.Module] = []
    for d_in, d_out in hidden:
        layers.append(nn.Linear(d_in, d_out, bias=not batch_norm))
        if batch_norm:
            layers.append(nn.BatchNorm1d(d_out))
        layers.append(nn.ReLU(inplace=True))
    layers.append(nn.Linear(*last, bias=out_bias and out_norm is None))
    if out_norm is not None:
        layers.append(nn.BatchNorm1d(widths[-1], affine=out_norm == "affine"))
    return nn.Sequential(*layers)
