"""k-means on whatever device the points are on, Euclidean or spherical, no cluster empty; and whitening before it.

Papers   Empty clusters are mended as DeepCluster does (Caron et al., ECCV 2018, section 3.3), which also whitens.
Shapes   N points, D dimensions, K clusters; distances are taken in blocks of rows: no N x K x D, and no N x K either.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from manyviews.errors import Diverged, ManyviewsError

BLOCK = {"cpu": 2**17, "other": 2**26}  # distances at a time: on a CPU they stay in the cache
FLOOR = 1e-6  # directions of less than this share of the largest variance are rounding, not data


NOT_FINITE = "Some points are not finite, so nothing is near them: look at the loss before."


@dataclass(frozen=True)
class Clusters:
    """What k-means found."""

    centroids_KD: Tensor  # means of their points; unit vectors where clusters are spherical
    label_N: Tensor  # int64, each point's cluster
    inertia: float  # sum of squared distances of points to their centroids

    @property
    def sizes_K(self) -> Tensor:
        """How many points each cluster has."""
        return torch.bincount(self.label_N, minlength=len(self.centroids_KD))


@torch.no_grad()
def kmeans(x_ND: Tensor, clusters: int, iterations: int = 20, spherical: bool = False) -> Clusters:
    """Lloyd's algorithm from ``clusters`` random points, stopped early where no point moves any more.

    ``spherical``: points and centroids are unit vectors, and the nearest is the one of largest cosine. A cluster that
    becomes empty takes over a half of a random other one, so all clusters have points unless fewer than ``clusters``
    points differ. Draws come from torch's global generator on the CPU, the same for every device.

    Raises:
        ManyviewsError: less than one cluster, more clusters than points, or points that are not finite.
    """
    if not 1 <= clusters <= len(x_ND):
        raise ManyviewsError(
            f"{len(x_ND)} points cannot make {clusters} clusters: choose 1 to {len(x_ND)}, or more data."
        )
    if not torch.isfinite(x_ND).all():
        raise Diverged(NOT_FINITE)
    x_ND = F.normalize(x_ND, dim=1) if spherical else x_ND
    c_KD = x_ND[torch.randperm(len(x_ND))[:clusters].to(x_ND.device)]
    label_N = before = torch.full((len(x_ND),), -1, device=x_ND.device)
    for _ in range(iterations):
        label_N = _mended(x_ND, _nearest(x_ND, c_KD), clusters)
        c_KD = _centres(x_ND, label_N, c_KD, spherical)
        if torch.equal(label_N, before):
            break
        before = label_N
    else:
        label_N = _mended(x_ND, _nearest(x_ND, c_KD), clusters)
        c_KD = _centres(x_ND, label_N, c_KD, spherical)
    blocks = zip(_blocks(x_ND, x_ND.shape[1]), _blocks(label_N, x_ND.shape[1]), strict=True)
    inertia = sum(((x - c_KD[label]) ** 2).sum(dtype=torch.float64) for x, label in blocks)
    return Clusters(c_KD, label_N, float(inertia))


@torch.no_grad()
def whitened(x_ND: Tensor, dims: int) -> Tensor:
    """``[N, dims]``: the points along their ``dims`` largest principal axes, each of variance 1, and then of length 1.

    An axis along which nothing varies stays 0 rather than being blown up.

    Raises:
        ManyviewsError: more axes are wanted than points have, or points are not finite.
    """
    if not 1 <= dims <= x_ND.shape[1]:
        raise ManyviewsError(
            f"Points of {x_ND.shape[1]} dimensions have no {dims} principal axes: choose 1 to {x_ND.shape[1]}."
        )
    if not torch.isfinite(x_ND).all():
        raise Diverged(NOT_FINITE)
    centred_ND = x_ND - x_ND.mean(0)
    covariance_DD = centred_ND.T @ centred_ND / max(1, len(x_ND) - 1)
    variance_D, axis_DD = torch.linalg.eigh(covariance_DD.double())  # ascending
    variance, axis = variance_D[-dims:], axis_DD[:, -dims:]
    scale = torch.where(variance > FLOOR * variance_D[-1].clamp(min=0), variance, torch.inf).rsqrt()
    return F.normalize(centred_ND @ (axis * scale).to(x_ND.dtype), dim=1)


def _nearest(x_ND: Tensor, c_KD: Tensor) -> Tensor:
    """The nearest centroid of every point: |x - c|^2 is least where x . c - |c|^2 / 2 is largest."""
    half_K = -c_KD.square().sum(1) / 2
    return torch.cat([torch.addmm(half_K, x, c_KD.T).max(1).indices for x in _blocks(x_ND, len(c_KD))])


def _centres(x_ND: Tensor, label_N: Tensor, c_KD: Tensor, spherical: bool) -> Tensor:
    """Means of the clusters; where there are too few different points to go round, an empty one's stays as it was."""
    sum_KD = torch.zeros_like(c_KD)
    if x_ND.device.type == "cpu":
        sum_KD.index_add_(0, label_N, x_ND)
    else:  # atomic additions would make the order of a sum, and so its last bits, a matter of luck
        for x, label in zip(_blocks(x_ND, len(c_KD)), _blocks(label_N, len(c_KD)), strict=True):
            member = torch.zeros(len(x), len(c_KD), dtype=x.dtype, device=x.device)
            sum_KD.addmm_(member.scatter_(1, label[:, None], 1.0).T, x)
    size_K = torch.bincount(label_N, minlength=len(c_KD))
    mean_KD = F.normalize(sum_KD, dim=1) if spherical else sum_KD / size_K.clamp(min=1)[:, None]
    return torch.where(size_K[:, None] > 0, mean_KD, c_KD)


