"""What a network is made of, part by part: read from a run without numbers, on torch's meta device.

Shapes and costs are those of the run; multiply-adds are counted by torch over convolutions, matrix products and
attention. A block that is like the one before it, and sees the same shapes, is counted but not run again: a net of 96
equal blocks costs the time of one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map_only
from torch.utils.flop_counter import FlopCounterMode

ADDING = {torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__iadd__, Tensor.__radd__}
INPUT = -1  # in `Part.takes`: what the whole was given, not what a sibling made


@dataclass(frozen=True)
class Part:
    """A part of a network, or several alike that follow each other."""

    name: str  # in the module tree, seen from the whole: "layer1"; of several, of the first
    kind: str  # "Bottleneck", "7×7 convolution, 64 channels, stride 2"
    out: tuple[int, ...]  # shape of what comes out, without a batch of one; () where it is no tensor
    parameters: int  # of all `times`; what is used twice counts where it is used first
    multiply_adds: int  # of all `times`, for one input
    times: int = 1  # how often such a part is run, one after the other
    takes: tuple[int, ...] = ()  # what it is made from: places among its siblings, or `INPUT`
    parts: tuple[Part, ...] = ()  # of the first of several, in the order in which they run
    last: tuple[int, ...] = ()  # the places among `parts` from which what comes out is made
    sums: tuple[tuple[int, ...], ...] = ()  # which of these come together by addition


def read(net: nn.Module, *inputs: Tensor, flow: bool = False) -> Part:
    """The whole network as a part, from one run on `inputs` (a batch of one).

    A net on the meta device is left unusable: build it for this. `flow` also fills `takes`, `last` and `sums`, which
    costs more time, and keeps apart what is alike but is fed differently.
    """
    return _Reader(net, flow).read(*inputs)


@dataclass
class _Frame:
    """A module that is running: the parts that it has run so far, and which of them each tensor was made from."""

    module: nn.Module
    parts: list[Part] = field(default_factory=list)
    modules: list[nn.Module] = field(default_factory=list)  # the one behind each part
    made_from: dict[int, frozenset[int]] = field(default_factory=dict)  # id of a tensor -> places in `parts`
    sums: set[frozenset[int]] = field(default_factory=set)
    alive: list[Any] = field(default_factory=list)  # so that no id is used twice

    def source(self, values: Any) -> frozenset[int]:
        tensors = [value for value in tree_flatten(values)[0] if isinstance(value, Tensor)]
        return frozenset().union(*(self.made_from.get(id(tensor), ()) for tensor in tensors))

    def mark(self, values: Any, source: frozenset[int]) -> None:
        for value in tree_flatten(values)[0]:
            if isinstance(value, Tensor):
                # A mask says where to look; it is not what is looked at.
                self.made_from[id(value)] = frozenset() if value.dtype == torch.bool else source
                self.alive.append(value)


class _Seen(NamedTuple):
    """A part that ran, and what it gave."""

    part: Part
    given: Any


class _Reader:
    def __init__(self, net: nn.Module, flow: bool):
        self.net, self.flow = net, flow
        self.counter = FlopCounterMode(display=False)
        self.saved = 0  # multiply-adds of what was not run again
        self.counted: set[int] = set()  # ids of the parameters that have been
        self.names = {module: name for name, module in net.named_modules()}
        self.frames: list[_Frame] = []
        self.seen: dict[Any, _Seen] = {}
        self.whole: Part | None = None
        meta = all(parameter.is_meta for parameter in net.parameters())
        self.twins = _twins(net) if meta else {}  # what values decide has to be run, always

    def read(self, *inputs: Tensor) -> Part:
        self.net.requires_grad_(False).eval()  # torch's counter trips over parameters that want gradients
        with ExitStack() as stack:
            for module in self.net.modules():
                own = module.forward
                module.forward = partial(self.run, module, own)
                stack.callback(delattr, module, "forward")
            stack.enter_context(torch.no_grad())
            stack.enter_context(self.counter)
            if self.flow:
                stack.enter_context(_Flow(self.frames))
            self.net(*inputs)
        assert self.whole
        return self.whole

    def multiply_adds(self) -> int:
        return self.counter.get_total_flops() // 2 + self.saved

    def run(self, module: nn.Module, forward: Callable[..., Any], *args: Any, **options: Any) -> Any:
        key = self.key(module, args, options)
        if key is not None and (seen := self.seen.get(key)):
            given = tree_map_only(Tensor, torch.empty_like, seen.given)
            self.saved += seen.part.multiply_adds
            self.add(module, seen.part, self.new_parameters(module), given, (args, options))
            return given
        before, new = self.multiply_adds(), self.new_parameters(module)
        frame = _Frame(module)
        frame.mark((args, options), frozenset({INPUT}))
        self.frames.append(frame)
        try:
            given = forward(*args, **options)
        finally:
            self.frames.pop()
        whole = Part(
            name="",
            kind=kind(module),
            out=_shape(given),
            parameters=0,
            multiply_adds=self.multiply_adds() - before,
            parts=tuple(frame.parts),
            last=tuple(sorted(frame.source(given))) if self.flow else (),
            sums=tuple(sorted(tuple(sorted(places)) for places in frame.sums)),
        )
        if key is not None:
            self.seen[key] = _Seen(whole, given)
        self.add(module, whole, new, given, (args, options))
        return given

    def key(self, module: nn.Module, args: Any, options: Any) -> Any:
        """The same for calls that give and cost the same; None where a call has to be made."""
        if module not in self.twins:
            return None
        leaves, form = tree_flatten((args, options))
        return (
            self.twins[module],
            str(form),
            tuple((v.shape, v.dtype) if isinstance(v, Tensor) else repr(v) for v in leaves),
        )

    def new_parameters(self, module: nn.Module) -> dict[int, int]:
        """How many numbers each of its parameters has, of those that no part before it has."""
        return {id(p): p.numel() for p in module.parameters() if id(p) not in self.counted}

    def add(self, module: nn.Module, part: Part, new: dict[int, int], given: Any, taken: Any) -> None:
        """Put a part that has run into the one that is running."""
        self.counted |= new.keys()
        part = replace(part, parameters=sum(new.values()))
        if not self.frames:
            self.whole = part
            return
        frame = self.frames[-1]
        prefix = self.names[frame.module]
        name = self.names[module].removeprefix(f"{prefix}.") if prefix else self.names[module]
        part = replace(part, name=name, takes=self.takes(frame, taken) if self.flow else ())
        if not self.fold(frame, module, part):
            frame.parts.append(part)
            frame.modules.append(module)
        if self.flow:
            frame.mark(given, frozenset({len(frame.parts) - 1}))

    def takes(self, frame: _Frame, taken: Any) -> tuple[int, ...]:
        source = frame.source(taken)
        if not source and any(isinstance(value, Tensor) for value in tree_flatten(taken)[0]):
            source = {len(frame.parts) - 1}  # what came between left no trace: a function of autograd, say
        return tuple(sorted(source))

    def fold(self, frame: _Frame, module: nn.Module, part: Part) -> bool:
        """Add a part to the one before it, where they are alike."""
        if not frame.parts:
            return False
        before = frame.parts[-1]
        chained = not self.flow or len(frame.parts) - 1 in part.takes
        again = frame.modules[-1] is module
        as_many = again or part.parameters * before.times == before.parameters
        if not (chained and as_many and _form(before) == _form(part)):
            return False
        frame.modules[-1] = module
        frame.parts[-1] = replace(
            before,
            times=before.times + 1,
            parameters=before.parameters + part.parameters,
            multiply_adds=before.multiply_adds + part.multiply_adds,
        )
        return True


class _Flow(TorchFunctionMode):
    """Follows tensors through what is done to them between the parts: sums, cuts, joins."""

    def __init__(self, frames: list[_Frame]):
        super().__init__()
        self.frames = frames

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = func(*args, **(kwargs or {}))
        if self.frames:
            frame, source = self.frames[-1], self.frames[-1].source((args, kwargs))
            if func in ADDING and len(source) > 1:
                frame.sums.add(source)
            frame.mark(given, source)
        return given


def _shape(given: Any) -> tuple[int, ...]:
    first = next((value for value in tree_flatten(given)[0] if isinstance(value, Tensor)), None)
    if first is None:
        return ()
    return tuple(first.shape[1:] if len(first.shape) > 1 and first.shape[0] == 1 else first.shape)


def _form(part: Part) -> Any:
    """What parts that are alike have in common, however often each runs and whoever's the parameters are."""
    return part.kind, part.out, part.multiply_adds // part.times, [(p.times, _form(p)) for p in part.parts]


