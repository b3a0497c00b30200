"""Weights of other libraries, from a file or from the hub, into our nets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from manyviews.errors import ManyviewsError
from manyviews.nets import hub
from manyviews.nets.encoder import Encoder
from manyviews.nets.interop import known
from manyviews.nets.interop.own import read_weights
from manyviews.nets.names import Names, refuse
from manyviews.nets.net import Made, find


def load_from(net: nn.Module, weights: Mapping[str, Tensor] | str | Path, library: str) -> None:
    """Give `net` the weights of the same network of another library, in place.

    Args:
        net: made by `nets.make` or `nets.build`, or a module around one such.
        weights: a state dict of that library's model, a safetensors file of it, or the folder that transformers
            saved it to.
        library: torchvision, timm, transformers or torch, if the net's file has a table of its names.

    Raises `ManyviewsError` where the library has no such net, the file is missing, damaged or a pickle; where
    anything is missing, surplus or misshapen, the error lists all of it, and nothing changes.
    """
    names = known.table(net, library)
    if names is None:
        raise known.no_such_net(net, library)
    known.load(net, weights if isinstance(weights, Mapping) else read_folder(weights), names)


def read_folder(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a folder with one or with several and their index."""
    place = Path(path)
    if not place.is_dir():
        return read_weights(place)[0]
    index = place / "model.safetensors.index.json"
    if not index.is_file():
        return read_weights(place / "model.safetensors")[0]
    try:
        shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ManyviewsError(f"{index} is damaged ({error}); take another copy.") from error
    tensors: dict[str, Tensor] = {}
    for shard in shards:
        tensors |= read_weights(place / Path(shard).name)[0]
    return tensors


def load_backbone(
    encoder: Encoder, weights: Mapping[str, Tensor], ignore: tuple[str, ...] = ("fc.",)
) -> None:
    """Give `encoder` the weights of a state dict in its own names, which are torchvision's and timm's for a ResNet.

    Names that begin with a prefix in `ignore` (a classifier's) are passed over. Where anything is missing,
    surplus or misshapen, raises one `ManyviewsError` that lists all of it, and changes nothing.
    """
    own = encoder.state_dict()
    prefix = "model." if isinstance(encoder, hub.HubEncoder) else ""
    given = {name: tensor for name, tensor in weights.items() if name in own or not name.startswith(ignore)}
    if prefix and not any(name.startswith(prefix) for name in given):
        given = {prefix + name: tensor for name, tensor in given.items()}
    missing, surplus = [[*own.keys() - given.keys()], [*given.keys() - own.keys()]]
    refuse(sorted(missing), sorted(surplus), given, own)
    encoder.load_state_dict(given)


# --- from the hub, by name ------------------------------------------------------------------------


class Fetched(NamedTuple):
    """What a library's downloader brought."""

    tensors: Mapping[str, Tensor]
    size: int | None  # side of the images that they were learned from, where the shape of a tensor says so


def pretrained(name: str, library: str, options: Mapping[str, Any]) -> nn.Module:
    """The net called `name`, made with `options`, with the weights that `library` has for it.

    A net that can be `resized` is made as large as the weights, then resized to the size asked for. Raises
    `ManyviewsError` where the library has no weights for this net, they cannot be fetched, or they do not fit.
    """
    from manyviews.nets import make

    by = Made(name, {**find(name).options, **options})
    with torch.device("meta"):
        net = make(name, **options)
    names, there = known.table(net, library), known.name_at(library, by)
    if names is None or there is None or not known.has(net, library):
        raise _no_weights(by, library)
    fetched = _fetch(library, there, names, net, options)
    size = options.get("size")
    fits = fetched.size in (None, size) or not hasattr(net, "resized")
    net: Any = make(name, **options) if fits else make(name, **{**options, "size": fetched.size})
    try:
        known.load(net, fetched.tensors, names)
    except ManyviewsError as error:
        raise ManyviewsError(
            f'{library}\'s {there} does not fit "{name}" as it is asked for. {error}'
        ) from error
    if not fits:
        net = net.resized(size)
        net.made = by
    return net


def _fetch(library: str, there: str, names: Names, net: nn.Module, options: Mapping[str, Any]) -> Fetched:
    if library == "transformers":
        return _from_transformers(there, names, net)
    channels, size = options.get("in_channels", 3), options.get("size", 224)
    if library == "torchvision":  # whose weights come in one size
        from torchvision import models

        weights: Any = models.get_model_weights(there)
        size = weights.DEFAULT.meta["min_size"][0]
    model = hub.make(f"{library}/{there}", in_channels=channels, size=size, pretrained=True).model
    return Fetched(model.state_dict(), size)


def _from_transformers(there: str, names: Names, net: nn.Module) -> Fetched:
    try:
        import transformers
    except ImportError as error:
        raise ManyviewsError(
            'Weights of transformers need transformers: pip install "manyviews[hub]"'
        ) from error
    assert names.config is not None  # `known.has` asked for it
    kind = getattr(transformers, names.config(net)["architectures"][0])
    try:
        with hub.no_unpickling():
            model = kind.from_pretrained(there)
    except Exception as error:
        raise ManyviewsError(hub.no_weights("transformers", there, error)) from error
    return Fetched(model.state_dict(), getattr(model.config, "image_size", None))


def _no_weights(by: Made, library: str) -> ManyviewsError:
    having = [one for one in known.LIBRARIES if known.name_at(one, by) is not None]
    if library not in known.LIBRARIES:
        return ManyviewsError(
            f'Pretrained weights come from {", ".join(known.LIBRARIES)}, not from "{library}"; name one of them.'
        )
    if having:
        return ManyviewsError(
            f'{library} has no pretrained weights for "{by.name}"; {" and ".join(having)} may have some.'
        )
    return ManyviewsError(
        f'"{by.name}" comes without pretrained weights; "torchvision/..." and "timm/..." nets have some.'
    )
