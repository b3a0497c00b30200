"""Cosines of what is predicted and what is there."""

from torch import Tensor
from torch.nn import functional as F

from manyviews.objectives.contrast import precise


def neg_cosine(p_BD: Tensor, z_BD: Tensor) -> Tensor:
    """SimSiam's D(p, z) = -cos(p, z) (Chen & He, CVPR 2021, eq. 1), mean over rows, in [-1, 1].

    Whether the gradient stops at z is the method's to say, by ``z.detach()``: it is what the paper is about.
    """
    return -F.cosine_similarity(precise(p_BD), precise(z_BD), dim=1).mean()


def byol_loss(p_BD: Tensor, z_BD: Tensor) -> Tensor:
    """BYOL's squared distance of unit vectors, 2 - 2 cos(p, z) (Grill et al., NeurIPS 2020, eq. 2), mean over rows,
    in [0, 4]."""
    return 2.0 + 2.0 * neg_cosine(p_BD, z_BD)
