"""What every network's file says of its networks, and how they are found: the file is the registry.

A file of `nets/` that describes a paper's networks ends with `NETS`, their names and what makes them, and, where
another library has the same network, with `NAMES`, the table that leads from our tensors' names to theirs.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType, ModuleType
from typing import Any, Literal, NamedTuple

from torch import nn

from manyviews.errors import ManyviewsError, nearest

NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Net:
    """One network by name: how it is made, and what its paper says of it."""

    make: Callable[
        ..., nn.Module
    ]  # images, sounds: make(in_channels=, size=, ...) -> Encoder; tokens: make(...)
    paper: str  # "He et al. 2016, table 1"
    sees: Literal["images", "sounds", "tokens", "two sequences"] = "images"
    # a word after "/" -> options of `make`
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    any_length: bool = False  # of those that read tokens: they know no longest text
    size: int = 224  # side of an image in pixels, samples of a sound, or tokens, at which the cost is counted
    classes: int = 1000  # outputs of the linear classifier that the paper counts with an image encoder
    parameters: float | None = None  # as the paper states them, in millions; None where it does not
    multiply_adds: float | None = None  # as the paper states them ("FLOPs"), in billions
    # library, or library/variant -> its name for the same; `known_with` are variants that go without saying there
    known_as: Mapping[str, str] = field(default_factory=dict)
    known_with: tuple[str, ...] = ()


class Found(NamedTuple):
    """What a name means: the network, its file, and the options that its variants stand for."""

    net: Net
    file: ModuleType
    options: dict[str, Any]


class Made(NamedTuple):
    """What `nets.make` was asked for; it stays with the network as its attribute `made`."""

    name: str
    options: dict[str, Any]


@cache
def catalogue() -> Mapping[str, tuple[Net, ModuleType]]:
    """Every network of `nets/` by name, in the order of the files and, in a file, of its `NETS`."""
    import manyviews.nets as here

    found: dict[str, tuple[Net, ModuleType]] = {}
    for module in sorted(info.name for info in pkgutil.iter_modules(here.__path__)):
        file = importlib.import_module(f"{here.__name__}.{module}")
        for name, net in getattr(file, "NETS", NOTHING).items():
            if name in found:
                raise ValueError(f'Two files call a net "{name}": {found[name][1].__name__}, {file.__name__}')
            found[name] = (net, file)
    return MappingProxyType(found)


def find(name: str) -> Found:
    """The network called NAME[/VARIANT ...]; `+group` is another way to write `/group`.

    Raises `ManyviewsError` for a name or variant that does not exist, or two that contradict each other.
    """
    base, *words = re.split(r"[/+]", name)
    known = catalogue()
    if base not in known:
        hint = nearest(base, known, "`manyviews nets` lists them.")
        raise ManyviewsError(
            f'There is no net called "{name}"; {hint} '
            "(Those of other libraries are timm/NAME and torchvision/NAME.)"
        )
    net, file = known[base]
    options: dict[str, Any] = {}
    for word in words:
        if word not in net.variants:
            choice = " or ".join(f"{base}/{variant}" for variant in net.variants) or base
            raise ManyviewsError(f'"{base}" has no variant "{word}"; write {choice}.')
        if again := options.keys() & net.variants[word].keys():
            raise ManyviewsError(
                f'"{name}" says twice what its {", ".join(sorted(again))} is; leave one out.'
            )
        options.update(net.variants[word])
    return Found(net, file, options)
