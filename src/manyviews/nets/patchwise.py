"""An encoder that is moved over an image in overlapping patches, and whose embedding is their mean.

Paper    CPC (van den Oord, Li, Vinyals 2018, arXiv:1807.03748, section 3.2): a 7 x 7 grid of patches of 64 pixels, 32
         pixels apart, in an image of 256; each patch is encoded on its own, and a classifier sees the mean.
Differs  Where the patches do not fill the image to its last pixel, the grid lies in the middle of the image here.
Shapes   B images, g x g patches each (G H of them down, G W across where sides differ), P side of a patch, N = B g g.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from manyviews.errors import ManyviewsError
from manyviews.nets.encoder import Encoder, judging


class Patchwise(Encoder):
    """`inner` on every patch of an image.

    Args:
        inner: encodes images of `patch` pixels a side.
        patch: P, side of a patch in pixels.
        stride: pixels from one patch to the next.
    """

    def __init__(self, inner: Encoder, patch: int, stride: int):
        super().__init__(inner.width, inner.in_channels)
        self.inner, self.patch, self.stride = inner, patch, stride

    def side(self, size: int) -> int:
        """g, the patches along a side of `size` pixels.

        Raises `ManyviewsError` where there is none.
        """
        if size < self.patch:
            raise ManyviewsError(
                f"An image of {size} pixels holds no patch of {self.patch}; take smaller patches or larger images."
            )
        return 1 + (size - self.patch) // self.stride

    def ahead(self, size: int, first: int, steps: int) -> range:
        """How many rows further the patches lie that are predicted: `steps` rows, the nearest `first` rows on.

        Raises `ManyviewsError` where images of `size` pixels have too few.
        """
        k, g = range(first, first + steps), self.side(size)
        if steps < 1 or k[-1] >= g:
            raise ManyviewsError(
                f"Predicting {steps} rows from {first} on takes a grid of {first + steps} rows or more, but an image of "
                f"{size} pixels has {g}; take fewer steps, or smaller patches and strides."
            )
        return k

    def cut(self, x_BCHW: Tensor) -> Tensor:
        """All patches `[N, C, P, P]`, image by image, row by row."""
        starts = [(size - self.patch) % self.stride // 2 for size in x_BCHW.shape[2:] if self.side(size)]
        x = x_BCHW[:, :, starts[0] :, starts[1] :]
        x = x.unfold(2, self.patch, self.stride).unfold(3, self.patch, self.stride)
        return x.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)

    def latents(self, patch_NCPP: Tensor, rows: int, columns: int) -> Tensor:
        """`[B, width, rows, columns]`, each position from its own patch alone."""
        z_ND = self.inner(patch_NCPP)
        return z_ND.view(-1, rows, columns, self.width).permute(0, 3, 1, 2)

    def grid(self, x_BCHW: Tensor) -> Tensor:
        rows, columns = map(self.side, x_BCHW.shape[2:])
        return self.latents(self.cut(x_BCHW), rows, columns)


def patchwise(inner: Callable[..., Encoder], *numbers: int, in_channels: int, size: int) -> Patchwise:
    """`patches(NET, P, S)`: NET on patches of P pixels, every S pixels.

    Raises `ManyviewsError` for numbers that make no grid, images smaller than a patch, or a net that cannot see patches
    as small as these.
    """
    if len(numbers) != 2 or min(numbers) < 1:
        raise ManyviewsError(
            f"patches(NET, 16, 8) takes the side of a patch and the pixels from one to the next, both above 0, "
            f"not {', '.join(map(str, numbers)) or 'none'}."
        )
    patch, stride = numbers
    net = inner(in_channels=in_channels, size=patch)
    encoder = Patchwise(net, patch, stride)
    encoder.side(size)
    try:
        with judging(net):
            net(torch.zeros(1, in_channels, patch, patch))
    except (RuntimeError, ValueError) as cause:
        name = net.built.name if net.built else type(net).__name__
        raise ManyviewsError(
            f'"{name}" cannot see patches of {patch} pixels ({str(cause).splitlines()[0]}); take larger patches, or a '
            "net for small images such as small_resnet."
        ) from cause
    return encoder


AROUND = {"patches": patchwise}
