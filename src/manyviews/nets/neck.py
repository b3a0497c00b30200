"""An encoder with the first layers of a projector on top: `neck(resnet50, 2048)`.

Paper    Chen, Kornblith, Swersky, Norouzi, Hinton, NeurIPS 2020 (arXiv:2006.10029), section 2: fine-tune from
         a middle layer of the projector, not from its input.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from manyviews.errors import ManyviewsError
from manyviews.nets.encoder import Encoder


class Neck(Encoder):
    """`inner`, and then fully connected layers of `widths`, each with batch norm and ReLU: sigma(W_1 f(x))."""

    def __init__(self, inner: Encoder, *widths: int):
        super().__init__(widths[-1], inner.in_channels)
        self.inner = inner
        layers: list[nn.Module] = []
        for d_in, d_out in zip((inner.width, *widths), widths, strict=False):
            layers += [nn.Linear(d_in, d_out, bias=False), nn.BatchNorm1d(d_out), nn.ReLU(inplace=True)]
        self.layer = nn.Sequential(*layers)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """`[B, widths[-1]]`."""
        return self.layer(self.inner(x_BCHW))

    def grid(self, x_BCHW: Tensor) -> Tensor:
        """The inner net's feature map, of its own width."""
        return self.inner.grid(x_BCHW)


def _neck(inner: Callable[..., Encoder], *numbers: int, in_channels: int, size: int) -> Encoder:
    if not numbers or min(numbers) < 1:
        raise ManyviewsError("A neck needs the width of each of its layers, as in neck(resnet50, 2048).")
    return Neck(inner(), *numbers)


AROUND = {"neck": _neck}
