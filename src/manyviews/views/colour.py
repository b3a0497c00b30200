"""How a view is coloured: torchvision's float colour operations and AlexNet's shift, one set of factors per sample.

Every function takes planes float32 ``[n, 3, S, S]`` in [0, 1] and changes them. On the CPU comparisons and
``where`` cost up to twenty times an addition, so the formulas below use neither.
"""

from functools import cache
from itertools import permutations

import torch
from torch import Tensor

from manyviews.views.view import ALPHAS, FACTORS, JITTER, ORDER, Matrix, View

ORDERS = tuple(permutations(range(4)))  # of brightness 0, contrast 1, saturation 2, hue 3
GREY_WEIGHTS = (0.2989, 0.587, 0.114)  # torchvision's luma
SOLARISE_FROM = 128 / 255


def jitter_factors(view: View, uniforms: Tensor) -> Tensor:
    """Brightness, contrast, saturation (1: unchanged) and hue (0: unchanged; in turns), ``[B, 4]`` float32."""
    b, c, s, h = view.jitter or (0.0, 0.0, 0.0, 0.0)
    low = torch.tensor([max(0.0, 1 - b), max(0.0, 1 - c), max(0.0, 1 - s), -h])
    high = torch.tensor([1 + b, 1 + c, 1 + s, h])
    return low + (high - low) * uniforms[:, FACTORS]


def jitter_orders(view: View, uniforms: Tensor) -> Tensor:
    """Which of the 24 `ORDERS` each sample's jitter takes, int64 ``[B]``; -1 where the jitter is skipped."""
    if view.jitter is None or not any(view.jitter):
        return torch.full((len(uniforms),), -1)
    operations_B4 = uniforms[:, ORDER].argsort(1)
    code_of = torch.full((4 * 4 * 4,), -1)
    for index, (first, second, third, _) in enumerate(ORDERS):
        code_of[16 * first + 4 * second + third] = index
    first, second, third, _ = operations_B4.unbind(1)
    orders = code_of[16 * first + 4 * second + third]
    return orders.where(uniforms[:, JITTER] < view.jitter_p, -1)


def pca_shifts(view: View, uniforms: Tensor) -> Tensor:
    """What is added to red, green and blue of each sample, ``[B, 3]`` float32; zeros where ``view.pca`` is 0.

    ``[p1 p2 p3] [a1 l1, a2 l2, a3 l3]^T``: eigenvectors p and eigenvalues l (not their roots) of the covariance, and
    a ~ N(0, pca) (Krizhevsky et al. 2012, section 4.1). Values lie in [0, 1], the unit in which l is that of the
    paper's: in levels of 0 to 255 the same formula would shift an image by hundreds of them.
    """
    if view.pca == 0 or view.rgb is None:
        return torch.zeros(len(uniforms), 3)
    u = (
        uniforms[:, ALPHAS].double() + 2**-25
    )  # the middle of the step that a float32 draw stands for: never 0 or 1
    alphas_B3 = view.pca * torch.special.ndtri(u)
    return (alphas_B3 @ axes(view.rgb).T).float()


@cache
def axes(rgb: Matrix) -> Tensor:
    """``[3, 3]`` float64: each column an eigenvector of the covariance, times its eigenvalue; the longest first."""
    values, vectors = torch.linalg.eigh(torch.tensor(rgb, dtype=torch.float64))
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))  # decides the sign, which is arbitrary
    return (vectors * largest.sign() * values.clamp(min=0)).flip(1)


def jitter(x: Tensor, factors: Tensor, orders: Tensor) -> None:
    """Colour jitter of ``x``. ``factors`` ``[n, 4]`` on its device; ``orders`` ``[n]`` on the CPU, non-decreasing."""
    if x.device.type == "cpu":
        jitter_by_orders(x, factors, orders)
    else:
        jitter_by_rounds(x, factors, orders)


