"""AlexNet: five convolutions and three fully-connected layers, trained with ReLU and dropout.

Paper    Krizhevsky, Sutskever, Hinton, NIPS 2012: ReLU 3.1, response normalisation 3.3, overlapping pooling 3.4, layers
         3.5 and figure 2, dropout 4.2, initialisation 5. `/2014` is the net on one GPU of Krizhevsky 2014
         (arXiv:1404.5997) as torchvision has it: other widths, no groups, no response normalisation (which the author's
         net has). `/bn` is the net of DeepCluster (Caron et al., ECCV 2018, arXiv:1807.05520, section 3.4): batch norm
         in place of response normalisation, no groups. `alexnet_cifar` is the CIFAR-10 net of sections 3.1 and 3.3:
         "four layers", 11% error with response normalisation, 13% without.
Differs  The paper's arithmetic needs images of 227 pixels; here images have 224, and the first convolution pads them by
         two. For images of another size the last map is averaged into its 6x6 cells, as in torchvision. The constants
         of the initialisation and of the response normalisation are made for pixels from 0 to 255, so normalised images
         are multiplied by `PIXELS` here; `/2014` and `/bn` do not do so, and start as in He et al. 2015. Dropout
         follows fc6 and fc7 here, as in the author's code; in torchvision it precedes them. Dropout is inverted here:
         activations are scaled up in training, in the paper down in testing. The last layer, fc8, is left to the
         classifier. The paper leaves the CIFAR-10 net to its code, cuda-convnet; here it is that code's example of 11%
         error: two convolutions and two locally connected layers, which have weights of their own in every cell. Its
         response normalisation has k 1, n 9, alpha 1e-3 / 9, and the first one follows the pooling. (An earlier version
         of the example has n 5 before both poolings and 32 channels in its third layer.) The example is trained on
         crops of 24 pixels and judged by several of them; here the net sees all 32 pixels.
Shapes   B images, C channels, H W pixels, h w cells, N = h w, K inputs of a cell's filters.
"""

from __future__ import annotations

from math import ceil
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manyviews.errors import ManyviewsError
from manyviews.nets.encoder import Encoder
from manyviews.nets.names import Names
from manyviews.nets.net import Net
from manyviews.nets.norms import PIXELS, response_norm

Activation = Literal["relu", "tanh"]

ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh}
SMALLEST = 63  # pixels a side that leave one cell after the third pooling


