"""The layer that turns an embedding into class scores, and the classes that it knows, on disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from manyviews.errors import ManyviewsError
from manyviews.files import replacing

CLASSES = "classes"  # of our entry in the safetensors header


@dataclass(frozen=True)
class Classifier:
    """Embeddings `[B, D]` to logits `[B, K]`, and the names of the K classes."""

    head: nn.Linear
    classes: tuple[str, ...]


def save_classifier(path: str | Path, head: nn.Linear, classes: Sequence[str]) -> None:
    """Write `head` and the names of its classes as one safetensors file, whole or not at all."""
    from safetensors.torch import save

    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in head.state_dict().items()}
    with replacing(path) as file:
        file.write(save(weights, {CLASSES: json.dumps(list(classes))}))


def load_classifier(path: str | Path, device: str | torch.device = "cpu") -> Classifier:
    """What `save_classifier` wrote.

    Raises `ManyviewsError` where the file is missing, damaged, a pickle, or no classifier.
    """
    from manyviews.nets.interop import read_weights

    weights, about = read_weights(path)
    try:
        classes, weight = tuple(json.loads(about[CLASSES])), weights["weight"]
        head = nn.Linear(weight.shape[1], len(classes), bias="bias" in weights, device="meta")
        head.to_empty(device=device).load_state_dict(weights)
    except (KeyError, IndexError, ValueError, RuntimeError) as error:
        raise ManyviewsError(
            f"{path} is not a classifier that Manyviews wrote; train the run again."
        ) from error
    return Classifier(head, classes)
