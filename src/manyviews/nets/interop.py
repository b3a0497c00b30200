"""Weights in and out: safetensors, torchvision, timm and ONNX. Nothing is ever unpickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from manyviews.errors import ManyviewsError
from manyviews.files import replacing, write_json
from manyviews.nets.encoder import Built, Encoder, judging
from manyviews.nets.hub import HubEncoder
from manyviews.nets.resnet import STANDARD, ResNet

Target = Literal["timm", "torchvision", "onnx", "safetensors"]

KEY = "manyviews"  # of our entry in the safetensors header


# --- our own files: encoder.safetensors, and encoder.json for people and other tools to read ------


def save_encoder(path: str | Path, encoder: Encoder, config: Mapping[str, Any]) -> Path:
    """Write `encoder` and a JSON-able `config`; returns the weights' file.

    `path` is a folder, which gets `encoder.safetensors` and `encoder.json`, or a file NAME.safetensors, which
    gets NAME.json beside it. Both are written whole or not at all. The header of the weights carries what
    the JSON says, so that they can be loaded alone, wherever they are moved.
    """
    file = _weights_file(path)
    about = _about(encoder, config)
    _write(file, encoder.state_dict(), {KEY: json.dumps(about)})
    write_json(file.with_suffix(".json"), about)
    return file


def _weights_file(path: str | Path) -> Path:
    return Path(path) if Path(path).suffix == ".safetensors" else Path(path) / "encoder.safetensors"


def _about(encoder: Encoder, config: Mapping[str, Any]) -> dict[str, Any]:
    built = asdict(encoder.built) if encoder.built else None
    return {"encoder": built, "width": encoder.width, "config": dict(config)}


def load_encoder(path: str | Path) -> tuple[Encoder, dict[str, Any]]:
    """The encoder, in eval mode, and the config that `save_encoder` wrote into the folder or file `path`.

    Raises `ManyviewsError` where the file is missing, damaged, a pickle, or not an encoder that `nets.build`
    can make again.
    """
    from manyviews.nets import build

    file = Path(path) if Path(path).is_file() else _weights_file(path)
    weights, metadata = read_weights(file)
    try:
        about = json.loads(metadata[KEY])
        built, config = Built(**about["encoder"]), dict(about["config"])
    except (KeyError, TypeError, ValueError) as error:
        raise ManyviewsError(
            f"{file} does not say which net it holds; build that net yourself and use load_backbone."
        ) from error
    encoder = build(**asdict(built))
    load_backbone(encoder, weights)
    return encoder.eval(), config


def read_weights(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file.

    Raises `ManyviewsError` where it is missing, damaged or a pickle.
    """
    from safetensors import SafetensorError, safe_open

    file = Path(path)
    if not file.is_file():
        raise ManyviewsError(f"There are no weights at {file}; expected a safetensors file.")
    with file.open("rb") as stream:
        head = stream.read(9)
    # A safetensors file is 8 bytes of length, then JSON; PK opens torch's zip archives, 0x80 a bare pickle.
    if head[8:] != b"{" and head.startswith((b"PK", b"\x80")):
        raise ManyviewsError(
            f"{file} is a pickle, which can run code when it is opened; open it where you trust it and save its "
            "state dict by safetensors.torch.save_file."
        )
    try:
        with safe_open(file, framework="pt") as tensors:
            names: list[str] = tensors.keys()
            return {name: tensors.get_tensor(name) for name in names}, tensors.metadata() or {}
    except SafetensorError as error:
        raise ManyviewsError(
            f"{file} is damaged, or no safetensors file ({error}); take another copy."
        ) from error


def load_backbone(
    encoder: Encoder, weights: Mapping[str, Tensor], ignore: tuple[str, ...] = ("fc.",)
) -> None:
    """Give `encoder` the weights of a state dict: ours, torchvision's or timm's.

    Names that begin with a prefix in `ignore` (a classifier's) are passed over. Where anything is missing,
    surplus or misshapen, raises one `ManyviewsError` that lists all of it, and changes nothing.
    """
    own = encoder.state_dict()
    prefix = _prefix(encoder)
    given = {name: tensor for name, tensor in weights.items() if name in own or not name.startswith(ignore)}
    if prefix and not any(name.startswith(prefix) for name in given):
        given = {prefix + name: tensor for name, tensor in given.items()}
    shared = own.keys() & given.keys()
    wrong = {
        "missing": [name for name in own if name not in given],
        "surplus": [name for name in given if name not in own],
        "misshapen": [
            f"{name} {list(given[name].shape)}, not {list(own[name].shape)}"
            for name in own
            if name in shared and given[name].shape != own[name].shape
        ],
    }
    if any(wrong.values()):
        lists = "; ".join(f"{len(them)} {what}: {', '.join(them)}" for what, them in wrong.items() if them)
        raise ManyviewsError(f"These weights are of another net. {lists}")
    encoder.load_state_dict(given)


# --- other libraries ------------------------------------------------------------------------------


class Exported(NamedTuple):
    """Where an export lies, and the line of Python that loads it there."""

    path: Path
    how: str


