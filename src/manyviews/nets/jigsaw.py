"""A head that reads an image from its shuffled patches, each of which an encoder saw alone.

Paper    Misra, van der Maaten, CVPR 2020 (arXiv:1912.01991), section 3.2: the jigsaw of PIRL; layers as in the code of
         Tian et al. 2020 (arXiv:2005.10243).
Shapes   B images, M patches each, E width of the encoder, D of the embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from manyviews.errors import ManyviewsError
from manyviews.nets.encoder import Encoder, judging
from manyviews.nets.heads import mlp


class JigsawHead(nn.Module):
    """Each patch projected to D, the projections side by side in a drawn order, and all of them to D."""

    def __init__(self, width: int, hidden: int, dim: int, patches: int = 9):
        super().__init__()
        self.patches = patches
        self.each = mlp(width, hidden, dim, batch_norm=False)
        self.all = nn.Linear(patches * dim, dim)

    def forward(self, h_BME: Tensor, order_BM: Tensor) -> Tensor:
        """`[B, D]`; row b of `order_BM` says which patch stands at each place."""
        v_BMD = self.each(h_BME).take_along_dim(order_BM[..., None], 1)
        return self.all(v_BMD.flatten(1))


def side_it_takes(encoder: Encoder, side: int, largest: int) -> int:
    """The smallest side in pixels, `side` or more, of images that `encoder` can see; at most `largest`.

    It is tried: patches of a transformer do not divide every side, fully connected layers fit one alone.

    Raises:
        ManyviewsError: there is none.
    """
    weight = next(encoder.parameters())
    with judging(encoder):
        for pixels in range(side, max(side, largest) + 1):
            try:
                encoder(
                    torch.zeros(
                        1, encoder.in_channels, pixels, pixels, dtype=weight.dtype, device=weight.device
                    )
                )
            except (ManyviewsError, RuntimeError, ValueError, AssertionError):
                continue
            return pixels
    name = encoder.built.name if encoder.built else type(encoder).__name__
    raise ManyviewsError(
        f'"{name}" sees no image of {side} to {largest} pixels a side, so it cannot see the pieces of a jigsaw; '
        "take another net, or turn the jigsaw off."
    )
