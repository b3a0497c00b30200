"""Where a view looks: random resized crops and flips, for many samples at once.

Shapes: B samples, H W pixels of the image, S side of the view.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from manyviews.views.view import AREA, ASPECT, LEFT, TOP, View

# On the CPU, resampling by matrices wins for small images; torch's own antialiased resize for large ones.
MATRIX_SIDE = 64


def crop_boxes(view: View, uniforms: Tensor, height: int, width: int) -> Tensor:
    """Where each sample is cropped: int64 ``[B, 4]`` of top, left, height, width, in pixels.

    torchvision's RandomResizedCrop (Inception's crop): the first of ten proposals that fits, else the
    central crop of the nearest allowed ratio. ``crop=None`` gives the central square.
    """
    batch = len(uniforms)
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
    top = ((height - h + 1) * u[:, TOP]).floor()
    left = ((width - w + 1) * u[:, LEFT]).floor()
    boxes = torch.stack([top, left, h, w], 1).long()
    fallback = torch.tensor(_central_box(view.ratio, height, width))
    return torch.where(fits_BT.any(1, keepdim=True), boxes, fallback)


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


def crop_one(image: Tensor, box: list[int], flip: bool, size: int) -> Tensor:
    """Crop, flip and resize one image: uint8 ``[C, H, W]`` to uint8 ``[C, S, S]``, rounded as torchvision does."""
    top, left, h, w = box
    view = resize(image[None, :, top : top + h, left : left + w], size, size)[0]
    return view.flip(-1) if flip else view


def resize(image: Tensor, height: int, width: int) -> Tensor:
    """Antialiased bilinear resize of uint8 ``[B, C, H, W]`` to uint8 ``[B, C, height, width]``, any device."""
    if image.shape[-2:] == (height, width):
        return image
    # torch's uint8 kernel gives wrong values, or fails, where the output is one pixel wide (seen in 2.15).
    if image.device.type == "cpu" and width > 1:
        return F.interpolate(image, (height, width), mode="bilinear", antialias=True)
    x = F.interpolate(image.float(), (height, width), mode="bilinear", antialias=True)
    return x.round_().clamp_(0, 255).to(torch.uint8)


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
