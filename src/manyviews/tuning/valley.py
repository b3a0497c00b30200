"""A loss surface of two weights on which optimisers part ways: a narrow, curved valley with a saddle in its floor.

    f(x, y) = stiffness / 2 * (y - middle(x))^2 + floor(x)

`middle` is a cosine, so the valley bends; `floor` is the quartic that is flat at the shallow hollow, at the saddle
(where it is a ridge along the valley, and the walls still rise across it) and at the minimum, where f is 0.
Everything is in closed form, the contours too.
"""

import math
from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True, kw_only=True)
class Valley:
    """The surface, and where walks on it begin. Lengths in units of the weights."""

    hollow: float = 0.3  # x where the floor is flat: a minimum that is not the lowest,
    saddle: float = 1.5  # ... the ridge between the two,
    lowest: float = 5.0  # ... and the minimum
    ridge: float = 2.5  # how high the saddle is above the minimum
    stiffness: float = 5.0  # curvature across the valley
    bend: float = 0.45  # amplitude of the middle line
    level: float = 1.2  # y of the middle line at the saddle
    start: tuple[float, float] = (1.8, 2.1)  # on the wall, a little to the minimum's side of the saddle
    window: tuple[float, float, float, float] = (
        -0.3,
        6.2,
        -0.1,
        3.1,
    )  # what the picture shows: x and y, from and to

    def middle(self, x: Array) -> Array:
        """y of the valley's middle line."""
        return self.level + self.bend * (1 - np.cos(self._turn * (x - self.saddle)))

    def floor(self, x: Array) -> Array:
        """f on the middle line: 0 at the minimum, ``ridge`` at the saddle."""
        low, high = self._quartic(np.asarray(self.lowest)), self._quartic(np.asarray(self.saddle))
        return self.ridge * (self._quartic(x) - low) / (high - low)

    def __call__(self, w: Array) -> Array:
        """f of weights ``[..., 2]``: ``[...]``."""
        x, y = w[..., 0], w[..., 1]
        return 0.5 * self.stiffness * (y - self.middle(x)) ** 2 + self.floor(x)

    def gradient(self, w: Array) -> Array:
        """The gradient of f at weights ``[..., 2]``: ``[..., 2]``."""
        x, y = w[..., 0], w[..., 1]
        across = self.stiffness * (y - self.middle(x))
        slope = self.bend * self._turn * np.sin(self._turn * (x - self.saddle))
        low, high = self._quartic(np.asarray(self.lowest)), self._quartic(np.asarray(self.saddle))
        along = self.ridge * (x - self.hollow) * (x - self.saddle) * (x - self.lowest) / (high - low)
        return np.stack([along - across * slope, across], axis=-1)

    def within(self, level: float, points: int = 160) -> list[Array]:
        """The outlines ``[P, 2]`` of the parts of the window's width where f is below ``level``, one after another."""
        x = np.linspace(self.window[0], self.window[1], points)
        # Ends are put where floor(x) = level exactly, so that outlines close.
        cross = np.flatnonzero(np.diff(self.floor(x) < level))
        roots = [self._root(x[i], x[i + 1], level) for i in cross]
        edges = [x[0], *roots, x[-1]] if self.floor(x[:1])[0] < level else [*roots, x[-1]]
        outlines = []
        for left, right in zip(edges[::2], edges[1::2], strict=False):
            along = left + (right - left) * 0.5 * (1 - np.cos(np.linspace(0, math.pi, points)))
            half = np.sqrt(np.maximum(0.0, level - self.floor(along)) * 2 / self.stiffness)
            upper = np.stack([along, self.middle(along) + half], axis=1)
            lower = np.stack([along, self.middle(along) - half], axis=1)
            outlines.append(np.concatenate([upper, lower[::-1]]))
        return outlines

    def shows(self, path: Array) -> bool:
        """Whether a path ``[T, 2]`` stays inside the window."""
        left, right, bottom, top = self.window
        x, y = path[:, 0], path[:, 1]
        return bool(((left <= x) & (x <= right) & (bottom <= y) & (y <= top)).all())

    @property
    def _turn(self) -> float:
        return 2 * math.pi / (self.lowest - self.saddle + 0.6)

    def _quartic(self, x: Array) -> Array:
        a, b, c = self.hollow, self.saddle, self.lowest
        return x**4 / 4 - (a + b + c) * x**3 / 3 + (a * b + a * c + b * c) * x**2 / 2 - a * b * c * x

    def _root(self, left: float, right: float, level: float) -> float:
        below = self.floor(np.asarray(left)) < level
        for _ in range(50):
            centre = 0.5 * (left + right)
            if (self.floor(np.asarray(centre)) < level) == below:
                left = centre
            else:
                right = centre
        return 0.5 * (left + right)
