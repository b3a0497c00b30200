"""Masks made of blocks of patches: what is hidden has neighbours that are hidden too.

Paper    Bao, Dong, Piao, Wei, ICLR 2022 (arXiv:2106.08254), algorithm 1; what it leaves open as in the authors' code.
Shapes   B images, h w cells of a grid of patches.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

TRIES = 10  # for a block, before an image has enough


def blocks(
    draw: Callable[[], Tensor],
    cells: tuple[int, int],
    budget: int,
    least: int = 16,
    aspect: float = 0.3,
) -> Tensor:
    """bool `[B, h, w]`, True where a patch is hidden: of each image `budget` or somewhat fewer.

    Blocks are drawn one after the other and may overlap. One that hides nothing new, or more than is left of the budget,
    or is as long as the grid, is drawn again, `TRIES` times in all; then the image stays as it is.

    Args:
        draw: gives uniform numbers `[B, 4]` in [0, 1), on the CPU; called once a round, for as many rounds as it takes.
        least: patches of the smallest block, where so many are left.
        aspect: of the flattest block, height by width; that of the tallest is its inverse.
    """
    (h, w), log_aspect = cells, math.log(aspect)
    row_h, column_w = torch.arange(h)[:, None], torch.arange(w)
    hidden_Bhw, tries_B = None, torch.zeros(0)
    while hidden_Bhw is None or bool((tries_B < TRIES).any()):
        s, r, t, l = draw().double().unbind(1)  # noqa: E741, the paper's symbols
        if hidden_Bhw is None:
            hidden_Bhw, tries_B = torch.zeros(len(s), h, w, dtype=torch.bool), torch.zeros(len(s))
        left_B = budget - hidden_Bhw.sum((1, 2))
        s = least + s * (left_B - least)  # block size, from 16 to 0.4 N - |M|
        r = ((1 - 2 * r) * log_aspect).exp()  # aspect ratio, from 0.3 to 1 / 0.3, as often flat as tall
        a, b = (s * r).sqrt().round(), (s / r).sqrt().round()
        t, l = (t * (h - a + 1)).floor(), (l * (w - b + 1)).floor()  # noqa: E741
        down_Bh1 = (row_h >= t[:, None, None]) & (row_h < (t + a)[:, None, None])
        across_B1w = (column_w >= l[:, None, None]) & (column_w < (l + b)[:, None, None])
        new_Bhw = down_Bh1 & across_B1w & ~hidden_Bhw
        count_B = new_Bhw.sum((1, 2))
        taken_B = (a < h) & (b < w) & (count_B > 0) & (count_B <= left_B) & (tries_B < TRIES)
        hidden_Bhw |= new_Bhw & taken_B[:, None, None]
        tries_B = torch.where(taken_B, 0, tries_B + 1)
        tries_B[hidden_Bhw.sum((1, 2)) >= budget] = TRIES
    return hidden_Bhw