def _mended(x_ND: Tensor, label_N: Tensor, clusters: int) -> Tensor:
    """Give each empty cluster a part of a random other one.

    DeepCluster puts the empty cluster's centroid beside the other's and shares out the points between the two. For a
    small displacement that cuts the other cluster by a plane through its mean, which is what is done here.
    """
    size_K = torch.bincount(label_N, minlength=clusters)
    whole_K = torch.zeros_like(size_K, dtype=torch.bool)  # clusters of copies of one point cannot be cut
    while (size_K == 0).any() and ((size_K > 1) & ~whole_K).any():
        empty, donors = (size_K == 0).nonzero()[:, 0], ((size_K > 1) & ~whole_K).nonzero()[:, 0]
        donors = donors[torch.randperm(len(donors)).to(donors.device)][: len(empty)]
        heir_K = torch.full((clusters,), -1, device=label_N.device)
        heir_K[donors] = empty[: len(donors)]
        rows = (heir_K[label_N] >= 0).nonzero()[:, 0]
        label = label_N[rows]
        off = x_ND[rows] - _means(x_ND[rows], label, clusters)[label]
        direction_KD = torch.randn(clusters, x_ND.shape[1]).to(x_ND)
        beyond = (off * direction_KD[label]).sum(1) > 1e-5 * x_ND[rows].norm(dim=1)  # more than rounding
        label_N = label_N.index_put((rows[beyond],), heir_K[label[beyond]])
        now_K = torch.bincount(label_N, minlength=clusters)
        whole_K |= (heir_K >= 0) & (now_K == size_K)
        size_K = now_K
    return label_N


def _means(x_ND: Tensor, label_N: Tensor, clusters: int) -> Tensor:
    nowhere = x_ND.new_zeros(clusters, x_ND.shape[1])
    return _centres(x_ND, label_N, nowhere, spherical=False)


def _blocks(x: Tensor, columns: int) -> tuple[Tensor, ...]:
    """``x`` in runs of rows so short that ``columns`` numbers for each of them fill a block."""
    return x.split(max(1, BLOCK["cpu" if x.device.type == "cpu" else "other"] // columns))
