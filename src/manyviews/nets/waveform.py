"""CPC's nets for sounds: strided convolutions turn a waveform into latents, a GRU turns latents into contexts.

Paper    van den Oord, Li, Vinyals 2018 (arXiv:1807.03748), section 3.1: strides 5, 4, 2, 2, 2 and kernels 10, 8, 4, 4,
         4, 512 channels with ReLU, a latent every 160 samples; then a GRU of 256 units: `gru(waveform, 256)`.
Differs  Convolutions are padded here so that T samples yield T / 160 latents. Weights start as in He et al. 2015
         (arXiv:1502.01852) here; otherwise a signal would fade through five layers with ReLU and no norm.
Shapes   B sounds, T samples, L latents (frames), C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from manyviews.errors import ManyviewsError
from manyviews.nets.encoder import Encoder
from manyviews.nets.net import Net
from manyviews.nets.recurrent import autocasts

KERNELS, STRIDES, PADDING = (10, 8, 4, 4, 4), (5, 4, 2, 2, 2), (3, 2, 1, 1, 1)
HOP = 160  # samples from one latent to the next: the product of the strides
AHEAD = 312  # a latent sees this far from where its frame begins; and 153 samples back


class Waveform(Encoder):
    """g_enc: five strided convolutions (section 3.1). The embedding is the mean of the latents over the sound."""

    def __init__(self, width: int = 512, in_channels: int = 1):
        super().__init__(width, in_channels)
        layers: list[nn.Module] = []
        channels = (in_channels, *[width] * len(KERNELS))
        for c_in, c_out, kernel, stride, pad in zip(
            channels, channels[1:], KERNELS, STRIDES, PADDING, strict=False
        ):
            layers += [nn.Conv1d(c_in, c_out, kernel, stride, pad), nn.ReLU(inplace=True)]
            nn.init.kaiming_normal_(layers[-2].get_parameter("weight"), nonlinearity="relu")
            nn.init.zeros_(layers[-2].get_parameter("bias"))
        self.layer = nn.Sequential(*layers)

    def latents(self, x_BCT: Tensor) -> Tensor:
        """z, `[B, L, width]`, one every `HOP` samples."""
        if x_BCT.shape[-1] < HOP:
            raise ManyviewsError(
                f"A sound of {x_BCT.shape[-1]} samples is too short: a latent comes every {HOP} samples; "
                f"take a larger --size or longer sounds."
            )
        return self.layer(x_BCT).transpose(1, 2)

    def grid(self, x_BCHW: Tensor) -> Tensor:
        """z of sounds `[B, 1, T]` as a feature map of one row, `[B, width, 1, L]`."""
        return self.latents(x_BCHW).transpose(1, 2)[:, :, None]

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """`[B, width]`, of sounds `[B, 1, T]`."""
        return mean_over(self.latents(x_BCHW), x_BCHW)


class Contexts(Encoder):
    """g_ar: a GRU reads the latents of `inner` in their order (3.1). The embedding is the mean of its states over the sound."""

    def __init__(self, inner: Waveform, units: int = 256):
        super().__init__(units, inner.in_channels)
        self.inner = inner
        self.gru = nn.GRU(inner.width, units, batch_first=True)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the convolutions, which a loss runs without `forward` too; the GRU has a kernel of its own."""
        self.inner.layer.compile(*args, **kwargs)

    def latents(self, x_BCT: Tensor) -> Tensor:
        """z, `[B, L, inner.width]`."""
        return self.inner.latents(x_BCT)

    def contexts(self, z_BLC: Tensor) -> Tensor:
        """c, `[B, L, units]`: c_t has seen z up to t; every sound begins from nothing."""
        if not autocasts(z_BLC):
            return self.gru(z_BLC)[0]
        with torch.autocast(z_BLC.device.type, enabled=False):
            return self.gru(z_BLC.float())[0]

    def grid(self, x_BCHW: Tensor) -> Tensor:
        """c of sounds `[B, 1, T]` as a feature map of one row, `[B, units, 1, L]`."""
        return self.contexts(self.latents(x_BCHW)).transpose(1, 2)[:, :, None]

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """`[B, units]`, of sounds `[B, 1, T]`."""
        return mean_over(self.contexts(self.latents(x_BCHW)), x_BCHW)


def mean_over(h_BLC: Tensor, x_BCT: Tensor) -> Tensor:
    """The mean over the frames that see nothing beyond the sound's end, or the first: `[B, C]`.

    So zeros behind a sound, which only fill the batch, change nothing.
    """
    last_B = (
        (x_BCT != 0).any(1).flip(1).to(torch.uint8).argmax(1)
    )  # zeros at the end; none where all is silent
    frames_B1 = ((x_BCT.shape[-1] - last_B[:, None] - AHEAD) // HOP + 1).clamp(min=1)
    inside_BL = torch.arange(h_BLC.shape[1], device=h_BLC.device) < frames_B1
    inside_BL1 = inside_BL[..., None].to(h_BLC.dtype)
    return (h_BLC * inside_BL1).sum(1) / inside_BL1.sum(1)


def waveform(*, width: int, in_channels: int = 1, size: int = 20_480) -> Waveform:
    """The strided encoder, for windows of `size` samples."""
    if size < HOP:
        raise ManyviewsError(
            f"Windows of {size} samples hold no latent: one comes every {HOP} samples; take a larger --size."
        )
    return Waveform(width, in_channels)


def _gru(inner: Callable[..., Encoder], *numbers: int, in_channels: int, size: int) -> Encoder:
    if len(numbers) > 1 or (numbers and numbers[0] < 1):
        raise ManyviewsError("A GRU needs the number of its units, as in gru(waveform, 256).")
    within = inner()
    if not isinstance(within, Waveform):
        name = within.built.name if within.built else type(within).__name__
        raise ManyviewsError(
            f"A GRU reads the latents of a sound in their order, and {name} has none; take waveform or small_waveform."
        )
    return Contexts(within, *numbers)


AROUND = {"gru": _gru}

_PAPER = "van den Oord et al. 2018, section 3.1"
NETS = {
    "waveform": Net(make=partial(waveform, width=512), paper=_PAPER, sees="sounds", size=20_480),
    "small_waveform": Net(
        make=partial(waveform, width=64), paper=f"{_PAPER}, narrower", sees="sounds", size=5_120
    ),
}