def jitter_by_orders(x: Tensor, factors: Tensor, orders: Tensor) -> None:
    """Neighbours of equal order together, all four operations while they are in the cache: best on a CPU."""
    values, counts = torch.unique_consecutive(orders, return_counts=True)
    start = 0
    for order, count in zip(values.tolist(), counts.tolist(), strict=True):
        stop = start + count
        if order >= 0:
            for operation in ORDERS[order]:
                OPERATIONS[operation](x[start:stop], factors[start:stop, operation])
        start = stop


def jitter_by_rounds(x: Tensor, factors: Tensor, orders: Tensor) -> None:
    """In each of four rounds, gather the samples that share an operation: few launches, best on a GPU."""
    skipped = int((orders < 0).sum())
    operations_4n = torch.tensor(ORDERS)[orders[skipped:]].T
    counts = [torch.bincount(operations, minlength=4).tolist() for operations in operations_4n]
    rows_4n = operations_4n.argsort(1).add(skipped).to(x.device, non_blocking=True)
    for rows_n, count in zip(rows_4n, counts, strict=True):
        for operation, rows in enumerate(rows_n.split(count)):
            if len(rows) > 0:
                part = x.index_select(0, rows)
                OPERATIONS[operation](part, factors[rows, operation])
                x.index_copy_(0, rows, part)


def brightness_(x: Tensor, factor: Tensor) -> None:
    x.mul_(factor[:, None, None, None]).clamp_(0, 1)


def contrast_(x: Tensor, factor: Tensor) -> None:
    r, g, b = x.mean((2, 3)).unbind(1)
    mean = GREY_WEIGHTS[0] * r + GREY_WEIGHTS[1] * g + GREY_WEIGHTS[2] * b
    x.mul_(factor[:, None, None, None]).add_(((1 - factor) * mean)[:, None, None, None]).clamp_(0, 1)


def saturation_(x: Tensor, factor: Tensor) -> None:
    rest = luma(x).mul_((1 - factor)[:, None, None])
    x.mul_(factor[:, None, None, None]).add_(rest[:, None]).clamp_(0, 1)


def hue_(x: Tensor, shift: Tensor) -> None:
    """Rotate the HSV hue by ``shift`` turns, without building HSV.

    With d = max - min, the distance of the hue from red is (1 + (g + b - r - min) / d) / 6 turns, on the side of
    green where g >= b. A channel of hue q is max - d clamp(6 |q - centre| - 1, 0, 1) around its own centre (green 1/3,
    blue 2/3); red, whose own centre is where hues wrap round, is taken from its opposite, 1/2.
    """
    r, g, b = x.unbind(1)
    top = torch.maximum(r, g)
    torch.maximum(top, b, out=top)
    low = torch.minimum(r, g)
    torch.minimum(low, b, out=low)
    d = top - low
    d6 = (d * 6).clamp_min_(1e-30)
    q = (g + b).sub_(r).sub_(low).div_(d6).add_(1 / 6)
    side = g - b
    torch.copysign(q, side, out=q).add_((1 + shift)[:, None, None]).frac_()
    low.sub_(d)
    top.add_(d)
    for channel, centre, start, sign in ((r, 1 / 2, low, 1), (g, 1 / 3, top, -1), (b, 2 / 3, top, -1)):
        torch.sub(q, centre, out=channel).abs_().clamp_(1 / 6, 1 / 3)
        torch.addcmul(start, channel, d6, value=sign, out=channel)


OPERATIONS = (brightness_, contrast_, saturation_, hue_)


def luma(x: Tensor) -> Tensor:
    """Grey value of every pixel, ``[n, S, S]``."""
    r, g, b = x.unbind(1)
    return (r * GREY_WEIGHTS[0]).add_(g, alpha=GREY_WEIGHTS[1]).add_(b, alpha=GREY_WEIGHTS[2])


def grey(x: Tensor) -> Tensor:
    return luma(x)[:, None].expand_as(x)


def solarise(x: Tensor) -> Tensor:
    """Every value of at least 128/255 inverted."""
    bright = (x - SOLARISE_FROM).sign_().add_(1).clamp_max_(1)
    return bright.sub_(x).abs_()
