"""ContrastiveCrop in the loop, for any method: where each training image is cropped, found anew at intervals.

Shapes   N images of the set, B of a step.
"""

import dataclasses
from typing import Any

import torch
from torch import Tensor

from manyviews import distributed
from manyviews.data import ItemSet
from manyviews.errors import ManyviewsError
from manyviews.evaluation.features import device_of, same_randomness
from manyviews.method import Method
from manyviews.nets.encoder import Encoder, judging
from manyviews.nets.grids import grid_of
from manyviews.nets.watching import reads_patches
from manyviews.recipe import Recipe
from manyviews.views import Draws, Looks, Views, normalise
from manyviews.views.contrastive_crop import Focus, boxes_of
from manyviews.views.geometry import resize

BATCH = 512  # images that the net looks at in one go
WHO = "--crops contrastive"


class Boxes:
    """The boxes of all images, and when they are due. Plain crops until there are some.

    Args:
        steps: of the run; None where only the clock can tell.
        epoch: steps of one pass over the data.

    Raises:
        ManyviewsError: this run cannot have boxes, or would never come to use them.
    """

    def __init__(
        self, method: Method, data: ItemSet, recipe: Recipe, looks: Looks, steps: int | None, epoch: int
    ) -> None:
        self.data, self.recipe = data, recipe
        self.box_N4: Tensor | None = None
        self.found = 0  # how often they were
        if not isinstance(looks, Views) or not any(view.crop for view in looks.views):
            raise ManyviewsError(
                f"{WHO} places random crops of images, and this method's views have none; leave it out."
            )
        if data.values is None:
            raise ManyviewsError(
                f"{WHO} looks for the boxes of all images in memory, and {data.name} is read from disk; leave it out, "
                "or take a smaller set or --size that fits."
            )
        if reads_patches(method.encoder):
            raise ManyviewsError(
                f"{WHO} looks where the channels of a convolutional net add up to most, and those of a ViT are normalised to add "
                "up to nothing; leave it out, or take a ResNet."
            )
        grid = grid_of(method.encoder, recipe.size, WHO)
        if grid.height * grid.width == 1:
            raise ManyviewsError(
                f"{WHO} finds boxes in the net's feature grid, which is a single cell for views of {recipe.size} "
                "pixels; take a larger --size or another --net."
            )
        if steps is not None and (steps - 1) // epoch * epoch / steps < recipe.crop_first:
            raise ManyviewsError(
                f"{WHO} would never look for boxes: it does so at the start of an epoch, and no epoch of this run starts after "
                f"--crop-first {recipe.crop_first}; lower it, or lengthen --budget."
            )

    def due(self, progress: float) -> int:
        """How often boxes should have been found by now."""
        since = progress - self.recipe.crop_first
        return 0 if since < 0 else 1 + int(since / self.recipe.crop_every + 1e-9)

    def find(self, encoder: Encoder, due: int) -> None:
        """Find all boxes, by what the encoder makes of the whole images."""
        assert self.data.values is not None
        device, size, boxes = device_of(encoder), self.recipe.size, []
        with judging(encoder), same_randomness(device):
            for pixels in self.data.values.split(BATCH):
                x = normalise(resize(pixels.to(device), size, size).float().div_(255))
                boxes.append(boxes_of(encoder.grid(x), size, self.recipe.crop_threshold))
        self.box_N4 = distributed.broadcast_(torch.cat(boxes)).cpu()
        self.found = due

    def focused(self, draws: Draws, index_B: Tensor) -> Draws:
        """The draws of a step, their crops in the boxes of its images."""
        if self.box_N4 is None:
            return draws
        focus = Focus(self.box_N4[index_B.cpu()], self.recipe.crop_alpha)
        return dataclasses.replace(draws, focus=focus)

    def state(self) -> dict[str, Any]:
        return {"box_N4": self.box_N4, "found": self.found}

    def restore(self, state: dict[str, Any]) -> None:
        self.box_N4, self.found = state["box_N4"], state["found"]
