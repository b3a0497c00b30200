"""The networks of a discrete VAE: an image becomes a grid of codes, and a grid of codes becomes an image.

Paper    Ramesh, Pavlov, Goh, Gray, Voss, Radford, Chen, Sutskever, ICML 2021 (arXiv:2102.12092), section 2.1 and
         appendix A.1: groups of residual blocks in bottlenecks, max-pooling and nearest up-sampling between them, 1 x 1
         convolutions around the codes, residual paths scaled by a constant. Layers, widths and first weights as in the
         authors' code.
Differs  The encoder sees standardised images, as every encoder here does. The layer that gives the logits of the codes
         is wrapped around the encoder here, as in `codes(dvae8, 8192)`, so that any net with a feature map can be the
         encoder.
Shapes   B images, C H W pixels, V codes, G groups; h w = H / f W / f positions, f = 2^(G - 1) pixels a side for a code.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from manyviews.errors import ManyviewsError
from manyviews.nets.encoder import Encoder
from manyviews.nets.net import Net


def conv(c_in: int, c_out: int, kernel: int) -> nn.Conv2d:
    """A convolution that keeps the size of the map, and at first the variance of what it reads."""
    layer = nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2)
    nn.init.normal_(layer.weight, std=(c_in * kernel**2) ** -0.5)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


class Residual(nn.Module):
    """Four convolutions, each after a ReLU, through a quarter of the width; what they add is scaled by `gain`
    (appendix A.1)."""

    def __init__(self, c_in: int, c_out: int, kernels: tuple[int, ...], gain: float):
        super().__init__()
        channels = (c_in, *[max(1, c_out // 4)] * (len(kernels) - 1), c_out)
        self.gain = gain
        self.shortcut = conv(c_in, c_out, 1) if c_in != c_out else nn.Identity()
        self.residual = nn.Sequential()
        for before, after, kernel in zip(channels, channels[1:], kernels, strict=False):
            self.residual.extend([nn.ReLU(), conv(before, after, kernel)])

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.shortcut(x_BCHW) + self.gain * self.residual(x_BCHW)


def group(c_in: int, c_out: int, blocks: int, kernels: tuple[int, ...], gain: float) -> nn.Sequential:
    widths = (c_in, *[c_out] * blocks)
    return nn.Sequential(*(Residual(a, b, kernels, gain) for a, b in itertools.pairwise(widths)))


class TokenEncoder(Encoder):
    """A 7 x 7 convolution and G groups of `blocks` residual blocks, each group of twice the width of the one before it and
    of half its side; `width` is that of the first (A.1). The embedding is the mean of the last feature map."""

    def __init__(self, width: int = 256, groups: int = 4, blocks: int = 2, *, in_channels: int = 3):
        super().__init__(width * 2 ** (groups - 1), in_channels)
        self.pixels = 2 ** (groups - 1)  # f
        self.input = conv(in_channels, width, 7)
        widths = [width, *(width * 2**number for number in range(groups))]
        gain = (groups * blocks) ** -2
        self.groups = nn.ModuleList(
            group(a, b, blocks, (3, 3, 3, 1), gain) for a, b in itertools.pairwise(widths)
        )

    def grid(self, x_BCHW: Tensor) -> Tensor:
        """`[B, width, h, w]`."""
        h, w = x_BCHW.shape[2:]
        if h % self.pixels or w % self.pixels:
            raise ManyviewsError(
                f"A code stands for {self.pixels} x {self.pixels} pixels, which do not divide images of {h} x {w}; "
                f"take a multiple of {self.pixels}."
            )
        x = self.input(x_BCHW)
        for number, blocks in enumerate(self.groups):
            x = blocks(F.max_pool2d(x, 2) if number else x)
        return F.relu(x)


class Codes(Encoder):
    """An encoder whose feature map says, at each position, which of V codes stands there. It embeds as `inner` does."""

    def __init__(self, inner: Encoder, codes: int):
        super().__init__(inner.width, inner.in_channels)
        if codes < 2:
            raise ManyviewsError(f"An image in {codes} code(s) says nothing of itself; take 2 codes or more.")
        self.inner, self.codes = inner, codes
        self.logits_of = conv(inner.width, codes, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.inner(x_BCHW)

    def grid(self, x_BCHW: Tensor) -> Tensor:
        """The feature map below the logits."""
        return self.inner.grid(x_BCHW)

    def logits(self, x_BCHW: Tensor) -> Tensor:
        """log q(z | x) without its constant, `[B, V, h, w]`."""
        return self.logits_of(self.grid(x_BCHW))

    def tokens(self, x_BCHW: Tensor) -> Tensor:
        """The most likely code at each position, `[B, h, w]`."""
        return self.logits(x_BCHW).argmax(1)


class TokenDecoder(nn.Module):
    """A vector of `init` numbers for each code, then G groups as in the encoder, in the opposite order.

    Args:
        codes: V.
        channels: of what comes out.
        width: of the last group.
    """

    def __init__(
        self, codes: int, channels: int, width: int = 256, groups: int = 4, blocks: int = 2, init: int = 128
    ):
        super().__init__()
        self.input = conv(codes, init, 1)
        widths = [init, *(width * 2**number for number in reversed(range(groups)))]
        gain = (groups * blocks) ** -2
        self.groups = nn.ModuleList(
            group(a, b, blocks, (1, 3, 3, 3), gain) for a, b in itertools.pairwise(widths)
        )
        self.output = nn.Sequential(nn.ReLU(), conv(width, channels, 1))

    def forward(self, z_BVhw: Tensor) -> Tensor:
        """`[B, channels, H, W]` from the share of each code at each position."""
        return self.decoded(self.input(z_BVhw))

    def of_tokens(self, z_Bhw: Tensor) -> Tensor:
        """The same from one code at each position."""
        assert self.input.bias is not None
        e_VD = self.input.weight[:, :, 0, 0].T + self.input.bias
        return self.decoded(F.embedding(z_Bhw, e_VD).movedim(3, 1))

    def decoded(self, x: Tensor) -> Tensor:
        for number, blocks in enumerate(self.groups):
            x = blocks(F.interpolate(x, scale_factor=2.0, mode="nearest") if number else x)
        return self.output(x)


class AutoEncoder(nn.Module):
    """Both halves."""

    def __init__(self, encoder: Codes, decoder: TokenDecoder):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder


def _codes(inner: Callable[..., Encoder], *numbers: int, in_channels: int, size: int) -> Encoder:
    if len(numbers) != 1:
        raise ManyviewsError("codes(...) needs the number of codes, as in codes(small_dvae, 128).")
    return Codes(inner(), *numbers)


def _make(width: int, groups: int, blocks: int = 2, *, in_channels: int = 3, size: int) -> TokenEncoder:
    return TokenEncoder(width, groups, blocks, in_channels=in_channels)


AROUND = {"codes": _codes}

_PAPER = "Ramesh et al. 2021, appendix A.1"
NETS = {
    "dvae8": Net(make=partial(_make, 256, 4), paper=_PAPER, size=256),
    "small_dvae": Net(
        make=partial(_make, 16, 3, 1), paper=f"{_PAPER}, narrower, 4 pixels for a code", size=32
    ),
}
