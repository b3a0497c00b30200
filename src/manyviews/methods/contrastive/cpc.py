"""CPC: from the rows of patches above, tell which of all patches comes further below.

Paper    van den Oord, Li, Vinyals 2018 (arXiv:1807.03748). Score eq. 3, loss eq. 4, images section 3.2 and figure 4.
Differs  Layer norm takes the place of the net's batch norm here, since a patch must not see others through statistics;
         the paper uses no batch norm either. The context is CPC v2's masked convolution here, a PixelCNN in the paper.
         Prediction begins at the first row that shares no pixel with the context, as figure 4 draws it. The encoder is
         a whole ResNet of the first version here, a ResNet v2 up to its third stage in the paper; it is evaluated on
         colour images. Crops vary in size and aspect here (`min_area`); the paper's are squares of 256 of 300 pixels.
         Negatives come from all 512 images here; each of the paper's 32 devices takes them from its own 16
         (--accumulate 32 does the same). The paper does not say how long it trains.
Shapes   B images, g x g patches each (T = g g positions, N = B T), C P P pixels of a patch, D latent, K rows predicted.
"""

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from manyviews import distributed
from manyviews.errors import ManyviewsError
from manyviews.method import Anatomy, Batch, Method, NetFactory, Out, Spec
from manyviews.nets.masked_conv import MaskedContext
from manyviews.nets.patchwise import Patchwise
from manyviews.objectives import Negatives, future
from manyviews.recipe import Recipe
from manyviews.views import View, Views
from manyviews.views.patchwise import moved, one_channel


@dataclass(frozen=True, kw_only=True)
class Config:
    patch: int = 64  # P, side of a patch in pixels (section 3.2)
    stride: int = 32  # pixels from one patch to the next (section 3.2)
    steps: int = 5  # K, rows predicted from each position (section 3.2: "up to five")
    skip: bool = True  # True: leave out rows that share pixels with the context, as these could be copied
    negatives: Negatives = "batch"  # "batch": patches of all images (section 3.2); "own": of the same image
    hidden: int = 256  # channels inside the residual blocks of the context net (CPC v2, appendix A)
    blocks: int = 5  # residual blocks of the context net; each sees one row further up (CPC v2, appendix A)
    margin: int = 4  # pixels by which a patch's random crop is smaller than the patch (section 3.2: 60 of 64)
    grey: float = 1.0  # share of images turned grey (section 3.2: all)
    drop: float = 0.0  # share of patches that keep one colour channel only (CPC v2)
    min_area: float = 0.73  # smallest crop, as a share of the area (section 3.2: 256^2 of 300^2 pixels)
    batch_norm: bool = False  # True: keep the net's batch norms (patches see each other); False: layer norm


ANATOMY = Anatomy(
    pretext="predict latents of patches further below",
    positives="the patch k rows below",
    negatives="other patches of the image and the batch",
    target="the same network",
    objective="InfoNCE, log-bilinear",
)


class CPC(Method):
    colours = True  # patches lose channels

    def __init__(self, config: Config, net: NetFactory, spec: Spec) -> None:
        super().__init__(config, spec)
        if not 0 <= config.margin < config.patch:
            raise ManyviewsError(
                f"--margin is {config.margin}; a crop of a patch of {config.patch} is 0 to {config.patch - 1} pixels smaller."
            )
        inner = "{}" if config.batch_norm else "layer_norm({})"
        encoder = net(within=f"patches({inner}, {config.patch}, {config.stride})")  # g_enc
        patches = cast(Patchwise, encoder)
        self.encoder, self.g = encoder, patches.side(spec.size)
        first = math.ceil(config.patch / config.stride) if config.skip else 1
        self.k = patches.ahead(spec.size, first, config.steps)
        if config.negatives not in ("batch", "own"):
            raise ManyviewsError(f'Negatives come from "batch" or "own", not "{config.negatives}".')
        D = encoder.width
        self.context = MaskedContext(D, config.hidden, config.blocks)  # g_ar
        self.W = nn.ModuleList(nn.Linear(D, D, bias=False) for _ in self.k)
        for W_k in self.W.parameters():
            nn.init.normal_(W_k, std=1 / D)  # all scores begin near 0

    def views(self) -> Views:
        return Views(View(size=self.spec.size, crop=(self.config.min_area, 1.0), grey=self.config.grey))

    def augmented(self, x_NCPP: Tensor) -> Tensor:
        u_N4 = distributed.rand(len(x_NCPP), 4)
        x_NCPP = moved(x_NCPP, u_N4[:, :2], self.config.margin)
        return one_channel(x_NCPP, u_N4[:, 2:], self.config.drop * self.spec.colour)

    def loss(self, batch: Batch, progress: float) -> Out:
        (x_BCHW,) = batch.views
        g = self.g
        g_enc = cast(Patchwise, self.encoder)
        z_BDgg = g_enc.latents(self.augmented(g_enc.cut(x_BCHW)), g, g)
        c_BTD, z_BTD = (x.flatten(2).mT for x in (self.context(z_BDgg), z_BDgg))
        # From row i to row i + k, the same column; positions count row by row.
        p_BPD = torch.cat([W_k(c_BTD[:, : (g - k) * g]) for k, W_k in zip(self.k, self.W, strict=True)], 1)
        at_P = torch.cat([torch.arange(k * g, g * g, device=x_BCHW.device) for k in self.k])
        told = future(p_BPD, z_BTD, at_P, self.config.negatives)  # eq. 4, log f_k = z^T W_k c (eq. 3)
        each_K = torch.stack([loss.mean() for loss in told.loss_BP.split([(g - k) * g for k in self.k], 1)])
        return Out(each_K.mean(), log={"accuracy": told.right_BP.mean()}, z=z_BTD.mean(1))


RECIPES = {
    "paper": (
        Config(),
        Recipe(
            data="imagenet", net="resnet101/imagenet", size=256, batch=512, budget="200ep",
            optimiser="adam", lr=2e-4, weight_decay=0.0, schedule="constant",
        ),
    ),
    "cifar10": (
        Config(patch=8, stride=4, margin=0, grey=0.2, drop=0.5),
        Recipe(
            data="cifar10", net="resnet18", batch=256, budget="200ep",
            optimiser="adamw", lr=1e-3, weight_decay=1e-2, warmup=0.05,
        ),
    ),
    "world": (
        Config(patch=8, stride=6, steps=3, margin=0, grey=0.0, hidden=64),
        Recipe(data="world", batch=64, budget="16ep", optimiser="adamw", lr=2e-3, weight_decay=1e-2, warmup=0.05),
    ),
}  # fmt: skip
