"""InfoMin: good views share what the task needs and nothing else, so make them share less.

Paper    Tian, Sun, Poole, Krishnan, Schmid, Isola, NeurIPS 2020 (arXiv:2005.10243). Section 3 says what good views are.
         InfoMin Aug and its settings are those of the authors' code, PyContrast ("InfoMin": augmentation D, jigsaw
         branch).
Differs  RandAugment has the fourteen operations of its own paper here, in torchvision's ranges; invert and
         solarise-add, which the authors add, are missing. Colour, brightness, contrast and sharpness change both ways
         here. At the full magnitude, solarise inverts every pixel here and none in the authors' code. All operations
         share one magnitude here, which does not vary. Batch statistics are those of `splits` slices of the batch, as
         in MoCo. The sides of a jigsaw's pieces are a multiple of 4 pixels; the pieces do not change the running
         statistics, which are those of whole images. Parted views (`space`, `distance`, `frequency`) are parts of one
         crop and need `jigsaw` to be 0. Two parts by `distance` or `frequency` are seen by one network, which is judged
         on whole images; channels (`space`) have a network each. I_NCE takes its negatives from the queue, whose keys
         come from slightly older encoders. Learned views, made by a flow that plays against two encoders (section 4),
         are the method `infomin_learned`.
Shapes   B images, C H W pixels, D embedding, K queued keys, M parts of an embedding: 2 if views are channels, else 1.
"""

import math
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from manyviews import distributed
from manyviews.errors import ManyviewsError
from manyviews.memory import Queue, Twin
from manyviews.method import Anatomy, Batch, Method, NetFactory, Out, Spec
from manyviews.nets import Encoder
from manyviews.nets.heads import mlp
from manyviews.nets.jigsaw import JigsawHead, side_it_takes
from manyviews.nets.norms import split_batch_norm, statistics_kept
from manyviews.objectives import info_nce
from manyviews.recipe import Recipe
from manyviews.views import View, Views, colour_jitter
from manyviews.views.blur import low_pass
from manyviews.views.patches import apart, cut, in_cells

# A jigsaw's cells a side, and the pixels of a cell and of the patch in it where views have 224 (authors' code).
GRID, CELL, PATCH = 3, 85, 64
FIELD = 4  # sides of a view that the image has, where two patches of a view's size are cut from it
SPACES = ("lab", "ydbdr", "ycbcr", "rgb")


@dataclass(frozen=True, kw_only=True)
class Config:
    dim: int = 128  # D, width of the embedding (authors' code)
    hidden: int = 2048  # width of the projectors' hidden layer (authors' code: that of the encoder)
    queue: int = 65_536  # K, keys in the dictionary (authors' code)
    momentum: float = 0.999  # share of the old key encoder kept at each step (authors' code)
    temperature: float = 0.15  # divides the cosine (authors' code)
    splits: int = 8  # slices of the whole batch, each with its own batch statistics, as on as many devices
    min_area: float = 0.2  # smallest crop, a share of the image's area (authors' code); the paper sweeps it
    strength: float = 1.0  # s of the colour jitter: 0.8 s, hue 0.2 s (authors' code); the paper sweeps it
    grey: float = 0.2  # probability of greying (authors' code); unused if the views are channels (space)
    blur: float = 0.5  # probability of Gaussian blur (authors' code)
    randaugment: int = 2  # operations drawn for a view, each done with probability 0.5 (authors' code)
    magnitude: float = 30.0  # strength of RandAugment operations, 30 at most (authors' code: 10 of 10)
    jigsaw: float = 0.5  # beta, share of the jigsaw loss in the total; 0: no jigsaw branch (authors' code)
    space: str | None = None  # views: first channel and the rest of lab, ydbdr, ycbcr or rgb (paper's sweep)
    distance: float | None = None  # views: patches this many sides apart, down and right (paper's sweep)
    frequency: float | None = None  # views: a blur of this many pixels, and what it removes (paper's sweep)


SERVES = {"grey": ("space", (None,)), "magnitude": ("randaugment", ())}
ANATOMY = Anatomy(
    pretext="instance discrimination, jigsaw",
    positives="a strongly changed view, a jigsaw of the image",
    negatives="a queue of past keys",
    target="momentum twin",
    objective="InfoNCE",
)


