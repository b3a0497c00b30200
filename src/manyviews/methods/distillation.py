"""Distillation: a student learns what a trained teacher thinks of each image, where labels are hidden or few.

Paper    Hinton, Vinyals, Dean 2015 (arXiv:1503.02531), section 2; as the third step of SimCLR v2, Chen, Kornblith,
         Swersky, Norouzi, Hinton, NeurIPS 2020 (arXiv:2006.10029), eq. 2 and 3.
Differs  Here `alpha` is the weight of the labels; in SimCLR v2 it is the weight of the teacher. Here the teacher's loss
         is a KL divergence times T^2, as in Hinton et al.: its gradient is that of eq. 2, scaled so that its length
         stays about the same at every temperature; at T = 1 the two gradients are equal. Both sums of eq. 3 are divided
         by the size of the batch here, so images without a label lower the weight of those that have one.
Shapes   B images, C H W pixels, K classes.
"""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from manyviews.errors import ManyviewsError
from manyviews.method import Anatomy, Batch, Method, NetFactory, Out, Spec
from manyviews.nets.teacher import load_teacher
from manyviews.objectives import softened_kl
from manyviews.recipe import Recipe
from manyviews.views import View, Views

HIDDEN = -1  # the label of an image without one


@dataclass(frozen=True, kw_only=True)
class Config:
    teacher: str = ""  # folder of a finished run with a classifier: the teacher
    temperature: float = 4.0  # T, divides both nets' class scores (section 2; tau in eq. 2 of SimCLR v2)
    alpha: float = 0.0  # share of the labels in the loss; 0 needs no label (1 - alpha in eq. 3 of SimCLR v2)
    min_area: float = 0.08  # smallest crop, as a share of the image's area (SimCLR v2: crop and flip alone)


ANATOMY = Anatomy(
    pretext="none: what a teacher says",
    positives="the teacher's classes of the image",
    negatives="the other classes",
    target="a trained network, frozen",
    objective="KL divergence of softened classes",
)


class Distillation(Method):
    supervised = True
    unlabelled = True

    def __init__(self, config: Config, net: NetFactory, spec: Spec) -> None:
        super().__init__(config, spec)
        check(config, spec)
        self.encoder = net()
        self.teacher = load_teacher(config.teacher, spec.classes, spec.class_names)  # P^T
        self.classifier = nn.Linear(self.encoder.width, len(self.teacher.classes))  # on the encoder: P^S

    def views(self) -> Views:
        return Views(View(size=self.spec.size, crop=(self.config.min_area, 1.0)))

    def classifier_head(self) -> nn.Linear:
        return self.classifier

    def class_names(self) -> tuple[str, ...]:
        return self.teacher.classes

    def loss(self, batch: Batch, progress: float) -> Out:
        (x,) = batch.views
        alpha = self.config.alpha
        _, teacher_BK = self.teacher(x)
        student_BK = self.classifier(self.encoder(x))
        loss = (1 - alpha) * softened_kl(student_BK, teacher_BK, self.config.temperature)  # eq. 2
        if alpha:
            assert batch.label is not None
            loss = loss + alpha * of_labels(student_BK, batch.label)  # eq. 3
        agreement = (student_BK.argmax(1) == teacher_BK.argmax(1)).float().mean()
        return Out(loss, log={"agreement": agreement})


def of_labels(logits_BK: Tensor, label_B: Tensor) -> Tensor:
    """Cross entropy, summed over the images with a label and divided by all: 0 where every label is hidden."""
    return cross_entropy(logits_BK, label_B, ignore_index=HIDDEN, reduction="sum") / len(label_B)


def check(config: Config, spec: Spec) -> None:
    """Raises `ManyviewsError` for a share or a temperature that makes no sense, or for labels that are not there."""
    if not 0 <= config.alpha <= 1:
        raise ManyviewsError(
            f"--alpha is {config.alpha}; the labels' share of the loss lies between 0 and 1."
        )
    if not config.temperature > 0:
        raise ManyviewsError(f"--temperature is {config.temperature}; it divides class scores: above 0.")
    if config.alpha and spec.classes is None:
        raise ManyviewsError(
            f"The labels' share of the loss is {config.alpha}, but the data has no labels; say --alpha 0."
        )


RECIPES = {
    "paper": (
        Config(temperature=1.0),
        Recipe(
            data="imagenet", net="resnet50", size=224, batch=4096, budget="400ep",
            optimiser="lars", lr=6.4, weight_decay=1e-4, warmup=0.05,
        ),
    ),
    "cifar10": (
        Config(min_area=0.25),
        Recipe(
            data="cifar10", net="resnet18", batch=128, budget="100ep", optimiser="sgd", lr=0.1, weight_decay=5e-4,
            warmup=0.05,
        ),
    ),
    "world": (
        Config(min_area=0.5),
        Recipe(data="world", batch=128, budget="12ep", optimiser="adamw", lr=3e-3, weight_decay=1e-2, warmup=0.1),
    ),
}  # fmt: skip
