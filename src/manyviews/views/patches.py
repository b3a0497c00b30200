"""Several patches of every image at once: where they lie, and what they show.

Shapes   B images, C H W pixels, M patches of an image, P their side; N patches that tile it.
"""

import torch
from torch import Tensor


def cut(x_BCHW: Tensor, top_BM: Tensor, left_BM: Tensor, side: int) -> Tensor:
    """The M patches of each image, ``[B, M, C, side, side]``; their upper left corners are pixels inside it."""
    step = torch.arange(side, device=x_BCHW.device)
    top_BM, left_BM = top_BM.to(x_BCHW.device), left_BM.to(x_BCHW.device)
    row_BMP1 = (top_BM[..., None] + step)[..., None]
    column_BM1P = (left_BM[..., None] + step)[..., None, :]
    image_B111 = torch.arange(len(x_BCHW), device=x_BCHW.device)[:, None, None, None]
    return x_BCHW.movedim(1, -1)[image_B111, row_BMP1, column_BM1P].movedim(-1, 2)


def in_cells(u_BM2: Tensor, across: int, cell: int, side: int) -> tuple[Tensor, Tensor]:
    """Corners (top, left) of a patch in each of ``across`` x ``across`` cells, uniform over the places inside its cell.

    ``u_BM2`` is uniform in [0, 1): M = across^2 patches in reading order, down and across.
    """
    inside_BM2 = (u_BM2 * (cell - side + 1)).long()
    place_M = torch.arange(across * across, device=u_BM2.device)
    return place_M // across * cell + inside_BM2[..., 0], place_M % across * cell + inside_BM2[..., 1]


def apart(u_B2: Tensor, pixels: int, image: int, side: int) -> tuple[Tensor, Tensor]:
    """Corners (top, left), ``[B, 2]`` each, of two patches: one anywhere, the other ``pixels`` further down and right."""
    first_B2 = (u_B2 * (image - side - pixels + 1)).long()
    both_B22 = torch.stack([first_B2, first_B2 + pixels], 1)
    return both_B22[..., 0], both_B22[..., 1]


def patchify(x_BCHW: Tensor, side: int) -> Tensor:
    """The image as a grid of patches in reading order, each as its pixels, ``[B, N, side * side * C]``."""
    rows = x_BCHW.unflatten(3, (-1, side)).unflatten(2, (-1, side))
    return rows.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


def unpatchify(patches_BNE: Tensor, side: int, across: int) -> Tensor:
    """The image that ``patchify`` cut, ``[B, C, H, W]``, which is ``across`` patches wide."""
    rows = patches_BNE.unflatten(2, (side, side, -1)).unflatten(1, (-1, across))
    return rows.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)