def export(encoder: Encoder, path: str | Path, to: Target, *, size: int | None = None) -> Exported:
    """Write `encoder` to the file `path` for another library.

    "torchvision" and "timm" write a safetensors file in that library's names, "safetensors" one in ours, "onnx"
    a graph for images of `size` pixels a side (by default what the encoder was built for). Raises
    `ManyviewsError` for a target that cannot hold this encoder, and says which can.
    """
    file, place = Path(path), repr(str(path))
    if to not in get_args(Target):
        raise ManyviewsError(f'Cannot export to "{to}"; choose one of {", ".join(get_args(Target))}.')
    if to == "onnx":
        side = size or (encoder.built.size if encoder.built else None)
        if side is None:
            raise ManyviewsError("An ONNX export needs the size of the images; give size=.")
        to_onnx(encoder, file, side)
        return Exported(file, f"session = onnxruntime.InferenceSession({place})")
    load = f"load_state_dict(safetensors.torch.load_file({place}))"
    if to == "safetensors":
        _write(file, encoder.state_dict(), {KEY: json.dumps(_about(encoder, {}))})
        return Exported(file, f"weights = safetensors.torch.load_file({place})")
    weights = to_torchvision(encoder) if to == "torchvision" else to_timm(encoder)
    _write(file, weights, {})
    return Exported(file, f"{_construct(encoder, to)}; model.{load}")


def to_torchvision(encoder: Encoder) -> dict[str, Tensor]:
    """The state dict under torchvision's names, without the classifier (`model.fc = torch.nn.Identity()`).

    A ResNet 18 to 152 with the "cifar" stem fits a torchvision model whose conv1 and maxpool are replaced, as
    `export` spells out. Raises `ManyviewsError` for nets that torchvision does not have.
    """
    _architecture(encoder, "torchvision")
    return _bare(encoder)


def to_timm(encoder: Encoder) -> dict[str, Tensor]:
    """The state dict under timm's names, for a model with `num_classes=0`; see `to_torchvision`."""
    _architecture(encoder, "timm")
    return _bare(encoder)


def to_onnx(encoder: Encoder, path: str | Path, size: int) -> None:
    """Write the encoder in eval mode as an ONNX graph, its weights in the same file.

    Its input "image" `[B, in_channels, size, size]` is normalised as the encoder's is, with B free; its output
    is "embedding" `[B, width]`. Raises `ManyviewsError` where onnxscript is missing.
    """
    try:
        import onnxscript  # noqa: F401  (torch's exporter needs it)
    except ImportError as error:
        raise ManyviewsError('Exporting to ONNX needs onnxscript: pip install "manyviews[onnx]"') from error
    image = torch.zeros(2, encoder.in_channels, size, size, device=next(encoder.parameters()).device)
    with judging(encoder):
        program = torch.onnx.export(
            encoder,
            (image,),
            dynamo=True,
            verbose=False,
            input_names=["image"],
            output_names=["embedding"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )
    assert program is not None  # it is None only for the exporter before dynamo
    with replacing(path) as file:
        file.write(program.model_proto.SerializeToString())


def _architecture(encoder: Encoder, library: str) -> str:
    """The name of the encoder's layers in `library`."""
    home = encoder.library if isinstance(encoder, HubEncoder) else None
    if isinstance(encoder, HubEncoder):
        plain = encoder.architecture.partition(".")[0]  # timm names a model's weights after a dot
        name = encoder.architecture if home == library else plain if plain in STANDARD.values() else None
    else:
        name = encoder.standard if isinstance(encoder, ResNet) else None
    if name:
        return name
    what = encoder.built.name if encoder.built else type(encoder).__name__
    formats = ", ".join(filter(None, [home, "onnx or safetensors"]))
    raise ManyviewsError(f'{library} has no net like "{what}"; export it to {formats} instead.')


def _construct(encoder: Encoder, library: str) -> str:
    """Python that makes the model of `library` which the exported weights fit."""
    if isinstance(encoder, HubEncoder) and encoder.library == library:
        return encoder.construct
    name, channels = _architecture(encoder, library), encoder.in_channels
    stem = encoder.stem if isinstance(encoder, ResNet) else "imagenet"
    lines = {
        "timm": [f'model = timm.create_model("{name}", num_classes=0)'],
        "torchvision": [f"model = torchvision.models.{name}()", "model.fc = torch.nn.Identity()"],
    }[library]
    if stem == "cifar":
        lines.append(f"model.conv1 = torch.nn.Conv2d({channels}, 64, 3, 1, 1, bias=False)")
        lines.append("model.maxpool = torch.nn.Identity()")
    elif channels != 3:
        lines.append(f"model.conv1 = torch.nn.Conv2d({channels}, 64, 7, 2, 3, bias=False)")
    return "; ".join(lines)


def _prefix(encoder: Encoder) -> str:
    """What our state dict puts before the other library's names."""
    return "model." if isinstance(encoder, HubEncoder) else ""


def _bare(encoder: Encoder) -> dict[str, Tensor]:
    return {name.removeprefix(_prefix(encoder)): tensor for name, tensor in encoder.state_dict().items()}


def _write(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    from safetensors.torch import save

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as file:
        file.write(save(plain, metadata))
