"""Normalisation: of activations, of weights, and MoCo's stand-in for shuffled batch norm."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manyviews import distributed
from manyviews.errors import ManyviewsError
from manyviews.nets.encoder import Encoder

Norm = Literal["batch", "group"]
M = TypeVar("M", bound=nn.Module)
PIXELS = 57.6  # 255 times 0.226: steps of 256 in a unit of normalised images, the mean of ImageNet's colours


def norm_layer(norm: Norm, channels: int) -> nn.Module:
    """Batch norm, or group norm with 16 channels a group (Wu & He 2018, arXiv:1803.08494, table 3).

    Group norm keeps no statistics of the batch: what one image yields does not depend on the others.
    """
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(max(1, channels // 16), channels)


def response_norm(pixels: float = 1.0) -> nn.LocalResponseNorm:
    """Each channel over a power of its neighbours' energy: k 2, n 5, alpha 1e-4, beta 0.75 (AlexNet, section 3.3).

    Torch divides alpha by n, the paper does not. The constants are made for images from 0 to 255: where a net is shown
    normalised ones as they are, ``pixels`` is how many of 255 steps a unit of them stands for (`PIXELS`).
    """
    return nn.LocalResponseNorm(5, alpha=5 * 1e-4 * pixels**2, beta=0.75, k=2.0)


class StandardisedConv2d(nn.Conv2d):
    """A convolution whose every filter has mean 0 and variance 1 (Qiao et al. 2019, arXiv:1903.10520, eq. 4)."""

    def forward(self, input: Tensor) -> Tensor:
        var, mean = torch.var_mean(self.weight, dim=(1, 2, 3), correction=0, keepdim=True)
        return self._conv_forward(input, (self.weight - mean) * (var + 1e-10).rsqrt(), self.bias)


def standardise(module: M) -> M:
    """`module` with every `nn.Conv2d` inside it made a `StandardisedConv2d`, in place; its tensors stay."""
    for child in module.modules():
        if type(child) is nn.Conv2d:
            child.__class__ = StandardisedConv2d  # the same layer in all but `forward`
    return module


class SplitBatchNorm(nn.BatchNorm2d):
    """Batch norm that, in training, normalises each of `splits` slices of the batch by itself.

    On several devices MoCo shuffles the keys, so that a query and its key never share their batch's statistics
    and cannot find each other through them (He et al. 2020, arXiv:1911.05722, section 3.3). On one device the
    authors' CIFAR example splits the batch instead: it sees in eight slices what eight devices would have. The
    running statistics follow the mean over the slices; evaluation and the state dict's keys are those of `nn.BatchNorm2d`.
    """

    def __init__(
        self,
        channels: int,
        splits: int,
        *,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
    ):
        if splits < 1:
            raise ManyviewsError(f"splits must be 1 or more, not {splits}")
        super().__init__(channels, eps=eps, momentum=momentum, affine=affine)
        self.splits = splits
        self.pieces = 1  # of the batch, of which this sees one at a time

    def forward(self, input: Tensor) -> Tensor:
        """`[B, C, H, W]` to the same; slices are consecutive and, where B does not divide, one item apart."""
        if not self.training:
            return super().forward(input)
        mean, var = self.get_buffer("running_mean"), self.get_buffer("running_var")
        count = self.get_buffer("num_batches_tracked").add_(1)
        rate = 1 / float(count) if self.momentum is None else self.momentum
        slices = input.tensor_split(min(max(1, self.splits // self.pieces), len(input)))
        if slices[-1][:, 0].numel() < 2:
            raise ManyviewsError(
                f"One cell of one image has no statistics, and {len(slices)} splits of {len(input)} images leave no more: take "
                "fewer --splits, a larger --batch or larger images."
            )
        mean_SC, var_SC = mean.repeat(len(slices), 1), var.repeat(len(slices), 1)
        out = [
            F.batch_norm(x, m, v, self.weight, self.bias, True, rate, self.eps)
            for x, m, v in zip(slices, mean_SC, var_SC, strict=True)
        ]
        both_2C = distributed.all_reduce_mean(torch.stack([mean_SC.mean(dim=0), var_SC.mean(dim=0)]))
        with torch.no_grad():
            mean.copy_(both_2C[0])
            var.copy_(both_2C[1])
        return torch.cat(out)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, splits={self.splits}"


def split_batch_norm(module: M, splits: int) -> M:
    """`module` with every `nn.BatchNorm2d` in it replaced by a `SplitBatchNorm` of the same tensors.

    `splits` are those of the whole batch: each of R ranks splits its own into an R-th of them, at least one, and where the
    batch comes in pieces (`in_pieces`) each of these likewise. Submodules are replaced in place; with one split, or without batch norm, a net comes back as it was. Raises `ManyviewsError` for
    batch norms of another kind (fused with an activation, without running statistics), whose meaning a replacement would
    change.
    """
    if isinstance(module, nn.BatchNorm2d):
        raise ManyviewsError("cannot replace a batch norm in place; pass the net around it")
    if splits < 1:
        raise ManyviewsError(f"--splits is {splits}; a batch norm has at least 1.")
    if splits == 1:
        return module
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, _split(child, max(1, splits // distributed.world_size())))
        else:
            split_batch_norm(child, splits)
    return module


def in_pieces(module: nn.Module, pieces: int) -> None:
    """The batch comes in so many pieces, one after the other; slices are as large as without."""
    for norm in module.modules():
        if isinstance(norm, SplitBatchNorm):
            norm.pieces = pieces


def _split(norm: nn.BatchNorm2d, splits: int) -> SplitBatchNorm:
    if type(norm) not in (nn.BatchNorm2d, SplitBatchNorm) or not norm.track_running_stats:
        raise ManyviewsError(
            f"This net's batch norm ({type(norm).__name__}) cannot be split; take splits=1, or a net with plain ones."
        )
    split = SplitBatchNorm(
        norm.num_features, splits, eps=norm.eps, momentum=norm.momentum, affine=norm.affine
    )
    split.weight, split.bias = norm.weight, norm.bias
    split.running_mean, split.running_var = norm.running_mean, norm.running_var
    split.num_batches_tracked = norm.num_batches_tracked
    return split.train(norm.training)


@contextmanager
def statistics_kept(module: nn.Module) -> Iterator[None]:
    """Within, batch norms in training go by the batch, as ever, and leave their running statistics as they are."""
    norms = [norm for norm in module.modules() if isinstance(norm, nn.modules.batchnorm._BatchNorm)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum


def layer_norm(module: M) -> M:
    """`module` with every `nn.BatchNorm2d` in it replaced by a layer norm: over the channels and cells of one item.

    Submodules are replaced in place; other norms stay. An item's output then depends on no other item. Raises
    `ManyviewsError` for batch norms of another kind, whose meaning a replacement would change.
    """
    if isinstance(module, nn.BatchNorm2d):
        raise ManyviewsError("cannot replace a batch norm in place; pass the net around it")
    for name, child in module.named_children():
        if not isinstance(child, nn.BatchNorm2d):
            layer_norm(child)
        elif type(child) in (nn.BatchNorm2d, SplitBatchNorm):
            setattr(module, name, nn.GroupNorm(1, child.num_features, eps=child.eps, affine=child.affine))
        else:
            raise ManyviewsError(
                f"This net's batch norm ({type(child).__name__}) cannot become a layer norm; take a net with plain ones."
            )
    return module


def _with_layer_norm(inner: Callable[..., Encoder], *numbers: int, in_channels: int, size: int) -> Encoder:
    """`layer_norm(NET)`."""
    if numbers:
        raise ManyviewsError(f"layer_norm(NET) takes no numbers, not {', '.join(map(str, numbers))}.")
    return layer_norm(inner(in_channels=in_channels, size=size))


AROUND = {"layer_norm": _with_layer_norm}
