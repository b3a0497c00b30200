"""What feature map a net has: asked once, before the first step, by whoever needs one."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from manyviews.errors import ManyviewsError
from manyviews.nets.encoder import Encoder, called, judging


@dataclass(frozen=True)
class Grid:
    """The feature map `[B, channels, height, width]` of an encoder for images of one size."""

    channels: int
    height: int
    width: int
    pooled: bool  # the embedding is its mean


def grid_of(encoder: Encoder, size: int, who: str) -> Grid:
    """The grid of `encoder` for images of `size` pixels a side, found by a look at one image; changes no state.

    Raises `ManyviewsError`, in the name of `who`, for a net that has no grid.
    """
    parameter = next(encoder.parameters())
    pixels = torch.linspace(-2, 2, encoder.in_channels * size * size, dtype=parameter.dtype)
    image = pixels.view(1, encoder.in_channels, size, size).to(parameter.device)
    with judging(encoder):
        try:
            grid = encoder.grid(image)
        except NotImplementedError:
            raise ManyviewsError(
                f"{who} needs a net with a feature grid, and {called(encoder)} has none; "
                "take another --net, such as a ResNet."
            ) from None
        h, mean = encoder(image), grid.mean(dim=(2, 3))
    return Grid(*grid.shape[1:], pooled=h.shape == mean.shape and torch.allclose(h, mean, 1e-3, 1e-5))
