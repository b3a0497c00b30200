"""A flat map of embeddings: near on the page means near in the embedding."""

import torch
from torch import Tensor
from torch.nn import functional as F

MOST = 2000


def flat(h_ND: Tensor, seed: int = 0) -> Tensor:
    """Two coordinates per embedding, float32 ``[N, 2]``: PCA to 50 dimensions, then t-SNE.

    t-SNE is van der Maaten and Hinton 2008, by scikit-learn. Rows are normalised first, so nearness is the
    cosine's, as it is for nearest neighbours. The same ``h_ND`` and seed give the same map on the same machine.
    Fewer than five points, or points that all coincide (a collapsed encoder), are placed by PCA alone: t-SNE is
    not defined there.

    Raises:
        ValueError: ``h_ND`` is not two-dimensional, holds values that are not finite, or has more than 2,000
            rows (t-SNE's time grows faster than N; draw a sample first).
    """
    if h_ND.ndim != 2:
        raise ValueError(f"a map needs embeddings [N, D]; it got {list(h_ND.shape)}.")
    if len(h_ND) > MOST:
        raise ValueError(f"a map holds at most {MOST:,} points; it got {len(h_ND):,}: draw a sample first.")
    if not torch.isfinite(h_ND).all():
        raise ValueError("a map needs finite embeddings; these hold values that are not finite.")
    principal = _principal(F.normalize(h_ND.detach().cpu().double(), dim=1))
    if len(principal) < 5 or principal.std(dim=0).max() < 1e-6:
        return principal[:, :2].float()
    return _tsne(principal, seed)


def _principal(h_ND: Tensor, most: int = 50) -> Tensor:
    """The rows in their leading principal directions: at least 2 (padded with zeros), at most ``most``."""
    if h_ND.numel() == 0:
        return h_ND.new_zeros(len(h_ND), 2)
    u, s, v = torch.linalg.svd(h_ND - h_ND.mean(dim=0), full_matrices=False)
    # SVD leaves signs free; without this, another LAPACK could mirror the map.
    sign = torch.sign(v.gather(1, v.abs().argmax(dim=1, keepdim=True))).squeeze(1)
    scores = (u * s * sign)[:, :most]
    return F.pad(scores, (0, max(0, 2 - scores.shape[1])))


def _tsne(principal: Tensor, seed: int) -> Tensor:
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(principal) - 1) / 3)
    # Half the usual iterations: at this size the map has settled by then, and a report should be quick.
    learner = TSNE(perplexity=perplexity, init="pca", max_iter=500, random_state=seed % 2**32, n_jobs=1)
    return torch.from_numpy(learner.fit_transform(principal.float().numpy())).float()
