"""ResNet: a block learns what to add to its input, so depth does not hurt.

Paper    He, Zhang, Ren, Sun, CVPR 2016 (arXiv:1512.03385). ImageNet nets table 1, CIFAR nets section 4.2,
         plain nets section 3.3, shortcuts A, B and C section 4.1, initialisation of He et al. 2015 (arXiv:1502.01852).
Differs  A bottleneck strides in its 3x3 convolution here, as in torchvision and timm ("v1.5"), so that their weights
         load. With `/v1` it strides in its first 1x1 convolution, as in the paper. Parameters are named as in
         torchvision and timm: conv1, layer1.0.bn1, ...
Shapes   B images, C channels, H W pixels, h w cells of a feature map.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from manyviews.errors import ManyviewsError
from manyviews.nets.encoder import Encoder
from manyviews.nets.names import Names
from manyviews.nets.net import Net
from manyviews.nets.norms import Norm, norm_layer

Stem = Literal["imagenet", "cifar"]
Shortcut = Literal["A", "B", "C", "none"]

# 6n+2 layers -> millions of parameters where table 6 states them.
CIFAR_DEPTHS = {8: None, 14: None, 20: 0.27, 32: 0.46, 44: 0.66, 56: 0.85, 110: 1.7, 1202: 19.4}


def conv(c_in: int, c_out: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """A convolution that keeps the side (before its stride); the norm that follows brings the bias."""
    return nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2, bias=False)


class ZeroPad(nn.Module):
    """Shortcut A: every `stride`-th cell, with zeros for the channels that are new; no parameters (4.1)."""

    def __init__(self, c_in: int, c_out: int, stride: int):
        super().__init__()
        self.new_channels, self.stride = c_out - c_in, stride

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))


def downsample(c_in: int, c_out: int, stride: int, norm: Norm, shortcut: Shortcut) -> nn.Module | None:
    """What a shortcut does to its input; None where that is nothing, or where there is no shortcut."""
    if shortcut == "none" or (stride == 1 and c_in == c_out and shortcut != "C"):
        return None
    if shortcut == "A":
        return ZeroPad(c_in, c_out, stride)
    return nn.Sequential(conv(c_in, c_out, 1, stride), norm_layer(norm, c_out))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (figure 5, left)."""

    expansion = 1

    def __init__(self, c_in: int, channels: int, stride: int, norm: Norm, shortcut: Shortcut):
        super().__init__()
        self.conv1 = conv(c_in, channels, 3, stride)
        self.bn1 = norm_layer(norm, channels)
        self.conv2 = conv(channels, channels, 3)
        self.bn2 = norm_layer(norm, channels)
        self.relu = nn.ReLU(inplace=True)
        self.plain = shortcut == "none"
        self.downsample = downsample(c_in, channels, stride, norm, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        residual = self.relu(self.bn1(self.conv1(x)))
        residual = self.bn2(self.conv2(residual))
        if not self.plain:
            residual += x if self.downsample is None else self.downsample(x)
        return self.relu(residual)


class Bottleneck(nn.Module):
    """1x1 down, 3x3, 1x1 up to four times the channels, beside a shortcut (figure 5, right)."""

    expansion = 4

    def __init__(self, c_in: int, channels: int, stride: int, norm: Norm, shortcut: Shortcut):
        super().__init__()
        c_out = channels * self.expansion
        self.conv1 = conv(c_in, channels, 1)
        self.bn1 = norm_layer(norm, channels)
        self.conv2 = conv(channels, channels, 3, stride)
        self.bn2 = norm_layer(norm, channels)
        self.conv3 = conv(channels, c_out, 1)
        self.bn3 = norm_layer(norm, c_out)
        self.relu = nn.ReLU(inplace=True)
        self.plain = shortcut == "none"
        self.downsample = downsample(c_in, c_out, stride, norm, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        residual = self.relu(self.bn1(self.conv1(x)))
        residual = self.relu(self.bn2(self.conv2(residual)))
        residual = self.bn3(self.conv3(residual))
        if not self.plain:
            residual += x if self.downsample is None else self.downsample(x)
        return self.relu(residual)


class BottleneckV1(Bottleneck):
    """The paper's own, which strides in its first 1x1 convolution and so skips three cells of four."""

    def __init__(self, c_in: int, channels: int, stride: int, norm: Norm, shortcut: Shortcut):
        super().__init__(c_in, channels, stride, norm, shortcut)
        self.conv1.stride, self.conv2.stride = self.conv2.stride, self.conv1.stride


Block = BasicBlock | Bottleneck

WIDTHS = (64, 128, 256, 512)
IMAGENET_DEPTHS = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}


class ResNet(Encoder):
    """A stem, then stages of residual blocks.

    Args:
        block: `BasicBlock` or `Bottleneck`.
        depths: blocks in each stage.
        widths: channels of each stage (a bottleneck yields four times as many); the stem has the first's.
        strides: of the first block of each stage.
        stem: "imagenet" is a 7x7 convolution of stride 2 and a 3x3 max-pool of stride 2; "cifar" is a 3x3
            convolution of stride `stem_stride` alone, for images of up to about 64 pixels.
        stem_stride: of the "cifar" stem.
        norm: "batch", or "group" for a net that keeps no statistics of the batch.
        shortcut: where the shape changes, "A" pads with zeros and "B" projects by a 1x1 convolution; "C" projects
            everywhere (4.1). "none" leaves shortcuts out: a plain net (3.3).
        zero_init: start every residual branch at zero, through the scale of its last norm (Goyal et al. 2017,
            arXiv:1706.02677, section 5.1).

    Raises `ManyviewsError` for a plain net that starts at zero: it would yield nothing.
    """

    def __init__(
        self,
        block: type[Block],
        depths: Sequence[int],
        widths: Sequence[int] = WIDTHS,
        strides: Sequence[int] = (1, 2, 2, 2),
        *,
        in_channels: int = 3,
        stem: Stem = "imagenet",
        stem_stride: int = 1,
        norm: Norm = "batch",
        shortcut: Shortcut = "B",
        zero_init: bool = False,
    ):
        if not len(depths) == len(widths) == len(strides):
            raise ValueError(f"depths, widths and strides differ in length: {depths}, {widths}, {strides}")
        if zero_init and shortcut == "none":
            raise ManyviewsError(
                "A plain net whose branches start at zero yields nothing; leave out plain or zero_init."
            )
        super().__init__(widths[-1] * block.expansion, in_channels)
        self.stem: Stem = stem
        if stem == "imagenet":
            self.conv1 = conv(in_channels, widths[0], 7, stride=2)
            self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        else:
            self.conv1 = conv(in_channels, widths[0], 3, stem_stride)
            self.maxpool = nn.Identity()
        self.bn1 = norm_layer(norm, widths[0])
        self.relu = nn.ReLU(inplace=True)

        self.stages: list[str] = []
        channels = widths[0]
        for number, (depth, width, stride) in enumerate(zip(depths, widths, strides, strict=True), start=1):
            blocks: list[nn.Module] = []
            for first in [True] + [False] * (depth - 1):
                blocks.append(block(channels, width, stride if first else 1, norm, shortcut))
                channels = width * block.expansion
            self.stages.append(f"layer{number}")
            self.add_module(self.stages[-1], nn.Sequential(*blocks))
        initialise(self, zero_init)

    def grid(self, x_BCHW: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x_BCHW))))
        for stage in self.stages:
            x = self.get_submodule(stage)(x)
        return x


