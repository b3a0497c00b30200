"""Noise-contrastive estimation: tell the data from noise, one at a time, where a softmax over all would cost too much.

Papers   Gutmann & Hyvärinen, AISTATS 2010; over stored instances: InstDisc (Wu et al., CVPR 2018, eq. 4 to 8).
Shapes   B queries, m noise samples a query, N items of the data set, D embedding.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from manyviews import distributed
from manyviews.objectives.contrast import precise

# Picking m rows of D numbers for each query costs memory and time in proportion to m D, multiplying by all N rows in
# proportion to N: below this many rows for each one picked, all of them are the cheaper way, and the smaller for D > 32.
ALL_ROWS = 32


def scores(v_BD: Tensor, bank_ND: Tensor, index_Bm: Tensor, temperature: float) -> Tensor:
    """v . v_j / temperature for the items j of ``index_Bm``, ``[B, m]``; only v gets a gradient."""
    v_BD, bank_ND = precise(v_BD) / temperature, precise(bank_ND.detach())
    with torch.autocast(v_BD.device.type, enabled=False):  # a score is an exponent
        if bank_ND.shape[0] <= ALL_ROWS * index_Bm.shape[1]:
            return (v_BD @ bank_ND.T).gather(1, index_Bm)
        return torch.bmm(bank_ND[index_Bm], v_BD[:, :, None]).squeeze(2)


def nce(positive_B: Tensor, noise_Bm: Tensor, log_z: Tensor, items: int) -> Tensor:
    """J_NCE of InstDisc (eq. 7), mean over rows: each score is asked whether it is data or uniform noise (P_n = 1 / N).

    Args:
        positive_B: v . v_i / temperature.
        noise_Bm: v . v_j / temperature of items j drawn uniformly from all (`scores`).
        log_z: log of the normalising constant Z, a scalar (`log_normaliser`); eq. 8 keeps it fixed.
        items: N.
    """
    # h = P / (P + m / N) with P = exp(s) / Z is a sigmoid of s - log Z - log(m / N): nothing is exponentiated.
    bar = log_z + math.log(noise_Bm.shape[1] / items)
    data_B, noise_B = F.logsigmoid(positive_B - bar), F.logsigmoid(bar - noise_Bm).sum(1)
    return -(data_B + noise_B).mean()


def log_normaliser(noise_Bm: Tensor, items: int) -> Tensor:
    """log Z, Z ~ N / m sum exp(v . v_j / temperature), averaged over the rows of all ranks (eq. 8); no gradient."""
    s_Bm = distributed.gather(noise_Bm).double()
    return (math.log(items / s_Bm.numel()) + torch.logsumexp(s_Bm.flatten(), 0)).to(noise_Bm.dtype)
