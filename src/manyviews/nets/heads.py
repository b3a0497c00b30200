"""Projectors and predictors: the small networks between an encoder and a loss."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize

from manyviews.errors import ManyviewsError

ACTIVATIONS = {"relu": partial(nn.ReLU, inplace=True), "gelu": nn.GELU}


def mlp(
    *widths: int,
    batch_norm: bool = True,
    out_norm: Literal["affine", "plain"] | None = None,
    out_bias: bool = True,
    activation: Literal["relu", "gelu"] = "relu",
) -> nn.Sequential:
    """Linear layers of `widths` (in, hidden ..., out) with batch norm and an activation between them.

    Args:
        batch_norm: normalise the hidden layers.
        out_norm: batch norm on the output: None, "affine" (learnt scale and shift) or "plain" (neither).
        out_bias: whether the last layer has a bias, where no norm follows that would swallow it.

    Maps `[B, widths[0]]` to `[B, widths[-1]]`. As the papers build theirs, D being the encoder's width:

        SimCLR    projector  mlp(D, D, 128), with a norm behind it in the authors' code, scaled and not shifted
        MoCo v2   projector  mlp(D, D, 128, batch_norm=False)
        BYOL      projector  mlp(D, 4096, 256), predictor mlp(256, 4096, 256)
        SimSiam   projector  mlp(D, 2048, 2048, 2048, out_norm="plain"), predictor mlp(2048, 512, 2048)
        MoCo v3   both of a ViT with out_norm="plain": mlp(D, 4096, 4096, 256), mlp(256, 4096, 256)
        DINO      mlp(D, 2048, 2048, 256, batch_norm=False, activation="gelu"), then `Prototypes(256, 65_536)`
    """
    if len(widths) < 2:
        raise ManyviewsError(f"mlp needs a width for its input and one for its output, not {widths}")
    *hidden, last = pairwise(widths)
    layers: list[nn.Module] = []
    for d_in, d_out in hidden:
        layers.append(nn.Linear(d_in, d_out, bias=not batch_norm))
        if batch_norm:
            layers.append(nn.BatchNorm1d(d_out))
        layers.append(ACTIVATIONS[activation]())
    layers.append(nn.Linear(*last, bias=out_bias and out_norm is None))
    if out_norm is not None:
        layers.append(nn.BatchNorm1d(widths[-1], affine=out_norm == "affine"))
    return nn.Sequential(*layers)


class Prototypes(nn.Module):
    """Cosines with K prototypes, `[B, D] -> [B, K]`: what comes in is normalised, and so are they.

    Args:
        fixed_lengths: prototypes are unit vectors; else each has a length that is learnt, 1 at first, by which its
            cosine is multiplied (weight norm: Salimans & Kingma, NeurIPS 2016, eq. 2).

    Raises `ManyviewsError` for fewer than two prototypes: there would be nothing to choose.
    """

    def __init__(self, dim: int, prototypes: int, fixed_lengths: bool = True):
        super().__init__()
        if prototypes < 2:
            raise ManyviewsError(f"There must be at least two prototypes to choose from, not {prototypes}.")
        # As torch starts a linear layer: only directions count, and the longer a vector is, the less a step turns it.
        most = dim**-0.5
        self.direction_KD = nn.Parameter(nn.init.uniform_(torch.empty(prototypes, dim), -most, most))
        self.length_K1 = None if fixed_lengths else nn.Parameter(torch.ones(prototypes, 1))

    def forward(self, z_BD: Tensor) -> Tensor:
        w_KD = normalize(self.direction_KD, dim=1)
        if self.length_K1 is not None:
            w_KD = self.length_K1 * w_KD
        with torch.autocast(z_BD.device.type, enabled=False):  # a small temperature divides what comes out
            return linear(normalize(z_BD.to(w_KD.dtype), dim=1), w_KD)
