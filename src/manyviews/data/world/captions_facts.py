"""What can be said of an item of the world: its latents as words would have them, and only what is clear to see.

Shapes   N items, P points of the frame.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from manyviews.data.world.latents import BODY, PEBBLES, Latents
from manyviews.data.world.render import blade, own_frame
from manyviews.data.world.shapes import EYES, silhouette

MIDDLE = 0.19  # a third of where centres lie: nearer to the middle of the frame is the middle
SMALL, LARGE = 0.5, 0.64  # half an extent, under and over
TILTED, UPRIGHT = 0.35, 0.15  # radians, over and under
DARK, BRIGHT = 0.8, 1.1  # exposures, under and over
LAMP, LOPSIDED = (
    0.12,
    1.6,
)  # the light has a side if it is this strong there, and so many times the other axis
SHADE = 0.12  # what a pebble's brightness must differ from the ground's
MARGIN = 0.04  # between what is hidden and what is not, in sizes of the creature
APART = 0.05  # what lies between two pebbles that are two to the eye
SHARP = 1e-3  # a pixel, for questions to a point


class Facts(NamedTuple):
    """What is said of one item; None where it is not clear, or where there is nothing to say."""

    species: int
    marking: int
    palette: int
    habitat: int
    season: int
    morph: bool
    """Whether the palette's two colours have changed places."""
    row: int
    column: int
    """Of its centre, in thirds: 0, 1, 2 from the top and from the left."""
    size: str | None
    """Small or large."""
    facing: str | None
    """Left or right, where a creature seen from the side shows its eye."""
    tilt: str | None
    """Left, right or upright: where its upper end leans."""
    pebbles: int | None
    """How many can be seen."""
    stem: str | None
    """No, beside or before: whether something stands in front, and covers the creature."""
    light: str | None
    """Dark or bright."""
    source: str | None
    """Left, right, above or below: where the light comes from."""


def facts(z: Latents) -> list[Facts]:
    """What can be said of each of N items."""
    body_N23 = torch.tensor(BODY)[z.palette]
    kept_N, changed_N = ((z.body_rgb - c).abs().sum((1, 2)) for c in (body_N23, body_N23.flip(1)))
    thirds_N2 = (z.place > -MIDDLE).int() + (z.place > MIDDLE).int()
    x_N, y_N = z.lamp.unbind(1)
    sideways = (x_N.abs() > LAMP) & (x_N.abs() > LOPSIDED * y_N.abs())
    upwards = (y_N.abs() > LAMP) & (y_N.abs() > LOPSIDED * x_N.abs())
    columns = (
        z.species.tolist(),
        z.marking.tolist(),
        z.palette.tolist(),
        z.habitat.tolist(),
        z.season.tolist(),
        (changed_N < kept_N).tolist(),
        thirds_N2[:, 1].tolist(),
        thirds_N2[:, 0].tolist(),
        _words({"small": z.size < SMALL, "large": z.size > LARGE}),
        _words({"left": _profile(z) & (z.mirror < 0), "right": _profile(z) & (z.mirror > 0)}),
        _words({"left": z.angle < -TILTED, "right": z.angle > TILTED, "upright": z.angle.abs() < UPRIGHT}),
        _pebbles(z),
        _stem(z),
        _words({"dark": z.exposure < DARK, "bright": z.exposure > BRIGHT}),
        _words(
            {
                "left": sideways & (x_N < 0),
                "right": sideways & (x_N > 0),
                "above": upwards & (y_N < 0),
                "below": upwards & (y_N > 0),
            }
        ),
    )
    return [Facts(*row) for row in zip(*columns, strict=True)]


def _words(true_N: dict[str, Tensor]) -> list[str | None]:
    """The word whose mask is true, for each item; None where none is."""
    said: list[str | None] = [None] * len(next(iter(true_N.values())))
    for word, mask_N in true_N.items():
        for row in mask_N.nonzero()[:, 0].tolist():
            said[row] = word
    return said


