"""Contrast: pick the positive among negatives. Log-sum-exps are computed in tiles (`tiles`), half precision in float32.

Shapes   N pairs, M = 2N anchors, B queries, K keys, D embedding; s_ij = cos(i, j) / temperature.
"""

from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from manyviews import distributed
from manyviews.errors import ManyviewsError
from manyviews.objectives.tiles import LogSumExp, SymmetricLogSumExp


def nt_xent(z_a_ND: Tensor, z_b_ND: Tensor, temperature: float, memory_KD: Tensor | None = None) -> Tensor:
    """Normalised temperature-scaled cross entropy: SimCLR (Chen et al., ICML 2020, eq. 1), a scalar.

    Row i of ``z_a_ND`` and of ``z_b_ND`` are two views of item i, ``[N, D]`` each, of any length: they are normalised
    here. Every one of the 2N rows is an anchor once; its negatives are the 2N - 2 rows of other items. Across ranks
    negatives come from all ranks, with their gradients, and the loss is the mean over this rank's own anchors.
    Temperatures are safe down to where 1 / temperature overflows. The unit rows of ``memory_KD``, where there are
    any, are negatives of every anchor too, without gradient (SimCLR v2, arXiv:2006.10029, section 3.1).
    """
    check(temperature, z_a_ND, z_b_ND)
    a_ND, b_ND = _unit(z_a_ND), _unit(z_b_ND)
    positive_N = (a_ND * b_ND).sum(1) / temperature
    pairs = a_ND.shape[0]
    if distributed.world_size() == 1:
        z_MD = torch.cat([a_ND, b_ND])
        negative_M = cast(Tensor, SymmetricLogSumExp.apply(z_MD, 1 / temperature))
        return _contrast(positive_N.repeat(2), _and_memory(negative_M, z_MD, memory_KD, temperature))
    everyone = torch.cat([distributed.gather_with_grad(a_ND), distributed.gather_with_grad(b_ND)])
    own = distributed.rank() * pairs
    skip = (own, own + distributed.world_size() * pairs)  # where an anchor's first and second view stand
    negative_a_N, negative_b_N = (
        _and_memory(
            cast(Tensor, LogSumExp.apply(z_ND, everyone, 1 / temperature, skip)), z_ND, memory_KD, temperature
        )
        for z_ND in (a_ND, b_ND)
    )
    return (_contrast(positive_N, negative_a_N) + _contrast(positive_N, negative_b_N)) / 2


def info_nce(q_BD: Tensor, k_BD: Tensor, queue_KD: Tensor, temperature: float) -> Tensor:
    """InfoNCE against a queue: MoCo (He et al., CVPR 2020, eq. 1), a scalar, mean over the B queries.

    Row i of ``k_BD`` is query i's positive key; all rows of ``queue_KD`` are its negatives. Unit rows, ``[B, D]``,
    ``[B, D]`` and ``[K, D]``. Only queries get a gradient: keys are a dictionary, not something to train (section 3.2).
    """
    check(temperature, q_BD, k_BD)
    if queue_KD.shape[0] == 0:
        raise ManyviewsError("InfoNCE needs negatives, but its queue has no rows; give it at least one.")
    q_BD, k_BD, queue_KD = (precise(x) for x in (q_BD, k_BD.detach(), queue_KD.detach()))
    positive_B = (q_BD * k_BD).sum(1) / temperature
    negative_B = cast(Tensor, LogSumExp.apply(q_BD, queue_KD, 1 / temperature, ()))
    return _contrast(positive_B, negative_B)


def in_batch(q_BD: Tensor, k_BD: Tensor, temperature: float, hard_BD: Tensor | None = None) -> Tensor:
    """InfoNCE within the batch: row i of ``k_BD`` is query i's positive, the other rows are its negatives; a scalar.

    ``[B, D]`` both, of any length: they are normalised here. One direction: q looks up k (CPC, van den Oord et al. 2018,
    eq. 4; MoCo v3, Chen et al., ICCV 2021, algorithm 1; CMC, CLIP). Across ranks the keys of all are looked up, and get
    their gradient where they have one: whether it stops at the keys is the method's to say, by ``k.detach()``. The
    rows of ``hard_BD``, one a query, are negatives of every query as well (SimCSE, Gao et al., EMNLP 2021, eq. 5).
    """
    check(temperature, q_BD, k_BD)
    q_BD, k_BD = _unit(q_BD), _unit(k_BD)
    positive_B = (q_BD * k_BD).sum(1) / temperature
    everyone = _everyone(k_BD)
    if hard_BD is not None:
        check(temperature, q_BD, hard_BD)
        everyone = torch.cat([everyone, _everyone(_unit(hard_BD))])
    own = distributed.rank() * len(q_BD)
    negative_B = cast(Tensor, LogSumExp.apply(q_BD, everyone, 1 / temperature, (own,)))
    return _contrast(positive_B, negative_B)


def instance_softmax(v_BD: Tensor, bank_ND: Tensor, index_B: Tensor, temperature: float) -> Tensor:
    """-log P(i|v) of the softmax over all N stored instances (InstDisc, Wu et al., CVPR 2018, eq. 2), mean over rows.

    ``v_BD`` unit rows; row ``index_B[b]`` of ``bank_ND`` is what is stored of item b. Only v gets a gradient.
    """
    check(temperature, v_BD, v_BD)
    v_BD, bank_ND = precise(v_BD), precise(bank_ND.detach())
    own_B = (v_BD * bank_ND[index_B]).sum(1) / temperature
    all_B = cast(Tensor, LogSumExp.apply(v_BD, bank_ND, 1 / temperature, ()))
    return (all_B - own_B).mean()


def _everyone(k_BD: Tensor) -> Tensor:
    """The keys of all ranks, with their gradient where they have one."""
    return distributed.gather_with_grad(k_BD) if k_BD.requires_grad else distributed.gather(k_BD)


def _and_memory(negative_B: Tensor, z_BD: Tensor, memory_KD: Tensor | None, temperature: float) -> Tensor:
    """The log-sum-exp of more negatives: those so far, and the rows of a memory."""
    if memory_KD is None:
        return negative_B
    remembered = cast(Tensor, LogSumExp.apply(z_BD, precise(memory_KD.detach()), 1 / temperature, ()))
    return torch.logaddexp(negative_B, remembered)


def _contrast(positive_B: Tensor, negative_B: Tensor) -> Tensor:
    """Mean cross entropy of picking the positive, given the log-sum-exp of the negatives alone.

    With the positive left out of the sum nothing cancels: gradients stay exact where a positive has all but won.
    """
    return -F.logsigmoid(positive_B - negative_B).mean()


def check(temperature: float, x_BD: Tensor, y_BD: Tensor) -> None:
    if not temperature > 0:
        raise ManyviewsError(
            f"A temperature divides the cosine and must be above zero, but it is {temperature}."
        )
    if x_BD.shape != y_BD.shape or x_BD.dim() != 2 or x_BD.shape[0] == 0:
        raise ManyviewsError(
            f"Two views of a batch must be equal [rows, dimensions] with at least one row, but they are "
            f"{list(x_BD.shape)} and {list(y_BD.shape)}."
        )


def precise(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _unit(x_BD: Tensor) -> Tensor:
    return F.normalize(precise(x_BD), dim=1)
