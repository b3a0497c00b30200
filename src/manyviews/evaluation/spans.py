"""Spans among tokens: the best one, how far two cover each other, and those that tags of words make.

Paper    Devlin et al. 2019 (arXiv:1810.04805), sections 4.2 and 4.3. Tags as CoNLL 2003 has them.
Shapes   B texts, T tokens, A answers that are right.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from manyviews.data.marked import BEYOND, NONE

Entity = tuple[int, int, str]  # first word, the one behind the last, name


def marked(marks: Tensor) -> Tensor:
    """Which tokens are, bool of the same shape."""
    return (marks != NONE) & (marks != BEYOND)


def where(marks: Tensor) -> Tensor:
    """The first and last token of the answer, `[..., T]` to `[..., 2]`; both are 0, [CLS], where there is none to be seen."""
    seen = marked(marks).long()
    seen[..., 0] = 0
    end = (seen.shape[-1] - 1 - seen.flip(-1).argmax(-1)) * seen.amax(-1)
    return torch.stack([seen.argmax(-1), end], -1)


def judged(said_B2: Tensor, marks_BAT: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of what was said: whether it is an answer, its F1 with the nearest answer, and whether there is no answer, each `[B]`.

    An answer beyond the tokens that are read cannot be told; nothing is right there.
    """
    known_BA2, there_BA = where(marks_BAT), marked(marks_BAT).any(2)
    none_B1 = ~there_BA.any(1, keepdim=True)
    counts_BA = none_B1 | (there_BA & (known_BA2[..., 1] > 0))
    exact_BA = (said_B2[:, None] == known_BA2).all(2) & counts_BA
    f1_BA = overlap(said_B2[:, None].expand_as(known_BA2).flatten(0, 1), known_BA2.flatten(0, 1)).view_as(
        counts_BA
    )
    return exact_BA.any(1).double(), (f1_BA * counts_BA).amax(1), none_B1[:, 0].double()


def best_span(logits_BT2: Tensor, may_BT: Tensor, longest: int, threshold: float = 0.0) -> Tensor:
    """The span i to j >= i, `[B, 2]`, of the tokens that may be in it, with the largest S T_i + E T_j (section 4.2); [CLS]
    may not.

    0 to 0 where it is not above S C + E C by more than ``threshold`` (section 4.3).
    """
    start_BT, end_BT = logits_BT2.float().unbind(-1)
    null_B = start_BT[:, 0] + end_BT[:, 0]
    T = may_BT.shape[1]
    may_BT = may_BT.clone()
    may_BT[:, 0] = False
    fits_TT = torch.ones(T, T, dtype=torch.bool, device=may_BT.device).triu().tril(longest - 1)
    may_BTT = may_BT[:, :, None] & may_BT[:, None] & fits_TT
    score_BTT = (start_BT[:, :, None] + end_BT[:, None]).masked_fill(~may_BTT, -torch.inf)
    best_B, place_B = score_BTT.flatten(1).max(1)
    said_B2 = torch.stack([place_B // T, place_B % T], 1)
    return said_B2 * ((best_B > null_B + threshold) & may_BT.any(1))[:, None]


def overlap(said_B2: Tensor, known_B2: Tensor) -> Tensor:
    """F1 of the tokens of two spans, `[B]`; 1 where both are none, 0 where one is."""
    both_B = torch.minimum(said_B2[:, 1], known_B2[:, 1]) - torch.maximum(said_B2[:, 0], known_B2[:, 0]) + 1
    sizes_B = (said_B2[:, 1] - said_B2[:, 0] + 1) + (known_B2[:, 1] - known_B2[:, 0] + 1)
    return 2 * both_B.clamp(min=0).double() / sizes_B


def entities(tags: Sequence[str]) -> set[Entity]:
    """Words of one tag in a row, and where they stand; B-PER begins a new one, and I-PER goes on with it."""
    found, first = set(), 0
    kinds = [name.removeprefix("B-").removeprefix("I-") for name in tags]
    for place in range(1, len(tags) + 1):
        ends = place == len(tags) or kinds[place] != kinds[first] or tags[place].startswith("B-")
        if ends:
            if kinds[first]:
                found.add((first, place, kinds[first]))
            first = place
    return found