def initialise(net: nn.Module, zero_init: bool) -> None:
    """He et al. 2015, eq. 14 (normal, the variance of the gradients kept); norms start as the identity."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif zero_init and isinstance(module, BasicBlock | Bottleneck):
            last = module.bn3 if isinstance(module, Bottleneck) else module.bn2
            nn.init.zeros_(last.get_parameter("weight"))


def resnet(depth: int, *, stem: Stem = "imagenet", v1: bool = False, wide: int = 1, **options: Any) -> ResNet:
    """ResNet-18, 34, 50, 101 or 152 (table 1); `v1` strides where the paper does, in nets of bottlenecks.

    `wide` multiplies the channels of every layer (SimCLR, arXiv:2002.05709, figure 7).
    """
    block, depths = IMAGENET_DEPTHS[depth]
    if v1 and block is not Bottleneck:
        raise ValueError(f"ResNet-{depth} has no bottlenecks; leave v1 out")
    block = BottleneckV1 if v1 else block
    return ResNet(block, depths, [wide * width for width in WIDTHS], stem=stem, **options)


def cifar_resnet(depth: int, *, shortcut: Shortcut = "A", wide: int = 1, **options: Any) -> ResNet:
    """The nets of section 4.2: 6n+2 layers in three stages of 16, 32 and 64 channels, `wide` times as many."""
    n, rest = divmod(depth - 2, 6)
    if rest or n < 1:
        raise ValueError(f"a CIFAR ResNet has 6n+2 layers (8, 14, 20, ...), not {depth}")
    widths = [wide * width for width in (16, 32, 64)]
    return ResNet(BasicBlock, (n, n, n), widths, (1, 2, 2), stem="cifar", shortcut=shortcut, **options)


def small_resnet(
    *,
    widths: Sequence[int] = (32, 64, 128),
    depths: Sequence[int] = (1, 1, 1),
    strides: Sequence[int] = (1, 2, 2),
    stem_stride: int = 2,
    **options: Any,
) -> ResNet:
    """The quick net of the embedded world: small images, two CPU cores, minutes. Ours, not the paper's."""
    return ResNet(BasicBlock, depths, widths, strides, stem="cifar", stem_stride=stem_stride, **options)


