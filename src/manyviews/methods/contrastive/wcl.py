"""WCL: images that hang together by nearest neighbours share a weak label, and a second head draws them close.

Paper    Zheng, Wang, You, Qian, Zhang, Wang, Xu, ICCV 2021 (arXiv:2110.04770).
Differs  Here the keys of the weak loss get gradients, as in SimCLR, and so do the first loss's keys from other devices;
         in the authors' code they get none. Both views go through the networks in one pass here. The neighbours whose
         low-resolution crops are positives are found here in the batch, by this step's features; in the paper, in the
         whole data set, by the last epoch's. Views are SimCLR's from the first step on here; the authors' code uses
         weaker ones during the warm-up. The small recipes use AdamW or SGD.
Shapes   B images, D embedding; P positives per row.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from manyviews import distributed
from manyviews.errors import ManyviewsError
from manyviews.method import Anatomy, Batch, Method, NetFactory, Out, Spec
from manyviews.nets.heads import mlp
from manyviews.nets.multicrop import by_size, local_side
from manyviews.objectives import components, nearest, nt_xent, several_positives, sup_con
from manyviews.recipe import Recipe
from manyviews.views import View, Views, colour_jitter, large_and_small


@dataclass(frozen=True, kw_only=True)
class Config:
    dim: int = 128  # D, width of both heads' outputs (256 in the authors' code)
    hidden: int = 2048  # width of both heads' two hidden layers (4,096 in the authors' code)
    temperature: float = 0.1  # divides the cosine, in both losses
    weak: float = 1.0  # weight of the weakly supervised loss, added to SimCLR's
    heads: Literal[1, 2] = 2  # number of heads; 1: one head for both losses (the paper's ablation)
    swap: bool = True  # True: the weak labels of one view supervise the other; False: each its own (ablation)
    min_area: float = 0.08  # smallest crop, as a share of the image's area (as SimCLR)
    strength: float = 1.0  # s, strength of the colour jitter (as SimCLR)
    blur: float = 0.5  # probability of Gaussian blur (as SimCLR)
    local_crops: int = 0  # low-resolution crops per image, also positives of its neighbours (multi-crop)
    local_share: float = 3 / 7  # side of a low-resolution crop over that of a view (96 of 224 pixels)
    local_area: tuple[float, float] = (0.05, 0.14)  # a low-resolution crop's share of the image's area
    neighbours: int = 4  # nearest images whose low-resolution crops are positives, beside the image's own


SERVES = {"neighbours": ("local_crops", ())}
ANATOMY = Anatomy(
    pretext="instance discrimination, and groups of images",
    positives="another view of the image; images of its component of the nearest-neighbour graph",
    negatives="the rest of the batch",
    target="the same network",
    objective="NT-Xent and supervised contrast",
)


class WCL(Method):
    def __init__(self, config: Config, net: NetFactory, spec: Spec) -> None:
        super().__init__(config, spec)
        if config.local_crops and config.neighbours < 1:
            raise ManyviewsError(
                f"--neighbours is {config.neighbours}; look for 1 or more, or leave out --local-crops."
            )
        self.encoder = net()
        self.local = local_side(self.encoder, spec.size, config.local_crops, config.local_share)  # pixels
        widths = (self.encoder.width, config.hidden, config.hidden, config.dim)
        self.g = mlp(*widths)  # the first head: which image is it?
        self.phi = mlp(*widths) if config.heads == 2 else self.g  # the second: which group?

    def views(self) -> Views:
        c = self.config
        t = View(
            size=self.spec.size,
            crop=(c.min_area, 1.0),
            jitter=colour_jitter(c.strength),
            grey=0.2,
            blur=c.blur,
        )
        return large_and_small(t, c.local_crops, self.local, c.local_area)

    def loss(self, batch: Batch, progress: float) -> Out:
        x_1, x_2, *local = batch.views
        h = self.encoder(torch.cat([x_1, x_2]))
        z_1, z_2 = self.g(h).chunk(2)
        v_1, v_2 = self.phi(h).chunk(2) if self.config.heads == 2 else (z_1, z_2)
        t = self.config.temperature
        l_nce = nt_xent(z_1, z_2, t)

        y_1, y_2 = weak_labels(v_1), weak_labels(v_2)
        if self.config.swap:
            y_1, y_2 = y_2, y_1
        # Supervised contrast, eq. 2 of Khosla et al. 2020, by the labels of the other view (section 3).
        l_weak = (sup_con(v_1, y_1, t) + sup_con(v_2, y_2, t)) / 2

        loss = l_nce + self.config.weak * l_weak
        log = {"nce": l_nce, "weak": l_weak}
        if local:
            log["local"] = self.local_loss(z_1, z_2, local)
            loss = loss + log["local"]
        return Out(loss, log, z=z_1)

    def local_loss(self, z_1: Tensor, z_2: Tensor, local: list[Tensor]) -> Tensor:
        """Positives of an image are the low-resolution crops of its own and of its nearest neighbours."""
        everyone = distributed.gather(z_1)
        if self.config.neighbours >= len(everyone):
            raise ManyviewsError(
                f"WCL looks for {self.config.neighbours} neighbours among {len(everyone)} images of a batch; "
                "choose fewer --neighbours or a larger --batch"
            )
        first = distributed.rank() * len(z_1)
        own = torch.arange(first, first + len(z_1), device=z_1.device)
        positive_BP = torch.cat([own[:, None], nearest(everyone, self.config.neighbours)[own]], 1)
        keys = by_size(lambda x: self.g(self.encoder(x)), local)
        losses = [
            several_positives(z, k, positive_BP, self.config.temperature) for z in (z_1, z_2) for k in keys
        ]
        return torch.stack(losses).mean()


def weak_labels(v_BD: Tensor) -> Tensor:
    """Components of the 1-nearest-neighbour graph over the batch of all ranks; this rank's rows of them, ``[B]``
    (section 3)."""
    everyone = distributed.gather(v_BD)
    if len(everyone) < 2:
        raise ManyviewsError(
            "WCL groups the images of a batch, and here there is one; choose a larger --batch"
        )
    return components(nearest(everyone)[:, 0])[distributed.local_rows(len(everyone))]


RECIPES = {
    "paper": (
        Config(),
        Recipe(
            data="imagenet", net="resnet50", size=224, batch=4096, budget="200ep",
            optimiser="lars", lr=4.8, weight_decay=1e-6, warmup=0.05,
        ),
    ),
    "multicrop": (
        Config(local_crops=6),
        Recipe(
            data="imagenet", net="resnet50", size=224, batch=4096, budget="200ep",
            optimiser="lars", lr=4.8, weight_decay=1e-6, warmup=0.05,
        ),
    ),
    "cifar10": (
        Config(strength=0.5, blur=0.0),
        Recipe(
            data="cifar10", net="resnet18", batch=512, budget="200ep",
            optimiser="sgd", lr=0.6, weight_decay=1e-4, warmup=0.05,
        ),
    ),
    "world": (
        Config(temperature=0.2, strength=0.5, blur=0.0, min_area=0.2, hidden=256),
        Recipe(data="world", batch=128, budget="16ep", optimiser="adamw", lr=2e-3, weight_decay=1e-2, warmup=0.05),
    ),
}  # fmt: skip
