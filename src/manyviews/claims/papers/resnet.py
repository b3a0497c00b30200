"""ResNet (He et al. 2016, arXiv:1512.03385)."""

from manyviews.claims import Arm, Claim, Equal, GainsMore, Order, Scale

LAPTOP = Scale(data="world", size=16, batch=128, budget="2ep")
GPU = Scale(data="cifar10", size=32, batch=128, budget="30ep")


def _arm(layers: int, kind: str) -> Arm:
    return Arm("supervised", net=f"cifar_resnet{layers}/{kind}", optimiser="sgd", lr=0.1, weight_decay=1e-4)


DEPTHS = {
    "plain, 8 layers": _arm(8, "plain"),
    "plain, 32 layers": _arm(32, "plain"),
    "residual, 8 layers": _arm(8, "A"),
    "residual, 32 layers": _arm(32, "A"),
}
CLAIMS = {
    "resnet-degradation": Claim(
        sentence="A deeper plain net has the higher training error, and shortcuts take that price away.",
        source="section 4.2, figure 6",
        arms=DEPTHS,
        laptop=LAPTOP,
        gpu=GPU,
        measure="loss",
        best="low",
        predicts=(
            Order("plain, 8 layers", "plain, 32 layers"),
            GainsMore(("residual, 32 layers", "plain, 32 layers"), ("residual, 8 layers", "plain, 8 layers")),
        ),
        unit="training loss after as many items, nats",
        paper="CIFAR-10: plain nets of 20 to 56 layers train ever worse, residual nets of 20 to 110 ever better.",
    ),
    "resnet-deeper": Claim(
        sentence="A deeper residual net is better.",
        source="section 4.2, figure 6 and table 6",
        arms=DEPTHS,
        laptop=LAPTOP,
        gpu=GPU,
        measure="loss",
        best="low",
        predicts=Order("residual, 32 layers", "residual, 8 layers"),
        unit="training loss after as many items, nats",
        paper="CIFAR-10, error: 8.75% with 20 layers, 7.51% with 32, 6.97% with 56, 6.43% with 110.",
        remark="The paper trains for 64,000 steps. In a few hundred the shallow net is ahead: depth pays later.",
    ),
    "resnet-shortcuts": Claim(
        sentence="How a shortcut changes its width (zeros, or a projection there or everywhere) matters little.",
        source="section 4.1, table 3",
        arms={option: _arm(14, option) for option in ("A", "B", "C")},
        laptop=LAPTOP,
        gpu=GPU,
        measure="single",
        predicts=(Equal("A", "B", within=0.05), Equal("B", "C", within=0.05)),
        paper="ImageNet, 34 layers, top-1 error: A 25.03, B 24.52, C 24.19; the plain net 28.54.",
    ),
}
