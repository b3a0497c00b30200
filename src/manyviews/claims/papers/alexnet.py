"""AlexNet (Krizhevsky, Sutskever & Hinton 2012)."""

from manyviews.claims import Arm, Claim, Order, Scale

LAPTOP = Scale(data="world", size=16, batch=128, budget="1ep")
OFTEN = Scale(**LAPTOP.same, seeds=8)  # for differences of a point or two
GPU = Scale(data="cifar10", size=32, batch=128, budget="30ep", optimiser="adamw")


def _arm(net: str, lr: float = 1e-3) -> Arm:
    return Arm("supervised", net=f"alexnet_cifar/{net}", lr=lr)


CLAIMS = {
    "alexnet-relu": Claim(
        sentence="ReLUs reach a low training error sooner than tanh units.",
        source="section 3.1, figure 1",
        arms={
            "ReLU": _arm("no_lrn"),
            "tanh, lr x 3": _arm("no_lrn+tanh", 3e-3),
            "tanh": _arm("no_lrn+tanh"),
            "tanh, lr / 3": _arm("no_lrn+tanh", 3e-4),
        },
        laptop=LAPTOP,
        gpu=GPU,
        measure="loss",
        best="low",
        predicts=Order("ReLU", ("tanh, lr x 3", "tanh", "tanh, lr / 3")),
        unit="training loss after as many items, nats",
        paper="CIFAR-10, a net of four layers: ReLUs reach a training error of 25% six times sooner.",
        remark="ReLUs are trained at one learning rate and tanh units at three, so that the difference is not merely one of rates.",
    ),
    "alexnet-overlap": Claim(
        sentence="Pooling windows that overlap are better than windows that do not.",
        source="section 3.4",
        arms={"overlapping": _arm("no_lrn"), "apart": _arm("no_lrn+no_overlap")},
        laptop=OFTEN,
        gpu=GPU,
        measure="single",
        predicts=Order("overlapping", "apart"),
        paper="ImageNet: windows of 3 at strides of 2 are better than windows of 2 by 0.4 points (top-1).",
    ),
    "alexnet-lrn": Claim(
        sentence="Local response normalisation helps a net without other normalisation.",
        source="section 3.3",
        arms={"LRN": Arm("supervised", net="alexnet_cifar", lr=1e-3), "none": _arm("no_lrn")},
        laptop=OFTEN,
        gpu=GPU,
        measure="single",
        predicts=Order("LRN", "none"),
        paper="CIFAR-10, a net of four layers: 13% error without LRN, 11% with it. ImageNet: 1.4 points less error (top-1).",
    ),
}
