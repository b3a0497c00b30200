"""Weights in and out: safetensors, torchvision, timm, transformers and ONNX. Nothing is ever unpickled.

`own` is our files, `known` says who has which network, `inward` takes weights in and `outward` hands them over.
"""

from manyviews.nets.interop.inward import load_backbone, load_from
from manyviews.nets.interop.outward import Exported, Target, export, to_onnx, to_timm, to_torchvision
from manyviews.nets.interop.own import load_encoder, read_weights, save_encoder

__all__ = [
    "Exported",
    "Target",
    "export",
    "load_backbone",
    "load_encoder",
    "load_from",
    "read_weights",
    "save_encoder",
    "to_onnx",
    "to_timm",
    "to_torchvision",
]
