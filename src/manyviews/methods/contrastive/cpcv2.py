"""CPC v2: predict patches from above, below, left and right, each patch changed on its own.

Paper    Hénaff, Srinivas, De Fauw, Razavi, Doersch, Eslami, van den Oord, ICML 2020 (arXiv:1905.09272). Loss eq. 1,
         what is new in section 4.1, context and prediction as in the pseudo-code of appendix A.
Differs  Here each patch is deformed first and then goes through two operations of RandAugment's list, at one magnitude;
         in the paper it goes through two of AutoAugment's and is deformed afterwards. Shearing and automated colour
         histograms are left out here. The encoder is the recipe's whole net here, ResNet-161 up to its third stage in
         the paper. The paper averages weights; the code here does not. Crops vary in size and aspect here (`min_area`);
         the paper's are squares of 260 of 300 pixels.
Shapes   B images, g x g patches each (T = g g positions, N = B T), C P P pixels of a patch, D latent, E target.
"""

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from manyviews import distributed
from manyviews.errors import ManyviewsError
from manyviews.method import Anatomy, Batch, Method, NetFactory, Out, Spec
from manyviews.nets.masked_conv import DIRECTIONS, Direction, MaskedContext, turned
from manyviews.nets.patchwise import Patchwise
from manyviews.objectives import future
from manyviews.recipe import Recipe
from manyviews.views import View, Views, weaker
from manyviews.views.patchwise import elastic, needs, one_channel, seen


@dataclass(frozen=True, kw_only=True)
class Config:
    patch: int = 80  # P, side of a patch in pixels (section 4.1; 64 in CPC)
    stride: int = 36  # pixels from one patch to the next (section 4.1)
    steps: int = 1  # rows predicted beyond those that share pixels with the context (appendix A: the third)
    directions: tuple[Direction, ...] = DIRECTIONS  # directions of prediction; only down in CPC (section 4.1)
    layer_norm: bool = True  # True: layer norm, not batch norm, which lets patches see others (section 4.1)
    dim: int = 64  # E, width of targets and predictions (appendix A: target_dim)
    scale: float = 0.1  # factor by which predictions are multiplied (appendix A: emb_scale)
    hidden: int = 256  # channels inside the residual blocks of each context net (appendix A)
    blocks: int = 5  # residual blocks of each context net; each block sees one more row (appendix A)
    min_area: float = 0.75  # smallest crop, as a share of the area (section 4.1: 260^2 of 300^2 pixels)
    drop: float = 1.0  # share of patches that keep one colour channel only (section 4.1)
    randaugment: int = 2  # RandAugment operations applied to each patch (section 4.1)
    magnitude: float = 15.0  # strength of each RandAugment operation, at most 30 (ours)
    elastic: float = 0.2  # share of patches that are deformed elastically (appendix A)
    reach: float = 0.1  # farthest a deformation moves a pixel, as a share of the patch's side (ours)
    jitter: float = 0.8  # share of patches whose brightness, contrast, saturation and hue change (appendix A)
    grey: float = 0.25  # share of patches turned grey (appendix A)


SERVES = {"magnitude": ("randaugment", ()), "reach": ("elastic", ())}
ANATOMY = Anatomy(
    pretext="predict latents of patches on every side",
    positives="the patch k rows or columns further",
    negatives="other patches of the image and the batch",
    target="the same network",
    objective="InfoNCE, log-bilinear",
)


