"""ResNet (He et al. 2016, arXiv:1512.03385)."""

from torch import nn

from manyviews.claims import Arm, Claim, Equal, Found, GainsMore, Order, Scale
from manyviews.nets.counting import network
from manyviews.nets.resnet import BasicBlock, Bottleneck

LAPTOP = Scale(data="world", size=16, batch=128, budget="6ep")
GPU = Scale(data="cifar10", size=32, batch=128, budget="30ep")


def _arm(layers: int, kind: str) -> Arm:
    return Arm("supervised", net=f"cifar_resnet{layers}/{kind}", optimiser="sgd", lr=0.1, weight_decay=1e-4)


DEPTHS = {
    "plain, 8 layers": _arm(8, "plain"),
    "plain, 32 layers": _arm(32, "plain"),
    "residual, 8 layers": _arm(8, "A"),
    "residual, 32 layers": _arm(32, "A"),
}


def complexity() -> Found:
    names = {"ResNet-152": "resnet152", "VGG-16": "vgg_d", "VGG-19": "vgg_e"}
    return Found({name: [(network(ours).multiply_adds or 0) / 1e9] for name, ours in names.items()})


def blocks() -> Found:
    """Multiply-adds at each place of the map, relative to those of a basic block."""

    def each(block: nn.Module) -> int:
        return sum(layer.weight.numel() for layer in block.modules() if isinstance(layer, nn.Conv2d))

    basic = each(BasicBlock(64, 64, 1, "batch", "B"))
    bottleneck = each(Bottleneck(256, 64, 1, "batch", "B"))
    return Found({"bottleneck, 256 channels": [bottleneck / basic], "basic, 64 channels": [1.0]})


CLAIMS = {
    "resnet-complexity": Claim(
        sentence="With eight times the layers, ResNet-152 costs less than a VGG.",
        source="section 4.1, 101-layer and 152-layer ResNets",
        exact=complexity,
        best="low",
        predicts=Order("ResNet-152", ("VGG-16", "VGG-19")),
        unit="multiply-adds of an image, thousand millions",
        paper="11.3 thousand million FLOPs, against 15.3 for VGG-16 and 19.6 for VGG-19.",
    ),
    "resnet-bottleneck": Claim(
        sentence="A bottleneck block with four times the channels costs about as much as a basic block.",
        source="section 4.1, figure 5",
        exact=blocks,
        predicts=Equal("bottleneck, 256 channels", "basic, 64 channels", within=0.1),
        unit="multiply-adds, relative",
        paper="Both designs have similar time complexity.",
    ),
    "resnet-degradation": Claim(
        sentence="A deeper plain net has a higher training error than a shallower one, and shortcuts make this price of depth smaller.",
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
        paper="CIFAR-10: with more layers, plain nets (20 to 56 layers) train worse and residual nets (20 to 110) train better.",
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
        remark="The paper trains for 64,000 steps. On the laptop we train for 560, after which depth need not pay off yet.",
    ),
    "resnet-shortcuts": Claim(
        sentence="How shortcuts adapt to a change of width (zero padding, projections there, or projections everywhere) matters little.",
        source="section 4.1, table 3",
        arms={option: _arm(14, option) for option in ("A", "B", "C")},
        laptop=LAPTOP,
        gpu=GPU,
        measure="single",
        predicts=(Equal("A", "B", within=0.03), Equal("B", "C", within=0.03)),
        paper="ImageNet, 34 layers, top-1 error: A 25.03, B 24.52, C 24.19; the plain net 28.54.",
        remark="Here little means less than the 3.5 points that shortcuts of any kind gain over none in the paper.",
    ),
}
