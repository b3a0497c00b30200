"""Which library has a network too, under which name, and how it calls the tensors."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from manyviews.errors import ManyviewsError
from manyviews.nets.encoder import Encoder, shapes
from manyviews.nets.hub import HubEncoder
from manyviews.nets.names import Names, from_theirs, rows
from manyviews.nets.net import Made, catalogue, find
from manyviews.nets.reader import Reader

Library = Literal["timm", "torchvision", "transformers"]
LIBRARIES: tuple[Library, ...] = get_args(Library)
PREPROCESSOR = "preprocessor_config.json"  # of transformers: how an image becomes what its model sees

# Options that say what a net is shown and how it is trained, not what it computes.
NO_MATTER = {"in_channels", "size", "dropout", "zero_init", "start", "scaled"}


def made(net: nn.Module) -> Made | None:
    """By which name a net, or what is inside it, was made; None where it was not made by name."""
    found: Iterator[Any] = (getattr(module, "made", None) for module in net.modules())
    return next((by for by in found if isinstance(by, Made)), None)


def sees_images(net: nn.Module) -> bool:
    """Whether a net is given pixels; one that was made by no name is taken to be."""
    by = made(net)
    return not isinstance(net, Reader) and (by is None or find(by.name).net.sees == "images")


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
    base, *_ = re.split(r"[/+]", by.name)
    for known, name in find(by.name).net.known_as.items():
        where, *variants = known.split("/")
        same = "/".join([base, *variants])
        if where == library and _matter(by) == _matter(Made(same, find(same).options)):
            return name
    return None


def _matter(by: Made) -> dict[str, Any]:
    """The options that say what a net computes, but for those that go without saying in other libraries."""
    net = find(by.name).net
    unsaid = [net.variants[word] for word in net.known_with]
    return {key: o for key, o in by.options.items() if key not in NO_MATTER and {key: o} not in unsaid}


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
        return not _matter(by).keys() - set(names.speaks_of)
    return name_at(library, by) is not None


def require_same(net: nn.Module, library: str) -> None:
    """Raises `ManyviewsError` for a variant, which `library` has not, of a net that it has, where no tensor tells them apart.

    It would take the weights of theirs, and compute something else.
    """
    by, names = made(net), table(net, library)
    if by is None or names is None or has(net, library):
        return
    base, *words = re.split(r"[/+]", by.name)
    about, _, said = find(by.name)
    theirs = {known.split("/")[0] for known in about.known_as}
    if library not in theirs and names.config is None:
        return
    if untold := _untold(net, by):
        here = "/".join(
            [by.name, *(word for word in untold if not about.variants[word].keys() <= said.keys())]
        )
        there = "/".join([base, *(word for word in words if word not in untold)])
        raise ManyviewsError(
            f'{library} has no net like "{here}": weights that fit it are those of "{there}", which computes otherwise; '
            "take that net."
        )


def _untold(net: nn.Module, by: Made) -> list[str]:
    """The variants of a net that change what it computes, and no tensor's name or shape."""
    about, matter, own = find(by.name).net, _matter(by), shapes(net)
    untold: list[str] = []
    for word, options in about.variants.items():
        if options.items() <= matter.items():
            with torch.device("meta"):
                without = about.make(**{key: o for key, o in by.options.items() if key not in options})
            if shapes(without) == own:
                untold.append(word)
    return untold


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
    files = "onnx or safetensors" if isinstance(net, Encoder) and sees_images(net) else "safetensors"
    formats = ", ".join([*(one for one in libraries(net) if one != library), files])
    name = built.name if built else net.architecture  # pyright: ignore[reportAttributeAccessIssue]
    return ManyviewsError(f'{library} has no net like "{name}"; export it to {formats} instead.')
