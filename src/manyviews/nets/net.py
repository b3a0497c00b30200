"""What every network's file says of its networks, and how they are found: the file is the registry.

A file of `nets/` that describes a paper's networks ends with `NETS`, their names and what makes them, and, where
another library has the same network, with `NAMES`, the table that leads from our tensors' names to theirs. Such files
may lie elsewhere too: those that the variable `MANYVIEWS_NETS` names are beside ours, for whoever set it and no one else, so
that a run from a stranger can name a net and never a file to run.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, Literal, NamedTuple

from torch import nn

from manyviews import code
from manyviews.errors import ManyviewsError, nearest

VARIABLE = "MANYVIEWS_NETS"  # files of one's own, between colons as in PATH (on Windows, semicolons)
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


def files() -> list[ModuleType]:
    """The files of `nets/` in order, then those of one's own that `MANYVIEWS_NETS` names.

    Raises `ManyviewsError` where there is no such file, or it holds no nets.
    """
    named = [
        Path(name).expanduser().resolve() for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name
    ]
    if absent := [path for path in named if path.suffix != ".py" or not path.is_file()]:
        raise ManyviewsError(
            f"{VARIABLE} names {absent[0]}, and there is no such Python file; mend it, or unset it."
        )
    return [*_inside(), *(_own(path, path.stat().st_mtime_ns) for path in named)]


@cache
def _inside() -> list[ModuleType]:
    import manyviews.nets as here

    names = sorted(info.name for info in pkgutil.iter_modules(here.__path__))
    return [importlib.import_module(f"{here.__name__}.{name}") for name in names]


@cache
def _own(path: Path, changed: int) -> ModuleType:
    """A file from outside the package, run once as long as it is not `changed`."""
    file = code.run(path, f"manyviews.nets.own.{code.dotted(path)}")
    if not (hasattr(file, "NETS") or hasattr(file, "AROUND")):
        raise ManyviewsError(f"{path} is no nets file: it has neither NETS nor AROUND ({VARIABLE} names it).")
    return file


def catalogue() -> Mapping[str, tuple[Net, ModuleType]]:
    """Every network by name, in the order of the files and, in a file, of its `NETS`."""
    found: dict[str, tuple[Net, ModuleType]] = {}
    for file in files():
        for name, net in getattr(file, "NETS", NOTHING).items():
            if name in found:
                raise ManyviewsError(
                    f'Two files call a net "{name}": {found[name][1].__file__}, {file.__file__}'
                )
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
            "(Those of other libraries are timm/NAME and torchvision/NAME; of your own, what a file that "
            f"{VARIABLE} names calls them.)"
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
