"""VGG: depth from stacks of 3x3 convolutions, and nothing else.

Paper    Simonyan & Zisserman, ICLR 2015 (arXiv:1409.1556): nets A to E table 1, three 3x3 against one 7x7 section 2.3,
         a deep net that starts from a shallow one 3.1, dense evaluation 3.2.
Differs  Weights start as in He et al. 2015 here, which makes the start from a shallow net unnecessary (as the paper
         says of Glorot & Bengio 2010); `start="paper"` is the paper's own start, N(0, 0.1^2). The last layer, fc8, is
         left to the classifier. For images of another size than 224 pixels the last map is averaged into its 7x7 cells,
         as in torchvision. `/cifar`, the default for images of up to 64 pixels, has no fc6 and fc7: its embedding is
         the mean of the last map, 512 wide. `/bn` has batch norm before every ReLU (Ioffe & Szegedy 2015,
         arXiv:1502.03167), `/group` has group norm there. A-LRN has AlexNet's constants, as the paper asks; these are
         made for pixels from 0 to 255, so alpha is converted to normalised images here.
Shapes   B images, C channels, H W pixels, h w cells.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from manyviews.errors import ManyviewsError
from manyviews.nets.encoder import Encoder
from manyviews.nets.names import Names
from manyviews.nets.net import Net
from manyviews.nets.norms import PIXELS, Norm, norm_layer, response_norm

Groups = tuple[tuple[int, ...], ...]

# Table 1: the kernels of each group's convolutions. A pooling halves the sides after each group.
TABLE_1: dict[str, Groups] = {
    "A": ((3,), (3,), (3, 3), (3, 3), (3, 3)),
    "B": ((3, 3), (3, 3), (3, 3), (3, 3), (3, 3)),
    "C": ((3, 3), (3, 3), (3, 3, 1), (3, 3, 1), (3, 3, 1)),
    "D": ((3, 3), (3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3)),
    "E": ((3, 3), (3, 3), (3, 3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3)),
}
CHANNELS = (64, 128, 256, 512, 512)
SMALLEST = 32  # pixels a side that leave one cell after the fifth pooling


class VGG(Encoder):
    """Groups of convolutions, then fc6 and fc7; the embedding is fc7, 4096 wide.

    Args:
        groups: kernels of each group's convolutions, see `TABLE_1`.
        channels: of each group's convolutions.
        head: "fc" has fc6 and fc7; "mean" is the mean of the last map instead.
        norm: "batch" or "group" after every convolution; None, as in the paper.
        lrn: AlexNet's response normalisation after the first convolution (A-LRN).
        dropout: share of the outputs of fc6 and fc7 that training sets to zero.
        start: weights by "he" (He et al. 2015, eq. 10) or the "paper" (3.1); biases are 0.

    `places` says where in `features` the k-th convolution of group g stands: (g, k) -> index, both from 0.
    """

    def __init__(
        self,
        groups: Groups,
        *,
        in_channels: int = 3,
        channels: tuple[int, ...] = CHANNELS,
        head: Literal["fc", "mean"] = "fc",
        norm: Norm | None = None,
        lrn: bool = False,
        dropout: float = 0.5,
        start: Literal["he", "paper"] = "he",
    ):
        super().__init__(4096 if head == "fc" else channels[-1], in_channels)
        self.head, self.norm = head, norm
        self.alike = (head, norm, in_channels, channels)  # what a net that it starts from has to share
        self.places: dict[tuple[int, int], int] = {}
        self.features = nn.Sequential()
        c = in_channels
        for g, (kernels, width) in enumerate(zip(groups, channels, strict=True)):
            for k, kernel in enumerate(kernels):
                self.places[g, k] = len(self.features)
                self.features.append(nn.Conv2d(c, width, kernel, padding=kernel // 2))
                if norm:
                    self.features.append(norm_layer(norm, width))
                self.features.append(nn.ReLU(inplace=True))
                c = width
            if lrn and g == 0:
                self.features.append(response_norm(PIXELS))
            self.features.append(nn.MaxPool2d(2, stride=2))
        if head == "fc":
            self.fc6 = nn.Linear(c * 7 * 7, 4096)
            self.fc7 = nn.Linear(4096, 4096)
        self.dropout = nn.Dropout(dropout)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                if start == "he":
                    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                else:
                    nn.init.normal_(layer.weight, std=0.1)
                nn.init.zeros_(layer.get_parameter("bias"))

    def grid(self, x_BCHW: Tensor) -> Tensor:
        """`[B, 512, h, w]`, a cell for 32 pixels; raises `ManyviewsError` for images that are too small."""
        _large_enough(min(x_BCHW.shape[2:]))
        return self.features(x_BCHW)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x = self.grid(x_BCHW)
        if self.head == "mean":
            return x.mean(dim=(2, 3))
        x = F.adaptive_avg_pool2d(x, 7).flatten(1)
        x = self.dropout(F.relu(self.fc6(x)))
        return self.dropout(F.relu(self.fc7(x)))

    def dense(self, x_BCHW: Tensor) -> Tensor:
        """An embedding for each place of a 224-pixel window, every 32 pixels: `[B, width, h, w]` (3.2).

        fc6 is a 7x7 convolution here, fc7 a 1x1 one, of the same weights; with the head "mean" it is the `grid`.
        Raises `ManyviewsError` for images that are smaller than the window.
        """
        x = self.grid(x_BCHW)
        if self.head == "mean":
            return x
        if min(x.shape[2:]) < 7:
            side = min(x_BCHW.shape[2:])
            raise ManyviewsError(f"Dense evaluation needs images of at least 224 pixels a side, not {side}.")
        x = F.conv2d(x, self.fc6.weight.unflatten(1, (-1, 7, 7)), self.fc6.bias)
        x = self.dropout(F.relu(x))
        x = F.conv2d(x, self.fc7.weight[:, :, None, None], self.fc7.bias)
        return self.dropout(F.relu(x))

    def warm_start_from(self, shallow: Encoder) -> None:
        """See `warm_start`; raises `ManyviewsError` for a net that is no VGG."""
        if not isinstance(shallow, VGG):
            raise ManyviewsError(f"A VGG can start from a shallower VGG, not from {type(shallow).__name__}.")
        warm_start(self, shallow)


def warm_start(deep: VGG, shallow: VGG) -> None:
    """Give `deep` the first four convolutions (with their norms) and the fc layers of `shallow`, in place (3.1).

    Counted by layer, net A's first four would not fit a deeper net, whose groups are longer; so each goes to its
    place in its group, where all fit. Raises `ManyviewsError` where the nets differ in more than depth.
    """
    first = [*shallow.places][:4]
    if any(layer not in deep.places for layer in first):
        raise ManyviewsError("A net can only start from a shallower one; give the deeper one first.")
    if deep.alike != shallow.alike:
        raise ManyviewsError(
            "The two nets differ in more than their depth; build both with the same options."
        )
    pairs = [("fc6", "fc6"), ("fc7", "fc7")] if deep.head == "fc" else []
    for layer in first:
        for after in range(2 if deep.norm else 1):
            pairs.append(
                (f"features.{deep.places[layer] + after}", f"features.{shallow.places[layer] + after}")
            )
    for to, by in pairs:
        deep.get_submodule(to).load_state_dict(shallow.get_submodule(by).state_dict())


def _large_enough(side: int) -> None:
    if side < SMALLEST:
        raise ManyviewsError(
            f"VGG needs images of at least {SMALLEST} pixels a side, not {side}; five poolings leave nothing of those."
        )


def vgg(name: str, *, size: int = 224, head: Literal["fc", "mean"] | None = None, **options: Any) -> VGG:
    """Net "A" to "E" of table 1 for images of `size` pixels a side.

    Its head is "mean" for images of up to 64 pixels where it is not given. Raises `ManyviewsError` for images
    that are too small.
    """
    _large_enough(size)
    return VGG(TABLE_1[name], head=head or ("mean" if size <= 64 else "fc"), **options)


VARIANTS = {
    "bn": {"norm": "batch"}, "group": {"norm": "group"}, "cifar": {"head": "mean"}, "imagenet": {"head": "fc"},
    "thin": {"channels": (16, 32, 64, 128, 128)},
}  # fmt: skip


def _net(name: str, millions: float, known_as: str | None = None, **options: Any) -> Net:
    return Net(
        make=partial(vgg, name, **options),
        paper="Simonyan & Zisserman 2015, table 1",
        variants=VARIANTS,
        parameters=millions,
        known_as={"torchvision": known_as, "torchvision/bn": f"{known_as}_bn"} if known_as else {},
        known_with=("imagenet", "cifar"),
    )


NETS = {
    "vgg_a": _net("A", 133, "vgg11"),
    "vgg_a_lrn": _net("A", 133, lrn=True),
    "vgg_b": _net("B", 133, "vgg13"),
    "vgg_c": _net("C", 134),
    "vgg_d": _net("D", 138, "vgg16"),
    "vgg_e": _net("E", 144, "vgg19"),
}

NAMES = {
    "torchvision": Names(
        {
            "features.{}.*": "features.{}.*",
            "features.{}.running_mean": "features.{}.running_mean",
            "features.{}.running_var": "features.{}.running_var",
            "features.{}.num_batches_tracked": "features.{}.num_batches_tracked",
            "fc6.*": "classifier.0.*",
            "fc7.*": "classifier.3.*",
        },
        ignore=("classifier.6.",),
    )
}
