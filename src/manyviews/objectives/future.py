"""Tell what comes from what could have come: InfoNCE over predicted positions (CPC, van den Oord et al. 2018, eq. 4).

Scores are log-bilinear, log f = z^T p with p = W_k c (eq. 3), so rows have any length and no temperature. They are
computed in tiles (`tiles`), half precision in float32.

Shapes   B items (sequences, images), P predictions an item, T positions an item, D embedding.
"""

from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from manyviews import distributed
from manyviews.objectives.contrast import precise
from manyviews.objectives.tiles import LargestAndLogSumExp

Negatives = Literal["batch", "own"]


class Foretold(NamedTuple):
    """How well each prediction was told from the rest; take means over what belongs together (a step k, a direction)."""

    loss_BP: Tensor  # -log f(positive) / sum f: with N = 1 + negatives, log N - its mean bounds the information (eq. 5)
    right_BP: Tensor  # 1.0 where the positive scored highest, else 0.0: its mean is the pretext accuracy


def future(p_BPD: Tensor, z_BTD: Tensor, at_P: Tensor, negatives: Negatives = "batch") -> Foretold:
    """Prediction p of item b has the latent ``z_BTD[b, at_P[p]]`` as its positive.

    Args:
        p_BPD: predictions, of all steps and directions that share their targets.
        z_BTD: latents at all positions; they get their gradient where they have one.
        at_P: int64, the position that each prediction is about.
        negatives: all other latents of the batch, across ranks too ("batch": other positions of the item and all
            positions of other items), or those of other positions of the same item ("own").

    Raises:
        ValueError: shapes do not match, or there is nothing to tell the positive from.
    """
    _check(p_BPD, z_BTD, at_P, negatives)
    p_BPD, z_BTD = precise(p_BPD), precise(z_BTD)
    items, positions, _ = z_BTD.shape
    positive_BP = (p_BPD * z_BTD[:, at_P]).sum(2)
    if negatives == "own":
        with torch.autocast(p_BPD.device.type, enabled=False):  # scores are exponents
            s_BPT = p_BPD @ z_BTD.transpose(1, 2)
        s_BPT = s_BPT.scatter(2, at_P[None, :, None].expand(items, -1, 1), float("-inf"))
        largest_BP, negative_BP = s_BPT.detach().amax(2), torch.logsumexp(s_BPT, 2)
    else:
        keys_ND = z_BTD.flatten(0, 1)
        keys_ND = (
            distributed.gather_with_grad(keys_ND) if keys_ND.requires_grad else distributed.gather(keys_ND)
        )
        first_B1 = torch.arange(items, device=at_P.device)[:, None] + distributed.rank() * items
        own_N = (first_B1 * positions + at_P).flatten()
        found = LargestAndLogSumExp.apply(p_BPD.flatten(0, 1), keys_ND, own_N)
        largest_BP, negative_BP = (x.view_as(positive_BP) for x in cast(tuple[Tensor, Tensor], found))
    # With the positive left out of the sum nothing cancels: gradients stay exact where a positive has all but won.
    loss_BP = -F.logsigmoid(positive_BP - negative_BP)
    return Foretold(loss_BP, (positive_BP.detach() > largest_BP).to(loss_BP.dtype))


def _check(p_BPD: Tensor, z_BTD: Tensor, at_P: Tensor, negatives: Negatives) -> None:
    shapes = list(p_BPD.shape), list(z_BTD.shape), list(at_P.shape)
    if list(map(len, shapes)) != [3, 3, 1] or shapes[0] != [len(z_BTD), len(at_P), z_BTD.shape[2]]:
        raise ValueError(
            f"Predictions [items, predictions, width], latents [items, positions, width] and a position for each "
            f"prediction do not match: {', '.join(map(str, shapes))}."
        )
    others = z_BTD.shape[1] * (1 if negatives == "own" else len(z_BTD) * distributed.world_size()) - 1
    if others < 1:
        raise ValueError("One latent alone cannot be told from others; give more positions or items.")
