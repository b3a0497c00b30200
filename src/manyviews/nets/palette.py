"""A few colours that stand for all.

Shapes   P pixels, V colours of the palette.
"""

import torch
from torch import Tensor

DISTANCES = 2**24  # between pixels and colours that are held at a time


def nearest(x_P3: Tensor, palette_V3: Tensor) -> Tensor:
    """Which colour is nearest to each pixel, `[P]`; no matrix product, which half precision would blur."""
    found = []
    # An exported graph is for any number of pixels, so it has them in one piece.
    whole = torch.compiler.is_exporting()
    for some_P3 in (x_P3,) if whole else x_P3.split(max(1, DISTANCES // len(palette_V3))):
        away_PV = some_P3.new_zeros(some_P3.shape[0], len(palette_V3))
        for x_P, c_V in zip(some_P3.unbind(1), palette_V3.unbind(1), strict=True):
            away_PV += (x_P[:, None] - c_V).square()
        found.append(away_PV.argmin(1))
    return torch.cat(found)


def lattice(codes: int) -> Tensor:
    """So many colours spread evenly over RGB in [-1, 1], `[V, 3]`: of 512, all that three bits a channel can say."""
    levels = 2
    while levels**3 < codes:
        levels += 1
    # transformers puts a linspace of its own in the place of torch's, which then no longer knows of `with torch.device`.
    here = torch.get_default_device()
    number_V = torch.linspace(0, levels**3 - 1, codes, dtype=torch.float64, device=here).round().long()
    digits_V3 = torch.stack([number_V // levels**2, number_V // levels % levels, number_V % levels], 1)
    return digits_V3 * (2 / (levels - 1)) - 1
