"""The losses that papers share, as pure functions. Losses remember nothing: what a method remembers is in `memory`."""

from manyviews.objectives.clusters import sinkhorn, soft_cross_entropy
from manyviews.objectives.contrast import in_batch, info_nce, instance_softmax, nt_xent
from manyviews.objectives.cosine import byol_loss, neg_cosine
from manyviews.objectives.future import Foretold, Negatives, future
from manyviews.objectives.noise import log_normaliser, nce, scores
from manyviews.objectives.smoothed import IGNORED, linear_cross_entropy, next_token, smoothed_cross_entropy
from manyviews.objectives.softened import softened_kl
from manyviews.objectives.weak import components, nearest, several_positives, sup_con

__all__ = [
    "IGNORED",
    "Foretold",
    "Negatives",
    "byol_loss",
    "components",
    "future",
    "in_batch",
    "info_nce",
    "instance_softmax",
    "linear_cross_entropy",
    "log_normaliser",
    "nce",
    "nearest",
    "neg_cosine",
    "next_token",
    "nt_xent",
    "scores",
    "several_positives",
    "sinkhorn",
    "smoothed_cross_entropy",
    "soft_cross_entropy",
    "softened_kl",
    "sup_con",
]
