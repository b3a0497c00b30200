"""An encoder that sees edges instead of colours: `sobel(resnet18)`.

Paper    Caron, Bojanowski, Joulin, Douze, ECCV 2018 (arXiv:1807.05520), section 3.4: "a fixed linear transformation
         based on Sobel filters to remove color and increase local contrast".
Shapes   B images, C channels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from manyviews.errors import ManyviewsError
from manyviews.nets.encoder import Encoder

# What grows to the left, and what grows upwards, as in the authors' code.
FILTERS = ([[1, 0, -1], [2, 0, -2], [1, 0, -1]], [[1, 2, 1], [0, 0, 0], [-1, -2, -1]])


class Sobel(Encoder):
    """`inner`, an encoder of two channels, behind the mean of the colours and two fixed filters over it."""

    def __init__(self, inner: Encoder, in_channels: int = 3):
        super().__init__(inner.width, in_channels)
        self.inner = inner
        filters = torch.tensor(FILTERS, dtype=torch.float32)[:, None]
        self.register_buffer("filters", filters, persistent=False)  # nothing that is learned, nothing to keep

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """`[B, width]`."""
        return self.inner(self.edges(x_BCHW))

    def grid(self, x_BCHW: Tensor) -> Tensor:
        """The inner net's feature map."""
        return self.inner.grid(self.edges(x_BCHW))

    def edges(self, x_BCHW: Tensor) -> Tensor:
        """`[B, 2, H, W]`."""
        return F.conv2d(x_BCHW.mean(1, keepdim=True), self.get_buffer("filters").to(x_BCHW), padding=1)


def _sobel(inner: Callable[..., Encoder], *numbers: int, in_channels: int, size: int) -> Encoder:
    if numbers:
        raise ManyviewsError("Sobel filters have no numbers: write sobel(resnet18).")
    return Sobel(inner(in_channels=len(FILTERS)), in_channels)


AROUND = {"sobel": _sobel}
