"""Nets into the hands of other libraries, each with the line of Python that loads it there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from manyviews.errors import ManyviewsError
from manyviews.files import replacing, write_json
from manyviews.nets import hub, pixels
from manyviews.nets.encoder import Encoder, called, judging
from manyviews.nets.hub import HubEncoder
from manyviews.nets.interop import known
from manyviews.nets.interop.own import KEY, about_encoder, write_weights
from manyviews.nets.names import Names, rows, to_theirs
from manyviews.nets.net import find
from manyviews.nets.reader import Reader
from manyviews.views import MEAN, STD, short_side

ONNX_HOLDS = 2**31  # bytes: protobuf counts them in 32 bits with a sign

Target = Literal["timm", "torchvision", "transformers", "onnx", "safetensors"]
# What a line of Python that loads an export may have to import.
MODULES = ("timm", "torch", "torchvision", "transformers", "onnxruntime", "safetensors.torch")


class Exported(NamedTuple):
    """Where an export lies, and the line of Python that loads it there."""

    path: Path
    how: str


def export(net: nn.Module, path: str | Path, to: Target, *, size: int | None = None) -> Exported:
    """Write `net` to the file `path` for another library; its training heads are not its own and stay here.

    "torchvision" and "timm" write a safetensors file in that library's names, "transformers" a folder with
    `config.json` and `model.safetensors`, "safetensors" a file in our names, "onnx" a graph for images of `size`
    pixels a side (by default what the encoder was built for). A net from other images than the library's, or with
    another stem, has layers that are not as there: the line says how to put them in. Raises `ManyviewsError` for a
    target that cannot hold this net, and says which can.
    """
    made = _written(net, Path(path), to, size)
    return Exported(made.path, _with_imports(made.how))


def _with_imports(line: str) -> str:
    used = [module for module in MODULES if re.search(rf"(?<![\w.]){re.escape(module)}\.", line)]
    return f"import {', '.join(used)}; {line}"


def _written(net: nn.Module, file: Path, to: Target, size: int | None) -> Exported:
    place = repr(str(file))
    if to not in get_args(Target):
        raise ManyviewsError(f'Cannot export to "{to}"; choose one of {", ".join(get_args(Target))}.')
    if to == "onnx":
        to_onnx(net, file, size)
        return Exported(file, f"session = onnxruntime.InferenceSession({place})")
    if to == "safetensors":
        about = about_encoder(net, {}) if isinstance(net, Encoder) else {"made": known.made(net)}
        write_weights(file, net.state_dict(), {KEY: json.dumps(about)})
        return Exported(file, f"weights = safetensors.torch.load_file({place})")
    if to == "transformers":
        return _write_folder(net.net if isinstance(net, Reader) else net, file)
    weights, construct = _for_hub(net, to, size)
    write_weights(file, weights, {})
    load = f"load_state_dict(safetensors.torch.load_file({place}))"
    shows = (
        f"; model.pretrained_cfg.update({_transform(net, size)})"
        if to == "timm" and _channels(net) == 3
        else ""
    )
    return Exported(file, f"{construct}; model.{load}{shows}")


def to_torchvision(net: nn.Module, size: int | None = None) -> dict[str, Tensor]:
    """The state dict under torchvision's names, without the classifier; `export` also says which model it fits.

    Raises `ManyviewsError` for nets that torchvision does not have.
    """
    return _for_hub(net, "torchvision", size)[0]


def to_timm(net: nn.Module, size: int | None = None) -> dict[str, Tensor]:
    """The state dict under timm's names, for a model with `num_classes=0`; see `to_torchvision`."""
    return _for_hub(net, "timm", size)[0]


# --- torchvision and timm, whose models have names ------------------------------------------------


def _for_hub(net: nn.Module, library: str, size: int | None) -> tuple[dict[str, Tensor], str]:
    """The weights in the library's names, and Python that makes the model which they fit."""
    if isinstance(net, HubEncoder):
        if net.library == library:
            return {
                name.removeprefix("model."): tensor for name, tensor in net.state_dict().items()
            }, net.construct
        same = known.ours(net, _side(net, size))
        if same is None or not known.has(same, library):
            raise known.no_such_net(net, library)
        if net.change is not None:
            pixels.take_in(same, net.change)
        return _for_hub(same, library, _side(net, size))
    names, by = known.table(net, library), known.made(net)
    if by is None or names is None or not known.has(net, library):
        raise known.no_such_net(net, library)
    channels = _channels(net)
    with torch.device("meta"):
        there = hub.make(
            f"{library}/{known.name_at(library, by)}", in_channels=channels, size=_side(net, size)
        )
    weights = to_theirs(names, net.state_dict())
    if weights.keys() != there.model.state_dict().keys():
        raise known.no_such_net(net, library)
    return weights, "; ".join([there.construct, *_replaced(net, there.model, names, weights, library)])


def _channels(net: nn.Module) -> int:
    """Of the images that a net was made for."""
    if isinstance(net, Encoder):
        return net.in_channels
    by = known.made(net)
    return 3 if by is None else by.options.get("in_channels", 3)


def _side(net: nn.Module, size: int | None) -> int:
    """Pixels a side of the images that a net was made for."""
    if isinstance(net, Encoder) and net.built:
        return net.built.size
    by = known.made(net)
    return size or (by.options.get("size", find(by.name).net.size) if by else 224)


