"""Training from scratch against pre-training, at equal cost: was it worth the images that it looked at?

Paper    He, Girshick, Dollár, ICCV 2019 (arXiv:1811.08883): what is learned from scratch has to be given as many
         pixels as pre-training and fine-tuning saw together (section 3, figure 2).
Differs  The cost is counted in images of the net's size that it learns from; looks without a gradient (a momentum
         twin's, the evaluations) are not counted. The seconds stand beside it. The paper detects objects; here a
         classifier is trained, and its longer run has the whole cosine stretched, where the paper's keeps its last
         phase, and the net's own norms, where the paper's are group norms or synchronised ones.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from torch import nn

from manyviews import nets, rng
from manyviews.data import ItemSet
from manyviews.errors import ManyviewsError
from manyviews.evaluation.features import device_of, same_randomness
from manyviews.evaluation.finetune import FineTuned, finetune
from manyviews.nets.encoder import Built


@dataclass(frozen=True)
class FromScratch:
    """Both classifiers, and what each of them cost."""

    pretrained: FineTuned
    scratch: FineTuned
    pretraining_items: int
    pretraining_seconds: float | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the figures from scratch, the pre-trained top-1 beside them, items and seconds of each part."""
        return self.scratch.as_dict() | {
            "pretrained": self.pretrained.scores.top1,
            "items": {
                "pre-training": self.pretraining_items,
                "fine-tuning": self.pretrained.items,
                "scratch": self.scratch.items,
            },
            "seconds": {
                "pre-training": self.pretraining_seconds,
                "fine-tuning": self.pretrained.seconds,
                "scratch": self.scratch.seconds,
            },
        }


def scratch(
    encoder: nn.Module,
    train: ItemSet,
    test: ItemSet,
    *,
    classes: int,
    size: int,
    pretraining_items: int | None = None,
    pretraining_seconds: float | None = None,
    epochs: int = 30,
    lr: float = 1e-3,
    batch: int | None = None,
    label_fraction: float = 1.0,
    upright: bool = True,
    mirror: bool = True,
    seed: int = 0,
) -> FromScratch:
    """Fine-tune the encoder, and train the same net from random weights for the cost of both; all else is equal.

    Args:
        pretraining_items: images of ``size`` pixels that pre-training learned from, every view counted.
        pretraining_seconds: how long it took, for the record.
        upright: False: images have no up and down, and views are also turned by 0 to 3 quarters.
        mirror: False: their left and right differ, and views are not flipped.
        epochs: of fine-tuning; from scratch it is as many more as make up for pre-training, rounded up.

    Raises:
        ManyviewsError: the cost of pre-training is not known, or the net cannot be made again.
    """
    if pretraining_items is None:
        raise ManyviewsError(
            'What pre-training cost is not known; give the number of images it saw, as options={"scratch": {"pretraining_items": N}}.'
        )
    again = cast(Built | None, getattr(encoder, "built", None))
    if again is None:
        raise ManyviewsError(
            f'How to build {type(encoder).__name__} again is not known, so it cannot be trained from scratch; take "finetune".'
        )
    device = device_of(encoder)
    with same_randomness(device):
        torch.manual_seed(rng.seed_of(seed, "scratch"))
        fresh = nets.build(**asdict(again)).to(device)
    palette = {name: x for name, x in encoder.state_dict().items() if name.rpartition(".")[2] == "palette"}
    fresh.load_state_dict(palette, strict=False)  # how an image is read is no part of what was learned
    settings: dict[str, Any] = {
        "classes": classes, "size": size, "lr": lr, "batch": batch, "label_fraction": label_fraction,
        "upright": upright, "mirror": mirror, "seed": seed,
    }  # fmt: skip
    pretrained = finetune(encoder, train, test, epochs=epochs, **settings)
    longer = epochs_at_equal_cost(pretraining_items, epochs, pretrained.items // epochs)
    learned = finetune(fresh, train, test, epochs=longer, **settings)
    return FromScratch(pretrained, learned, pretraining_items, pretraining_seconds)


def epochs_at_equal_cost(pretraining_items: int, epochs: int, items_per_epoch: int) -> int:
    """Epochs from scratch that cost no less than pre-training and ``epochs`` of fine-tuning, and not a whole one more."""
    return epochs + math.ceil(pretraining_items / items_per_epoch)
