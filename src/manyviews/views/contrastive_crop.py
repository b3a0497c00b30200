"""ContrastiveCrop: crop around what the net looks at, and near the edges of it rather than in its middle.

Paper    Peng, Wang, Zhu, Wang, You, CVPR 2022 (arXiv:2202.03278): semantic-aware localisation section 3.2,
         centre-suppressed sampling section 3.3, both together section 3.4.
Differs  Where a crop reaches beyond the image, the range of its centre is cut before it is drawn, as in the authors'
         code, and at both ends: it never leaves the image. The box includes its last row and column.
Shapes   B images, C H W their feature maps, S side in pixels of what is upsampled to.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Focus:
    """Where crops have their centres: in a box of each image, by a Beta distribution along either side of it (3.4)."""

    box_B4: Tensor  # top, left, bottom, right as shares of the image, on the CPU
    alpha: float  # Beta(alpha, alpha): below 1 near the edges of the box, at 1 anywhere in it

    def rows(self, start: int, stop: int) -> "Focus":
        """That of samples ``start`` to ``stop`` (exclusive)."""
        return Focus(self.box_B4[start:stop], self.alpha)

    def along(self, axis: int, side: int, length_B: Tensor, u_B: Tensor) -> Tensor:
        """The first pixel of crops of ``length_B`` along an axis of ``side`` pixels (0: down, 1: across), ``[B]``.

        With the whole image as its box and alpha 1 it is that of the plain random crop, for the same uniforms.
        """
        edges_B2 = (self.box_B4[:, [axis, axis + 2]].double() * side).round()
        first_B2 = (edges_B2 - (length_B / 2).floor()[:, None]).clamp(min=0)
        low, high = torch.minimum(first_B2, side - length_B[:, None]).unbind(1)
        return torch.minimum(low + ((high - low + 1) * beta_quantile(u_B, self.alpha)).floor(), high)


def beta_quantile(u: Tensor, alpha: float) -> Tensor:
    """The quantiles of Beta(alpha, alpha) at the shares ``u``: what turns uniform draws into draws of it; float64.

    Below 1, alpha makes two crops of an image lie apart (section 3.3).
    """
    u = u.double()
    if alpha == 1:
        return u
    from scipy.special import betaincinv  # a quarter of a second, for those who crop like this

    return torch.from_numpy(betaincinv(alpha, alpha, u.numpy()))


def boxes_of(grid_BCHW: Tensor, side: int, threshold: float) -> Tensor:
    """The box around what is bright in each heat map, ``[B, 4]``: top, left, bottom, right as shares of the image.

    The heat is the sum of the channels, from 0 to 1 in each image, upsampled to ``side`` pixels; bright is what reaches
    ``threshold``, the brightest place always (section 3.2). An even map has the whole image as its box.
    """
    heat = grid_BCHW.float().sum(1, keepdim=True)
    low, high = heat.amin((2, 3), keepdim=True), heat.amax((2, 3), keepdim=True)
    heat = torch.where(high > low, (heat - low) / (high - low), torch.ones_like(heat))
    heat = F.interpolate(heat, (side, side), mode="bilinear")[:, 0]
    bright = heat >= heat.amax((1, 2), keepdim=True).clamp(max=threshold)
    down, across = _extent(bright.any(2)), _extent(bright.any(1))
    return torch.stack([down[:, 0], across[:, 0], down[:, 1], across[:, 1]], 1) / side


def _extent(bright_BS: Tensor) -> Tensor:
    """Where the bright begins and where it has ended, in pixels, ``[B, 2]``."""
    bright = bright_BS.to(torch.uint8)
    return torch.stack([bright.argmax(1), bright.shape[1] - bright.flip(1).argmax(1)], 1)
