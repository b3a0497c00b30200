"""InstDisc (Wu et al. 2018, arXiv:1805.01978)."""

import math
from statistics import fmean

from manyviews.claims import Arm, Claim, Order, Scale
from manyviews.runs import Run

LAPTOP = Scale(data="world", net="small_resnet", size=24, batch=64, budget="3ep")
GPU = Scale(data="cifar10", net="resnet18", size=32, batch=512, budget="50ep")


def roughness(run: Run) -> float:
    """How much the embeddings of an item jump from pass to pass: the mean squared way since it was last seen."""
    moved = [row["moved"] for row in run.metrics() if "moved" in row and row.get("progress", 0.0) > 0.5]
    return math.sqrt(fmean(moved))


def _arm(weight: float) -> Arm:
    return Arm("instdisc", softmax=False, proximal=weight, bank_momentum=0.0)


CLAIMS = {
    "instdisc-proximal": Claim(
        sentence="A proximal term keeps the embeddings from jumping between passes.",
        source="section 3.3, figure 3",
        arms={"with": _arm(30.0), "without": _arm(0.0)},
        laptop=LAPTOP,
        gpu=GPU,
        measure=roughness,
        best="low",
        predicts=Order("with", "without"),
        unit="way of an embedding since its last visit, on the unit sphere",
        paper="CIFAR-10, figure 3: the objective oscillates less, and converges faster.",
        remark="The bank keeps the last embedding alone, as the paper has it; the authors' code, and our recipes, let it move slowly instead.",
    ),
    "instdisc-smooth": Claim(
        sentence="With a proximal term the representation is better after as many passes.",
        source="section 3.3, figure 3",
        arms={"with": _arm(30.0), "without": _arm(0.0)},
        laptop=LAPTOP,
        gpu=GPU,
        measure="knn",
        predicts=Order("with", "without"),
        paper="CIFAR-10, figure 3: the kNN accuracy rises faster.",
    ),
}
