"""Segmentation: which class every pixel shows, told from an encoder's feature map.

Papers   The decoder of several transposed convolutions, the encoder fine-tuned with it: BEiT (arXiv:2106.08254, section
         3.2); step by step up to the pixels, with the "poly" schedule: SETR-PUP (arXiv:2012.15840, sections 3.3 and 4). A
         linear classifier of the cells alone asks for what the map already knows.
Differs  One map is decoded, the encoder's last; BEiT's and SETR's auxiliary heads on middle layers are left out.
Shapes   B N images, S side of a view, T side of the labelled square, K classes, C channels of a map of h w cells.
"""

import copy
import math
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from manyviews import rng
from manyviews.data import ItemSet
from manyviews.data.items import CLASSES, VOID
from manyviews.eager import eager
from manyviews.errors import ManyviewsError
from manyviews.evaluation.batches import Plan
from manyviews.evaluation.descent import descend, parameter_groups
from manyviews.evaluation.features import device_of, same_randomness
from manyviews.evaluation.frozen import frozen as unchanged
from manyviews.evaluation.schedules import Schedule
from manyviews.evaluation.sets import pixel_classes
from manyviews.nets.encoder import Encoder, judging
from manyviews.nets.grids import Grid, grid_of
from manyviews.views import View, Views
from manyviews.views.suited import posed

SHOWN = 8  # test images among the pictures


@dataclass(frozen=True)
class Overlap:
    """How far what was said of pixels covers what they are. All are shares in [0, 1]."""

    miou: float  # mean of ``iou`` over the classes that are there or were said
    pixel_accuracy: float
    iou: dict[str, float | None]  # intersection over union by class; None: neither there nor said
    pixels: int  # judged: those of a class

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Segmented:
    """A segmenter grown from an encoder, and its figures after the last epoch."""

    overlap: Overlap
    images: int  # that it learned from
    loss: float  # of the last step
    segmenter: "Segmenter" = field(repr=False)
    pictures: Tensor = field(repr=False)  # uint8 [R, 3, 3, T, T]: a test image, what it shows, what was said

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the figures, without the network and the pictures."""
        return self.overlap.as_dict() | {"images": self.images, "loss": self.loss}


class Segmenter(nn.Module):
    """Images ``[B, 3, S, S]`` -> logits ``[B, K, S, S]``: an encoder's feature map and what reads it."""

    def __init__(self, encoder: Encoder, head: nn.Module, frozen: bool):
        super().__init__()
        self.encoder, self.head, self.frozen = encoder, head, frozen

    def forward(self, x_B3SS: Tensor) -> Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            grid_BChw = self.encoder.grid(x_B3SS)
        return enlarged(self.head(grid_BChw), x_B3SS.shape[2:])

    def train(self, mode: bool = True) -> "Segmenter":
        """A frozen encoder stays in evaluation mode, its batch norm included."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self


def enlarged(logits_BKhw: Tensor, shape: torch.Size) -> Tensor:
    """Bilinear, to the height and width of ``shape``."""
    same = logits_BKhw.shape[2:] == shape
    return logits_BKhw if same else F.interpolate(logits_BKhw, shape, mode="bilinear")


def decoder(grid: Grid, size: int, classes: int, width: int) -> nn.Sequential:
    """Transposed convolutions that each double the map's sides until it is no smaller than ``size``, then a class each."""
    doublings = math.ceil(math.log2(max(1.0, size / min(grid.height, grid.width))))
    layers: list[nn.Module] = []
    for step in range(doublings):
        layers += [
            nn.ConvTranspose2d(width if step else grid.channels, width, 2, stride=2),
            nn.BatchNorm2d(width),
            nn.GELU(),
        ]
    return nn.Sequential(*layers, nn.Conv2d(width if doublings else grid.channels, classes, 1))


def reader(grid: Grid, classes: int) -> nn.Sequential:
    """A linear classifier of each cell; without parameters, the norm before it only makes channels alike in size."""
    return nn.Sequential(nn.BatchNorm2d(grid.channels, affine=False), nn.Conv2d(grid.channels, classes, 1))


