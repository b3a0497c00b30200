"""The embedded world: data out of nothing, for the first run, the tests and every comparison.

An item shows a creature of one of ten species. A species, like a natural class, is a bundle of correlated cues
(silhouette, marking, palette, habitat), each with variation, seen under nuisances (place, size, turn, light,
clutter, occlusion, noise). What an item *is* (`latents`) is apart from how it *looks* (`render`), so that other
senses (depth, a caption, a sound) can be told from the same latents. Items never change under a `WORLD_VERSION`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from manyviews.data.items import CLASSES, ItemSet, Rows
from manyviews.data.world.latents import (
    HABITATS,
    MARKINGS,
    PALETTES,
    SEASONS,
    SPECIES,
    WORLD_VERSION,
    Latents,
    latents,
)
from manyviews.data.world.render import depth, render
from manyviews.errors import ManyviewsError, NoSplit

__all__ = [
    "HABITATS",
    "MARKINGS",
    "PALETTES",
    "SEASONS",
    "SPECIES",
    "WORLD_VERSION",
    "Latents",
    "Scene",
    "depth",
    "latents",
    "render",
    "scene",
    "world",
]

ITEMS = {"train": 12_000, "test": 2_000}  # by default


@dataclass(frozen=True)
class Scene:
    """N items of the world, with all that is known of them."""

    image: Tensor  # uint8 [N, 3, S, S]
    mask: Tensor  # bool [N, S, S], the visible part of the creature
    box: Tensor  # float32 [N, 4], x0 y0 x1 y1 in pixels around the mask, x1 and y1 exclusive; zeros if none is visible
    species: Tensor  # int64 [N]
    latents: Latents


def world(
    split: str = "train", *, size: int = 32, items: int | None = None, seed: int = 0, senses: bool = False
) -> ItemSet:
    """The world's images, resident in memory, labelled by species.

    Args:
        split: "train" (12,000 items by default) or "test" (2,000); they never share an item.
        size: side of the images in pixels, at least 8. The same items at any size.
        items: how many; the first ``items`` of a longer set are the same.
        seed: another seed is another set of individuals.
        senses: also fill ``senses`` with what else can be seen of the same items: "depth" (0 near, 255 far), "mask"
            (255 where the creature is visible) and "classes" (its species' number + 1 there, 0 elsewhere), each uint8
            [N, 1, S, S].

    Raises:
        ManyviewsError: for an unknown split, a side under 8 or less than one item.
    """
    if split not in ITEMS:
        raise NoSplit(f"The world has no split {split!r}: choose one of {', '.join(ITEMS)}.")
    count = ITEMS[split] if items is None else items
    if count < 1:
        raise ManyviewsError(f"The world was asked for {count} items: ask for at least one.")
    seen = scene(split, range(count), size, seed=seed)
    return ItemSet(
        name=f"world-{WORLD_VERSION}/{split}",
        names=[f"{split}/{i:06d}" for i in range(count)],
        labels=seen.species,
        classes=SPECIES,
        values=seen.image,
        read=Rows(seen.image),
        senses=_senses(seen, size) if senses else {},
        pixel_classes=("background", *SPECIES) if senses else None,
    )


def _senses(seen: Scene, size: int) -> dict[str, Tensor]:
    visible_N1SS = seen.mask[:, None].to(torch.uint8)
    classes_N1SS = visible_N1SS * (seen.species[:, None, None, None] + 1).to(torch.uint8)
    return {"depth": depth(seen.latents, size), "mask": visible_N1SS * 255, CLASSES: classes_N1SS}


def scene(split: str, indices: Sequence[int] | Tensor, size: int, *, seed: int = 0) -> Scene:
    """Items of the world by number, with masks, boxes and latents.

    Args:
        split: "train" or "test".
        indices: numbers of items, in any order.
        size: S, side in pixels, at least 8.
        seed: as in `world`.

    Raises:
        ManyviewsError: for a side under 8 pixels.
    """
    if size < 8:
        raise ManyviewsError(f"The world cannot be drawn at {size} pixels a side: ask for at least 8.")
    z = latents(split, indices, seed=seed)
    image, mask = render(z, size)
    return Scene(image=image, mask=mask, box=boxes(mask), species=z.species, latents=z)


def boxes(mask_NSS: Tensor) -> Tensor:
    """The smallest box around every mask: float32 [N, 4] as x0 y0 x1 y1, x1 and y1 exclusive; zeros where empty."""
    columns, rows = mask_NSS.any(1).to(torch.uint8), mask_NSS.any(2).to(torch.uint8)
    size = mask_NSS.shape[-1]
    corners = [
        columns.argmax(1),
        rows.argmax(1),
        size - columns.flip(1).argmax(1),
        size - rows.flip(1).argmax(1),
    ]
    return torch.stack(corners, 1).to(torch.float32) * mask_NSS.flatten(1).any(1, keepdim=True)
