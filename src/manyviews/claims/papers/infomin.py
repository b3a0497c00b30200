"""InfoMin (Tian et al. 2020, arXiv:2005.10243)."""

import math

from manyviews.claims import Arm, Claim, Order, Peak, Scale
from manyviews.claims.measures import mean_loss
from manyviews.runs import Run

LAPTOP = Scale(data="world", net="small_resnet", size=24, batch=64, budget="300steps")
GPU = Scale(data="cifar10", net="resnet18", size=32, batch=512, budget="50ep")


def information(run: Run) -> float:
    """What InfoNCE tells of it: the log of its candidates less the loss, over the last tenth of the run."""
    loss = mean_loss(run.metrics())
    return math.nan if loss is None else math.log(run.settings["config"]["queue"] + 1) - loss


def _smallest(area: float) -> Arm:
    return Arm("infomin", min_area=area, jigsaw=0.0, randaugment=0)


AREAS = {f"{area}": _smallest(area) for area in (0.02, 0.2, 0.9)}
CLAIMS = {
    "infomin-information": Claim(
        sentence="Smaller crops share less information.",
        source="data augmentation to reduce mutual information, figure 5",
        arms=AREAS,
        laptop=LAPTOP,
        gpu=GPU,
        measure=information,
        predicts=Order("0.9", "0.2", "0.02"),
        unit="estimated mutual information of both views, nats, over the last tenth of the run",
        paper="A figure: the estimate rises with the smallest area of a crop.",
        remark="The estimate is InfoNCE's, at most the log of the number of candidates (the queue and one). It is the axis along which infomin-middle "
        "looks for a peak.",
    ),
    "infomin-middle": Claim(
        sentence="Views that share neither too much nor too little teach best: accuracy peaks in the middle.",
        source="data augmentation to reduce mutual information, figure 5",
        arms=AREAS,
        laptop=LAPTOP,
        gpu=GPU,
        measure="linear",
        predicts=Peak("0.02", "0.2", "0.9"),
        paper="Plotted over estimated mutual information, accuracy is an upside-down U for crops, colours, distances and frequencies; for crops a smallest area of 0.2 is best.",
        remark="What varies is the area of the smallest crop, as a share of the image; two large crops share nearly everything.",
    ),
    "infomin-learned": Claim(
        sentence="Views made to show the class and to share little else teach better than views made only to show the class.",
        source="section 4, comparison of view generators",
        arms={
            "class and little else": Arm("infomin_learned", generator=Arm("infomin_learned")),
            "class": Arm("infomin_learned", generator=Arm("infomin_learned", adversary=0.0)),
            "channels as they are": Arm("infomin_learned", adversary=0.0, task=0.0),
        },
        laptop=Scale(data="world", net="cifar_resnet8", size=16, batch=64, budget="200steps", labels=0.1),
        gpu=Scale(data="cifar10", net="resnet18", size=32, batch=256, budget="50ep", labels=0.1),
        measure="linear",
        predicts=Order("class and little else", ("class", "channels as they are")),
        paper="On STL-10 a generator that learns from few labels and lowers what the views share is well ahead of one that learns from labels alone, and ahead of raw colours.",
        remark="First a generator is trained with a tenth of the labels. Then new encoders are trained, without labels, on its views; the generator no longer changes.",
    ),
}
