"""A flow that changes every pixel's colour, and a net for each part of its output: `vp_rgb(resnet18, 4, 32)`.

Paper    Tian, Sun, Poole, Krishnan, Schmid, Isola, NeurIPS 2020 (arXiv:2005.10243), section 4: g is invertible and
         works pixel by pixel; its first channel is one view, its other two are the other view. Couplings that preserve
         volume are those of NICE (Dinh, Krueger, Bengio 2015, arXiv:1410.8516, section 3.2), the others those of Real
         NVP (Dinh, Sohl-Dickstein, Bengio, ICLR 2017, arXiv:1605.08803, section 3.2).
Differs  The depth and the width of g are chosen here: they are the two numbers in the name. g begins as the identity
         here, so that the first views are the channels, unchanged.
Shapes   B images, C H W pixels; nets of widths D_1 and D_2 embed into [B, D_1 + D_2].
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from manyviews.errors import ManyviewsError
from manyviews.nets.encoder import Encoder
from manyviews.nets.interop import load_encoder
from manyviews.nets.split import LIGHT as FIRST
from manyviews.nets.split import Split
from manyviews.views import spaces

SPACES = ("rgb", "ydbdr")  # what a flow may start from (section 4)
BLOCKS, HIDDEN = 4, 32  # of a flow that says neither


class Coupling(nn.Module):
    """The first channel changes by what the others say, then these by what it has become; no pixel sees another.

    `volume`: a shift alone (NICE), whose Jacobian has determinant 1; else a scale too (Real NVP).
    """

    def __init__(self, channels: int, hidden: int, volume: bool):
        super().__init__()
        self.volume = volume
        self.sizes = (FIRST, channels - FIRST)
        self.of_first = _pointwise(channels - FIRST, hidden, FIRST * (1 if volume else 2))
        self.of_rest = _pointwise(FIRST, hidden, (channels - FIRST) * (1 if volume else 2))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        a, b = x_BCHW.split(self.sizes, 1)
        a = self._change(a, self.of_first(b))
        b = self._change(b, self.of_rest(a))
        return torch.cat([a, b], 1)

    def inverse(self, y_BCHW: Tensor) -> Tensor:
        a, b = y_BCHW.split(self.sizes, 1)
        b = self._undo(b, self.of_rest(a))
        a = self._undo(a, self.of_first(b))
        return torch.cat([a, b], 1)

    def _change(self, x: Tensor, said: Tensor) -> Tensor:
        if self.volume:
            return x + said  # y = x + m(.)
        s, t = said.chunk(2, 1)
        return x * s.tanh().exp() + t  # y = x exp(s(.)) + t(.)

    def _undo(self, y: Tensor, said: Tensor) -> Tensor:
        if self.volume:
            return y - said
        s, t = said.chunk(2, 1)
        return (y - t) * (-s.tanh()).exp()


class Flow(nn.Module):
    """g: couplings one after another, `[B, 3, H, W]` to the same shape, and back by `inverse`."""

    def __init__(self, blocks: int, hidden: int, volume: bool):
        super().__init__()
        self.couplings = nn.ModuleList(Coupling(3, hidden, volume) for _ in range(blocks))

    def forward(self, x_B3HW: Tensor) -> Tensor:
        for coupling in self.couplings:
            x_B3HW = coupling(x_B3HW)
        return x_B3HW

    def inverse(self, y_B3HW: Tensor) -> Tensor:
        for coupling in reversed(self.couplings):
            assert isinstance(coupling, Coupling)
            y_B3HW = coupling.inverse(y_B3HW)
        return y_B3HW


class Parted(Split):
    """Takes a normalised RGB image, lays `space` onto [-1, 1], and gives what g makes of it to two nets, f_1 and f_2."""

    def __init__(self, g: Flow, f_1: Encoder, f_2: Encoder, space: str):
        super().__init__(f_1, f_2, space)
        self.g = g

    @property
    def f(self) -> tuple[Encoder, Encoder]:
        """f_1 and f_2, a net for each view."""
        return self.light, self.colour

    def views(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """g(X)_1 `[B, 1, H, W]` and g(X)_2:3 `[B, 2, H, W]`."""
        y = self.g(spaces.balanced(spaces.unit_rgb(x_BCHW), self.space))
        return y[:, :FIRST], y[:, FIRST:]

    _parted = views


def load_flow(run: str) -> tuple[Flow, str]:
    """g of the finished run in this folder, and the name that makes such an encoder around another net, `vp_rgb({}, 4, 32)`.

    Raises `ManyviewsError` where no finished run is, or it learned no views.
    """
    folder = Path(run).expanduser()
    how = "`manyviews pretrain infomin_learned --out RUN` makes one"
    if not (folder / "encoder.safetensors").is_file():
        raise ManyviewsError(f"There is no finished run at {folder} (--generator) to take views from; {how}.")
    with torch.random.fork_rng(devices=[]):  # whoever asks draws what it would have drawn
        encoder, _ = load_encoder(folder)
    if not isinstance(encoder, Parted) or encoder.built is None:
        raise ManyviewsError(f"The run at {folder} (--generator) learned no views; {how}.")
    word, _, rest = encoder.built.name.partition("(")
    numbers = rest.rpartition(")")[0].split(",")[-2:]
    return encoder.g, f"{word}({{}}, {', '.join(number.strip() for number in numbers)})"


def _pointwise(into: int, hidden: int, out: int) -> nn.Sequential:
    last = nn.Conv2d(hidden, out, 1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)  # pyright: ignore[reportArgumentType]
    return nn.Sequential(nn.Conv2d(into, hidden, 1), nn.ReLU(), last)


def _parted(
    inner: Callable[..., Encoder], *numbers: int, in_channels: int, size: int, space: str, volume: bool
) -> Encoder:
    if len(numbers) != 2 or min(numbers) < 1:
        raise ManyviewsError(
            f"A flow has two numbers of at least 1, how deep it is and how wide: vp_rgb(small_resnet, {BLOCKS}, {HIDDEN})."
        )
    if in_channels != 3:
        raise ManyviewsError(
            f"A flow parts the colours of RGB images, which have 3 channels, not {in_channels}; name the net alone."
        )
    f_1, f_2 = inner(in_channels=FIRST), inner(in_channels=3 - FIRST)
    return Parted(Flow(*numbers, volume), f_1, f_2, space)


AROUND = {
    f"{kind}_{space}": partial(_parted, space=space, volume=kind == "vp")
    for kind in ("vp", "nvp")
    for space in SPACES
}  # volume-preserving and not, of either space
