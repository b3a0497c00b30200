"""Which library has a network too, under which name, and how it calls the tensors."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from manyviews.errors import ManyviewsError
from manyviews.nets.encoder import Encoder
from manyviews.nets.hub import HubEncoder
from manyviews.nets.names import Names, from_theirs, rows
from manyviews.nets.net import Made, catalogue, find
from manyviews.nets.reader import Reader

Library = Literal["timm", "torchvision", "transformers"]
LIBRARIES: tuple[Library, ...] = get_args(Library)

# Options that say what a net is shown and how it is trained, not what it computes.
NO_MATTER = {"in_channels", "size", "dropout", "zero_init", "start", "scaled"}


def made(net: nn.Module) -> Made | None:
    """By which name a net, or what is inside it, was made; None where it was not made by name."""
    found: Iterator[Any] = (getattr(module, "made", None) for module in net.modules())
    return next((by for by in found if isinstance(by, Made)), None)


def table(net: nn.Module, library: str) -> Names | None:
    """How `library` calls the tensors of a net; None where it has no such net."""
    by = made(net)
    names = None if by is None else tables(by.name).get(library)
    if names is None:
        return None
    try:
        list(rows(names.table, net.state_dict()))
    except ValueError:  # this one has tensors that those of the library have not
        return None
    return names


def tables(name: str) -> Mapping[str, Names]:
    """The tables of the file that a net is in."""
    return getattr(find(name).file, "NAMES", {})


def name_at(library: str, by: Made) -> str | None:
    """What `library` calls a net that was made so; None where it has none that computes the same."""
    net, _, options = find(by.name)
    if (by.options.keys() - options.keys()) - NO_MATTER:
        return None
    words = set(re.split(r"[/+]", by.name)[1:]) - set(net.known_with)
    for known, name in net.known_as.items():
        where, *variants = known.split("/")
        if where == library and set(variants) == words:
            return name
    return None


def libraries(net: nn.Module) -> list[str]:
    """Those that have the net."""
    by = made(net)
    if by is None or isinstance(net, HubEncoder):
        return [net.library] if isinstance(net, HubEncoder) else []
    return [library for library in LIBRARIES if has(net, library)]


def has(net: nn.Module, library: str) -> bool:
    """Whether `library` has a net that computes the same from the same weights."""
    by, names = made(net), table(net, library)
    if by is None or names is None:
        return False
    if names.config is not None:
        return not by.options.keys() - NO_MATTER - set(names.speaks_of)
    return name_at(library, by) is not None


def ours(theirs: HubEncoder, size: int) -> nn.Module | None:
    """Our net of the same layers and weights as another library's; None where we have none."""
    from manyviews.nets import make

    home = theirs.library
    weights = {name.removeprefix("model."): tensor for name, tensor in theirs.state_dict().items()}
    for name in _called(
        home, theirs.architecture.partition(".")[0]
    ):  # timm names a model's weights after a dot
        with torch.device("meta"):
            net = make(name, in_channels=theirs.in_channels, size=size)
        try:
            load(net, weights, tables(name)[home])
        except ManyviewsError:
            continue
        return net
    return None


def _called(library: str, theirs: str) -> Iterator[str]:
    """Our names for a net of `library`, with the variants that it may be built in."""
    for name, (net, _) in catalogue().items():
        for known, there in net.known_as.items():
            where, *variants = known.split("/")
            if (where, there) == (library, theirs):
                yield from (
                    "/".join([name, *variants, *more]) for more in ((), *((word,) for word in net.known_with))
                )


def load(net: nn.Module, weights: Mapping[str, Tensor], names: Names) -> None:
    """Give `net` weights in a library's names; one on the meta device takes the tensors themselves.

    Raises one `ManyviewsError` that lists every tensor which is missing, surplus or misshapen, and changes nothing.
    """
    own = net.state_dict()
    assign = any(tensor.is_meta for tensor in own.values())
    net.load_state_dict(from_theirs(names, weights, own), assign=assign)


def no_such_net(net: nn.Module, library: str) -> ManyviewsError:
    """The sentence for a net that `library` does not have."""
    built: Any = getattr(net, "built", None) or made(net)
    if built is None and not isinstance(net, HubEncoder):
        return ManyviewsError(
            f"This {type(net).__name__} was not made by a name, so nobody knows what {library} calls it; "
            "make it by manyviews.nets.make."
        )
    files = (
        "onnx or safetensors" if isinstance(net, Encoder) and not isinstance(net, Reader) else "safetensors"
    )
    formats = ", ".join([*(one for one in libraries(net) if one != library), files])
    name = built.name if built else net.architecture  # pyright: ignore[reportAttributeAccessIssue]
    return ManyviewsError(f'{library} has no net like "{name}"; export it to {formats} instead.')
