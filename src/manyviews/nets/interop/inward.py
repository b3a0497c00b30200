"""Weights of other libraries, from a file or from the hub, into our nets."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from manyviews.errors import ManyviewsError
from manyviews.nets import hub, pixels
from manyviews.nets.encoder import Encoder, Resizable
from manyviews.nets.interop import known
from manyviews.nets.interop.own import read_weights
from manyviews.nets.names import Names, matched, refuse
from manyviews.nets.net import Made, find
from manyviews.nets.reader import Reader


def load_from(net: nn.Module, weights: Mapping[str, Tensor] | str | Path, library: str) -> None:
    """Give `net` the weights of the same network of another library, in place.

    Args:
        net: made by `nets.make` or `nets.build`, or a module around one such.
        weights: a state dict of that library's model, a safetensors file of it, or the folder that transformers
            saved it to.
        library: torchvision, timm, transformers or torch.nn, if the net's file has a table of its names.

    Raises `ManyviewsError` where the library has no such net, or has it in another variant that no tensor tells from this
    one; where the file is missing, damaged, a pickle or, as its folder says, of a net that computes otherwise; where
    anything is missing, surplus or misshapen, the error lists all of it, and nothing changes.
    """
    net = net.net if isinstance(net, Reader) else net
    names = known.table(net, library)
    if names is None:
        raise known.no_such_net(net, library)
    known.require_same(net, library)
    if isinstance(weights, str | Path):
        _require_alike(net, names, str(weights))
        weights = read_folder(weights)
    known.load(net, weights, names)


def read_folder(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a folder with one or with several and their index."""
    place = Path(path)
    if not place.is_dir():
        return read_weights(place)[0]
    index = place / "model.safetensors.index.json"
    if not index.is_file():
        return read_weights(place / "model.safetensors")[0]
    try:
        shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
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


def load_hub(encoder: hub.HubEncoder, place: str | Path) -> None:
    """Give another library's net what a file or folder of that library holds for it, but for its classes, in place.

    Raises `ManyviewsError` where that is missing, damaged, a pickle, or of another net.
    """
    weights = read_folder(place)
    own = {name.removeprefix("model.") for name in encoder.state_dict()}
    with torch.device("meta"):
        beside = tuple(name for name in _whole(encoder).state_dict() if name not in own)
    try:
        load_backbone(encoder, weights, ignore=beside)
    except ManyviewsError as error:
        raise ManyviewsError(
            f'{place} does not fit "{encoder.library}/{encoder.architecture}". {error}'
        ) from error


def _whole(encoder: hub.HubEncoder) -> nn.Module:
    """The model with its classifier."""
    if encoder.library == "timm":
        import timm

        return timm.create_model(encoder.architecture)
    from torchvision import models

    return models.get_model(encoder.architecture)


# --- by name, or from a file ----------------------------------------------------------------------

# Tensors of nets that read tokens, whose length is an option of the net's maker.
COUNTS = {"tokens.weight": "vocabulary", "positions.weight": "length", "segments.weight": "segments"}


def pretrained(name: str, source: str, options: Mapping[str, Any]) -> nn.Module:
    """The net called `name`, made with `options`, with the weights of `source`.

    A net that can be `resized` is made as large as the weights, then resized to the size asked for; one that reads
    tokens knows those of the weights and is as long.

    Args:
        source: LIBRARY, which has weights for this net, or LIBRARY:PATH, a file or folder of such weights.

    Raises `ManyviewsError` where the library does not have this net, or has it in another variant that no tensor tells
    from this one; where its weights cannot be fetched or read, or do not fit.
    """
    from manyviews.nets import make

    library, _, place = source.partition(":")
    by = Made(name, {**find(name).options, **options})
    with torch.device("meta"):
        net: Any = make(name, **options)
    names, there = known.table(net, library), known.name_at(library, by)
    if library not in known.LIBRARIES or names is None or not (place or (there and known.has(net, library))):
        raise _no_weights(by, library)
    known.require_same(net, library)
    weights = read_folder(place) if place else _fetch(library, str(there), names, net, options)
    _require_alike(net, names, place)
    fitting = _fitting(net, names, weights, options)
    net = make(name, **fitting)
    try:
        known.load(net, weights, names)
    except ManyviewsError as error:
        what, advice = place or f"{library}'s {there}", _advice(name, fitting, weights, names)
        raise ManyviewsError(f'{what} does not fit "{name}" as it is asked for. {error}{advice}') from error
    size = options.get("size")
    if size not in (None, fitting.get("size")):
        net = net.resized(size)
        net.made = by
    return net


