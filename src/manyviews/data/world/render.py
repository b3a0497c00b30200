"""How an item of the world looks: latents in, pixels out, at any resolution.

Everything is a function of the place in the frame, never of the pixel grid (only the grain is hashed by pixel), and
every edge is softened over one pixel: an item rendered at 64 and halved is the item rendered at 32.

Shapes   N items, S side in pixels, C = 3 colours.
"""

import math

import torch
from torch import Tensor

from manyviews.data.world.latents import Latents
from manyviews.data.world.shapes import EYES, silhouette

CHUNK_PIXELS = 64 * 32 * 32  # items are drawn in chunks whose planes stay in the cache


def render(latents: Latents, size: int) -> tuple[Tensor, Tensor]:
    """Draw items.

    Args:
        latents: N items.
        size: S, side of the square image in pixels.

    Returns:
        The images, uint8 [N, 3, S, S], and the masks of what is visible of the creatures, bool [N, S, S].
    """
    image = torch.empty(len(latents), 3, size, size, dtype=torch.uint8)
    mask = torch.empty(len(latents), size, size, dtype=torch.bool)
    for rows in _chunks(latents, size):
        image[rows], mask[rows] = _render_chunk(latents.rows(rows), size)
    return image, mask


def _chunks(latents: Latents, size: int) -> tuple[Tensor, ...]:
    """Numbers of items that are drawn together: of a species where they can, for each has a way of its own."""
    return latents.species.argsort(stable=True).split(max(1, CHUNK_PIXELS // size**2))


def _render_chunk(z: Latents, size: int) -> tuple[Tensor, Tensor]:
    pixel = 2 / size
    y_SS, x_SS = _axes(size)
    u, v = own_frame(z, x_SS, y_SS)
    distance = silhouette(z.species, u, v) * _wide(z.size)
    cover = _step(-distance, pixel)
    front = blade(z, x_SS, y_SS, pixel)

    image = _ground(z, x_SS, y_SS, pixel)
    # a soft shadow where the creature touches the ground
    image = image * (1 - 0.45 * torch.exp(-6 * distance.clamp_min(0)))[:, None]
    image = torch.lerp(image, _body(z, u, v, distance, pixel), cover[:, None])
    image = torch.lerp(image, z.blade_rgb[:, :, None, None] * 0.85, front[:, None])
    image = _light(z, image, x_SS, y_SS) + _grain(z, size)
    visible = (cover * (1 - front)) > 0.5
    return image.clamp_(0, 1).mul_(255).round_().to(torch.uint8), visible


def depth(latents: Latents, size: int) -> Tensor:
    """How far every pixel of the items is, uint8 [N, 1, S, S]: 0 at the eye, 255 far away.

    The ground slopes, nearer at the bottom of the frame, with some relief and its pebbles; the creature lies on it and
    is thickest along its middle; the blade in front is nearest. Light, colours and markings leave no trace.

    Args:
        latents: N items.
        size: S, side of the square map in pixels.
    """
    out = torch.empty(len(latents), 1, size, size, dtype=torch.uint8)
    for rows in _chunks(latents, size):
        out[rows, 0] = _depth_chunk(latents.rows(rows), size)
    return out


def _depth_chunk(z: Latents, size: int) -> Tensor:
    pixel = 2 / size
    y_SS, x_SS = _axes(size)
    ground = 0.78 - 0.17 * y_SS + 0.1 * (_field(z.coarse, size) - 0.5)
    for pebble in z.pebble.unbind(1):
        px, py, radius, _ = (_wide(t) for t in pebble.unbind(1))
        high = (radius**2 - (x_SS - px) ** 2 - (y_SS - py) ** 2).clamp_min(0)
        ground = ground - 0.5 * high.sqrt()
    u, v = own_frame(z, x_SS, y_SS)
    distance = silhouette(z.species, u, v)
    inward = (1 + distance / 0.5).clamp(0, 1)  # 1 on the outline, 0 where it is half a body away
    body = ground - 0.08 - 0.3 * _wide(z.size) * (1 - inward**2).sqrt()
    far = torch.lerp(ground, body, _step(-distance * _wide(z.size), pixel))
    far = torch.lerp(far, 0.1 - 0.04 * y_SS, blade(z, x_SS, y_SS, pixel))
    return far.clamp_(0, 1).mul_(255).round_().to(torch.uint8)


def _axes(size: int) -> tuple[Tensor, Tensor]:
    """y and x of every pixel's middle: two [S, S]."""
    axis = (torch.arange(size) + 0.5) * (2 / size) - 1
    y_SS, x_SS = torch.meshgrid(axis, axis, indexing="ij")
    return y_SS, x_SS


def own_frame(z: Latents, x_SS: Tensor, y_SS: Tensor) -> tuple[Tensor, Tensor]:
    """The frame's coordinates seen from every creature: two [N, S, S]."""
    dx = (x_SS - _wide(z.place[:, 0])) / _wide(z.size)
    dy = (y_SS - _wide(z.place[:, 1])) / _wide(z.size)
    cos, sin = _wide(z.angle.cos()), _wide(z.angle.sin())
    u = (cos * dx + sin * dy) * _wide(z.mirror / z.stretch.sqrt())
    v = (cos * dy - sin * dx) * _wide(z.stretch.sqrt())
    return u, v


def _body(z: Latents, u: Tensor, v: Tensor, distance: Tensor, pixel: float) -> Tensor:
    """The creature's skin, everywhere: [N, 3, S, S]."""
    width = pixel / _wide(z.size)
    mark = _marking(z, u, v, width)
    skin = torch.lerp(z.body_rgb[:, 0, :, None, None], z.body_rgb[:, 1, :, None, None], mark[:, None])
    shade = 1.08 - 0.32 * (u * u + v * v).clamp_max(1.2) - 0.12 * v
    rim = 1 - 0.4 * _step(distance + 0.035, 0.05)
    skin = skin * (shade * rim)[:, None]
    eye_x, eye_y, radius, pair = torch.tensor(EYES)[z.species].unbind(1)
    from_eye = torch.hypot(torch.where(_wide(pair) > 1, u.abs(), u) - _wide(eye_x), v - _wide(eye_y))
    skin = torch.lerp(skin, torch.tensor(0.97), _step(_wide(radius) - from_eye, width)[:, None])
    return torch.lerp(skin, torch.tensor(0.05), _step(0.55 * _wide(radius) - from_eye, width)[:, None])


def _marking(z: Latents, u: Tensor, v: Tensor, width: Tensor) -> Tensor:
    """How much of the marking's colour there is: [N, S, S] in [0, 1]."""
    rate = _wide(7.5 + 2.5 * z.mark_wave[:, 0])
    phase, other = _wide(2 * math.pi * z.mark_wave[:, 1]), _wide(2 * math.pi * z.mark_wave[:, 2])
    out = torch.empty_like(u)
    for kind in z.marking.unique().tolist():
        rows = (z.marking == kind).nonzero()[:, 0]
        x, y, r, p, q = u[rows], v[rows], rate[rows], phase[rows], other[rows]
        if kind == 0:
            wave, slope = torch.sin(r * x + p), r
        elif kind == 1:
            wave, slope = torch.sin(r * x + p) * torch.sin(r * y + q) - 0.25, 0.7 * r
        elif kind == 2:
            wave, slope = torch.sin(1.1 * r * torch.hypot(x, y) + p), 1.1 * r
        elif kind == 3:
            wave, slope = torch.sin(0.8 * r * (x + y) + p) * torch.sin(0.8 * r * (x - y) + q), 0.8 * r
        else:
            wave, slope = y - 0.12 + 0.1 * torch.sin(3 * x + p), torch.ones_like(r)
        out[rows] = _step(wave / slope, width[rows])
    return out


def _ground(z: Latents, x_SS: Tensor, y_SS: Tensor, pixel: float) -> Tensor:
    """The habitat, with its pebbles: [N, 3, S, S]."""
    coarse, fine = _field(z.coarse, x_SS.shape[-1]), _field(z.fine, x_SS.shape[-1])
    rate = _wide(1 + 0.3 * z.ground_wave[:, 0])
    phase, turn = _wide(2 * math.pi * z.ground_wave[:, 1]), 2 * z.ground_wave[:, 2] - 1
    out = torch.empty_like(coarse)
    for kind in z.habitat.unique().tolist():
        rows = (z.habitat == kind).nonzero()[:, 0]
        a, b, r, p = coarse[rows], fine[rows], rate[rows], phase[rows]
        tilt = _wide(turn[rows])
        if kind == 0:  # the sea: light on long waves
            wave = torch.sin(11 * r * (y_SS + 0.25 * tilt * x_SS) + 5 * a + p)
            out[rows] = 0.75 * wave.clamp_min(0) ** 2 + 0.2 * a
        elif kind == 1:  # the meadow: upright blades
            wave = torch.sin(15 * r * (x_SS + (0.3 * tilt) * y_SS) + 3 * b + p)
            out[rows] = 0.5 * (0.5 + 0.5 * wave) + 0.5 * b
        elif kind == 2:  # dunes: sand, and ridges that run across
            wave = torch.sin(6 * r * (0.7 * x_SS + y_SS * tilt.sign()) + 3 * a + p)
            out[rows] = 0.45 + 0.35 * wave + 0.5 * (b - 0.5)
        elif kind == 3:  # the forest: patches of leaves
            out[rows] = _step(0.15 * (b - 0.5), pixel)
        else:  # the sky: clouds, high and thin
            out[rows] = _step(0.12 * (b - 0.78), pixel) + 0.25 * a
    image = torch.lerp(z.ground_rgb[:, 0, :, None, None], z.ground_rgb[:, 1, :, None, None], out[:, None])
    for i in range(z.pebble.shape[1]):
        px, py, radius, shade = (_wide(t) for t in z.pebble[:, i].unbind(1))
        inside = _step(radius - torch.hypot(x_SS - px, y_SS - py), pixel) * (radius > 0)
        image = image * (1 + inside * (shade - 1))[:, None]
    return image


def blade(z: Latents, x_SS: Tensor, y_SS: Tensor, pixel: float) -> Tensor:
    """How much of a pixel the stem in front covers: [N, S, S] in [0, 1]."""
    turn, offset, width, curve = (_wide(t) for t in z.blade.unbind(1))
    across = x_SS - offset - turn * y_SS - curve * y_SS * y_SS
    return _step(width - across.abs(), pixel) * (width > 0)


def _light(z: Latents, image: Tensor, x_SS: Tensor, y_SS: Tensor) -> Tensor:
    """The image under the item's light."""
    lamp = 1 + _wide(z.lamp[:, 0]) * x_SS + _wide(z.lamp[:, 1]) * y_SS
    gain = z.tint * (z.exposure * z.contrast)[:, None]
    lift = 0.42 * z.exposure * (1 - z.contrast)
    return image * (gain[:, :, None, None] * lamp[:, None]) + lift[:, None, None, None]


def _grain(z: Latents, size: int) -> Tensor:
    """Pixel noise, hashed from (item, pixel), triangular: [N, 3, S, S]."""
    bits = z.key[:, None] + torch.arange(size * size) * -3335678366873096957
    bits = (bits ^ (bits >> 29)) * -4658895280553007687
    bits = (bits ^ (bits >> 32)) * -7723592293110705685
    parts = torch.stack([(bits >> s) & 0x3FF for s in (6, 16, 26, 36, 46, 54)], 1).to(torch.float32)
    noise = (parts[:, :3] - parts[:, 3:]) * (math.sqrt(6) / 1023)  # of variance 1
    return noise.view(-1, 3, size, size) * z.grain[:, None, None, None]


def _field(lattice: Tensor, size: int) -> Tensor:
    """A lattice [N, G, G] over the frame, read at every pixel by cubic B-splines: [N, S, S]."""
    weight = _spline(lattice.shape[-1], size)
    smooth = weight @ lattice @ weight.T
    return (0.5 + 1.7 * (smooth - 0.5)).clamp(0, 1)


def _spline(points: int, size: int) -> Tensor:
    """Cubic B-spline weights of lattice points for pixels: [S, G], rows sum to one."""
    place = (torch.arange(size) + 0.5) / size * (points - 3) + 1
    t = (place[:, None] - torch.arange(points)).abs()
    return torch.where(t < 1, 2 / 3 - t * t + t**3 / 2, (2 - t).clamp_min(0) ** 3 / 6)


def _step(signed: Tensor, width: Tensor | float) -> Tensor:
    """0 well below zero, 1 well above, a ramp of the given width between."""
    return (signed / width + 0.5).clamp(0, 1)


def _wide(value_N: Tensor) -> Tensor:
    """[N] as [N, 1, 1]."""
    return value_N[:, None, None]