def segment(
    encoder: nn.Module,
    train: ItemSet,
    test: ItemSet,
    *,
    size: int,
    frozen: bool = False,
    width: int = 128,
    epochs: int = 30,
    lr: float = 1e-3,
    weight_decay: float = 0.05,
    layer_decay: float = 1.0,
    schedule: Schedule = "poly",
    warmup: float = 0.05,
    batch: int = 32,
    view: View | None = None,
    upright: bool = True,
    mirror: bool = True,
    seed: int = 0,
) -> Segmented:
    """Learn the classes of pixels with a copy of the encoder, and judge on the centre square of every test image.

    The figures are the last epoch's, over all pixels of a class, at the resolution of the labels: logits are enlarged
    to it (bilinear). What is drawn (order, crops, dropout, the head) is a function of the seed and the step.

    Args:
        size: S, side of the square that the encoder sees, in pixels.
        frozen: leave the encoder as it is, under a linear classifier of each cell of its map instead of a decoder.
        width: channels of the decoder.
        lr: peak learning rate of the head, for this batch; AdamW.
        layer_decay: each layer of the encoder learns at this share of the rate of the one above.
        view: how training images and their classes are seen; None: a crop of 25% to 100% and flip.
        upright: False: images have no up and down, and the usual view is also turned by 0 to 3 quarters.
        mirror: False: their left and right differ, and the usual view is not flipped.

    Raises:
        ManyviewsError: an encoder without a feature map, a rate that cannot be, a loss that is not finite.
    """
    if not isinstance(encoder, Encoder):
        raise ManyviewsError(
            f'"segment" needs an encoder with a feature grid, and {type(encoder).__name__} has none; take "knn" or "linear".'
        )
    if width < 1:
        raise ManyviewsError(f"width is {width}; a decoder needs at least 1 channel.")
    names, device = pixel_classes(train, test), device_of(encoder)
    grid = grid_of(encoder, size, '"segment"')
    plan = Plan(epochs, batch, seed, "segment")
    views = Views(view or posed(View(size=size, crop=(0.25, 1.0)), upright, mirror))
    total, loss = epochs * plan.steps_per_epoch(len(train)), torch.tensor(0.0)
    with unchanged(encoder), torch.enable_grad(), same_randomness(device):
        torch.manual_seed(rng.seed_of(seed, "segment", "head"))
        head = reader(grid, len(names)) if frozen else decoder(grid, size, len(names), width)
        network = copy.deepcopy(encoder).requires_grad_(not frozen)
        segmenter = Segmenter(network, head, frozen).to(device).train()
        learns = nn.Identity() if frozen else network
        optimise = eager(torch.optim.AdamW)(parameter_groups(learns, head, lr, layer_decay, weight_decay))
        for step in range(total):
            x_B3SS, ids_BSS = _seen(train, views, plan, step, device)
            torch.manual_seed(rng.seed_of(seed, "segment", "dropout", step))
            loss = pixel_loss(segmenter(x_B3SS), ids_BSS)
            descend(optimise, loss, step, total, schedule, warmup, "Segmentation")
    segmenter.eval()
    confusion_KK, pictures = _judged(segmenter, test, size, len(names), batch)
    return Segmented(overlap(confusion_KK, names), len(train), loss.item(), segmenter, pictures)