def _replaced(
    net: nn.Module, model: nn.Module, names: Names, weights: Mapping[str, Tensor], library: str
) -> Iterator[str]:
    """Python that puts our layers into `model` where it has others: another stem, other channels."""
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    differ = {name for name, tensor in weights.items() if tensor.shape != shapes[name]}
    pairs = {
        _layer(theirs): _layer(row.ours[0])
        for row in rows(names.table, net.state_dict())
        for theirs in differ.intersection(row.theirs)
    }
    if "**" in names.table:  # whose layers without weights have the same names too, such as a pooling
        layers = dict(net.named_modules())
        for name, layer in model.named_modules():
            bare = not [*layer.children(), *layer.parameters()]
            if bare and name in layers and type(layers[name]) is not type(layer):
                pairs[name] = name
    for name, here in pairs.items():
        layer = net.get_submodule(here)
        if type(layer).__module__.partition(".")[0] != "torch" or not name:  # nothing that one line can make
            raise known.no_such_net(net, library)
        yield f'model.set_submodule("{name}", torch.nn.{layer!r})'


def _layer(tensor: str) -> str:
    return tensor.rpartition(".")[0]


def _transform(net: nn.Module, size: int | None) -> str:
    """Arguments that have timm's transforms show images as `views.plain` does, but normalised as its own model expects them."""
    side = _side(net, size)
    crop = round(side / (short_side(side) + 0.1), 4)  # timm takes what is whole of side / crop
    about: dict[str, Any] = {
        "input_size": (3, side, side),
        "crop_pct": crop,
        "crop_mode": "center",
        "interpolation": "bilinear",
    }
    if not (isinstance(net, HubEncoder) and net.library == "timm"):
        about |= {"mean": MEAN, "std": STD}
    return ", ".join(f"{key}={value!r}" for key, value in about.items())


# --- transformers, whose models come from a config ------------------------------------------------


def _write_folder(net: nn.Module, folder: Path) -> Exported:
    names = known.table(net, "transformers")
    if names is None or names.config is None or not known.has(net, "transformers"):
        raise known.no_such_net(net, "transformers")
    if folder.is_file():
        raise ManyviewsError(f"{folder} is a file, but transformers loads a folder; choose another path.")
    config = names.config(net)
    weights = to_theirs(names, net.state_dict())
    write_weights(folder / "model.safetensors", weights, {"format": "pt"})
    write_json(folder / "config.json", config)
    if known.sees_images(net) and _channels(net) == 3:
        write_json(folder / known.PREPROCESSOR, _preprocessor(_side(net, None)))
    arguments = ", ".join(filter(None, [repr(str(folder)), names.call]))
    return Exported(folder, f"model = transformers.{config['architectures'][0]}.from_pretrained({arguments})")


def _preprocessor(size: int) -> dict[str, Any]:
    """Has transformers' AutoImageProcessor show images as `views.plain` does."""
    return {
        "image_processor_type": "CLIPImageProcessor",  # the one that resizes the short side, then cuts out the middle
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": short_side(size)},
        "resample": 2,  # bilinear
        "do_center_crop": True,
        "crop_size": {"height": size, "width": size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": MEAN,
        "image_std": STD,
    }


@contextmanager
def _said_plainly(net: Encoder) -> Iterator[None]:
    try:
        yield
    except torch.onnx.OnnxExporterError as error:
        raise ManyviewsError(
            f"torch cannot write {called(net)} as an ONNX graph ({type(error).__name__}); choose another target."
        ) from error


# --- ONNX -----------------------------------------------------------------------------------------


def to_onnx(net: nn.Module, path: str | Path, size: int | None = None) -> None:
    """Write an encoder in eval mode as an ONNX graph, its weights in the same file.

    Its input "image" `[B, in_channels, size, size]` is normalised as the encoder's is, with B free; its output
    is "embedding" `[B, width]`. Raises `ManyviewsError` where onnxscript is missing, the size is not known, the net
    weighs 2 GiB or does not see images.
    """
    if not isinstance(net, Encoder) or not known.sees_images(net):
        name = called(net) if isinstance(net, Encoder) else type(net).__name__
        raise ManyviewsError(
            f"An ONNX export is of a net that sees images, which {name} does not; choose another target."
        )
    side = size or (net.built.size if net.built else None)
    if side is None:
        raise ManyviewsError("An ONNX export needs the size of the images; give size=.")
    if (weighs := sum(x.nbytes for x in net.state_dict().values())) >= ONNX_HOLDS:
        raise ManyviewsError(
            f"{called(net)} weighs {weighs / 2**30:.1f} GiB, and an ONNX file holds less than 2; choose another target."
        )
    try:
        import onnxscript  # noqa: F401  (torch's exporter needs it)
    except ImportError as error:
        raise ManyviewsError('Exporting to ONNX needs onnxscript: pip install "manyviews[onnx]"') from error
    image = torch.zeros(2, net.in_channels, side, side, device=next(net.parameters()).device)
    with judging(net), _said_plainly(net):
        program = torch.onnx.export(
            net,
            (image,),
            dynamo=True,
            verbose=False,
            input_names=["image"],
            output_names=["embedding"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )
    assert program is not None  # it is None only for the exporter before dynamo
    embedding = program.model.graph.outputs[0]
    for node in program.model.graph:
        for value in node.outputs:
            # A layer inside may be called so too, as iGPT's is.
            if value.name == embedding.name and value is not embedding:
                value.name = f"{value.name} inside"
    with replacing(path) as file:
        file.write(program.model_proto.SerializeToString())
