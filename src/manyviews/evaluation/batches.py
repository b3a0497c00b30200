"""Augmented training batches for evaluators that train: what step t sees is a function of (seed, purpose, t) alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from manyviews import rng
from manyviews.data import ItemSet
from manyviews.data.loader import enough
from manyviews.errors import ManyviewsError
from manyviews.evaluation.features import Make, read_ahead
from manyviews.evaluation.labels import label_subset
from manyviews.views import Draws, Kind, Text, View, Wave, nothing, views_of
from manyviews.views.suited import posed


@dataclass(frozen=True)
class Plan:
    """How often and in what portions a labelled set is seen."""

    epochs: int
    batch: int  # images a step; no more than the set holds
    seed: int
    purpose: str  # keeps the draws of one evaluator apart from another's

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 1:
            raise ManyviewsError(
                f"Training takes at least one epoch and one image a step, not {self.epochs}, {self.batch}."
            )

    def steps_per_epoch(self, n: int) -> int:
        """Full batches only: what is left over differs from epoch to epoch, so no image is left out for good."""
        return max(1, n // self.batch)

    def rows(self, n: int, step: int) -> Tensor:
        """Which items of a set of ``n`` a step sees, int64 [B]: every epoch in another order."""
        epoch, turn = divmod(step, self.steps_per_epoch(n))
        order_N = _order(n, self.seed, self.purpose, epoch)
        return order_N[turn * self.batch : (turn + 1) * self.batch]


@lru_cache(maxsize=4)
def _order(n: int, seed: int, purpose: str, epoch: int) -> Tensor:
    return torch.randperm(n, generator=rng.generator(seed, purpose, "order", epoch))


@dataclass(frozen=True)
class Labelled:
    """One step's images and labels, on the device."""

    step: int
    x_BCHW: Tensor  # float32, augmented and normalised
    labels_B: Tensor
    ends_epoch: bool


def usual_batch(items: int) -> int:
    """256 images a step where nothing is said; of few, an eighth of them, so that a pass is more than a step or two."""
    return min(256, max(8, items // 8))


def usual_view(kind: Kind, size: int, upright: bool = True, mirror: bool = True) -> View | Wave | Text:
    """How training items are seen where nothing is said: random resized crop of 8% to 100% and flip; a window; a text.

    Of what is not ``upright`` each crop is also turned by 0 to 3 quarters; of what has no ``mirror`` image none is flipped.

    Raises:
        ManyviewsError: it is no image, and said to have no up and down, or no mirror image.
    """
    if kind == "images":
        return posed(View(size=size), upright, mirror)
    if not (upright and mirror):
        said = "mirror=false" if upright else "upright=false"
        raise ManyviewsError(f"{said} is of images, and these are {kind}; leave it out.")
    return Text(size=size) if kind == "texts" else Wave(size=size)


def augmented(
    data: ItemSet, view: View | Wave | Text, plan: Plan, device: torch.device
) -> Iterator[Labelled]:
    """Every step's batch, one view of each image. Images on disk are cropped at full resolution by threads."""
    assert data.labels is not None
    views = views_of(view)
    side = enough(views)
    per_epoch = plan.steps_per_epoch(len(data))
    batch = min(plan.batch, len(data))
    total = per_epoch * plan.epochs

    def draws(step: int) -> Draws:
        return views.draw(batch, plan.seed, plan.purpose, step)

    def job(step: int) -> tuple[list[int], Make]:
        drawn = draws(step)
        items = plan.rows(len(data), step).tolist()
        return items, lambda item, place: views.crop(data.read_at(item, side), drawn, place)[0]

    crops = read_ahead(data, (job(step) for step in range(total))) if data.values is None else None
    for step in range(total):
        rows_B = plan.rows(len(data), step)
        if data.values is not None:
            (x_BCHW,) = views(data.values[rows_B.to(data.values.device)].to(device), draws(step))
        else:
            assert crops is not None
            crops_B = next(crops)
            blank = nothing(data.kind, view.size)[0]
            there_B = torch.tensor([crop is not None for crop in crops_B])
            if not there_B.any():
                raise ManyviewsError(
                    f"None of the {batch} images of a batch of {data.name} can be read; take larger batches."
                )
            stacked_BCHW = torch.stack([blank if crop is None else crop for crop in crops_B])
            (x_BCHW,) = views.finish([stacked_BCHW.to(device)], draws(step))
            x_BCHW, rows_B = x_BCHW[there_B.to(device)], rows_B[there_B]
        yield Labelled(step, x_BCHW, data.labels[rows_B].to(device), ends_epoch=(step + 1) % per_epoch == 0)


def labelled_part(data: ItemSet, fraction: float, seed: int) -> ItemSet:
    """The labelled images that a classifier may learn from: all of them, or a class-balanced share."""
    if data.labels is None:
        raise ManyviewsError(f"A classifier learns from labels; {data.name} has none.")
    return data if fraction == 1 else data.subset(label_subset(data.labels, fraction, seed).tolist())
