"""MoCo v2: MoCo with SimCLR's projector, blur and a cosine schedule, and without its large batch.

Paper    Chen, Fan, Girshick, He, 2020 (arXiv:2003.04297). Table 1 adds the head, the views, both, and the cosine.
Differs  Batch statistics are those of slices of the batch, as in MoCo. The recipe `cifar10` has the settings of MoCo's
         demo, except that the projector and the temperature are this paper's.
Shapes   As MoCo.
"""

from dataclasses import dataclass

from torch import nn

from manyviews.method import Anatomy
from manyviews.methods.contrastive import moco
from manyviews.nets.heads import mlp
from manyviews.recipe import Recipe
from manyviews.views import View, Views


@dataclass(frozen=True, kw_only=True)
class Config(moco.Config):
    temperature: float = 0.2  # divides the cosine (section 3; 0.07 in MoCo)
    hidden: int = 2048  # width of the projector's hidden layer (section 3)
    mlp: bool = True  # True: a projector of two layers; False: MoCo's linear one (table 1, "MLP")
    blur: float = 0.5  # probability of Gaussian blur (section 3); 0 for small images (SimCLR B.9)
    aug_plus: bool = True  # True: blur, and less change of hue; False: MoCo's views (table 1, "aug+")


SERVES = {"blur": ("aug_plus", (True,)), "hidden": ("mlp", (True,))}
ANATOMY = Anatomy(
    pretext="instance discrimination",
    positives="another view of the image",
    negatives="a queue of past keys",
    target="momentum twin",
    objective="InfoNCE",
)


class MoCoV2(moco.MoCo):
    def head(self) -> nn.Module:
        if not self.config.mlp:
            return super().head()
        # Table 1, "MLP".
        return mlp(self.encoder.width, self.config.hidden, self.config.dim, batch_norm=False)

    def views(self) -> Views:
        if not self.config.aug_plus:
            return super().views()
        # Table 1, "aug+".
        c = self.config
        t = View(
            size=self.spec.size, crop=(c.min_area, 1.0), jitter=(0.4, 0.4, 0.4, 0.1), grey=0.2, blur=c.blur
        )
        return Views(t, t)


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
        Config(queue=4096, momentum=0.99, temperature=0.1, hidden=512, blur=0.0, splits=2),
        Recipe(data="world", batch=64, budget="16ep", optimiser="adamw", lr=2e-3, weight_decay=1e-2, warmup=0.05),
    ),
}  # fmt: skip
