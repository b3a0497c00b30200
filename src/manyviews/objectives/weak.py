"""Groups within a batch as weak labels: who is nearest to whom, what hangs together, and losses with several positives.

Memory grows linearly with the batch: the mean over a group's members is a product with their sum, and log-sum-exps
come in `tiles`.

Shapes   N rows on this rank, M = N times ranks, D embedding, K neighbours, P positives a row.
"""

from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from manyviews import distributed
from manyviews.objectives.contrast import check, precise
from manyviews.objectives.tiles import LogSumExp

CHUNK = 2048  # rows of similarities that exist at a time


@torch.no_grad()
def nearest(z_MD: Tensor, count: int = 1) -> Tensor:
    """The ``count`` other rows of highest cosine, nearest first: int64 ``[M, count]``.

    Raises ``ValueError`` where there are not that many other rows.
    """
    rows = len(z_MD)
    if not 0 < count < rows:
        raise ValueError(f"Each of {rows} rows has {rows - 1} others, so {count} nearest cannot be found.")
    unit_MD = F.normalize(precise(z_MD), dim=1)
    found: list[Tensor] = []
    with torch.autocast(z_MD.device.type, enabled=False):  # in half precision neighbours would be tied
        for first in range(0, rows, CHUNK):
            s = unit_MD[first : first + CHUNK] @ unit_MD.T
            s.diagonal(first).fill_(float("-inf"))
            found.append(s.topk(count, dim=1).indices)
    return torch.cat(found)


@torch.no_grad()
def components(neighbour_M: Tensor) -> Tensor:
    """Connected components of the undirected graph in which row i hangs together with ``neighbour_M[i]``, int64 ``[M]``.

    Rows of one component get the same number, that of one of them. Whoever walks from row to neighbour ends in the one
    circle of the component, so paths of doubled length, log2 M times, reach it from everywhere: nothing leaves the
    device and nothing waits for it.
    """
    far_M = neighbour_M  # where a walk of 2^k steps ends
    lowest_M = torch.arange(len(neighbour_M), device=neighbour_M.device)  # the lowest row met on its way
    for _ in range(max(1, len(neighbour_M)).bit_length()):
        lowest_M = torch.minimum(lowest_M, lowest_M[far_M])
        far_M = far_M[far_M]
    return lowest_M[far_M]


def sup_con(z_ND: Tensor, group_N: Tensor, temperature: float) -> Tensor:
    """Supervised contrast (Khosla et al., NeurIPS 2020, eq. 2): draw the rows of a group together, a scalar.

    loss_i = log sum_{a != i} exp(s_ia) - mean of s_ip over the other rows p of i's group, averaged over the rows that
    have such; 0 where there are none. ``z_ND`` of any length, normalised here; groups are numbers from 0 to below the
    rows of all ranks, as `components` gives them. Across ranks rows meet those of all, with their gradients.
    """
    check(temperature, z_ND, z_ND)
    z_ND = F.normalize(precise(z_ND), dim=1)
    everyone_MD, group_M = distributed.gather_with_grad(z_ND), distributed.gather(group_N)
    sum_MD = torch.zeros_like(everyone_MD).index_add(0, group_M, everyone_MD)
    size_M = torch.zeros_like(everyone_MD[:, 0]).index_add(0, group_M, torch.ones_like(everyone_MD[:, 0]))
    others_N = size_M[group_N] - 1
    positive_N = (z_ND * (sum_MD[group_N] - z_ND)).sum(1) / others_N.clamp(min=1) / temperature
    own = distributed.rank() * len(z_ND)
    all_N = cast(Tensor, LogSumExp.apply(z_ND, everyone_MD, 1 / temperature, (own,)))
    has_N = others_N > 0
    loss_N = torch.where(has_N, all_N - positive_N, torch.zeros_like(all_N))
    rows = distributed.all_reduce_mean(has_N.sum().to(loss_N.dtype)).clamp(min=1 / distributed.world_size())
    return loss_N.sum() / rows


def several_positives(q_ND: Tensor, k_ND: Tensor, positive_NP: Tensor, temperature: float) -> Tensor:
    """Each query against the keys of all ranks, ``positive_NP`` saying which are its positives, a scalar.

    loss_i = log sum_a exp(s_ia) - mean of s_ip over i's P positives, mean over rows. Queries and keys ``[N, D]`` of any
    length: they are normalised here, and both get gradients.
    """
    check(temperature, q_ND, k_ND)
    q_ND, k_ND = F.normalize(precise(q_ND), dim=1), F.normalize(precise(k_ND), dim=1)
    everyone_MD = distributed.gather_with_grad(k_ND)
    positive_N = (q_ND * everyone_MD[positive_NP].mean(1)).sum(1) / temperature
    all_N = cast(Tensor, LogSumExp.apply(q_ND, everyone_MD, 1 / temperature, ()))
    return (all_N - positive_N).mean()