class InfoMin(Method):
    def __init__(self, config: Config, net: NetFactory, spec: Spec) -> None:
        super().__init__(config, spec)
        check(config)
        self.encoder = net(within=f"{config.space}({{}})") if config.space else net()
        self.query = Embedder(self.encoder, config)
        split_batch_norm(self.query, config.splits)
        self.key = Twin(self.query)
        self.queues = nn.ModuleList(Queue(config.queue, config.dim) for _ in self.query.heads)
        self.learned_views = 2 if config.jigsaw else 1  # v_2 is for the twin
        self.patch = max(4, PATCH * spec.size // 224 // 4 * 4)  # strides and patches of nets divide it
        self.cell = max(self.patch, round(CELL * spec.size / 224))
        if config.jigsaw:
            self.jigsaw = JigsawHead(self.encoder.width, config.hidden, config.dim, GRID**2)
            self.seen = side_it_takes(self.encoder, self.patch, spec.size)

    def views(self) -> Views:
        c = self.config
        t = View(
            size=self.spec.size, crop=(c.min_area, 1.0), jitter=colour_jitter(c.strength), blur=c.blur,
            grey=0.0 if c.space else c.grey, randaugment=(c.randaugment, c.magnitude), randaugment_p=0.5,
            randaugment_colours=not c.space,
        )  # fmt: skip
        if c.distance is not None:
            return Views(replace(t, size=FIELD * t.size))
        if c.space or c.frequency is not None:
            return Views(t)  # v_1 and v_2 are two parts of one image
        whole = View(size=GRID * self.cell, crop=(0.6, 1.0))  # no change of colours (authors' code)
        return Views(t, whole, t) if c.jigsaw else Views(t, t)

    def loss(self, batch: Batch, progress: float) -> Out:
        c = self.config
        v_1, v_2 = self.pair(batch)
        q_M = self.query(v_1)
        k_M = self.key.shuffled(v_2)
        queue_M = [cast(Queue, queue).keys_KD for queue in self.queues]
        others = zip(q_M, k_M[::-1], queue_M[::-1], strict=True)  # light looks up colour, and colour light
        losses = [info_nce(q_BD, k_BD, queue_KD, c.temperature) for q_BD, k_BD, queue_KD in others]
        loss = torch.stack(losses).sum()
        # I_NCE of section 3: a bound from below on I(v_1; v_2) in nats, and never above log (K + 1): K negatives and the key itself.
        information = math.log(c.queue + 1) - loss.detach() / len(losses)
        log = {"mutual_information": information}
        if c.jigsaw:
            piecemeal_BD = self.piecemeal(batch.views[1])
            jigsaw = info_nce(piecemeal_BD, k_M[0], queue_M[0], c.temperature)
            loss = (1 - c.jigsaw) * loss + c.jigsaw * jigsaw
            log["jigsaw_loss"] = jigsaw.detach()
        return Out(loss, log=log, carry=tuple(k_M), z=q_M[0])

    def pair(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """v_1 and v_2, whose shared information is what section 3 studies."""
        c, x = self.config, batch.views[0]
        if c.distance is not None:
            side = self.spec.size
            corners = apart(distributed.rand(len(x), 2), round(c.distance * side), x.shape[-1], side)
            v_B2CHW = cut(x, *corners, side)
            return v_B2CHW[:, 0], v_B2CHW[:, 1]
        if c.frequency is not None:
            low = low_pass(x, c.frequency)
            return low, x - low
        return x, x if c.space else batch.views[-1]

    def piecemeal(self, x: Tensor) -> Tensor:
        """The image from nine patches that were seen one by one, in a drawn order: unit rows ``[B, D]``."""
        u = distributed.rand(len(x), GRID**2, 3)
        corners = in_cells(u[..., :2], GRID, self.cell, self.patch)
        patches = cut(x, *corners, self.patch).flatten(0, 1)
        if self.seen != self.patch:
            patches = F.interpolate(patches, size=self.seen, mode="bilinear")
        with statistics_kept(self.encoder):
            h_BME = self.encoder(patches).unflatten(0, (len(x), GRID**2))
        return F.normalize(self.jigsaw(h_BME, u[..., 2].argsort(1).to(x.device)), dim=1)

    def after_step(self, out: Out, progress: float) -> None:
        self.key.follow(self.query, self.config.momentum)
        for queue, k_BD in zip(self.queues, out.carry, strict=True):
            cast(Queue, queue).push(k_BD)


class Embedder(nn.Module):
    """An encoder and a head for each part of its embedding: M times unit rows ``[B, D]``."""

    def __init__(self, encoder: Encoder, config: Config) -> None:
        super().__init__()
        self.encoder = encoder
        self.widths = cast(tuple[int, ...], encoder.widths) if config.space else (encoder.width,)
        self.heads = nn.ModuleList(
            mlp(width, config.hidden, config.dim, batch_norm=False) for width in self.widths
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        parts = self.encoder(x).split(self.widths, 1)
        return [F.normalize(head(h), dim=1) for head, h in zip(self.heads, parts, strict=True)]


def check(config: Config) -> None:
    """Raises `ManyviewsError` for views that contradict each other or cannot be."""
    parted = [name for name in ("space", "distance", "frequency") if getattr(config, name) is not None]
    if len(parted) > 1:
        raise ManyviewsError(
            f"The two views are parted by {' and by '.join(parted)} at once; set one of them alone."
        )
    if parted and config.jigsaw:
        raise ManyviewsError(
            f"The jigsaw looks up views of whole images, but {parted[0]} parts them; set jigsaw to 0, "
            f"or leave out {parted[0]}."
        )
    if not 0 <= config.jigsaw < 1:
        raise ManyviewsError(f"jigsaw is {config.jigsaw}; the share of its loss is at least 0 and below 1.")
    if config.space not in (None, *SPACES):
        raise ManyviewsError(f'space is "{config.space}"; views are channels of {", ".join(SPACES)}.')
    if config.distance is not None and not 0 <= config.distance <= FIELD - 1:
        raise ManyviewsError(
            f"distance is {config.distance}; two patches are 0 to {FIELD - 1} of their sides apart."
        )
    if config.frequency is not None and not config.frequency > 0:
        raise ManyviewsError(
            f"frequency is {config.frequency}; the blur that parts an image has more than 0 pixels."
        )


RECIPES = {
    "paper": (
        Config(),
        Recipe(
            data="imagenet", net="resnet50", size=224, batch=256, budget="200ep",
            optimiser="sgd", lr=0.03, weight_decay=1e-4, decay_all=True,
        ),
    ),
    "cifar10": (
        Config(queue=4096, momentum=0.99, blur=0.0),
        Recipe(
            data="cifar10", net="resnet18", batch=512, budget="200ep",
            optimiser="sgd", lr=0.06, weight_decay=5e-4, decay_all=True,
        ),
    ),
    "world": (
        Config(queue=4096, momentum=0.99, temperature=0.1, hidden=512, splits=2, strength=0.5, blur=0.0, magnitude=9.0),
        Recipe(data="world", batch=64, budget="16ep", optimiser="adamw", lr=2e-3, weight_decay=1e-2, warmup=0.05),
    ),
}  # fmt: skip