def _sized(depth: int, *, size: int, stem: Stem | None = None, **options: Any) -> ResNet:
    return resnet(depth, stem=stem or ("cifar" if size <= 64 else "imagenet"), **options)


def _any_size(make: Callable[..., ResNet], *, size: int, **options: Any) -> ResNet:
    return make(**options)


_ANY = {"group": {"norm": "group"}, "plain": {"shortcut": "none"}, "zero_init": {"zero_init": True}}
_SHORTCUTS = {option: {"shortcut": option} for option in ("A", "B", "C")}
_STEMS = {"cifar": {"stem": "cifar"}, "imagenet": {"stem": "imagenet"}}
_V1 = {"v1": {"v1": True}}
_WIDE = {f"{times}x": {"wide": times} for times in (2, 3, 4)}

# Layers -> thousand million FLOPs of table 1, which states no parameters.
_TABLE_1 = {18: 1.8, 34: 3.6, 50: 3.8, 101: 7.6, 152: 11.3}

NETS = {
    "small_resnet": Net(
        make=partial(_any_size, small_resnet), paper="ours, for the embedded world", size=32, classes=10,
        variants=_ANY,
    ),
    **{
        f"cifar_resnet{depth}": Net(
            make=partial(_any_size, partial(cifar_resnet, depth)), paper="He et al. 2016, section 4.2",
            variants=_ANY | _SHORTCUTS | _WIDE, size=32, classes=10, parameters=millions,
        )
        for depth, millions in CIFAR_DEPTHS.items()
    },
    **{
        f"resnet{depth}": Net(
            make=partial(_sized, depth), paper="He et al. 2016, table 1",
            variants=_ANY | _SHORTCUTS | _STEMS | _WIDE | (_V1 if depth >= 50 else {}),
            multiply_adds=billions,
            known_as={"torchvision": f"resnet{depth}", "timm": f"resnet{depth}"},
            known_with=("imagenet", "cifar", "B"),
        )
        for depth, billions in _TABLE_1.items()
    },
}  # fmt: skip

NAMES = {library: Names({"**": "**"}, ignore=("fc.",)) for library in ("torchvision", "timm")}
