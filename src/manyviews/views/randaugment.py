"""RandAugment: a few operations from a list of fourteen, all at one magnitude, for many samples at once.

Paper    Cubuk, Zoph, Shlens, Le, NeurIPS 2020 (arXiv:1909.13719), section 3. The ranges are those of AutoAugment
         (arXiv:1805.09501, table 6) as torchvision has them: magnitude 30 is the strongest.
Differs  Operations compute in float as torchvision's float path does, geometry is bilinear. What comes in from outside
         the image has one colour, `fill`, and pixels half outside are mixed with it (torchvision mixes them with black).
Shapes   n samples, S side of a view, K operations a sample, B C H W of any images in [0, 1].

Every operation is a function ``op(x_BCHW, amount_B)`` that returns new pixels, one amount for each sample.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from manyviews.views import colour
from manyviews.views.view import AUGMENT, View

STRONGEST = 30.0  # the magnitude at which every operation is at the end of its range

Fill: TypeAlias = float | tuple[float, ...]  # of all channels, or one for each


# -- geometry ----------------------------------------------------------------------------------------------------


def shear_x(x: Tensor, slope: Tensor, fill: Fill = 0.0) -> Tensor:
    """Row y moved left by ``slope`` * y pixels."""
    _, _, height, _ = x.shape
    return _affine(x, fill, (1.0, slope, slope * (height / 2)), (0.0, 1.0, 0.0))


def shear_y(x: Tensor, slope: Tensor, fill: Fill = 0.0) -> Tensor:
    """Column x moved up by ``slope`` * x pixels."""
    _, _, _, width = x.shape
    return _affine(x, fill, (1.0, 0.0, 0.0), (slope, 1.0, slope * (width / 2)))


def translate_x(x: Tensor, pixels: Tensor, fill: Fill = 0.0) -> Tensor:
    """Moved to the right."""
    return _affine(x, fill, (1.0, 0.0, -pixels), (0.0, 1.0, 0.0))


def translate_y(x: Tensor, pixels: Tensor, fill: Fill = 0.0) -> Tensor:
    """Moved down."""
    return _affine(x, fill, (1.0, 0.0, 0.0), (0.0, 1.0, -pixels))


def rotate(x: Tensor, degrees: Tensor, fill: Fill = 0.0) -> Tensor:
    """Turned around its centre, counter-clockwise."""
    cos, sin = degrees.deg2rad().cos(), degrees.deg2rad().sin()
    return _affine(x, fill, (cos, -sin, 0.0), (sin, cos, 0.0))


def _affine(x: Tensor, fill: Fill, *rows: tuple[Tensor | float, ...]) -> Tensor:
    """Where pixel (x, y), from the centre, comes from: two ``rows`` of a matrix that stands before (x, y, 1)."""
    batch, _, height, width = x.shape
    theta_B23 = x.new_empty(batch, 2, 3)
    for i, row in enumerate(rows):
        for j, entry in enumerate(row):
            theta_B23[:, i, j] = entry
    across_W = torch.arange(width, device=x.device) - (width - 1) / 2
    down_H = torch.arange(height, device=x.device) - (height - 1) / 2
    place_HW3 = torch.stack(
        [across_W.expand(height, width), down_H[:, None].expand(height, width), torch.ones_like(x[0, 0])], -1
    )
    half = x.new_tensor([width / 2, height / 2])  # grid_sample counts from -1 to 1
    grid_BHW2 = (place_HW3.view(1, -1, 3) @ theta_B23.mT / half).view(batch, height, width, 2)
    colour_C = torch.as_tensor(fill, dtype=x.dtype, device=x.device).expand(x.shape[1])[:, None, None]
    return F.grid_sample(x - colour_C, grid_BHW2, align_corners=False) + colour_C


# -- colour --------------------------------------------------------------------------------------------------------


def brightness(x: Tensor, change: Tensor) -> Tensor:
    return _changed(colour.brightness_, x, change)


def contrast(x: Tensor, change: Tensor) -> Tensor:
    return _changed(colour.contrast_, x, change)


def saturation(x: Tensor, change: Tensor) -> Tensor:
    """What AutoAugment calls "color"."""
    return _changed(colour.saturation_, x, change)


def _changed(jitter_: Callable[[Tensor, Tensor], None], x: Tensor, change: Tensor) -> Tensor:
    jitter_(x := x.clone(), 1 + change)
    return x


def sharpness(x: Tensor, change: Tensor) -> Tensor:
    """Away from (above 0) or towards (below 0) what a small smoothing kernel makes of it; the border stays."""
    if min(x.shape[2:]) <= 2:
        return x
    inner = x[:, :, 1:-1, 1:-1]
    smooth = (9 * F.avg_pool2d(x, 3, stride=1) + 4 * inner) / 13  # 1 around, 5 in the middle
    sharp = x.clone()
    sharp[:, :, 1:-1, 1:-1] += (inner - smooth) * change[:, None, None, None]
    return sharp.clamp_(0, 1)


def posterise(x: Tensor, bits: Tensor) -> Tensor:
    """Values rounded down to 2^bits levels."""
    levels = torch.exp2(bits)[:, None, None, None]
    # Hue jitter may leave -1e-7, which would fall to -1 level.
    return torch.minimum((x * levels).floor_().clamp_(min=0), levels - 1).div_(levels)


def solarise(x: Tensor, threshold: Tensor) -> Tensor:
    """Values of at least the threshold inverted."""
    return torch.where(x >= threshold[:, None, None, None], 1 - x, x)


def autocontrast(x: Tensor, _: Tensor | None = None) -> Tensor:
    """Each channel stretched to [0, 1]; one that has a single value stays."""
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    flat = high == low
    low, span = low.masked_fill(flat, 0), (high - low).masked_fill(flat, 1)
    return (x - low).div_(span).clamp_(0, 1)


def equalise(x: Tensor, _: Tensor | None = None) -> Tensor:
    """Each channel's levels, of 256, spread so that all are about as frequent (Pillow's formula)."""
    level_BCP = (x * 255.999).long().flatten(2)
    count = torch.zeros(*x.shape[:2], 256, dtype=torch.int64, device=x.device)
    count.scatter_add_(2, level_BCP, torch.ones_like(level_BCP))
    below = count.cumsum(2)
    last = below.argmax(2, keepdim=True)  # the brightest level there is
    step = (level_BCP.shape[2] - count.gather(2, last)) // 255
    table = (below.roll(1, 2) + step // 2).div(step.clamp(min=1), rounding_mode="floor").clamp_(max=255)
    table[:, :, 0] = 0
    equal = torch.where(step > 0, table.gather(2, level_BCP), level_BCP)
    return equal.view_as(x).to(x.dtype).div_(255)


def identity(x: Tensor, _: Tensor | None = None) -> Tensor:
    return x


# -- the list ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Operation:
    """One of the fourteen: its ``amount`` is a function of the strength in [0, 1] and the side of the view."""

    name: str
    op: Callable[..., Tensor]
    amount: Callable[[float, int], float]
    signed: bool = False  # half of all samples have the amount's negative
    moves: bool = False  # pixels come in from outside
    colours: bool = False  # changes what colour there is: left out where colours are the views


OPERATIONS = (
    Operation("identity", identity, lambda _s, _: 0.0),
    Operation("shear_x", shear_x, lambda s, _: 0.3 * s, signed=True, moves=True),
    Operation("shear_y", shear_y, lambda s, _: 0.3 * s, signed=True, moves=True),
    Operation("translate_x", translate_x, lambda s, side: int(150 / 331 * side * s), signed=True, moves=True),
    Operation("translate_y", translate_y, lambda s, side: int(150 / 331 * side * s), signed=True, moves=True),
    Operation("rotate", rotate, lambda s, _: 30.0 * s, signed=True, moves=True),
    Operation("brightness", brightness, lambda s, _: 0.9 * s, signed=True, colours=True),
    Operation("saturation", saturation, lambda s, _: 0.9 * s, signed=True, colours=True),
    Operation("contrast", contrast, lambda s, _: 0.9 * s, signed=True, colours=True),
    Operation("sharpness", sharpness, lambda s, _: 0.9 * s, signed=True),
    Operation("posterise", posterise, lambda s, _: float(round(8 - 4 * s)), colours=True),
    Operation("solarise", solarise, lambda s, _: 1 - s, colours=True),
    Operation("autocontrast", autocontrast, lambda _s, _: 0.0),
    Operation("equalise", equalise, lambda _s, _: 0.0, colours=True),
)
SHAPES = tuple(number for number, each in enumerate(OPERATIONS) if not each.colours)
ALL = tuple(range(len(OPERATIONS)))


def chosen(view: View, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Which of the `OPERATIONS` each sample meets, in turn, int64 ``[n, K]`` (-1: none), and their amounts, float32."""
    number, magnitude = view.randaugment
    u_nK3 = uniforms[:, AUGMENT].unflatten(1, (number, 3))
    among = torch.tensor(ALL if view.randaugment_colours else SHAPES)
    which_nK = among[(u_nK3[..., 0] * len(among)).long()]
    amounts = torch.tensor([each.amount(magnitude / STRONGEST, view.size) for each in OPERATIONS])
    signed = torch.tensor([each.signed for each in OPERATIONS])
    amount_nK = amounts[which_nK]
    amount_nK = torch.where(signed[which_nK] & (u_nK3[..., 1] < 0.5), -amount_nK, amount_nK)
    return which_nK.where(u_nK3[..., 2] < view.randaugment_p, -1), amount_nK


def augment_(x: Tensor, which_nK: Tensor, amount_nK: Tensor, fill: Fill) -> None:
    """Change float32 ``[n, 3, S, S]`` in place, in K rounds; in each, samples that meet the same operation go together.

    ``which_nK`` and ``amount_nK`` lie on the CPU, so that no device is waited for.
    """
    for which_n, amount_n in zip(which_nK.T, amount_nK.T, strict=True):
        for number in which_n.unique().tolist():
            if number < 0 or OPERATIONS[number].op is identity:
                continue
            rows = (which_n == number).nonzero()[:, 0]
            there, amount = (each.to(x.device, non_blocking=True) for each in (rows, amount_n[rows]))
            more: dict[str, Any] = {"fill": fill} if OPERATIONS[number].moves else {}
            x.index_copy_(0, there, OPERATIONS[number].op(x.index_select(0, there), amount, **more))