class CPCv2(Method):
    colours = True  # of each patch by itself

    def __init__(self, config: Config, net: NetFactory, spec: Spec) -> None:
        super().__init__(config, spec)
        if not config.directions or not set(config.directions) <= set(DIRECTIONS):
            raise ManyviewsError(
                f"A context predicts {', '.join(DIRECTIONS)}, not {', '.join(config.directions) or 'nowhere'}."
            )
        inner = "layer_norm({})" if config.layer_norm else "{}"
        encoder = net(within=f"patches({inner}, {config.patch}, {config.stride})")  # f
        patches = cast(Patchwise, encoder)
        self.encoder, self.g = encoder, patches.side(spec.size)
        first = math.ceil(config.patch / config.stride)  # whose patches share no pixel with the context
        self.k = patches.ahead(spec.size, first, config.steps)
        D, E = encoder.width, config.dim
        self.target = nn.Linear(D, E)
        self.context = nn.ModuleDict(
            {to: MaskedContext(D, config.hidden, config.blocks) for to in config.directions}
        )
        self.W = nn.ModuleDict(
            {to: nn.ModuleList(nn.Linear(D, E) for _ in self.k) for to in config.directions}
        )

    def views(self) -> Views:
        return Views(View(size=self.spec.size, crop=(self.config.min_area, 1.0)))

    def augmented(self, x_NCPP: Tensor) -> Tensor:
        config = self.config
        view = View(
            size=config.patch,
            randaugment=(config.randaugment, config.magnitude),
            jitter=(0.4, 0.4, 0.4, 0.1),
            jitter_p=config.jitter,
            grey=config.grey,
        )
        view = weaker(view, self.spec.colour)
        u_NU, deform_N33, drop_N2 = distributed.rand(len(x_NCPP), needs(view) + 33 + 2).split(
            [needs(view), 33, 2], 1
        )
        x_NCPP = elastic(x_NCPP, deform_N33, config.elastic, config.reach)
        return one_channel(seen(x_NCPP, u_NU, view), drop_N2, config.drop * self.spec.colour)

    def loss(self, batch: Batch, progress: float) -> Out:
        (x_BCHW,) = batch.views
        g = self.g
        f = cast(Patchwise, self.encoder)
        with torch.autocast(
            x_BCHW.device.type, enabled=False
        ):  # half precision would move pixels by fractions of one
            patches_NCPP = self.augmented(f.cut(x_BCHW))
        z_BDgg = f.latents(patches_NCPP, g, g)
        place_gg = torch.arange(g * g, device=x_BCHW.device).view(1, 1, g, g)
        p, at = [], []
        for to in self.config.directions:
            # Turned so that what is predicted lies below: from row i to row i + k, the same column.
            c_BggD = self.context[to](turned(z_BDgg, to)).permute(0, 2, 3, 1)
            for k, W_k in zip(self.k, cast(nn.ModuleList, self.W[to]), strict=True):
                p.append(self.config.scale * W_k(c_BggD[:, :-k]).flatten(1, 2))
                at.append(turned(place_gg, to)[0, 0, k:].flatten())
        told = future(torch.cat(p, 1), self.target(z_BDgg.flatten(2).mT), torch.cat(at))  # eq. 1
        each = torch.stack([loss.mean() for loss in told.loss_BP.split([len(at_P) for at_P in at], 1)])
        return Out(each.mean(), log={"accuracy": told.right_BP.mean()}, z=z_BDgg.mean((2, 3)))


RECIPES = {
    "paper": (
        Config(),
        Recipe(
            data="imagenet", net="resnet101", size=260, batch=512, budget="200ep",
            optimiser="adam", lr=4e-4, inertia=0.8, weight_decay=0.0, schedule="constant", clip=0.01,
        ),
    ),
    "cifar10": (
        Config(patch=8, stride=4, steps=3, magnitude=9.0, drop=0.2),
        Recipe(
            data="cifar10", net="resnet18", batch=256, budget="200ep",
            optimiser="adamw", lr=1e-3, weight_decay=1e-2, warmup=0.05,
        ),
    ),
    "world": (
        Config(patch=8, stride=6, steps=2, magnitude=9.0, drop=0.0, hidden=64, blocks=3, grey=0.1),
        Recipe(data="world", batch=64, budget="16ep", optimiser="adamw", lr=2e-3, weight_decay=1e-2, warmup=0.05),
    ),
}  # fmt: skip