# What transformers' configs say of a net that the shapes of its tensors do not.
UNSEEN = (
    *("model_type", "num_attention_heads", "n_head", "hidden_act", "activation_function", "afn"),
    *("is_decoder", "scale_attn_weights", "scale_attn_by_inverse_layer_idx", "tie_word_embeddings"),
)


def _require_alike(net: nn.Module, names: Names, place: str) -> None:
    """Raises `ManyviewsError` where a folder that transformers saved says that its model computes otherwise, or is damaged."""
    there = Path(place)
    file = (there if there.is_dir() else there.parent) / "config.json"
    if names.config is None or not place or not file.is_file():
        return
    try:
        told: dict[str, Any] = dict(json.loads(file.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise ManyviewsError(f"{file} is damaged ({error}); take another copy.") from error
    own = names.config(net)
    other = [
        f"{key} {told[key]}, not {own[key]}"
        for key in UNSEEN
        if key in own and told.get(key, own[key]) != own[key]
    ]
    if other:
        raise ManyviewsError(f"{place} is of another net: {'; '.join(other)}.")


def _fitting(
    net: nn.Module, names: Names, weights: Mapping[str, Tensor], options: Mapping[str, Any]
) -> dict[str, Any]:
    """The options of a net as large as the weights, where their shapes tell and the name does not."""
    shapes = {name: tensor.to("meta") for name, tensor in weights.items()}
    found = matched(names, shapes, net.state_dict()).found
    if isinstance(net, Resizable):
        size = net.size_of(found)
        return {**options, "size": size} if size else dict(options)
    counts = {option: found[ours].shape[:1].numel() for ours, option in COUNTS.items() if ours in found}
    return {option: count for option, count in counts.items() if option in names.speaks_of} | dict(options)


def see_ours(encoder: Encoder, source: str) -> None:
    """Have a net with weights of `source` see images as they are normalised here, where they were learned from others.

    By timm and torchvision it is known of each model, and by transformers where a preprocessor_config.json says it; weights from a
    file, beside which nothing does, are taken as they are. Raises `ManyviewsError` where the net's first layer cannot be changed so.
    """
    library, _, place = source.partition(":")
    by = known.made(encoder)
    there = None if by is None else known.name_at(library, by)
    if library == "transformers":
        change = _processed(place or str(there), here=bool(place))
    else:
        change = None if place or there is None else hub.expects(f"{library}/{there}")
    if change is not None:
        pixels.take_in(encoder, change)


def _processed(there: str, here: bool) -> pixels.Change | None:
    """What the images for a model of transformers differ in, as the preprocessor that lies beside it says."""
    folder = Path(there) if Path(there).is_dir() else Path(there).parent
    told = folder / known.PREPROCESSOR if here else _preprocessor(there)
    if told is None or not told.is_file():
        return None
    try:
        about = json.loads(told.read_text(encoding="utf-8"))
        if not about.get("do_normalize", True) or "image_mean" not in about:
            return None
        return pixels.change(about["image_mean"], about["image_std"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ManyviewsError(f"{told} is damaged ({error}); take another copy.") from error


def _preprocessor(there: str) -> Path | None:
    from transformers.utils.hub import cached_file

    try:
        found: Any = cached_file(there, known.PREPROCESSOR, _raise_exceptions_for_missing_entries=False)
    except Exception as error:
        raise ManyviewsError(hub.no_weights("transformers", there, error)) from error
    return None if found is None else Path(found)


def _advice(name: str, options: Mapping[str, Any], weights: Mapping[str, Tensor], names: Names) -> str:
    """Says in which other variant, of those that go without saying in the library, the weights would fit."""
    from manyviews.nets import make

    base, *words = re.split(r"[/+]", name)
    choice = find(name).net.known_with
    for word in choice:
        other = "/".join([base, *(each for each in words if each not in choice), word])
        try:
            with torch.device("meta"):
                known.load(make(other, **options), weights, names)
        except ManyviewsError:
            continue
        return f'. They fit "{other}": take that net.'
    return ""


def _fetch(
    library: str, there: str, names: Names, net: nn.Module, options: Mapping[str, Any]
) -> Mapping[str, Tensor]:
    if library == "transformers":
        return _from_transformers(there, names, net)
    channels, size = options.get("in_channels", 3), options.get("size", 224)
    if library == "torchvision":  # whose weights come in one size
        from torchvision import models

        weights: Any = models.get_model_weights(there)
        size = weights.DEFAULT.meta["min_size"][0]
    return hub.make(f"{library}/{there}", in_channels=channels, size=size, pretrained=True).model.state_dict()


def _from_transformers(there: str, names: Names, net: nn.Module) -> Mapping[str, Tensor]:
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
    return model.state_dict()


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
