"""ViT (Dosovitskiy et al. 2021, arXiv:2010.11929)."""

from functools import cache
from typing import Any, cast

import torch

from manyviews.claims import Arm, Claim, Equal, GainsMore, Order, Rising, Scale
from manyviews.data import open_data
from manyviews.nets.vit import ViT
from manyviews.nets.watching import attention_distance, watch
from manyviews.runs import Run
from manyviews.views import plain

LAPTOP = Scale(data="world", size=16, batch=128, budget="4ep")
GPU = Scale(data="cifar10", size=32, batch=256, budget="50ep", optimiser="adamw")
FINE = Scale(data="world", size=32, batch=128, budget="2ep")  # 8x8 patches: distances differ
# As many steps for every share of the labels.
FEW = Scale(data="world", size=16, batch=128, budget="40k items")
FEW_GPU = Scale(data="cifar10", size=32, batch=256, budget="2.5M items", optimiser="adamw")
WATCHED = 256  # images that a distance is the mean over


@cache
def _distances(folder: str) -> list[float]:
    """Pixels between a patch and where it looks, by layer: the mean over its heads and images of the test set."""
    run = Run.open(folder)
    images = open_data(run.recipe.data, split="test", root=run.settings["data"]["root"], size=run.size)
    image_N3HW = torch.stack([images.read(item) for item in range(WATCHED)])
    net = cast(ViT, run.encoder.cpu())
    looks = watch(net, plain(image_N3HW, run.size))
    return [
        float(attention_distance(a_BHTT, net.cells, net.patch_size, net.first).mean()) for a_BHTT in looks
    ]


def _at(run: Run, depth: float) -> float:
    """How far the layer at a share of the depth looks."""
    layers = _distances(str(run.path))
    return layers[round(depth * (len(layers) - 1))]


def first(run: Run) -> float:
    return _at(run, 0.0)


def third(run: Run) -> float:
    return _at(run, 1 / 3)


def two_thirds(run: Run) -> float:
    return _at(run, 2 / 3)


def last(run: Run) -> float:
    return _at(run, 1.0)


DEPTHS = {"first layer": first, "a third": third, "two thirds": two_thirds, "last layer": last}


def _vit(variant: str = "", lr: float = 1e-3, **settings: Any) -> Arm:
    return Arm("supervised", net="small_vit" + variant, lr=lr, **settings)


def _cnn(**settings: Any) -> Arm:
    return Arm("supervised", net="cifar_resnet14", lr=3e-3, **settings)


CLAIMS = {
    "vit-positions": Claim(
        sentence="Position embeddings of any kind are better than none.",
        source="appendix D.4, table 8",
        arms={"1-D": _vit(), "2-D": _vit("/2d"), "relative": _vit("/relative"), "none": _vit("/none")},
        laptop=LAPTOP,
        gpu=GPU,
        measure="single",
        predicts=Order(("1-D", "2-D", "relative"), "none"),
        paper="ImageNet, 5-shot: none 61.4%, 1-D 64.2%, 2-D 64.0%, relative 64.0%.",
    ),
    "vit-positions-alike": Claim(
        sentence="Which kind of position embedding is used makes little difference.",
        source="appendix D.4, table 8",
        arms={"1-D": _vit(), "2-D": _vit("/2d"), "relative": _vit("/relative")},
        laptop=LAPTOP,
        gpu=GPU,
        measure="single",
        predicts=(Equal("1-D", "2-D", within=0.025), Equal("1-D", "relative", within=0.025)),
        paper="ImageNet, 5-shot: 1-D 64.2%, 2-D 64.0%, relative 64.0%, none 61.4%.",
        remark="Here little means less than the 2.8 points that 1-D positions gain over none in the paper. On the laptop positions gain less than can be "
        "told from chance (`vit-positions`), so it says little there that the kinds are alike.",
    ),
    "vit-pooling": Claim(
        sentence="Averaging the patches is as good as a class token if the average has a learning rate of its own.",
        source="appendix D.3",
        arms={"class token": _vit(), "average": _vit("/average", lr=2e-3)},
        laptop=LAPTOP,
        gpu=GPU,
        measure="single",
        predicts=Equal("class token", "average", within=0.05),
        paper="ImageNet: equal once the learning rate is lowered for the average, which at first had seemed far worse.",
        remark="The average has twice the learning rate of the class token here; the paper lowers it. Neither rate was searched for.",
    ),
    "vit-pooling-rate": Claim(
        sentence="At the class token's learning rate, averaging the patches seems worse than it is.",
        source="appendix D.3, figure 9",
        arms={"a lower rate": _vit("/average", lr=3e-4), "the class token's rate": _vit("/average")},
        gpu=GPU,
        measure="single",
        predicts=Order("a lower rate", "the class token's rate"),
        paper="ImageNet: at first the average had seemed far worse than the class token, which was due to the learning rate alone.",
        remark="The lower rate is three tenths of the class token's; neither was searched for. There is no laptop scale: in a few passes a lower rate also gets "
        "less far, and would be behind whatever is averaged.",
    ),
    "vit-little-data": Claim(
        sentence="On little data a convolutional net is better than a ViT.",
        source="section 4.3, figures 3 and 4",
        arms={"CNN, a tenth": _cnn(labels=0.1), "ViT, a tenth": _vit(labels=0.1)},
        laptop=FEW,
        gpu=FEW_GPU,
        measure="single",
        predicts=Order("CNN, a tenth", "ViT, a tenth"),
        paper="Pre-trained on ImageNet, BiT is ahead of ViT; on JFT-300M ViT overtakes it.",
        remark="Neither learning rate was searched for. On the laptop a tenth is 1,200 images, each seen 33 times.",
    ),
    "vit-more-data": Claim(
        sentence="With more data the gap between a ViT and a convolutional net closes.",
        source="section 4.3, figures 3 and 4",
        arms={
            "CNN, a fiftieth": _cnn(labels=0.02),
            "ViT, a fiftieth": _vit(labels=0.02),
            "CNN, all": _cnn(),
            "ViT, all": _vit(),
        },
        gpu=FEW_GPU,
        measure="single",
        predicts=(
            Order("CNN, a fiftieth", "ViT, a fiftieth"),
            GainsMore(("CNN, a fiftieth", "ViT, a fiftieth"), ("CNN, all", "ViT, all")),
        ),
        paper="Pre-trained on ImageNet, BiT is ahead of ViT; on JFT-300M ViT overtakes it.",
    ),
    "vit-distance": Claim(
        sentence="The deeper a layer lies, the further away it looks.",
        source="section 4.5, figure 7 (right)",
        arms={name: Arm("supervised", net="small_vit", lr=1e-3, measure=at) for name, at in DEPTHS.items()},
        laptop=FINE,
        gpu=GPU,
        measure="attention distance",
        predicts=Rising(*DEPTHS),
        unit="pixels that a patch looks away, mean of the heads",
        paper="ViT-L/16: heads of the first layers look between 20 and 120 pixels away, those of the last layers all near 120.",
    ),
}
