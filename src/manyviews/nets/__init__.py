"""What to learn with: encoders by name, and the heads on top of them."""

from __future__ import annotations

import difflib
import re

from manyviews.errors import ManyviewsError
from manyviews.nets import hub
from manyviews.nets.encoder import Built, Encoder, describe
from manyviews.nets.heads import mlp
from manyviews.nets.norms import Norm, split_batch_norm
from manyviews.nets.resnet import CIFAR_DEPTHS, IMAGENET_DEPTHS, ResNet, cifar_resnet, resnet, small_resnet

__all__ = [
    "Encoder",
    "ResNet",
    "build",
    "cifar_resnet",
    "describe",
    "mlp",
    "names",
    "resnet",
    "small_resnet",
    "split_batch_norm",
]

CIFAR = [f"cifar_resnet{depth}" for depth in CIFAR_DEPTHS]
IMAGENET = [f"resnet{depth}" for depth in IMAGENET_DEPTHS]


def names() -> list[str]:
    """The nets that `build` knows by name, without their variants and without timm's and torchvision's."""
    return ["small_resnet", *CIFAR, *IMAGENET]


def build(name: str, *, in_channels: int = 3, size: int = 32, pretrained: bool = False) -> Encoder:
    """The encoder called `name`, for images of `size` pixels a side.

        small_resnet                   three stages of one block, for the embedded world
        cifar_resnet20                 8, 14, 20, 32, 44, 56 or 110 layers; zero-padding shortcuts (A)
        cifar_resnet20/B               ... with 1x1 projections instead
        resnet50                       18, 34, 50, 101 or 152 layers; "cifar" stem up to 64 pixels, else
                                       "imagenet"
        resnet50/cifar, /imagenet      ... with this stem
        ...+group                      any of them with group norm for batch norm: resnet18/cifar+group
        timm/NAME, torchvision/NAME    any of their classifiers without its last layer, pretrained or not

    Raises `ManyviewsError` for a name, variant or combination that does not exist, or a size that the net
    cannot see.
    """
    if size < 1 or in_channels < 1:
        raise ManyviewsError(f"Images of size {size} with {in_channels} channels cannot be; both start at 1.")
    if name.startswith(("timm/", "torchvision/")):
        encoder = hub.build(name, in_channels=in_channels, size=size, pretrained=pretrained)
    elif pretrained:
        raise ManyviewsError(
            f'"{name}" comes without pretrained weights; "torchvision/..." and "timm/..." nets have some.'
        )
    else:
        encoder = _build_ours(name, in_channels, size)
    encoder.built = Built(name, in_channels, size)
    return encoder


def _build_ours(name: str, in_channels: int, size: int) -> ResNet:
    base, variant, norm = _parse(name)
    depth = base.rpartition("resnet")[2]
    if base in CIFAR:
        shortcut = "B" if variant == "B" else "A"
        return cifar_resnet(int(depth), in_channels=in_channels, shortcut=shortcut, norm=norm)
    if base in IMAGENET:
        stem = "cifar" if variant == "cifar" or (not variant and size <= 64) else "imagenet"
        return resnet(int(depth), in_channels=in_channels, stem=stem, norm=norm)
    return small_resnet(in_channels=in_channels, norm=norm)


def _parse(name: str) -> tuple[str, str, Norm]:
    """Base, variant ("" where none is named) and norm of BASE[/VARIANT][+group]."""
    match = re.fullmatch(r"(\w+)(?:/(\w+))?(\+group)?", name)
    base, variant, group = match.groups("") if match else (name, "", "")
    if base not in names():
        near = difflib.get_close_matches(base, names(), n=3, cutoff=0.5) or names()
        raise ManyviewsError(
            f'There is no net called "{name}"; did you mean {", ".join(near)}? '
            "(With /cifar, /imagenet, /A, /B or +group where they apply, or timm/NAME or torchvision/NAME.)"
        )
    variants = ("A", "B") if base in CIFAR else ("cifar", "imagenet") if base in IMAGENET else ()
    if variant and variant not in variants:
        choice = " or ".join(f"{base}/{known}" for known in variants) or base
        raise ManyviewsError(f'"{base}" has no variant "{variant}"; write {choice}.')
    return base, variant, "group" if group else "batch"
