"""Where a view looks: random resized crops, squares at a random scale, flips and turns, for many samples at once.

Shapes: B samples, H W pixels of the image, S side of the view.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from manyviews.views.contrastive_crop import Focus
from manyviews.views.view import AREA, ASPECT, FLIP, LEFT, TOP, View

# On the CPU, resampling by matrices wins for small images; torch's own antialiased resize for large ones.
MATRIX_SIDE = 64


def crop_boxes(view: View, uniforms: Tensor, height: int, width: int, focus: Focus | None = None) -> Tensor:
    """Where each sample is cropped: int64 ``[B, 4]`` of top, left, height, width, in pixels.

    torchvision's RandomResizedCrop (Inception's crop): the first of ten proposals that fits, else the
    central crop of the nearest allowed ratio. With ``scale``, the square that a crop of the view's side would cut from
    the image once its short side is S: no pixel is resampled twice; its place is that in the `bordered` image.
    Otherwise the central square. With ``focus``, Inception's crop has its centre where that says.
    """
    batch = len(uniforms)
    if view.scale is not None:
        return _scaled_squares(view, uniforms.double(), height, width)
    if view.crop is None:
        side = min(height, width)
        box = [(height - side) // 2, (width - side) // 2, side, side]
        return torch.tensor(box).expand(batch, 4)
    u = uniforms.double()
    area = height * width * _lerp(view.crop, u[:, AREA])
    aspect = _lerp((math.log(view.ratio[0]), math.log(view.ratio[1])), u[:, ASPECT]).exp()
    w_BT, h_BT = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits_BT = (w_BT > 0) & (w_BT <= width) & (h_BT > 0) & (h_BT <= height)
    first_B1 = fits_BT.to(torch.uint8).argmax(1, keepdim=True)
    h, w = h_BT.gather(1, first_B1)[:, 0], w_BT.gather(1, first_B1)[:, 0]
    if focus is None:
        top = ((height - h + 1) * u[:, TOP]).floor()
        left = ((width - w + 1) * u[:, LEFT]).floor()
    else:
        top, left = focus.along(0, height, h, u[:, TOP]), focus.along(1, width, w, u[:, LEFT])
    boxes = torch.stack([top, left, h, w], 1).long()
    fallback = torch.tensor(_central_box(view.ratio, height, width))
    return torch.where(fits_BT.any(1, keepdim=True), boxes, fallback)


def _scaled_squares(view: View, u: Tensor, height: int, width: int) -> Tensor:
    """``[B, 4]``: a square of 1/s of the short side, s uniform in ``view.scale``, uniform over the padded image."""
    assert view.scale is not None
    border = border_of(view, height, width)
    side = (min(height, width) / _lerp(view.scale, u[:, AREA.start])).round().clamp(min=1)
    top = ((height + 2 * border - side + 1) * u[:, TOP]).floor()
    left = ((width + 2 * border - side + 1) * u[:, LEFT]).floor()
    return torch.stack([top, left, side, side], 1).long()


def border_of(view: View, height: int, width: int) -> int:
    """How many pixels of the image ``view.pad`` pixels of the view are, where the short side is the view's."""
    return round(view.pad * min(height, width) / view.size)


def bordered(view: View, image: Tensor, colour: tuple[float, ...]) -> Tensor:
    """uint8 ``[..., C, H, W]`` with the view's padding around it, of ``colour`` in [0, 1] or mirrored."""
    border = border_of(view, *image.shape[-2:])
    if border == 0:
        return image
    if view.mirror:
        rows, columns = (
            _mirrored(side, border).to(image.device, non_blocking=True) for side in image.shape[-2:]
        )
        return image.index_select(-2, rows).index_select(-1, columns)
    height, width = (side + 2 * border for side in image.shape[-2:])
    fill = (torch.tensor(colour) * 255).round().to(torch.uint8).to(image.device, non_blocking=True)
    framed = fill[:, None, None].expand(*image.shape[:-2], height, width).clone()
    framed[..., border:-border, border:-border] = image
    return framed


def _mirrored(side: int, border: int) -> Tensor:
    """Places ``[border + side + border]`` of a row of pixels and of its mirror images, which do not repeat the edge."""
    return torch.from_numpy(np.pad(np.arange(side), border, mode="reflect"))