def _profile(z: Latents) -> Tensor:
    """Whether a creature is seen from the side, its eye in the frame with nothing in front: bool [N]."""
    u, v, _, eyes = torch.tensor(EYES)[z.species].unbind(1)
    u, v = u * z.stretch.sqrt() * z.mirror, v / z.stretch.sqrt()
    x = z.place[:, 0] + z.size * (z.angle.cos() * u - z.angle.sin() * v)
    y = z.place[:, 1] + z.size * (z.angle.sin() * u + z.angle.cos() * v)
    inside = (x.abs() < 0.97) & (y.abs() < 0.97)
    return inside & (eyes == 1) & (_covered(z, x[:, None], y[:, None])[:, 0] < 0.5)


def _pebbles(z: Latents) -> list[int | None]:
    """How many pebbles can be seen; None where one is half hidden, hardly differs from the ground or meets another."""
    there_NP, unlike_NP = z.pebble[..., 2] > 0, (z.pebble[..., 3] - 1).abs() > SHADE
    turn_Q = torch.arange(24) * (math.pi / 12)
    around_Q2 = torch.cat([r * torch.stack([turn_Q.cos(), turn_Q.sin()], 1) for r in (0.0, 0.5, 1.0)])
    points = z.pebble[:, :, None, :2] + z.pebble[:, :, None, 2:3] * around_Q2
    x, y = points.flatten(1, 2).unbind(2)
    distance, covered = _own_distance(z, x, y), _covered(z, x, y)
    open_NP, shut_NP = (
        mask.unflatten(1, (PEBBLES, -1)).all(2)
        for mask in ((distance > MARGIN) & (covered == 0), (distance < -MARGIN) | (covered == 1))
    )
    clear_NP = unlike_NP & (open_NP | shut_NP)
    between_NPP = torch.cdist(z.pebble[..., :2], z.pebble[..., :2])
    reach_NPP = z.pebble[:, :, None, 2] + z.pebble[:, None, :, 2]
    meets_NPP = (between_NPP < reach_NPP + APART) & there_NP[:, :, None] & there_NP[:, None, :]
    meets_NPP.diagonal(dim1=1, dim2=2).fill_(False)
    clear_N = (clear_NP | ~there_NP).all(1) & ~meets_NPP.any((1, 2))
    count_N = (there_NP & open_NP).sum(1)
    return [n if clear else None for n, clear in zip(count_N.tolist(), clear_N.tolist(), strict=True)]


def _stem(z: Latents) -> list[str | None]:
    """Whether something stands in front: before the creature, beside it (clearly so), or nothing does."""
    turn, offset, width, curve = (t[:, None] for t in z.blade.unbind(1))
    y_P = torch.linspace(-1, 1, 65)
    x_NP = offset + turn * y_P + curve * y_P**2
    distance_NP = _own_distance(z, x_NP, y_P.expand_as(x_NP)) * z.size[:, None]
    there_N, in_frame_NP = width[:, 0] > 0, x_NP.abs() < 1
    across_N = ((distance_NP < 0) & in_frame_NP).sum(1) >= 6  # a tenth of the frame's height
    beside_N = ((distance_NP > width + 0.04) | ~in_frame_NP).all(1)
    return _words({"no": ~there_N, "beside": there_N & beside_N, "before": there_N & across_N})


def _own_distance(z: Latents, x_NP: Tensor, y_NP: Tensor) -> Tensor:
    """Of points of the frame to every creature's outline, in its own size: [N, P], negative inside."""
    u, v = own_frame(z, x_NP[..., None], y_NP[..., None])
    return silhouette(z.species, u, v)[..., 0]


def _covered(z: Latents, x_NP: Tensor, y_NP: Tensor) -> Tensor:
    """How much of points of the frame the stem covers: [N, P] in [0, 1]."""
    return blade(z, x_NP[..., None], y_NP[..., None], SHARP)[..., 0]
