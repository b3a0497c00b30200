"""Our own files: encoder.safetensors, and encoder.json for people and other tools to read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from manyviews.errors import ManyviewsError
from manyviews.files import replacing, write_json
from manyviews.nets.encoder import Built, Encoder

KEY = "manyviews"  # of our entry in the safetensors header


def save_encoder(path: str | Path, encoder: Encoder, config: Mapping[str, Any]) -> Path:
    """Write `encoder` and a JSON-able `config`; returns the weights' file.

    `path` is a folder, which gets `encoder.safetensors` and `encoder.json`, or a file NAME.safetensors, which
    gets NAME.json beside it. Both are written whole or not at all. The header of the weights carries what
    the JSON says, so that they can be loaded alone, wherever they are moved.
    """
    file = _weights_file(path)
    about = about_encoder(encoder, config)
    write_weights(file, encoder.state_dict(), {KEY: json.dumps(about)})
    write_json(file.with_suffix(".json"), about)
    return file


def _weights_file(path: str | Path) -> Path:
    return Path(path) if Path(path).suffix == ".safetensors" else Path(path) / "encoder.safetensors"


def about_encoder(encoder: Encoder, config: Mapping[str, Any]) -> dict[str, Any]:
    built = asdict(encoder.built) if encoder.built else None
    return {"encoder": built, "width": encoder.width, "config": dict(config)}


def load_encoder(path: str | Path) -> tuple[Encoder, dict[str, Any]]:
    """The encoder, in eval mode, and the config that `save_encoder` wrote into the folder or file `path`.

    Raises `ManyviewsError` where the file is missing, damaged, a pickle, or not an encoder that `nets.build`
    can make again.
    """
    from manyviews.nets import build
    from manyviews.nets.interop.inward import load_backbone

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


def write_weights(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file, whole or not at all."""
    from safetensors.torch import save

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as file:
        file.write(save(plain, metadata))