def flips_and_turns(view: View, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Whether each sample is flipped, bool ``[B]``, and by how many quarters it is turned then, int64 ``[B]``, 0 to 3.

    One draw decides both: where it lies on its side of ``view.flip`` is uniform, whatever that is.
    """
    u = uniforms[:, FLIP]
    flips = u < view.flip
    if not view.turn:
        return flips, torch.zeros_like(flips, dtype=torch.int64)
    u, p = u.double(), view.flip
    rest = torch.where(flips, u / (p or 1), (u - p) / (1 - p or 1))
    return flips, (4 * rest).long().clamp(max=3)


def turned(x: Tensor, turns: Tensor) -> Tensor:
    """Squares ``[B, ..., S, S]``, each turned by so many quarters to the left, as `torch.rot90` does; on one device.

    Both halves of a turn are computed for all, for which a GPU need not be asked.
    """
    turns = turns.view(-1, *[1] * (x.ndim - 1))
    x = torch.where(turns % 2 == 1, x.rot90(1, (-2, -1)), x)
    return torch.where(turns >= 2, x.flip((-2, -1)), x)


def crop_by_matrices(image: Tensor, boxes: Tensor, flip: Tensor, size: int) -> Tensor:
    """Crop, flip and resize a batch by two products with per-sample resampling matrices.

    ``image`` float32 ``[B, C, H, W]``, ``boxes`` ``[B, 4]`` and ``flip`` bool ``[B]`` on its device; returns float32
    ``[B, C, S, S]`` in the units of the image. Antialiased bilinear, without a rounding to uint8.
    """
    batch, channels, height, width = image.shape
    top, left, h, w = boxes.float().unbind(1)
    rows_BSH = _resampling(top, h, height, size)
    columns_BSW = _resampling(left, w, width, size, flip)
    x = torch.bmm(image.reshape(batch, channels * height, width), columns_BSW.transpose(1, 2))
    return torch.matmul(rows_BSH[:, None], x.view(batch, channels, height, size))


def crop_nearest(
    ids: Tensor, boxes: Tensor, flip: Tensor, size: int, border: int = 0, outside: int = 255
) -> Tensor:
    """Crop, flip and resize numbers that cannot be mixed: each pixel of the view takes the id under its centre.

    ``ids`` uint8 ``[B, H, W]``, ``boxes`` ``[B, 4]`` in the image with ``border`` pixels of ``outside`` around it, ``flip``
    bool ``[B]``, all on one device; returns uint8 ``[B, S, S]``.
    """
    batch, height, width = ids.shape
    top, left, h, w = (edge[:, None] for edge in boxes.unbind(1))
    i_S = torch.arange(size, device=ids.device)
    along_BS = torch.where(flip[:, None], size - 1 - i_S, i_S)
    y_BS = top + (2 * i_S + 1) * h // (2 * size) - border
    x_BS = left + (2 * along_BS + 1) * w // (2 * size) - border
    inside_BSS = ((y_BS >= 0) & (y_BS < height))[:, :, None] & ((x_BS >= 0) & (x_BS < width))[:, None]
    row_B11 = torch.arange(batch, device=ids.device)[:, None, None]
    found_BSS = ids[row_B11, y_BS.clamp(0, height - 1)[:, :, None], x_BS.clamp(0, width - 1)[:, None]]
    return found_BSS.where(inside_BSS, outside)


def crop_one(image: Tensor, box: list[int], flip: bool, size: int, turn: int = 0) -> Tensor:
    """Crop, resize, flip and turn one image: uint8 ``[C, H, W]`` to uint8 ``[C, S, S]``, rounded as torchvision does."""
    top, left, h, w = box
    view = resize(image[None, :, top : top + h, left : left + w], size, size)[0]
    view = view.flip(-1) if flip else view
    return view.rot90(turn, (-2, -1)) if turn else view


def resize(image: Tensor, height: int, width: int) -> Tensor:
    """Antialiased bilinear resize of uint8 ``[B, C, H, W]`` to uint8 ``[B, C, height, width]``, any device."""
    if image.shape[-2:] == (height, width):
        return image
    # torch's uint8 kernel gives wrong values, or fails, where the output is one pixel wide (seen in 2.15).
    if image.device.type == "cpu" and width > 1:
        return F.interpolate(image, (height, width), mode="bilinear", antialias=True)
    x = F.interpolate(image.float(), (height, width), mode="bilinear", antialias=True)
    return x.round_().clamp_(0, 255).to(torch.uint8)


def less_long(image: Tensor, most: int = 4) -> Tensor:
    """uint8 ``[B, 3, H, W]`` without the ends of what is more than ``most`` times as long as wide."""
    height, width = image.shape[2:]
    tall, wide = min(height, most * width), min(width, most * height)
    top, left = (height - tall) // 2, (width - wide) // 2
    return image[:, :, top : top + tall, left : left + wide]


def scaled(image: Tensor, short: int) -> Tensor:
    """uint8 ``[B, 3, H, W]`` resized so that its short side has ``short`` pixels."""
    height, width = image.shape[2:]
    scale = short / min(height, width)
    return resize(image, max(short, int(height * scale)), max(short, int(width * scale)))


def _resampling(start: Tensor, length: Tensor, n_in: int, n_out: int, flip: Tensor | None = None) -> Tensor:
    """``[B, n_out, n_in]`` weights that resize pixels ``start .. start + length`` to ``n_out``; rows sum to 1.

    A triangle filter as wide as the larger of the two pixel sizes, cut at the borders of the crop: what
    "antialiased bilinear" means in Pillow and torch.
    """
    i_S = torch.arange(n_out, dtype=torch.float32, device=start.device)
    i_BS = i_S.expand(len(start), n_out)
    if flip is not None:
        i_BS = torch.where(flip[:, None], n_out - 1 - i_S, i_S)
    scale_B1 = (length / n_out)[:, None]
    centre_BS = start[:, None] + (i_BS + 0.5) * scale_B1 - 0.5
    j_N = torch.arange(n_in, dtype=torch.float32, device=start.device)
    inside_BN = ((j_N >= start[:, None]) & (j_N < (start + length)[:, None])).float()
    weight = (j_N - centre_BS[:, :, None]).abs_().div_(scale_B1.clamp(min=1)[:, :, None])
    weight = weight.neg_().add_(1).clamp_(min=0).mul_(inside_BN[:, None, :])
    return weight.div_(weight.sum(-1, keepdim=True))


def _central_box(ratio: tuple[float, float], height: int, width: int) -> list[int]:
    h, w = height, width
    if width / height < ratio[0]:
        h = max(1, round(width / ratio[0]))
    elif width / height > ratio[1]:
        w = max(1, round(height * ratio[1]))
    return [(height - h) // 2, (width - w) // 2, h, w]


def _lerp(bounds: tuple[float, float], u: Tensor) -> Tensor:
    return bounds[0] + (bounds[1] - bounds[0]) * u
