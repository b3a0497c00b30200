"""Gaussian blur with one sigma per sample, as torchvision computes it: a fixed kernel, reflected borders.

Shapes: n samples, S side of the view, K kernel side, R its radius.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# The taps beyond this many sigmas weigh less than 6e-7 together, as much as the rounding of float32 sums.
REACH = 5
SHIFTED_RADIUS = 3  # up to here, sums of shifted arrays beat matrices
DENSE_SIDE = 64  # up to here, on a CPU, whole matrices beat banded ones
BLOCK = 32  # rows of a banded product


def blur_(x: Tensor, rows: Tensor, sigma: Tensor, kernel: int) -> None:
    """Blur the samples ``rows`` of float32 ``[n, 3, S, S]``, in place.

    ``rows`` and ``sigma`` (pixels, one for each of them) lie on the CPU; ``kernel`` is odd.
    """
    taps = gaussian_taps(sigma, kernel)
    if x.device.type == "cpu" and kernel // 2 > SHIFTED_RADIUS and x.shape[-1] > DENSE_SIDE:
        for row, s, taps_K in zip(rows.tolist(), sigma.tolist(), taps, strict=True):
            _blur_one_(x[row], s, taps_K)
        return
    rows, taps = (each.to(x.device, non_blocking=True) for each in (rows, taps))
    method = _blur_shifted if kernel // 2 <= SHIFTED_RADIUS else _blur_dense
    x.index_copy_(0, rows, method(x.index_select(0, rows), taps))


def low_pass(x: Tensor, sigma: float) -> Tensor:
    """``[n, C, S, S]`` of any values blurred by one Gaussian of ``sigma`` pixels, cut at three of them."""
    side = x.shape[-1]
    radius = min(side - 1, math.ceil(3 * sigma))
    G_SS = blur_matrices(gaussian_taps(torch.tensor([sigma]), 2 * radius + 1), side)[0].to(x)
    # The difference from x may be as small as half precision's error.
    with torch.autocast(x.device.type, enabled=False):
        return G_SS @ x @ G_SS.T


def gaussian_taps(sigma: Tensor, kernel: int) -> Tensor:
    """``[n, K]`` weights that sum to 1."""
    offset_K = torch.arange(kernel) - kernel // 2
    weight_nK = (-0.5 * (offset_K / sigma[:, None]) ** 2).exp()
    return weight_nK / weight_nK.sum(1, keepdim=True)


def blur_matrices(taps_nK: Tensor, side: int) -> Tensor:
    """``[n, S, S]`` banded matrices of the taps, the reflected border folded in."""
    n, kernel = taps_nK.shape
    offset_K = torch.arange(kernel, device=taps_nK.device) - kernel // 2
    index_SK = (torch.arange(side, device=taps_nK.device)[:, None] + offset_K).abs()
    index_SK = (side - 1) - ((side - 1) - index_SK).abs()
    G_nSS = torch.zeros(n, side, side, device=taps_nK.device)
    return G_nSS.scatter_add_(2, index_SK.expand(n, side, kernel), taps_nK[:, None].expand(n, side, kernel))


def _blur_dense(x: Tensor, taps_nK: Tensor) -> Tensor:
    G_nSS = blur_matrices(taps_nK, x.shape[-1])[:, None]
    return torch.matmul(G_nSS, torch.matmul(x, G_nSS.transpose(2, 3)))


def _blur_one_(x: Tensor, sigma: float, taps_K: Tensor) -> None:
    middle = len(taps_K) // 2
    radius = min(middle, max(1, int(REACH * sigma)))
    taps_1K = taps_K[None, middle - radius : middle + radius + 1]
    if radius <= SHIFTED_RADIUS:
        x.copy_(_blur_shifted(x[None], taps_1K)[0])
    else:
        _blur_banded_(x, blur_matrices(taps_1K, x.shape[-1])[0], radius)


def _blur_shifted(x: Tensor, taps_nK: Tensor) -> Tensor:
    """Both directions as sums of shifted flat arrays: a padded image is one long row, so loops stay long.

    A shift by one runs over the border into the next row; what it makes there lies outside the returned view.
    """
    n, channels, side, _ = x.shape
    radius = taps_nK.shape[1] // 2
    padded = side + 2 * radius
    flat = F.pad(x, (radius,) * 4, mode="reflect").view(n, -1)
    flat = _stencil(_stencil(flat, taps_nK, padded), taps_nK, 1)
    return flat.as_strided((n, channels, side, side), (flat.shape[1], padded * padded, padded, 1))


def _stencil(flat: Tensor, taps_nK: Tensor, step: int) -> Tensor:
    length, kernel = flat.shape[1], taps_nK.shape[1]
    radius = kernel // 2
    out_length = length - 2 * radius * step
    shifted = [flat[:, k * step : k * step + out_length] for k in range(kernel)]
    total = shifted[radius] * taps_nK[:, radius, None]
    for k in range(radius):
        total.add_((shifted[k] + shifted[-1 - k]).mul_(taps_nK[:, k, None]))
    return total


def _blur_banded_(x: Tensor, G_SS: Tensor, radius: int) -> None:
    """G x G^T for every channel of one image, multiplying only where G has its band."""
    channels, side, _ = x.shape
    across = torch.empty_like(x)
    blocks = [(start, min(start + BLOCK, side)) for start in range(0, side, BLOCK)]
    bands = [(start, stop, max(0, start - radius), min(side, stop + radius)) for start, stop in blocks]
    for start, stop, low, high in bands:
        columns = x.view(channels * side, side)[:, low:high]
        torch.mm(columns, G_SS[start:stop, low:high].T, out=across.view(channels * side, side)[:, start:stop])
    for start, stop, low, high in bands:
        band = G_SS[start:stop, low:high].expand(channels, -1, -1)
        torch.bmm(band, across[:, low:high], out=x[:, start:stop])
