"""How a set's colours vary together: what a shift along their principal axes needs to know."""

import torch
from torch import Tensor

from manyviews import rng
from manyviews.data.decode import Unreadable
from manyviews.data.images import ImageSet
from manyviews.errors import ManyviewsError

SAMPLE = 1000  # images: their pixels are millions
SIDE = 64  # pixels that the shorter side of an image on disk is decoded to at least


def rgb_covariance(data: ImageSet, *, sample: int = SAMPLE, seed: int = 0) -> tuple[tuple[float, ...], ...]:
    """The covariance ``[3, 3]`` of red, green and blue in [0, 1], over all pixels of ``sample`` images.

    Every image weighs the same, whatever its size. Which images are looked at is a function of the seed; one that
    cannot be read is passed over. Raises ``ManyviewsError`` where none can be read.
    """
    order = torch.randperm(len(data), generator=rng.generator(seed, "colours"))[:sample]
    moments = [found for item in order.tolist() if (found := _moments(data, item)) is not None]
    if not moments:
        raise ManyviewsError(f"{data.name} has no image that can be read, so its colours are not known.")
    mean_3 = torch.stack([mean for mean, _ in moments]).mean(0)
    square_33 = torch.stack([square for _, square in moments]).mean(0)
    return tuple(tuple(row) for row in (square_33 - mean_3.outer(mean_3)).tolist())


def _moments(data: ImageSet, item: int) -> tuple[Tensor, Tensor] | None:
    """The mean colour ``[3]`` of an image and of the products of its colours ``[3, 3]``; None if it cannot be read."""
    try:
        image = data.read_at(item, SIDE) if data.pixels is None else data.pixels[item].cpu()
    except Unreadable:
        return None
    x_3P = image.flatten(1).double() / 255
    return x_3P.mean(1), x_3P @ x_3P.T / x_3P.shape[1]