def _seen(data: ItemSet, views: Views, plan: Plan, step: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """What a step learns from: normalised images ``[B, 3, S, S]`` and the ids of the same pixels ``[B, S, S]``."""
    assert data.values is not None
    rows_B = plan.rows(len(data), step).to(data.values.device)
    draws = views.draw(len(rows_B), plan.seed, plan.purpose, step)
    (x_B3SS,) = views(data.values[rows_B].to(device), draws)
    (ids_BSS,) = views.cropped_ids(data.senses[CLASSES][rows_B, 0].to(device), draws, VOID)
    return x_B3SS, ids_BSS.long()


def pixel_loss(logits_BKSS: Tensor, ids_BSS: Tensor) -> Tensor:
    """Mean cross entropy over the pixels of a class; 0 where a batch has none."""
    logits_NK, ids_N = (
        logits_BKSS.movedim(1, -1).flatten(0, 2),
        ids_BSS.flatten(),
    )  # as rows: repeatable on a GPU
    summed = F.cross_entropy(logits_NK, ids_N, ignore_index=VOID, reduction="sum")
    return summed / (ids_BSS != VOID).sum().clamp(min=1)


def _judged(
    segmenter: Segmenter, data: ItemSet, size: int, classes: int, batch: int
) -> tuple[Tensor, Tensor]:
    """Pixels by [what they show][what was said], int64 [K, K]; and pictures of some images."""
    assert data.values is not None
    device, centre = device_of(segmenter), Views(View(size=size, crop=None, flip=0))
    confusion_KK = torch.zeros(classes, classes, dtype=torch.long)
    shown = set(torch.linspace(0, len(data) - 1, min(SHOWN, len(data))).long().tolist())
    pictures = []
    with judging(segmenter), same_randomness(device):
        for rows_B in torch.arange(len(data)).split(batch):
            there_B = rows_B.to(data.values.device)
            images_B3HW = data.values[there_B].to(device)
            ids_BTT = _central(data.senses[CLASSES][there_B, 0]).to(device)
            (x_B3SS,) = centre(images_B3HW, centre.draw(len(rows_B), 0, "centre"))
            said_BTT = enlarged(segmenter(x_B3SS).float(), ids_BTT.shape[1:]).argmax(1)
            confusion_KK += confusion(ids_BTT, said_BTT, classes).cpu()
            for row in sorted(shown & set(rows_B.tolist())):
                k = row - int(rows_B[0])
                painted = [paint(ids_TT.cpu()) for ids_TT in (ids_BTT[k], said_BTT[k])]
                pictures.append(torch.stack([_central(images_B3HW[k]).cpu(), *painted]))
    return confusion_KK, torch.stack(pictures)


def _central(x: Tensor) -> Tensor:
    """The central square of ``[..., H, W]``, where `View` has it."""
    height, width = x.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return x[..., top : top + side, left : left + side]


def confusion(ids: Tensor, said: Tensor, classes: int) -> Tensor:
    """How many pixels of each class were said to be of each: int64 ``[K, K]``; void ones are left out."""
    there = ids != VOID
    pairs = classes * ids[there].long() + said[there].long()
    return pairs.bincount(minlength=classes**2).reshape(classes, classes)


def overlap(confusion_KK: Tensor, names: tuple[str, ...]) -> Overlap:
    """The figures of a confusion matrix [what is there][what was said].

    Raises:
        ManyviewsError: no pixel has a class.
    """
    pixels = int(confusion_KK.sum())
    if pixels == 0:
        raise ManyviewsError("No pixel of the test images has a class, so there is nothing to judge by.")
    hit_K = confusion_KK.diagonal().double()
    union_K = confusion_KK.sum(0) + confusion_KK.sum(1) - hit_K
    iou_K = hit_K / union_K
    present_K = union_K > 0
    named = zip(names, iou_K.tolist(), present_K.tolist(), strict=True)
    return Overlap(
        miou=iou_K[present_K].mean().item(),
        pixel_accuracy=hit_K.sum().item() / pixels,
        iou={name: share if present else None for name, share, present in named},
        pixels=pixels,
    )


def paint(ids_HW: Tensor) -> Tensor:
    """A colour a class, the same on every picture, void black: uint8 ``[3, H, W]``."""
    k_V = torch.arange(256)[:, None]
    hue_V1, light_V1 = k_V * 0.618034, torch.tensor([0.55, 0.38, 0.72])[k_V % 3]  # golden: no two near
    wave_V3 = torch.cos(2 * math.pi * (hue_V1 + torch.tensor([0.0, 1 / 3, 2 / 3])))
    colours_V3 = ((light_V1 + 0.28 * wave_V3) * 255).round().clamp(0, 255).to(torch.uint8)
    colours_V3[VOID] = 0
    return colours_V3[ids_HW.long()].permute(2, 0, 1)
