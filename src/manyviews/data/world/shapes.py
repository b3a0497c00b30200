"""The silhouettes of the world: signed distance fields in a creature's own frame.

The frame is the square [-1, 1] x [-1, 1], x to the right and y *down*, the head up or to the right. A field is
negative inside, positive outside, and close enough to a distance near the outline that dividing it by the size
of a pixel gives the pixel's coverage.

Shapes   x, y and what a field returns are all [N, S, S].
"""

import math

import torch
from torch import Tensor


def circle(x: Tensor, y: Tensor, cx: float, cy: float, radius: float) -> Tensor:
    """Signed distance to a disc."""
    return torch.hypot(x - cx, y - cy) - radius


def ellipse(x: Tensor, y: Tensor, cx: float, cy: float, a: float, b: float) -> Tensor:
    """Signed distance to an ellipse of half-axes ``a`` and ``b``, exact on the outline and first order near it."""
    u, v = (x - cx) / a, (y - cy) / b
    k = torch.hypot(u, v)
    return k * (k - 1) / torch.hypot(u / a, v / b).clamp_min(1e-3)


def capsule(
    x: Tensor, y: Tensor, start: tuple[float, float], end: tuple[float, float], radius: float
) -> Tensor:
    """Signed distance to a thick segment."""
    (x0, y0), (x1, y1) = start, end
    dx, dy = x1 - x0, y1 - y0
    t = (((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy)).clamp(0, 1)
    return torch.hypot(x - x0 - t * dx, y - y0 - t * dy) - radius


def union(*fields: Tensor) -> Tensor:
    """What is inside any of the fields."""
    out = fields[0]
    for field in fields[1:]:
        out = torch.minimum(out, field)
    return out


def fish(x: Tensor, y: Tensor) -> Tensor:
    tail = torch.maximum(0.75 * (y.abs() + 0.8 * (x + 0.28)), -(x + 0.98))
    tail = torch.maximum(tail, 0.8 * (-x - 0.84) - 0.6 * y.abs() + 0.05)
    fin = torch.maximum(ellipse(x, y, 0.02, -0.42, 0.34, 0.3), -(x + 0.28))
    return union(ellipse(x, y, 0.22, 0.0, 0.74, 0.48), tail, fin)


def jellyfish(x: Tensor, y: Tensor) -> Tensor:
    bell = torch.maximum(ellipse(x, y, 0.0, -0.1, 0.82, 0.8), y - 0.08 - 0.05 * torch.cos(12 * x))
    sway = x + 0.09 * torch.sin(6.5 * y)
    arm = (torch.remainder(sway + 0.72, 0.36) - 0.18).abs() - 0.085
    arms = torch.maximum(
        torch.maximum(arm, sway.abs() - 0.72), torch.maximum(-y, y - 0.95 + 0.3 * sway.abs())
    )
    return union(bell, arms)


def ladybird(x: Tensor, y: Tensor) -> Tensor:
    ax = x.abs()
    legs = union(
        *(capsule(ax, y, (0.5, q), (0.92, q + k), 0.06) for q, k in ((-0.2, -0.2), (0.15, 0.05), (0.5, 0.25)))
    )
    feeler = capsule(ax, y, (0.1, -0.75), (0.32, -1.0), 0.05)
    return union(ellipse(x, y, 0.0, 0.12, 0.68, 0.76), circle(x, y, 0.0, -0.62, 0.34), legs, feeler)


def butterfly(x: Tensor, y: Tensor) -> Tensor:
    ax = x.abs()
    fore = ellipse(0.8 * ax - 0.6 * (y + 0.1), 0.6 * ax + 0.8 * (y + 0.1), 0.62, 0.0, 0.56, 0.4)
    hind = circle(ax, y, 0.44, 0.46, 0.36)
    feeler = capsule(ax, y, (0.04, -0.5), (0.24, -0.95), 0.045)
    return union(fore, hind, capsule(x, y, (0.0, -0.5), (0.0, 0.6), 0.11), feeler)


def crab(x: Tensor, y: Tensor) -> Tensor:
    ax = x.abs()
    claw = torch.maximum(circle(ax, y, 0.72, -0.62, 0.29), 0.16 - torch.hypot(ax - 0.68, y + 0.86))
    arm = capsule(ax, y, (0.45, -0.05), (0.78, -0.4), 0.1)
    legs = union(
        *(
            capsule(ax, y, (0.4, q), (r, s), 0.075)
            for q, r, s in ((0.2, 0.95, 0.22), (0.35, 0.85, 0.6), (0.4, 0.55, 0.85))
        )
    )
    return union(ellipse(x, y, 0.0, 0.15, 0.64, 0.46), claw, arm, legs)


def turtle(x: Tensor, y: Tensor) -> Tensor:
    ax = x.abs()
    front = ellipse(0.8 * ax + 0.6 * y, -0.6 * ax + 0.8 * y, 0.22, -0.74, 0.18, 0.32)
    back = circle(ax, y, 0.48, 0.6, 0.2)
    tail = capsule(x, y, (0.0, 0.6), (0.0, 0.92), 0.07)
    return union(
        ellipse(x, y, 0.0, 0.08, 0.6, 0.66), ellipse(x, y, 0.0, -0.74, 0.22, 0.26), front, back, tail
    )


def snail(x: Tensor, y: Tensor) -> Tensor:
    foot = torch.maximum(capsule(x, y, (-0.85, 0.62), (0.62, 0.62), 0.2), y - 0.74)
    neck = capsule(x, y, (0.6, 0.58), (0.74, 0.05), 0.17)
    horns = union(
        capsule(x, y, (0.7, 0.0), (0.58, -0.42), 0.055), capsule(x, y, (0.76, 0.0), (0.95, -0.36), 0.055)
    )
    return union(circle(x, y, -0.16, 0.0, 0.6), foot, neck, horns)


def caterpillar(x: Tensor, y: Tensor) -> Tensor:
    beads = union(*(circle(x, y, -0.72 + 0.36 * i, 0.2 * math.sin(1.7 * i), 0.27) for i in range(4)))
    head = circle(x, y, 0.7, 0.0, 0.32)
    horns = union(
        capsule(x, y, (0.62, -0.2), (0.5, -0.58), 0.05), capsule(x, y, (0.8, -0.2), (0.95, -0.5), 0.05)
    )
    return union(beads, head, horns)


def owl(x: Tensor, y: Tensor) -> Tensor:
    ax = x.abs()
    ears = torch.maximum(0.9 * ((ax - 0.36).abs() - 0.42 * (y + 1.0)), y + 0.4)
    wings = ellipse(0.95 * ax + 0.3 * y, -0.3 * ax + 0.95 * y, 0.62, 0.05, 0.2, 0.52)
    return union(ellipse(x, y, 0.0, 0.08, 0.58, 0.78), ears, wings)


def hedgehog(x: Tensor, y: Tensor) -> Tensor:
    angle, radius = torch.atan2(y, x), torch.hypot(x, y)
    spike = (torch.remainder(angle * (13 / math.pi), 2) - 1).abs()
    coat = 0.6 * (radius - 0.66 - 0.26 * spike * (y < 0.35))
    snout = capsule(x, y, (0.5, 0.3), (0.92, 0.42), 0.16)
    feet = capsule(x.abs(), y, (0.34, 0.6), (0.34, 0.82), 0.12)
    return union(torch.maximum(coat, y - 0.62), snout, feet)


SILHOUETTES = (fish, jellyfish, ladybird, butterfly, crab, turtle, snail, caterpillar, owl, hedgehog)

# Where the eyes are, as (x, y, radius, 1 for one eye or 2 for a pair mirrored in x), one row a silhouette.
EYES = (
    (0.62, -0.12, 0.15, 1),
    (0.26, -0.28, 0.14, 2),
    (0.17, -0.72, 0.12, 2),
    (0.10, -0.50, 0.08, 2),
    (0.22, -0.12, 0.14, 2),
    (0.12, -0.82, 0.10, 2),
    (0.76, 0.02, 0.12, 1),
    (0.76, -0.06, 0.13, 1),
    (0.26, -0.34, 0.24, 2),
    (0.56, 0.18, 0.12, 1),
)


def silhouette(which_N: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The signed distance [N, S, S] of every item's own silhouette.

    Args:
        which_N: int64 index into ``SILHOUETTES`` [N].
        x: horizontal coordinate in the creature's frame [N, S, S].
        y: vertical coordinate in the creature's frame, downwards [N, S, S].
    """
    out = torch.empty_like(x)
    for kind in which_N.unique().tolist():
        rows = (which_N == kind).nonzero()[:, 0]
        out[rows] = SILHOUETTES[kind](x[rows], y[rows])
    return out
