"""SimSiam: predict the other view from this one; the stop-gradient alone prevents collapse.

Paper    Chen, He, CVPR 2021 (arXiv:2011.10566). Loss eq. 1 to 4, heads section 3, CIFAR appendix D.
Differs  No departure is known, except that the recipe `world` uses AdamW.
Shapes   B images, C H W pixels, D embedding.
"""

from dataclasses import dataclass

from torch import nn

from manyviews.method import Anatomy, Batch, Method, NetFactory, Out, Spec
from manyviews.nets.heads import mlp
from manyviews.objectives import neg_cosine
from manyviews.recipe import Recipe
from manyviews.views import View, Views


@dataclass(frozen=True, kw_only=True)
class Config:
    dim: int = 2048  # D, width of projection and prediction (section 3)
    bottleneck: int = 512  # width of the predictor's hidden layer (section 3)
    layers: int = 3  # layers of the projector (section 3; 2 on CIFAR-10, appendix D)
    stop_gradient: bool = True  # True: no gradient through the target; False: it collapses (section 4.1)
    predictor: bool = True  # True: a predictor follows the projector; False: none, it collapses (section 4.2)
    constant_predictor: bool = True  # True: no decay of the predictor's learning rate (section 4.2, table 1c)
    blur: float = 0.5  # probability of Gaussian blur (appendix A; 0 on CIFAR-10, appendix D)
    min_area: float = 0.2  # smallest crop, as a share of the image's area (appendix A)


SERVES = dict.fromkeys(("bottleneck", "constant_predictor"), ("predictor", (True,)))
ANATOMY = Anatomy(
    pretext="predict the other view",
    positives="another view of the image",
    negatives="none",
    target="the same network, stop-gradient",
    objective="negative cosine",
)


class SimSiam(Method):
    def __init__(self, config: Config, net: NetFactory, spec: Spec) -> None:
        super().__init__(config, spec)
        self.encoder = net()
        widths = [self.encoder.width] + [config.dim] * config.layers
        self.f = nn.Sequential(self.encoder, mlp(*widths, out_norm="plain"))
        self.h = mlp(config.dim, config.bottleneck, config.dim) if config.predictor else nn.Identity()

    def views(self) -> Views:
        c = self.config
        t = View(
            size=self.spec.size, crop=(c.min_area, 1.0), jitter=(0.4, 0.4, 0.4, 0.1), grey=0.2, blur=c.blur
        )
        return Views(t, t)

    def loss(self, batch: Batch, progress: float) -> Out:
        x1, x2 = batch.views
        z1, z2 = self.f(x1), self.f(x2)
        p1, p2 = self.h(z1), self.h(z2)
        if self.config.stop_gradient:
            z1, z2 = z1.detach(), z2.detach()  # eq. 3
        return Out(neg_cosine(p1, z2) / 2 + neg_cosine(p2, z1) / 2, z=z1)  # eq. 4

    def constant_rate(self) -> list[nn.Parameter]:
        return list(self.h.parameters()) if self.config.constant_predictor else []


RECIPES = {
    "paper": (
        Config(),
        Recipe(
            data="imagenet", net="resnet50/zero_init", size=224, batch=512, budget="100ep",
            optimiser="sgd", lr=0.1, weight_decay=1e-4, decay_all=True,
        ),
    ),
    "cifar10": (
        Config(layers=2, blur=0.0),
        Recipe(
            data="cifar10", net="resnet18", batch=512, budget="200ep",
            optimiser="sgd", lr=0.06, weight_decay=5e-4, decay_all=True,
        ),
    ),
    "world": (
        Config(dim=512, bottleneck=128, layers=2, blur=0.0),
        Recipe(data="world", batch=64, budget="16ep", optimiser="adamw", lr=1e-3, weight_decay=1e-2, warmup=0.05),
    ),
}  # fmt: skip
