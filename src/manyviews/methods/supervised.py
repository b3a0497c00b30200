"""Supervised: learn from the labels themselves; the measure of everything that learns without them.

Paper    He, Girshick, Dollár, ICCV 2019 (arXiv:1811.08883), for training from scratch at equal cost.
Differs  Not a pretext task: the only method here that sees labels.
Shapes   B images, C H W pixels, K classes.
"""

from dataclasses import dataclass

from torch import nn
from torch.nn.functional import cross_entropy

from manyviews.errors import ManyviewsError
from manyviews.method import Anatomy, Batch, Method, NetFactory, Out, Spec
from manyviews.recipe import Recipe
from manyviews.views import View, Views


@dataclass(frozen=True, kw_only=True)
class Config:
    smoothing: float = 0.0  # share of the target spread over all classes
    min_area: float = 0.25  # smallest crop, as a share of the image's area


ANATOMY = Anatomy(
    pretext="none: the labels",
    positives="images of the class",
    negatives="the other classes",
    target="the label",
    objective="cross-entropy",
)


class Supervised(Method):
    supervised = True

    def __init__(self, config: Config, net: NetFactory, spec: Spec) -> None:
        super().__init__(config, spec)
        if spec.classes is None:
            raise ManyviewsError(
                "Supervised training needs labels, but the data has none; give class folders or a CSV"
            )
        self.encoder = net()
        self.classifier = nn.Linear(self.encoder.width, spec.classes)

    def views(self) -> Views:
        return Views(View(size=self.spec.size, crop=(self.config.min_area, 1.0)))

    def loss(self, batch: Batch, progress: float) -> Out:
        (x,) = batch.views
        assert batch.label is not None
        logits_BK = self.classifier(self.encoder(x))
        accuracy = (logits_BK.argmax(1) == batch.label).float().mean()
        loss = cross_entropy(logits_BK, batch.label, label_smoothing=self.config.smoothing)
        return Out(loss, log={"accuracy": accuracy})


RECIPES = {
    "paper": (
        Config(min_area=0.08),
        Recipe(
            data="imagenet", net="resnet50", size=224, batch=256, budget="90ep",
            optimiser="sgd", lr=0.1, weight_decay=1e-4, schedule="step", milestones=(1 / 3, 2 / 3),
        ),
    ),
    "cifar10": (
        Config(),
        Recipe(
            data="cifar10", net="resnet18", batch=128, budget="100ep",
            optimiser="sgd", lr=0.1, weight_decay=5e-4, warmup=0.05,
        ),
    ),
    "world": (
        Config(min_area=0.5),
        Recipe(data="world", batch=128, budget="12ep", optimiser="adamw", lr=3e-3, weight_decay=1e-2, warmup=0.1),
    ),
}  # fmt: skip
