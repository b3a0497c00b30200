"""Colour spaces that part light from colour: RGB in, Lab, YDbDr or YCbCr out, batched, on the device, without gradient.

Shapes and ranges are those of scikit-image, whose `rgb2lab` CMC's authors use (Tian et al., ECCV 2020, section 4.1):

    space    light              colour                                       units
    lab      L  [0, 100]        a [-86.18, 98.23], b [-107.86, 94.48]        CIE 1976, white point D65, 2 degrees
    ydbdr    Y  [0, 1]          Db, Dr [-1.333, 1.333]                       SECAM's
    ycbcr    Y  [16, 235]       Cb, Cr [16, 240]                             ITU-R BT.601, studio range
    rgb      as it came         [0, 1] each

Every colour that RGB in [0, 1] can show lies within them; grey has no colour: a = b = 0, Db = Dr = 0, Cb = Cr = 128.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from manyviews.errors import ManyviewsError
from manyviews.views.pipeline import MEAN, STD
from manyviews.views.view import Matrix

XYZ: Matrix = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)  # from linear sRGB
WHITE = (0.95047, 1.0, 1.08883)  # D65, seen under 2 degrees
YDBDR: Matrix = ((0.299, 0.587, 0.114), (-0.45, -0.883, 1.333), (-1.333, 1.116, 0.217))
YCBCR: Matrix = ((65.481, 128.553, 24.966), (-37.797, -74.203, 112.0), (112.0, -93.786, -18.214))

# The lowest and the highest value of each channel.
RANGES: Mapping[str, tuple[tuple[float, float], ...]] = MappingProxyType(
    {
        "lab": ((0.0, 100.0), (-86.183, 98.233), (-107.857, 94.478)),
        "ydbdr": ((0.0, 1.0), (-1.333, 1.333), (-1.333, 1.333)),
        "ycbcr": ((16.0, 235.0), (16.0, 240.0), (16.0, 240.0)),
        "rgb": ((0.0, 1.0), (0.0, 1.0), (0.0, 1.0)),
    }
)

LIGHT_AND_COLOUR = ("lab", "ydbdr", "ycbcr")  # their first channel is light, the other two are colour


@torch.no_grad()
def convert(x_B3HW: Tensor, space: str) -> Tensor:
    """RGB in [0, 1] as ``space``: floating point ``[B, 3, H, W]`` to the same shape, in the units above.

    What lies outside [0, 1] is taken as the nearest that RGB can show.

    Raises:
        ManyviewsError: there is no such space, or the pixels are not floating point ``[B, 3, H, W]``.
    """
    if space not in FROM_RGB:
        raise ManyviewsError(f"There is no colour space {space!r}; there are {', '.join(FROM_RGB)}.")
    if x_B3HW.ndim != 4 or x_B3HW.shape[1] != 3 or not x_B3HW.is_floating_point():
        raise ManyviewsError(
            f"A change of colours needs floating point [B, 3, H, W] in [0, 1], not {x_B3HW.dtype} {list(x_B3HW.shape)}."
        )
    with torch.autocast(x_B3HW.device.type, enabled=False):  # half precision would step through the colours
        x = x_B3HW if x_B3HW.dtype == torch.float64 else x_B3HW.float()
        return FROM_RGB[space](x.clamp(0, 1))


@torch.no_grad()
def balanced(x_B3HW: Tensor, space: str) -> Tensor:
    """As `convert`, then every channel's range laid onto [-1, 1]: of Lab what CMC's authors do, who centre other spaces on their data."""
    low, high = torch.tensor(RANGES[space] if space in RANGES else RANGES["rgb"]).to(x_B3HW.device).T
    middle, half = (high + low) / 2, (high - low) / 2
    return (convert(x_B3HW, space) - middle[:, None, None]) / half[:, None, None]


@torch.no_grad()
def unit_rgb(view_B3HW: Tensor) -> Tensor:
    """A normalised view ``[..., 3, H, W]`` back as RGB in [0, 1]: the inverse of `views.normalise`."""
    mean, std = (torch.tensor(v, device=view_B3HW.device)[:, None, None] for v in (MEAN, STD))
    return (view_B3HW * std + mean).clamp(0, 1)


def lab(x: Tensor) -> Tensor:
    linear = torch.where(x > 0.04045, ((x + 0.055) / 1.055).pow(2.4), x / 12.92)  # sRGB's gamma undone
    white = torch.tensor(WHITE, dtype=x.dtype, device=x.device)[:, None, None]
    t = _mixed(linear, XYZ) / white
    f_x, f_y, f_z = torch.where(t > 0.008856, t.pow(1 / 3), 7.787 * t + 16 / 116).unbind(1)
    return torch.stack([116 * f_y - 16, 500 * (f_x - f_y), 200 * (f_y - f_z)], 1)


def ydbdr(x: Tensor) -> Tensor:
    return _mixed(x, YDBDR)


def ycbcr(x: Tensor) -> Tensor:
    offset = torch.tensor((16.0, 128.0, 128.0), dtype=x.dtype, device=x.device)[:, None, None]
    return _mixed(x, YCBCR) + offset


FROM_RGB: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {"lab": lab, "ydbdr": ydbdr, "ycbcr": ycbcr, "rgb": Tensor.clone}
)


def _mixed(x: Tensor, matrix: Matrix) -> Tensor:
    """Every pixel's three values through a 3 x 3 matrix."""
    return torch.einsum("kc,bchw->bkhw", torch.tensor(matrix, dtype=x.dtype, device=x.device), x)
