"""A context that looks one way: masked convolutions over a grid of latents (a PixelCNN without its blind spot).

Papers   PixelCNN (van den Oord et al., ICML and NeurIPS 2016); as CPC v2 uses it on latents (Hénaff et al., ICML 2020,
         arXiv:1905.09272, appendix A: five residual blocks of 1x1, 1x3, 2x1 and 1x1 convolutions of 256 channels).
Shapes   B images, D width, g x g positions; i counts rows from the top.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor, nn

Direction = Literal["down", "up", "right", "left"]  # where a context predicts to
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)

# Quarter turns that make each direction point down.
_TURNS = {"down": 0, "left": 1, "up": 2, "right": 3}


def turned(x_BDHW: Tensor, direction: Direction) -> Tensor:
    """The grid turned so that what lay in `direction` lies below."""
    return x_BDHW.rot90(_TURNS[direction], (2, 3))


class _Block(nn.Module):
    """Adds to row i what rows i - 1 and i say: a convolution two rows high, padded above, sees nothing below."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.reduce = nn.Conv2d(width, hidden, 1)
        self.across = nn.Conv2d(hidden, hidden, (1, 3), padding=(0, 1))
        self.above = nn.Conv2d(hidden, hidden, (2, 1))
        self.expand = nn.Conv2d(hidden, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.across(F.relu(self.reduce(x)))
        h = F.relu(self.above(F.pad(h, (0, 0, 1, 0))))
        return x + self.expand(h)


class MaskedContext(nn.Module):
    """`[B, D, g, g]` to the same: position (i, j) sums up rows 0 to i, whole rows of them within its reach.

    Rows are masked as wholes (this row and those above), so there is no blind spot: every block adds one row above and
    one column on either side to what a position sees.
    """

    def __init__(self, width: int, hidden: int = 256, blocks: int = 5):
        super().__init__()
        self.blocks = nn.Sequential(*(_Block(width, hidden) for _ in range(blocks)))

    def forward(self, z_BDHW: Tensor) -> Tensor:
        return F.relu(self.blocks(z_BDHW))
