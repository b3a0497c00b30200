"""MoCo (He et al. 2020, arXiv:1911.05722)."""

from manyviews.claims import Arm, Claim, Order, Scale
from manyviews.runs import Run
from manyviews.views import View
from manyviews.worth import evaluate

LAPTOP = Scale(data="world", net="small_resnet", size=24, batch=64, budget="300steps")
PROBED = Scale(**LAPTOP.same, seeds=8)  # all probes are of one run a seed
GPU = Scale(data="cifar10", net="resnet18", size=32, batch=512, budget="50ep")


def _probed(run: Run, lr: float) -> float:
    crops = View(size=run.size, crop=(0.5, 1.0))  # of so small images smaller ones tell little
    how = {"linear-sgd": {"lr": lr, "epochs": 8, "schedule": "step", "view": crops}}
    return float(
        evaluate(run, protocol=("linear-sgd",), options=how, seed=run.recipe.seed)["figures"]["linear-sgd"][
            "top1"
        ]
    )


def probed_at_30(run: Run) -> float:
    """A probe at the paper's learning rate."""
    return _probed(run, 30.0)


def probed_at_3(run: Run) -> float:
    """A probe between the two."""
    return _probed(run, 3.0)


def probed_at_01(run: Run) -> float:
    """A probe at the rate that training with labels has."""
    return _probed(run, 0.1)


CLAIMS = {
    "moco-momentum": Claim(
        sentence="Keys have to be consistent: a slow twin (momentum 0.99 or 0.999) teaches better than a fast one (0.9) or none (0).",
        source="section 4.1, ablation of the momentum",
        arms={m: Arm("moco", momentum=float(m)) for m in ("0", "0.9", "0.99", "0.999")}
        | {"untrained": Arm("moco", budget="1step", lr=1e-9)},
        laptop=Scale(**{**LAPTOP.same, "budget": "600steps", "queue": 1024}),
        gpu=Scale(**{**GPU.same, "queue": 4096}),
        measure="linear",
        predicts=(Order(("0.99", "0.999"), ("0.9", "0")), Order("0.99", "untrained")),
        paper="ImageNet, ResNet-50, K = 4,096: momentum 0 fails, 0.9 gives 55.2%, 0.99 57.8%, 0.999 59.0%, 0.9999 58.9%.",
        remark="With a momentum of 0 the keys come from the net as the last step left it; in the paper the loss then oscillates and does not "
        "converge. On the laptop a twin with a momentum of 0.999 has come less than half of its way when training ends.",
    ),
    "moco-none": Claim(
        sentence="Without momentum the keys are so inconsistent that learning fails.",
        source="section 4.1, ablation of the momentum",
        arms={"0": Arm("moco", momentum=0.0), "untrained": Arm("moco", budget="1step", lr=1e-9)},
        laptop=Scale(**{**LAPTOP.same, "budget": "600steps", "queue": 1024}, seeds=5),
        gpu=Scale(**{**GPU.same, "queue": 4096}),
        measure="linear",
        predicts=Order("untrained", "0"),
        paper="ImageNet, ResNet-50: with a momentum of 0 the loss oscillates and does not converge.",
        remark="We take learning to fail if it ends below the untrained net.",
    ),
    "moco-queue": Claim(
        sentence="A larger dictionary helps.",
        source="section 4.1, figure 3",
        arms={k: Arm("moco", momentum=0.99, queue=int(k)) for k in ("1024", "64")}
        | {"untrained": Arm("moco", queue=1024, budget="1step", lr=1e-9)},
        laptop=Scale(**{**LAPTOP.same, "budget": "600steps"}),
        gpu=Scale(**{**GPU.same, "batch": 64}),
        measure="linear",
        predicts=(Order("1024", "64"), Order("1024", "untrained")),
        paper="ImageNet, ResNet-50: accuracy rises with K, to 60.6% at 65,536.",
        remark="On the laptop a queue of 1,024 holds the keys of 16 steps out of 600; the paper's holds those of 256 out of a million. Both arms learn, and the "
        "small queue is ahead: so early in training, few fresh keys teach faster than many older ones, as small batches do. Many negatives "
        "help later, when few are no longer hard to tell apart.",
    ),
    "moco-probe": Claim(
        sentence="A linear probe of MoCo's features needs a large learning rate.",
        source="section 4.1, linear classification protocol",
        arms={
            "30": Arm("moco", measure=probed_at_30),
            "3": Arm("moco", measure=probed_at_3),
            "0.1": Arm("moco", measure=probed_at_01),
        },
        laptop=PROBED,
        gpu=GPU,
        measure="linear probe by SGD",
        predicts=Order(("30", "3"), "0.1"),
        remark="Because images are small here, the probe sees crops of at least half of an image; in the paper they cover at least 8%.",
        paper="ImageNet: the best rate is 30, because the features differ in size from those that were learned with labels.",
    ),
}
