"""Supervised: learn from the labels themselves; the measure for everything that learns without them.

Paper    He, Girshick, Dollár, ICCV 2019 (arXiv:1811.08883), for training from scratch at equal cost. Recipes: AlexNet
         (Krizhevsky, Sutskever, Hinton, NIPS 2012, sections 4.1 and 5), VGG (Simonyan, Zisserman, ICLR 2015,
         arXiv:1409.1556, section 3.1), ResNet (He, Zhang, Ren, Sun, CVPR 2016, arXiv:1512.03385, 3.4 and 4.2), ViT
         (Dosovitskiy et al., ICLR 2021, arXiv:2010.11929, appendix B.1), neural ODE (Chen, Rubanova, Bettencourt,
         Duvenaud, NeurIPS 2018, arXiv:1806.07366, section 3).
Differs  This is no pretext task: it learns from labels alone. In the papers of AlexNet, VGG and ResNet the learning
         rate is lowered by hand when the validation error stalls; here it falls after equal parts of the run (on
         CIFAR-10 at the paper's steps). Here channels are also divided by their deviation. AlexNet's crops come from
         the whole image here, from its central square in the paper; its shift of the colours is computed on values from
         0 to 1. ViT's classifier is one linear layer here, without the tanh layer before it that the paper has (3.1).
         ViT's Adam decays weights separately from the gradient, as AdamW and flax (the authors' first library) do, but
         here it spares norms, biases and the class token. VGG's scales vary from the start here; the paper first trains
         a net at one scale and goes on from it. The classifier starts with torch's default weights here, at 0 in ViT,
         and with a deviation of 0.01 in AlexNet and in Goyal et al. The recipe `alexnet` has one rate for weights and
         biases; AlexNet's code doubles it for biases. Of `ode` images have three equal channels, are normalised and
         padded with the mean; in the authors' example they have one channel, are as they are, and padded with 0.
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
    smoothing: float = 0.0  # label smoothing: share of the target spread over all classes
    min_area: float | None = 0.25  # smallest crop, as a share of the image's area; None if scale is given
    scale: tuple[float, float] | None = None  # range of S, the image's short side over the crop's (VGG 3.1)
    pad: int = 0  # pixels added around the image before its crop; needs scale (4 for CIFAR-10, ResNet 4.2)
    pca: float = 0.0  # standard deviation of the colour shift along each principal axis (0.1 in AlexNet 4.1)


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
        check(config)
        self.encoder = net()
        self.classifier = nn.Linear(self.encoder.width, spec.classes)

    def views(self) -> Views:
        c = self.config
        return Views(
            View(
                size=self.spec.size,
                crop=None if c.min_area is None else (c.min_area, 1.0),
                scale=c.scale,
                pad=c.pad,
                pca=c.pca,
                rgb=self.spec.rgb() if c.pca and self.spec.rgb else None,
            )
        )

    def classifier_head(self) -> nn.Linear:
        return self.classifier

    def loss(self, batch: Batch, progress: float) -> Out:
        (x,) = batch.views
        assert batch.label is not None
        logits_BK = self.classifier(self.encoder(x))
        accuracy = (logits_BK.argmax(1) == batch.label).float().mean()
        loss = cross_entropy(logits_BK, batch.label, label_smoothing=self.config.smoothing)
        return Out(loss, log={"accuracy": accuracy})


def check(config: Config) -> None:
    """Raises `ManyviewsError` for settings that contradict each other."""
    if (config.min_area is None) == (config.scale is None):
        raise ManyviewsError(
            "Crops have either a smallest area or a scale; give one of --min-area and --scale, and None for the other."
        )
    if config.scale is not None and not 1 <= config.scale[0] <= config.scale[1]:
        raise ManyviewsError(
            f"--scale is {config.scale}; it is two numbers of at least 1, the smaller one first."
        )
    if config.pad < 0 or (config.pad and config.scale is None):
        raise ManyviewsError(
            "--pad is a number of pixels that goes with crops of a scale; add --scale 1 1 --min-area None."
        )
    if config.min_area is not None and not 0 < config.min_area <= 1:
        raise ManyviewsError(
            f"--min-area is {config.min_area}; it is a share of the image, above 0 and at most 1."
        )
    if not 0 <= config.smoothing <= 1:
        raise ManyviewsError(f"--smoothing is {config.smoothing}; it is a share of the labels, from 0 to 1.")
    if config.pca < 0:
        raise ManyviewsError(f"--pca is {config.pca}; a standard deviation is not negative.")


RECIPES = {
    # ResNet-50 by section 5.1 of Goyal et al. 2017 (arXiv:1706.02677), at the batch of one server.
    "paper": (
        Config(min_area=0.08),
        Recipe(
            data="imagenet", net="resnet50/zero_init", size=224, batch=256, budget="90ep",
            optimiser="nesterov", lr=0.1, weight_decay=1e-4, schedule="step", milestones=(1 / 3, 2 / 3, 8 / 9),
        ),
    ),
    # Crops and the colours' shift by section 4.1 of Krizhevsky et al., rates by section 5; biases do not decay (its code).
    "alexnet": (
        Config(min_area=None, scale=(256 / 224, 256 / 224), pca=0.1),
        Recipe(
            data="imagenet", net="alexnet", size=224, batch=128, budget="90ep",
            optimiser="sgd", lr=0.01, weight_decay=5e-4, schedule="step", milestones=(1 / 4, 1 / 2, 3 / 4),
        ),
    ),
    # Section 3.1 of Simonyan & Zisserman: scales from 256 to 512, 74 passes of 256 images at most.
    "vgg": (
        Config(min_area=None, scale=(256 / 224, 512 / 224), pca=0.1),
        Recipe(
            data="imagenet", net="vgg_d", size=224, batch=256, budget="370000steps",
            optimiser="sgd", lr=0.01, weight_decay=5e-4, decay_all=True, schedule="step", milestones=(1 / 4, 1 / 2, 3 / 4),
        ),
    ),
    # Section 3.4 of He et al. 2016: scales from 256 to 480, 60 x 10^4 steps. What decays is as in fb.resnet.torch: all.
    "resnet": (
        Config(min_area=None, scale=(256 / 224, 480 / 224), pca=0.1),
        Recipe(
            data="imagenet", net="resnet50/v1", size=224, batch=256, budget="600000steps",
            optimiser="sgd", lr=0.1, weight_decay=1e-4, decay_all=True, schedule="step", milestones=(1 / 3, 2 / 3),
        ),
    ),
    # Appendix B.1 of Dosovitskiy et al., table 3: trained on ImageNet alone, of whose 300 x 312 steps 10,000 warm up.
    # The paper does not say how images are cropped; the authors' code takes 5% of them or more.
    "vit": (
        Config(min_area=0.05),
        Recipe(
            data="imagenet", net="vit_b16/dropout10", size=224, batch=4096, budget="300ep", optimiser="adamw",
            lr=3e-3, weight_decay=0.3, warmup=10_000 / 93_600, clip=1.0,
        ),
    ),
    # Section 4.2 of He et al. 2016: 4 pixels around, the rate divided at 32,000 and 48,000 of 64,000 steps. With 110
    # layers the paper begins at a tenth of the rate, for about 400 steps: --warmup 0.00625 comes near.
    "cifar_resnet": (
        Config(min_area=None, scale=(1.0, 1.0), pad=4),
        Recipe(
            data="cifar10", net="cifar_resnet20", batch=128, budget="64000steps",
            optimiser="sgd", lr=0.1, weight_decay=1e-4, decay_all=True, schedule="step", milestones=(1 / 2, 3 / 4),
        ),
    ),
    "mnist": (
        Config(min_area=None, scale=(1.0, 1.0), pad=4),
        Recipe(
            data="mnist", net="cifar_resnet20", size=28, batch=128, budget="20ep", mirror=False,
            optimiser="sgd", lr=0.1, weight_decay=5e-4, warmup=0.05,
        ),
    ),
    # Table 1 of Chen et al. 2018, as the authors' example has it: the rate divided after 60, 100 and 140 passes.
    "ode": (
        Config(min_area=None, scale=(1.0, 1.0), pad=4),
        Recipe(
            data="mnist", net="ode_net", size=28, batch=128, budget="160ep", mirror=False, optimiser="sgd", lr=0.1,
            weight_decay=0.0, schedule="step", milestones=(60 / 160, 100 / 160, 140 / 160),
        ),
    ),
    "cifar10": (
        Config(),
        Recipe(
            data="cifar10", net="resnet18", batch=128, budget="100ep",
            optimiser="sgd", lr=0.1, weight_decay=5e-4, warmup=0.05,
        ),
    ),
    "finetune-paper": (  # of 1% of the labels (--labels 0.01); of 10%, 30 passes
        Config(min_area=0.08),
        Recipe(
            data="imagenet", net="resnet50", size=224, batch=1024, budget="60ep", optimiser="lars", lr=0.16, weight_decay=0.0,
        ),
    ),
    "finetune": (
        Config(min_area=0.5),
        Recipe(
            data="world", batch=32, budget="1500steps", optimiser="adamw", lr=5e-4, weight_decay=1e-2, warmup=0.1,
        ),
    ),
    "world": (
        Config(min_area=0.5),
        Recipe(data="world", batch=128, budget="8ep", optimiser="adamw", lr=3e-3, weight_decay=1e-2, warmup=0.1),
    ),
}  # fmt: skip
