"""SimCLR: two views of one image attract; all other images of the batch repel.

Paper    Chen, Kornblith, Norouzi, Hinton, ICML 2020 (arXiv:2002.05709). Loss eq. 1, views appendix A, CIFAR B.9.
Differs  The projector has batch norm on its hidden layer: the paper writes none, its code has one on the output too. SGD
         instead of LARS at batches below 1,024, where layer-wise rates bring nothing.
Shapes   B images, C H W pixels, D embedding; N = 2B anchors, each against the 2B - 1 others.
"""

from dataclasses import dataclass

import torch
from torch import nn

from manyviews.method import Anatomy, Batch, Method, NetFactory, Out, Spec
from manyviews.nets.encoder import Encoder
from manyviews.nets.heads import mlp
from manyviews.objectives import nt_xent
from manyviews.recipe import Recipe
from manyviews.views import View, Views


@dataclass(frozen=True, kw_only=True)
class Config:
    dim: int = 128  # D, width of the embedding that the loss compares (section 4.2)
    hidden: int = 2048  # width of the projector's hidden layer (section 4.2)
    layers: int = 2  # of the projector: 1 is linear, 0 none (section 4.2, figure 8)
    temperature: float = 0.1  # divides the cosine (table 5; 0.5 on CIFAR-10, B.9)
    min_area: float = 0.08  # smallest crop, as a share of the image's area (appendix A)
    strength: float = 1.0  # s, strength of the colour jitter (appendix A; 0.5 on CIFAR-10, B.9)
    grey: float = 0.2  # probability of greying (appendix A)
    blur: float = 0.5  # probability of Gaussian blur (appendix A; 0 on CIFAR-10, B.9)


ANATOMY = Anatomy(
    pretext="instance discrimination",
    positives="another view of the image",
    negatives="the rest of the batch",
    target="the same network",
    objective="NT-Xent",
)


class SimCLR(Method):
    def __init__(self, config: Config, net: NetFactory, spec: Spec) -> None:
        super().__init__(config, spec)
        self.encoder, self.projector = self.networks(net)  # f and g

    def networks(self, net: NetFactory) -> tuple[Encoder, nn.Module]:
        f = net()
        hidden = [self.config.hidden] * (self.config.layers - 1)
        return f, mlp(f.width, *hidden, self.config.dim) if self.config.layers else nn.Identity()

    def views(self) -> Views:
        s = self.config.strength
        t = View(
            size=self.spec.size,
            crop=(self.config.min_area, 1.0),
            jitter=(0.8 * s, 0.8 * s, 0.8 * s, 0.2 * s),
            grey=self.config.grey,
            blur=self.config.blur,
        )
        return Views(t, t)

    def loss(self, batch: Batch, progress: float) -> Out:
        x_N = torch.cat(
            batch.views
        )  # both views in one pass share their batch statistics, as in the authors' code
        z_i_BD, z_j_BD = self.projector(self.encoder(x_N)).chunk(2)
        return Out(nt_xent(z_i_BD, z_j_BD, self.config.temperature), z=z_i_BD)  # eq. 1


RECIPES = {
    "paper": (
        Config(),
        Recipe(
            data="imagenet", net="resnet50/zero_init", size=224, batch=4096, budget="100ep",
            optimiser="lars", lr=4.8, weight_decay=1e-6, warmup=0.1,
        ),
    ),
    "cifar10": (
        Config(temperature=0.5, strength=0.5, blur=0.0),
        Recipe(
            data="cifar10", net="resnet18", batch=512, budget="200ep",
            optimiser="sgd", lr=0.6, weight_decay=1e-4, warmup=0.05,
        ),
    ),
    "world": (
        Config(temperature=0.2, strength=0.5, blur=0.0, min_area=0.2, hidden=256),
        Recipe(data="world", batch=256, budget="16ep", optimiser="adamw", lr=2e-3, weight_decay=1e-2, warmup=0.05),
    ),
}  # fmt: skip
