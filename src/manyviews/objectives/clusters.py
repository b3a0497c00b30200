"""Clusters as targets: balanced assignment, and cross entropy with soft ones.

Shapes   B items, K clusters.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from manyviews import distributed
from manyviews.errors import ManyviewsError


@torch.no_grad()
def sinkhorn(score_BK: Tensor, epsilon: float, iterations: int = 3) -> Tensor:
    """Codes Q that share the items evenly among the clusters: SwAV (Caron et al., NeurIPS 2020, section 3.1, eq. 3 to 5).

    Q = exp(score / epsilon), normalised ``iterations`` times to columns (clusters) of sum 1 / K and rows (items) of sum
    1 / B. Returns ``[B, K]`` float32 whose rows sum to 1. Across ranks the items of all are shared out, each rank
    getting its own rows back. A row of -inf takes part in nothing; its code is all zeros.

    Sums run in float64: exp(1 / epsilon) spans more than half precision has, and ranks add up in another order.
    """
    if epsilon <= 0 or iterations < 1:
        raise ManyviewsError(
            f"Sinkhorn needs an epsilon above zero and at least one iteration, not {epsilon} and {iterations}."
        )
    log_BK = score_BK.double() / epsilon
    highest = log_BK.max()
    highest = distributed.gather(highest[None]).max()  # one shift for all: it cancels
    q_BK = (log_BK - highest).exp()
    for _ in range(iterations):
        q_BK = q_BK / distributed.all_reduce_sum(q_BK.sum(0)).clamp(min=1e-300)
        q_BK = q_BK / q_BK.sum(1, keepdim=True).clamp(min=1e-300)
    return q_BK.float() if score_BK.dtype != torch.float64 else q_BK


def soft_cross_entropy(logits_BK: Tensor, target_BK: Tensor) -> Tensor:
    """-sum_k target_k log softmax(logits)_k, mean over rows; targets are distributions and get no gradient of ours."""
    return -(target_BK * F.log_softmax(logits_BK, dim=1)).sum(1).mean()
