"""Where a token stands: attention alone does not know.

Papers   Sinusoidal: Vaswani et al. 2017 (arXiv:1706.03762), section 3.5. Learned in one and two dimensions, relative,
         and their interpolation: ViT (Dosovitskiy et al., arXiv:2010.11929), sections 3.1, 3.2 and appendix D.4.
         Sinusoidal in two dimensions: MoCo v3 (Chen, Xie, He, arXiv:2104.02057), section 5.
Shapes   B sequences, T tokens, D width, H heads, d = D / H, h w cells of a grid of patches.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manyviews.errors import ManyviewsError


def sinusoidal(length: int, width: int) -> Tensor:
    """`[length, width]`: sines in the even columns, cosines in the odd ones (Vaswani et al., 3.5)."""
    _even(width, 2)
    return _waves(torch.arange(length), width).reshape(length, width)


def sinusoidal_2d(h: int, w: int, width: int) -> Tensor:
    """`[h * w, width]` in reading order: a quarter each is sine and cosine of x, then of y (MoCo v3)."""
    _even(width, 4)
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    halves = [_waves(place.flatten(), width // 2) for place in (x, y)]
    return torch.cat([half[:, :, i] for half in halves for i in (0, 1)], dim=1)


def _waves(place_N: Tensor, width: int) -> Tensor:
    """`[N, width / 2, 2]`: sine and cosine of each place at wavelengths from 2 pi to 10,000 times that."""
    rate = 10_000.0 ** -(torch.arange(0, width, 2, dtype=torch.float64) / width)
    angle = place_N[:, None].to(torch.float64) * rate
    return torch.stack([angle.sin(), angle.cos()], dim=2).float()


def _even(width: int, parts: int) -> None:
    if width % parts:
        raise ManyviewsError(f"Sinusoidal positions need a width that {parts} divides, not {width}.")


class Learned(nn.Module):
    """A vector a place, `weight [length, width]`.

    Raises `ManyviewsError` for a sequence that is longer than the positions.
    """

    def __init__(self, length: int, width: int, std: float = 0.02):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(length, width) * std)

    def forward(self, length: int, start: int = 0) -> Tensor:
        """Those of `length` tokens from place `start` on, `[length, width]`."""
        fits(start + length, len(self.weight))
        return self.weight[start : start + length]


def fits(tokens: int, places: int) -> None:
    """Raises `ManyviewsError` where a sequence is longer than the positions reach."""
    if tokens > places:
        raise ManyviewsError(
            f"A sequence of {tokens} tokens is longer than the {places} positions of this net; "
            "cut it, or build the net with more."
        )


class Learned2D(nn.Module):
    """Half a vector a column, half a vector a row, joined (ViT, appendix D.4)."""

    def __init__(self, h: int, w: int, width: int, std: float = 0.02):
        super().__init__()
        _even(width, 2)
        self.x = nn.Parameter(torch.randn(w, width // 2) * std)
        self.y = nn.Parameter(torch.randn(h, width // 2) * std)

    def forward(self) -> Tensor:
        """`[h * w, width]` in reading order."""
        h, w = len(self.y), len(self.x)
        return torch.cat([self.x.repeat(h, 1), self.y.repeat_interleave(w, dim=0)], dim=1)


class OnGrid(nn.Module):
    """Positions of a grid of patches, and of the `first` tokens before them (a class token), for images of any size.

    Args:
        kind: a learned vector a place ("1d"), `Learned2D` ("2d"), or fixed sinusoids ("sincos2d"). The last two
            leave the tokens before the patches where they are: their place is zero.
        cells: (h, w) of the grid that they are made for; others are interpolated from it.
    """

    def __init__(
        self, kind: Literal["1d", "2d", "sincos2d"], cells: tuple[int, int], width: int, first: int = 0
    ):
        super().__init__()
        self.cells, self.first = cells, first
        self.halves: Learned2D | None = None
        h, w = cells
        if kind == "2d":
            self.halves = Learned2D(h, w, width)
        elif kind == "1d":
            self.weight = nn.Parameter(torch.randn(first + h * w, width) * 0.02)
        else:
            self.register_buffer("weight", F.pad(sinusoidal_2d(h, w, width), (0, 0, first, 0)))

    def forward(self, cells: tuple[int, int]) -> Tensor:
        """`[first + h * w, width]` for a grid of `cells` = (h, w)."""
        place_TD = F.pad(self.halves(), (0, 0, self.first, 0)) if self.halves else self.weight
        before, patches = place_TD[: self.first], place_TD[self.first :]
        if cells == self.cells:
            return place_TD
        return torch.cat([before, interpolate(patches, self.cells, cells)])

    def resize(self, cells: tuple[int, int]) -> None:
        """Interpolate for good: from now on they are made for this grid."""
        if self.halves:
            (h, w), (new_h, new_w) = self.cells, cells
            self.halves.x.data = interpolate(self.halves.x.data, (1, w), (1, new_w))
            self.halves.y.data = interpolate(self.halves.y.data, (h, 1), (new_h, 1))
        else:
            self.weight.data = self(cells).detach()
        self.cells = cells


class Relative(nn.Module):
    """A vector an offset; it stands for a key, whose logits are added to those of the content (ViT, D.4).

    `weight [2 * length - 1, d]`, the same for all heads.
    """

    def __init__(self, length: int, head_width: int, std: float = 0.02):
        super().__init__()
        self.length = length
        self.weight = nn.Parameter(torch.randn(2 * length - 1, head_width) * std)

    def forward(self, q_BHTd: Tensor, answering: int) -> Tensor:
        """Logits `[B, H, T, S]`, unscaled, of the last T of S = `answering` tokens."""
        T, S = q_BHTd.shape[2], answering
        fits(S, self.length)
        asking = torch.arange(S - T, S, device=q_BHTd.device)
        offset_TS = asking[:, None] - torch.arange(S, device=q_BHTd.device)
        logits = q_BHTd @ self.weight.T  # of every offset: [B, H, T, 2 * length - 1]
        place = (offset_TS + self.length - 1).expand(*q_BHTd.shape[:2], T, S)
        return logits.gather(3, place)


def interpolate(position_ND: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Positions of a grid `old = (h, w)` for another one, by bicubic interpolation (ViT, 3.2): `[h' * w', D]`.

    A class token has no place in the grid: leave its row out. Antialiased, as in timm.
    """
    if old == new:
        return position_ND
    grid_1Dhw = position_ND.T.reshape(1, -1, *old).float()
    resize = partial(F.interpolate, mode="bicubic", align_corners=False, antialias=True)
    # One cell wide, torch 2.15 gives every row the values of the first; lying down it does not.
    grid = resize(grid_1Dhw.mT.contiguous(), new[::-1]).mT if new[1] == 1 else resize(grid_1Dhw, new)
    return grid.flatten(2)[0].T.to(position_ND.dtype)
