"""The colours of a set: how they vary together, for a shift along their principal axes, and some of them, for a palette."""

from collections.abc import Iterator

import torch
from torch import Tensor

from manyviews import rng
from manyviews.data.decode import Unreadable
from manyviews.data.items import ItemSet
from manyviews.errors import ManyviewsError

SAMPLE = 1000  # images: their pixels are millions
SIDE = 64  # pixels that the shorter side of an image on disk is decoded to at least
PIXELS = 2**16  # a sample of colours


def rgb_covariance(data: ItemSet, *, sample: int = SAMPLE, seed: int = 0) -> tuple[tuple[float, ...], ...]:
    """The covariance ``[3, 3]`` of red, green and blue in [0, 1], over all pixels of ``sample`` images.

    Every image weighs the same, whatever its size. Which images are looked at is a function of the seed; one that
    cannot be read is passed over. Raises ``ManyviewsError`` where none can be read.
    """
    moments = [_moments(image) for image in _some(data, sample, seed)]
    mean_3 = torch.stack([mean for mean, _ in moments]).mean(0)
    square_33 = torch.stack([square for _, square in moments]).mean(0)
    return tuple(tuple(row) for row in (square_33 - mean_3.outer(mean_3)).tolist())


def colour_sample(data: ItemSet, *, sample: int = SAMPLE, pixels: int = PIXELS, seed: int = 0) -> Tensor:
    """Up to ``pixels`` colours, uint8 ``[M, 3]``, an equal share of them from each of ``sample`` images.

    Which images and which of their pixels is a function of the seed; an image that cannot be read is passed over.
    Raises ``ManyviewsError`` where none can be read.
    """
    each = max(1, pixels // max(1, min(sample, len(data))))
    found, generator = [], rng.generator(seed, "pixels")
    for image in _some(data, sample, seed):
        image_3P = image.flatten(1)
        found.append(image_3P[:, torch.randperm(image_3P.shape[1], generator=generator)[:each]].T)
    return torch.cat(found)[:pixels]


def _some(data: ItemSet, sample: int, seed: int) -> Iterator[Tensor]:
    """Up to ``sample`` images, uint8 ``[3, H, W]``, one after the other, less those that cannot be read."""
    read = 0
    for item in torch.randperm(len(data), generator=rng.generator(seed, "colours"))[:sample].tolist():
        try:
            image = data.read_at(item, SIDE) if data.values is None else data.values[item].cpu()
        except Unreadable:
            continue
        read += 1
        yield image
    if not read:
        raise ManyviewsError(f"{data.name} has no image that can be read, so its colours are not known.")


def _moments(image: Tensor) -> tuple[Tensor, Tensor]:
    """The mean colour ``[3]`` of an image and of the products of its colours ``[3, 3]``."""
    x_3P = image.flatten(1).double() / 255
    return x_3P.mean(1), x_3P @ x_3P.T / x_3P.shape[1]
