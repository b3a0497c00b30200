"""Are texts that people call alike also near each other? The measure of sentence embeddings.

Paper    Gao, Yao, Chen, EMNLP 2021 (SimCSE, arXiv:2104.08821), section 6 and appendix B: Spearman's correlation of the
         cosine with the score, over all pairs of a set together. Alignment and uniformity sections 2 and 7, as in
         Wang, Isola, ICML 2020 (arXiv:2005.10242).
Shapes   N pairs, D embedding.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from manyviews.data import ItemSet
from manyviews.data.items import Rows
from manyviews.errors import Diverged, ManyviewsError
from manyviews.evaluation.labelfree import alignment, uniformity

ALIKE = (
    0.8  # of the way from the lowest score to the highest, from where pairs are positive: 4 of 5 in the paper
)


@dataclass(frozen=True)
class Similarity:
    """How an embedding orders pairs of texts."""

    n: int  # pairs
    spearman: float  # rank correlation of cosine and score, in [-1, 1]
    pearson: float  # linear correlation, likewise
    uniformity: float  # of all texts, in [-4, 0], lower is more uniform
    alignment: float | None  # of pairs that are alike, in [0, 4], lower is nearer; None where there are none

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@torch.no_grad()
def similarity(a_ND: Tensor, b_ND: Tensor, score_N: Tensor) -> Similarity:
    """Compare embeddings of two texts a pair with how alike they are said to be.

    Raises:
        ManyviewsError: less than two pairs, or all with one score: nothing is ordered there.
        Diverged: embeddings that are not finite.
    """
    from scipy.stats import rankdata  # a second, for those who ask

    if len(score_N) < 2 or len(score_N.unique()) < 2:
        raise ManyviewsError(
            "Pairs of at least two different scores are needed to see whether they are in order."
        )
    a_ND, b_ND = a_ND.double(), b_ND.double()
    cosine_N = cosine_similarity(a_ND, b_ND, dim=1)
    if not torch.isfinite(cosine_N).all():
        raise Diverged("Embeddings of the pairs are not finite numbers, so they cannot be compared.")
    same = bool((cosine_N == cosine_N[0]).all())  # an encoder that tells nothing apart orders nothing
    told, found = score_N.double().numpy(), cosine_N.numpy()
    low, high = score_N.aminmax()
    alike_N = score_N > low + ALIKE * (high - low)
    return Similarity(
        n=len(score_N),
        spearman=0.0
        if same
        else float(np.corrcoef(rankdata(found), rankdata(told))[0, 1]),  # ties share a rank
        pearson=0.0 if same else float(np.corrcoef(found, told)[0, 1]),
        uniformity=uniformity(torch.cat([a_ND, b_ND])),
        alignment=alignment(a_ND[alike_N], b_ND[alike_N]) if alike_N.any() else None,
    )


def by_text(data: ItemSet) -> tuple[ItemSet, ItemSet]:
    """The first and the second texts of pairs, each a set of its own."""
    assert data.pairs is not None
    one, other = (
        replace(data, values=rows_N2T, read=Rows(rows_N2T), senses={}, pairs=None)
        for rows_N2T in data.pairs.texts_N4T.split(2, dim=1)
    )
    return one, other
