"""VGG (Simonyan & Zisserman 2015, arXiv:1409.1556)."""

import torch
from torch import nn

from manyviews.claims import Arm, Claim, Equal, Found, Gap, Order, Scale
from manyviews.nets.counting import network
from manyviews.nets.vgg import VGG

C = 64  # channels of every map; the ratio does not depend on it


def _stack(*kernels: int) -> nn.Sequential:
    """One group of a VGG's convolutions with their ReLUs, without its pooling."""
    return VGG((kernels,), in_channels=C, channels=(C,), head="mean").features[:-1]


def _weights(layers: nn.Module) -> int:
    return sum(layer.weight.numel() for layer in layers.modules() if isinstance(layer, nn.Conv2d))


def _sees(layers: nn.Sequential) -> int:
    """Pixels a side that reach the middle of the output: where its gradient is not zero."""
    for layer in layers.modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight.data.abs_()  # so that no ReLU hides what is seen
    image = torch.ones(1, C, 15, 15, requires_grad=True)
    (gradient,) = torch.autograd.grad(layers(image)[0, :, 7, 7].sum(), image)
    return int((gradient[0].sum(0) != 0).any(0).sum())


def field() -> Found:
    return Found({"three 3x3": [_sees(_stack(3, 3, 3))], "one 7x7": [_sees(_stack(7))]})


def weights() -> Found:
    return Found({"counted": [_weights(_stack(3, 3, 3)) / _weights(_stack(7))], "27/49": [27 / 49]})


def size() -> Found:
    """Weights, relative to those of net A."""
    a, e = (network(name).parameters or 0 for name in ("vgg_a", "vgg_e"))
    return Found({"E, 19 layers": [e / a], "A, 11 layers": [1.0]})


def _trained(net: str, *variants: str) -> Arm:
    return Arm("supervised", net="/".join([net, "cifar", *variants]), optimiser="adamw", lr=1e-3)


def _thin(net: str) -> Arm:
    return _trained(net, "thin")


GPU = Scale(
    data="cifar10", size=32, batch=128, budget="30ep"
)  # too much for a laptop: 155 M multiply-adds for net A
LAPTOP = Scale(data="world", size=32, batch=128, budget="3ep")  # of thin nets, a sixteenth of that
THIN = "The nets have a quarter of the channels, start as in He et al. (2015) and are trained for three passes over a small data set."
CLAIMS = {
    "vgg-size": Claim(
        sentence="Eight more layers add hardly any weights, because most weights lie in the first fully connected layer.",
        source="section 2.2, table 2",
        exact=size,
        predicts=Equal("E, 19 layers", "A, 11 layers", within=0.1),
        unit="weights, relative",
        paper="133 million weights in net A, 144 million in net E.",
    ),
    "vgg-depth": Claim(
        sentence="Depth helps: more layers of 3x3 convolutions, fewer errors.",
        source="section 4, table 3",
        arms={
            "A, 11 layers": _trained("vgg_a"),
            "B, 13 layers": _trained("vgg_b"),
            "D, 16 layers": _trained("vgg_d"),
        },
        gpu=GPU,
        measure="single",
        predicts=Order("D, 16 layers", "B, 13 layers", "A, 11 layers"),
        paper="ImageNet, one scale, top-1 error: A 29.6%, B 28.7%, D 27.0% (25.6% with scale jitter).",
    ),
    "vgg-lrn": Claim(
        sentence="Local response normalisation does not help a VGG.",
        source="section 4, table 3",
        arms={"A": _trained("vgg_a"), "A-LRN": _trained("vgg_a_lrn")},
        gpu=GPU,
        measure="single",
        predicts=Gap("A", "A-LRN", low=-0.01),
        paper="ImageNet, one scale, top-1 error: A 29.6%, A-LRN 29.7%.",
    ),
    "vgg-depth-thin": Claim(
        sentence="Depth helps thin nets too.",
        source="section 4, table 3",
        arms={
            "A, 11 layers": _thin("vgg_a"),
            "D, 16 layers": _thin("vgg_d"),
        },
        laptop=LAPTOP,
        measure="single",
        predicts=Order("D, 16 layers", "A, 11 layers"),
        paper="ImageNet, one scale, top-1 error of nets of full width: A 29.6%, D 27.0% (25.6% with scale jitter).",
        remark=f"{THIN} Depth pays off later than that, above all without batch norm.",
    ),
    "vgg-lrn-thin": Claim(
        sentence="Local response normalisation does not help a thin VGG either.",
        source="section 4, table 3",
        arms={
            "A": _thin("vgg_a"),
            "A-LRN": _thin("vgg_a_lrn"),
            "untrained": Arm(
                "supervised", net="vgg_a/cifar/thin", optimiser="adamw", budget="1step", lr=1e-9
            ),
        },
        laptop=LAPTOP,
        measure="single",
        predicts=(Gap("A", "A-LRN", low=-0.02), Order("A", "untrained", margin=0.2)),
        paper="ImageNet, one scale, top-1 error of nets of full width: A 29.6%, A-LRN 29.7%.",
        remark=THIN,
    ),
    "vgg-field": Claim(
        sentence="A stack of three 3x3 convolutions sees what one 7x7 convolution sees.",
        source="section 2.3",
        exact=field,
        predicts=Equal("three 3x3", "one 7x7", within=0.5),
        unit="pixels a side",
        paper="An effective receptive field of 7x7.",
    ),
    "vgg-weights": Claim(
        sentence="Three 3x3 convolutions have 27/49 of the weights of one 7x7 convolution.",
        source="section 2.3",
        exact=weights,
        predicts=Equal("counted", "27/49", within=1e-4),
        unit="weights of three 3x3 over those of one 7x7",
        paper="27 C² against 49 C² weights.",
    ),
}
