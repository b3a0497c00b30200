"""A net that reads texts, as an encoder: what it makes of a text's tokens becomes one embedding.

Shapes   B texts, R rows of which the first two are tokens and their parts (see `views.texts`), T tokens, D width.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from manyviews.errors import ManyviewsError
from manyviews.nets.encoder import Encoder


@runtime_checkable
class Reads(Protocol):
    """A net of tokens that says what each of them means where it stands."""

    width: int

    def hidden(self, tokens_BT: Tensor, part_BT: Tensor) -> Tensor:
        """`[B, T, D]`; what stands where `part_BT` is 0 is nobody's business."""
        ...


class Reader(Encoder):
    """A language model, or the reading half of one. The embedding is the mean over a text's tokens.

    The channels of a text are its vocabulary: what goes in is one-hot, said by the numbers of the tokens.
    """

    def __init__(self, net: nn.Module, vocabulary: int):
        if not isinstance(net, Reads):
            raise ManyviewsError(f"{type(net).__name__} reads no texts.")
        super().__init__(net.width, vocabulary)
        self.net = net

    def states(self, x_BRT: Tensor) -> Tensor:
        """What each token means where it stands, `[B, T, D]`; zeros where there is none.

        Raises `ManyviewsError` for a token that is not in the vocabulary.
        """
        tokens_BT, part_BT = x_BRT[:, 0], x_BRT[:, 1]
        return self.net.hidden(tokens_BT, part_BT) * (part_BT > 0)[..., None]

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """`[B, width]` of texts `[B, R, T]`; zeros for one without tokens."""
        there_B1 = (x_BCHW[:, 1] > 0).sum(1, keepdim=True)
        return self.states(x_BCHW).sum(1) / there_B1.clamp(min=1)

    def grid(self, x_BCHW: Tensor) -> Tensor:
        """The states as a feature map of one row, `[B, width, 1, T]`."""
        return self.states(x_BCHW).mT[:, :, None]


def documents(part_BT: Tensor) -> tuple[Tensor, Tensor] | None:
    """Of windows that hold several documents: who may look at whom `[B, T, T]`, and each token's place in its own `[B, T]`.

    None where every window holds one, which needs neither.
    """
    if not bool((part_BT > 1).any()):
        return None
    same_BTT = (part_BT[:, :, None] == part_BT[:, None]) & (part_BT > 0)[:, None]
    first_BT = torch.ones_like(part_BT, dtype=torch.bool)
    first_BT[:, 1:] = part_BT[:, 1:] != part_BT[:, :-1]
    place_T = torch.arange(part_BT.shape[1], device=part_BT.device)
    start_BT = torch.where(first_BT, place_T, 0).cummax(1).values
    return same_BTT, place_T - start_BT