def _twins(net: nn.Module) -> dict[nn.Module, Any]:
    """What cannot be told from another part of the net by its shapes and settings, as a number for each such kind."""
    alike: dict[nn.Module, Any] = {}
    for module in reversed(list(net.modules())):  # children before parents
        children = [(name, alike[child]) for name, child in module.named_children()]
        tensors = [
            (name, tuple(tensor.shape))
            for name, tensor in [
                *module.named_parameters(recurse=False),
                *module.named_buffers(recurse=False),
            ]
        ]
        alike[module] = hash((type(module), str(children), str(tensors), _settings(module)))
    often = Counter(alike.values())
    return {module: likeness for module, likeness in alike.items() if often[likeness] > 1}


def _settings(module: nn.Module) -> str:
    """Every plain attribute written out; of any other, which object it is."""
    own = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    return str({name: value if _plain(value) else id(value) for name, value in own.items()})


def _plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))


def kind(module: nn.Module) -> str:
    """What a module is, in the words of a figure: "3×3 convolution, 64 channels", or its class."""
    words = type(module).__name__
    match module:
        case nn.Conv2d():
            words = f"{_sides(module.kernel_size)} convolution, {module.out_channels:,} channels"
            words += f", stride {module.stride[0]}" if module.stride[0] > 1 else ""
            words += f", {module.groups} groups" if module.groups > 1 else ""
        case nn.Conv1d():
            words = f"convolution over {module.kernel_size[0]}, {module.out_channels:,} channels"
            words += f", stride {module.stride[0]}" if module.stride[0] > 1 else ""
        case nn.Linear():
            words = f"linear, {module.in_features:,} to {module.out_features:,}"
        case nn.Embedding():
            words = f"embedding, {module.num_embeddings:,} of {module.embedding_dim:,}"
        case nn.MaxPool2d() | nn.AvgPool2d():
            name = "max pool" if isinstance(module, nn.MaxPool2d) else "average pool"
            words = f"{_sides(module.kernel_size)} {name}, stride {module.stride}"
        case nn.GroupNorm():
            words = f"group norm, {module.num_groups} groups"
        case nn.Dropout() | nn.Dropout2d():
            words = f"dropout, {module.p:g}"
        case nn.modules.batchnorm._BatchNorm():
            words = "batch norm"
        case nn.LayerNorm():
            words = "layer norm"
        case nn.LocalResponseNorm():
            words = "local response norm"
        case nn.Identity():
            words = "identity"
        case nn.Sequential() | nn.ModuleList():
            words = "one after the other"
        case _ if isinstance(heads := getattr(module, "heads", None), int):
            words += f", {heads} heads"
    return words


def _sides(kernel: int | Sequence[int]) -> str:
    return "×".join(map(str, (kernel, kernel) if isinstance(kernel, int) else kernel))
