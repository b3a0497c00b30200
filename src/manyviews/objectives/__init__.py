"""The losses that papers share, as pure functions. Losses remember nothing: what a method remembers is in `memory`."""

from manyviews.objectives.clusters import sinkhorn, soft_cross_entropy
from manyviews.objectives.contrast import in_batch, info_nce, instance_softmax, nt_xent
from manyviews.objectives.cosine import byol_loss, neg_cosine
from manyviews.objectives.noise import log_normaliser, nce

__all__ = [
    "byol_loss",
    "in_batch",
    "info_nce",
    "instance_softmax",
    "log_normaliser",
    "nce",
    "neg_cosine",
    "nt_xent",
    "sinkhorn",
    "soft_cross_entropy",
]
