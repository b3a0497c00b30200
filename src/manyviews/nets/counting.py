"""How large every network is and what it costs, counted, beside what its paper says."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from manyviews.errors import ManyviewsError
from manyviews.nets.encoder import Encoder
from manyviews.nets.net import Found, Net, catalogue, find
from manyviews.nets.parts import Part, read

DRAWING = {Tensor.normal_, Tensor.uniform_, nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_}
LARGEST = 50e6  # parameters of a net that is run with numbers where it cannot be without


@dataclass(frozen=True)
class Network:
    """A network and what it costs; None where that is not stated or cannot be counted."""

    name: str
    paper: str
    sees: str  # "images", "sounds", "tokens", "two sequences"
    input: int  # side of the image in pixels, samples of the sound, or tokens, at which the cost is counted
    parameters: int | None  # with the paper's linear classifier where it sees images
    paper_parameters: float | None
    multiply_adds: int | None  # with the classifier, for one input
    paper_multiply_adds: float | None
    width: int | None  # features
    known_as: Mapping[
        str, str
    ]  # library, or library/variant -> its name for the same network, or for that variant
    variants: Mapping[str, str]  # a word after "/" -> what it changes: "norm='group'"
    problem: str | None  # why it could not be counted
    part: Part | None  # what it is made of, without the classifier
    head: Part | None  # the classifier


def networks() -> dict[str, Network]:
    """All networks by name, in the order of the files."""
    return {name: network(name) for name in catalogue()}


def network(name: str, *, flow: bool = False) -> Network:
    """One network, NAME[/VARIANT ...]; a variant is not what the paper's figures or other libraries' names are of.

    `flow` also says which part feeds which (see `parts.read`). Raises `ManyviewsError` for a name that does not exist.
    """
    found = find(name)
    net = found.net
    part, width, problem = _counted(name, flow, net.make)
    plain = not found.options
    head = _classifier(width, net.classes) if width and net.sees == "images" else None
    return Network(
        name=name,
        paper=net.paper,
        sees=net.sees,
        input=net.size,
        parameters=part.parameters + (head.parameters if head else 0) if part else None,
        paper_parameters=_times(net.parameters, 1e6) if plain else None,
        multiply_adds=part.multiply_adds + (head.multiply_adds if head else 0) if part else None,
        paper_multiply_adds=_times(net.multiply_adds, 1e9) if plain else None,
        width=width,
        known_as=_known_as(name, net),
        variants={word: _said(options) for word, options in net.variants.items()} if plain else {},
        problem=problem,
        part=part,
        head=head,
    )


@cache
def _counted(name: str, flow: bool, make: Any) -> tuple[Part | None, int | None, str | None]:
    """The net as a part, its features, and why not, where it cannot be counted; anew where a changed file makes it."""
    try:
        return *_run(find(name), flow), None
    except ManyviewsError as error:
        return None, None, str(error)


def kept(net: nn.Module, *inputs: Tensor) -> int:
    """Bytes that a forward pass of `net` keeps for its backward pass, beside the parameters; what is kept twice counts once."""
    own = {p.untyped_storage().data_ptr() for p in net.parameters()}
    # Weak, for what is let go before the pass ends is not kept, and its place may be taken again.
    held: WeakSet[_Saved] = WeakSet()

    def hold(tensor: Tensor) -> _Saved:
        saved = _Saved(tensor.detach())  # an output that held itself would never be freed
        held.add(saved)
        return saved

    with torch.autograd.graph.saved_tensors_hooks(hold, lambda saved: saved.tensor):
        _outputs = net(*inputs)  # and with it all that is held
    storages = (saved.tensor.untyped_storage() for saved in held)
    sizes = {storage.data_ptr(): storage.nbytes() for storage in storages}
    return sum(size for place, size in sizes.items() if place not in own)


@dataclass(eq=False)
class _Saved:
    """A tensor for the backward pass, for as long as something may ask for it."""

    tensor: Tensor


def _said(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={getattr(value, '__name__', repr(value))}" for name, value in options.items())


def _known_as(name: str, net: Net) -> dict[str, str]:
    """Of a variant, only the names that are its own."""
    variant = name.replace("+", "/").partition("/")[2]
    if not variant:
        return dict(net.known_as)
    known = {library: library.partition("/") for library in net.known_as}
    return {parts[0]: net.known_as[library] for library, parts in known.items() if parts[2] == variant}


def _classifier(width: int, classes: int) -> Part:
    return Part(
        "classifier", f"linear, {width:,} to {classes:,}", (classes,), (width + 1) * classes, width * classes
    )


def _times(figure: float | None, unit: float) -> float | None:
    return None if figure is None else round(figure * unit)


def _run(found: Found, flow: bool) -> tuple[Part, int | None]:
    """The net as a part, and its features."""
    try:
        return _run_on("meta", found, flow)
    except (NotImplementedError, RuntimeError) as error:
        if "meta" not in str(error):
            raise
    # Numbers decide how many steps it takes (a differential equation's solver): the first random weights have to do.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return _run_on("cpu", found, flow)


def _run_on(device: str, found: Found, flow: bool) -> tuple[Part, int | None]:
    net, options = found.net, dict(found.options)
    if net.sees in ("images", "sounds"):
        options |= {"in_channels": 3 if net.sees == "images" else 1, "size": net.size}
    with torch.device(device), _Undrawn() if device == "meta" else nullcontext():
        made = net.make(**options)
        inputs = inputs_of(net)
    if device == "cpu" and (count := sum(p.numel() for p in made.parameters())) > LARGEST:
        raise ManyviewsError(
            f"Its cost depends on its numbers, and it has too many of them to try: {count:,}."
        )
    return read(made, *inputs, flow=flow), _width(made)


class _Undrawn(TorchFunctionMode):
    """Leaves out the random numbers, which tensors without any spend a quarter of the time on."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        if func in DRAWING:
            return args[0] if args else named["tensor"]
        return func(*args, **named)


def inputs_of(net: Net) -> tuple[Tensor, ...]:
    """What the net sees when its cost is counted: one image, one sound, one sequence, or two."""
    if net.sees == "sounds":
        return (torch.randn(1, 1, net.size),)
    if net.sees == "images":
        return (torch.randn(1, 3, net.size, net.size),)
    tokens = torch.ones(1, net.size, dtype=torch.int64)
    return (tokens, tokens) if net.sees == "two sequences" else (tokens,)


def _width(net: nn.Module) -> int | None:
    width = net.width if isinstance(net, Encoder) else getattr(net, "width", None)
    return width if isinstance(width, int) else None