class AlexNet(Encoder):
    """The net of figure 2; the embedding is fc7, 4096 wide, the grid what the last pooling leaves.

    Args:
        channels: of the five convolutions.
        groups: convolutions 2, 4 and 5 see only the channels on their own GPU (3.5).
        lrn: response normalisation after the first two convolutions (3.3).
        bn: batch norm between each convolution and its activation (DeepCluster).
        overlap: pool 3x3 cells, else 2x2; always with stride 2 (3.4).
        activation: "relu" or "tanh" (3.1).
        dropout: share of the outputs of fc6 and fc7 that training sets to zero (4.2).
        pixels: what normalised images are multiplied by.
        start: "paper" (section 5) or "he" (He et al. 2015, eq. 10).
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        channels: tuple[int, int, int, int, int] = (96, 256, 384, 384, 256),
        groups: int = 2,
        lrn: bool = True,
        bn: bool = False,
        overlap: bool = True,
        activation: Activation = "relu",
        dropout: float = 0.5,
        pixels: float = PIXELS,
        start: Literal["paper", "he"] = "paper",
    ):
        super().__init__(4096, in_channels)
        c1, c2, c3, c4, c5 = channels
        self.conv1 = nn.Conv2d(in_channels, c1, 11, stride=4, padding=2)
        self.conv2 = nn.Conv2d(c1, c2, 5, padding=2, groups=groups)
        self.conv3 = nn.Conv2d(c2, c3, 3, padding=1)
        self.conv4 = nn.Conv2d(c3, c4, 3, padding=1, groups=groups)
        self.conv5 = nn.Conv2d(c4, c5, 3, padding=1, groups=groups)
        self.fc6 = nn.Linear(c5 * 6 * 6, 4096)
        self.fc7 = nn.Linear(4096, 4096)
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for c in channels) if bn else [_as_it_is] * len(channels)
        self.lrn = response_norm() if lrn else nn.Identity()
        self.pool = nn.MaxPool2d(3 if overlap else 2, stride=2)
        self.dropout = nn.Dropout(dropout)
        self.f = ACTIVATIONS[activation]
        self.pixels = pixels
        self.initialise(start)

    def grid(self, x_BCHW: Tensor) -> Tensor:
        """`[B, 256, 6, 6]` of images of 224 pixels; raises `ManyviewsError` for images that are too small."""
        _large_enough(min(x_BCHW.shape[2:]))
        n1, n2, n3, n4, n5 = self.norms
        x = self.pool(self.lrn(self.f(n1(self.conv1(x_BCHW * self.pixels)))))
        x = self.pool(self.lrn(self.f(n2(self.conv2(x)))))
        x = self.f(n3(self.conv3(x)))
        x = self.f(n4(self.conv4(x)))
        return self.pool(self.f(n5(self.conv5(x))))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(self.grid(x_BCHW), 6).flatten(1)
        x = self.dropout(self.f(self.fc6(x)))
        return self.dropout(self.f(self.fc7(x)))

    def initialise(self, start: Literal["paper", "he"]) -> None:
        """Section 5: weights of standard deviation 0.01; biases 1 wherever ReLU should begin with positive inputs."""
        for name, layer in self.named_children():
            if not isinstance(layer, nn.Conv2d | nn.Linear):
                continue
            if start == "he":
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            else:
                nn.init.normal_(layer.weight, std=0.01)
            positive = start == "paper" and name in ("conv2", "conv4", "conv5", "fc6", "fc7")
            nn.init.constant_(layer.get_parameter("bias"), 1.0 if positive else 0.0)


def _as_it_is(x: Tensor) -> Tensor:
    return x


def _large_enough(side: int) -> None:
    if side < SMALLEST:
        raise ManyviewsError(
            f"AlexNet needs images of at least {SMALLEST} pixels a side, not {side}; take larger ones, or alexnet_cifar."
        )


class Local(nn.Module):
    """A 3x3 convolution whose every cell has weights of its own: `weight [N, K, C']`, `bias [C', h, w]`."""

    def __init__(self, c_in: int, c_out: int, h: int, w: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(h * w, c_in * 9, c_out))
        self.bias = nn.Parameter(torch.zeros(c_out, h, w))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BKN = F.unfold(x_BCHW, 3, padding=1)
        y_NBC = x_BKN.permute(2, 0, 1) @ self.weight
        return y_NBC.permute(1, 2, 0).unflatten(2, self.bias.shape[1:]) + self.bias


class AlexNetCIFAR(Encoder):
    """The CIFAR-10 net; the embedding is all cells of its last layer, 2048 numbers at 32 pixels.

    Args:
        size: pixels a side, 4 or more; images of another size raise `ManyviewsError`.
        lrn, overlap, activation: as in `AlexNet`.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        size: int = 32,
        lrn: bool = True,
        overlap: bool = True,
        activation: Activation = "relu",
    ):
        if size < 4:
            raise ManyviewsError(f"alexnet_cifar needs images of at least 4 pixels a side, not {size}.")
        window, side = 3 if overlap else 2, size
        for _ in range(2):
            side = ceil((side - window) / 2) + 1
        super().__init__(32 * side * side, in_channels)
        self.size = size
        self.conv1 = nn.Conv2d(in_channels, 64, 5, padding=2)
        self.conv2 = nn.Conv2d(64, 64, 5, padding=2)
        self.local3 = Local(64, 64, side, side)
        self.local4 = Local(64, 32, side, side)
        self.lrn = nn.LocalResponseNorm(9, alpha=1e-3, beta=0.75, k=1.0) if lrn else nn.Identity()
        self.pool = nn.MaxPool2d(window, stride=2, ceil_mode=True)
        self.f = ACTIVATIONS[activation]
        for layer, std in ((self.conv1, 1e-4), (self.conv2, 0.01), (self.local3, 0.04), (self.local4, 0.04)):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.get_parameter("bias"))

    def grid(self, x_BCHW: Tensor) -> Tensor:
        if x_BCHW.shape[2:] != (self.size, self.size):
            shape = "x".join(map(str, x_BCHW.shape[2:]))
            raise ManyviewsError(
                f"This net was built for images of {self.size} pixels a side, not {shape}; its local layers fit no other."
            )
        x = self.lrn(self.pool(self.f(self.conv1(x_BCHW * PIXELS))))
        x = self.pool(self.lrn(self.f(self.conv2(x))))
        x = self.f(self.local3(x))
        return self.f(self.local4(x))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.grid(x_BCHW).flatten(1)


def alexnet(*, size: int = 224, **options: Any) -> AlexNet:
    """AlexNet for images of `size` pixels a side; raises `ManyviewsError` where they are too small."""
    _large_enough(size)
    return AlexNet(**options)


VARIANTS = {"no_lrn": {"lrn": False}, "no_overlap": {"overlap": False}, "tanh": {"activation": "tanh"}}
ONE_GPU = {"groups": 1, "lrn": False, "pixels": 1.0, "start": "he"}
LATER = {
    "2014": {"channels": (64, 192, 384, 256, 256), **ONE_GPU},
    "bn": {"bn": True, **ONE_GPU},
}

NETS = {
    "alexnet": Net(
        make=alexnet, paper="Krizhevsky et al. 2012, figure 2", variants=VARIANTS | LATER,
        parameters=60, known_as={"torchvision/2014": "alexnet"},
    ),
    "alexnet_cifar": Net(
        make=AlexNetCIFAR, paper="Krizhevsky et al. 2012, sections 3.1 and 3.3", variants=VARIANTS, size=32,
        classes=10,
    ),
}  # fmt: skip

NAMES = {
    "torchvision": Names(
        {
            "conv1.*": "features.0.*",
            "conv2.*": "features.3.*",
            "conv3.*": "features.6.*",
            "conv4.*": "features.8.*",
            "conv5.*": "features.10.*",
            "fc6.*": "classifier.1.*",
            "fc7.*": "classifier.4.*",
        },
        ignore=("classifier.6.",),
    )
}
